"""Dropout in graphs: compiled, recomputed, exported, and as an operator.

What is compared, bit for bit, is a result and its gradient with those of eager code that starts
from the same seed. Every layer that drops is tried; a new one joins by itself.
"""

import functools
import io
import shutil
import subprocess
import sys

import pytest
import torch
from layers import MAKERS, Log, own, same, seen, units
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from companion.nn import Dropout, Dropout2d, operator

HALF = [torch.float16, torch.bfloat16]
each_layer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
some_layers = pytest.mark.parametrize("make", [Dropout, MAKERS["Dropout shared"]])
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]


@pytest.fixture(autouse=True)
def _forgetful():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(f, backend="aot_eager", **options):
    return torch.compile(f, backend=backend, **{"fullgraph": True} | options)


def network(make):
    first, last = make(0.3), make(0.4)
    return lambda x: last(first(x) * 3 + x)


# torch.compile


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        *((make, torch.float32) for make in MAKERS.values()),
        *((Dropout, t) for t in HALF),
    ],
)
def test_compiled_code_gives_what_eager_code_gives(make, dtype):
    x, net = units(make, dtype=dtype), network(make)
    program = compiled(net)
    same(program, net, x)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            torch.manual_seed(0)
            y = program(x)
        assert torch.equal(y, seen(net, x)[0])


@needs_compiler
@pytest.mark.parametrize("make", [Dropout, Dropout2d])
def test_so_does_code_of_the_inductor(make):
    layer, x = make(0.3), units(make)

    def net(x):
        x = layer(x.transpose(0, 1)).relu() * 2
        return layer(x[:, :7] + 1)

    same(compiled(net, "inductor"), net, x)


@pytest.mark.parametrize(
    ("how", "graphs"), [("automatic", 2), ("dynamic", 2), ("marked", 1)]
)
@each_layer
def test_another_batch_size_does_not_compile_again(make, how, graphs):
    counter = CompileCounterWithBackend("aot_eager")
    net = network(make)
    program = compiled(net, counter, **{"dynamic": True} if how == "dynamic" else {})
    for n in (64, 50, 70, 90, 30):
        x = units(make, n).requires_grad_()
        if how == "marked":
            torch._dynamo.mark_dynamic(x, 0)
        torch.manual_seed(0)
        y = program(x)
        y.sum().backward()
        assert torch.equal(y, seen(net, x)[0])
        assert torch.equal(x.grad != 0, seen(net, x)[1] != 0)
    assert counter.frame_count <= graphs


@pytest.mark.parametrize("grad", [True, False], ids=["training", "no gradient"])
@each_layer
def test_no_two_masks_of_a_graph_are_one(make, grad):
    one, other = make(0.5), make(0.5)
    program = compiled(lambda x: (one(x), other(x), one(x)))
    x = units(make).requires_grad_(grad)
    results = [y.detach() for _ in range(3) for y in program(x)]
    assert len({tuple(y.flatten().tolist()) for y in results}) == 9


@each_layer
def test_eager_and_compiled_calls_draw_from_one_stream(make):
    layer = make(0.5)
    program, x = compiled(layer), units(make)
    masks = []
    for calls in ([layer] * 4, [layer, program, layer, program]):
        torch.manual_seed(0)
        masks.append([call(x) for call in calls])
    assert all(map(torch.equal, *masks))
    layer.eval()
    assert program(x) is x or torch.equal(program(x), x)


@each_layer
def test_a_tensor_as_key_names_a_mask_without_compiling_again(make):
    layer, x = make(0.5, key=torch.tensor(1)), units(make)
    counter = CompileCounterWithBackend("aot_eager")
    program = compiled(layer, counter)
    for key in (1, 2, -3):
        layer.key = torch.tensor(key)
        assert torch.equal(program(x), make(0.5, key=key)(x))
    assert counter.frame_count == 1
    layer.key = 2**63 + 5
    assert torch.equal(program(x), make(0.5, key=2**63 + 5)(x))


@pytest.mark.parametrize("backend", ["aot_eager", None], ids=["compiled", "watched"])
@each_layer
def test_a_layer_in_place_has_a_gradient_there_too(make, backend):
    layer = make(0.5, inplace=True)

    def net(x):
        return layer(x * 2)

    def watched(x):
        with Log():
            return net(x)

    same(compiled(net) if backend else watched, net, units(make))


@pytest.mark.parametrize("randomness", ["same", "different"])
@some_layers
def test_transforms_inside_a_compiled_program(make, randomness):
    layer, x = make(0.5), units(make)

    def both(x):
        y = layer(x)
        return y.sum(), y

    def net(x):
        rows = torch.vmap(layer, randomness=randomness)(torch.stack([x, x]))
        slope, y = torch.func.grad(both, has_aux=True)(x)
        return (*rows, slope, y, *torch.func.jvp(layer, (x,), (x,)))

    torch.manual_seed(0)
    results = compiled(net)(x)
    one, other, slope, y, primal, tangent = results
    assert torch.equal(one, other) == (randomness == "same")
    assert torch.equal(slope, y)
    assert torch.equal(primal, tangent)
    torch.manual_seed(0)
    assert all(map(torch.equal, results, net(x)))


def test_a_compiled_map_asks_what_randomness_means():
    with pytest.raises(Exception, match="randomness"):
        compiled(torch.vmap(Dropout()))(torch.ones(2, 3))


# Checkpoints


def checkpointed(f, reentrant=False, **options):
    return lambda x: checkpoint(f, x, use_reentrant=reentrant, **options)


@each_layer
def test_checkpoints_inside_and_around_a_compiled_program(make):
    layer, x = make(0.5), units(make)

    def net(x):
        return layer(x * 1) ** 2

    same(compiled(checkpointed(net)), net, x)
    for reentrant in (True, False):
        same(checkpointed(compiled(net), reentrant), net, x)


def keeps(op):
    return torch.Tag.nondeterministic_seeded in op.tags


@pytest.mark.parametrize("policy", ["nothing", "keys", "masks"])
@some_layers
def test_selective_checkpoints(make, policy):
    layer, x = make(0.5), units(make)

    def choose(context, op, *args, **kwargs):
        kept = {"nothing": False, "keys": keeps(op), "masks": "companion" in str(op)}
        wanted = CheckpointPolicy.MUST_SAVE, CheckpointPolicy.PREFER_RECOMPUTE
        return wanted[not kept[policy]]

    context = functools.partial(create_selective_checkpoint_contexts, choose)

    def net(x):
        return layer(x * 1) ** 2

    program = checkpointed(net, context_fn=context, preserve_rng_state=policy != "keys")
    same(program, net, x)
    same(compiled(checkpointed(net, context_fn=context)), net, x)


@pytest.mark.parametrize("reentrant", [True, False])
@some_layers
def test_a_checkpoint_of_compiled_code_refuses_a_generator_too(make, reentrant):
    program = compiled(own(make), fullgraph=False)
    x = units(make).requires_grad_()
    y = checkpointed(lambda x: program(x * 1) ** 2, reentrant)(x)
    with pytest.raises(RuntimeError, match=r"generator.*recomputation.*key="):
        y.sum().backward()


# A layer's own generator


@some_layers
def test_a_generator_breaks_a_graph_in_two(make):
    x, layer, twin = units(make), own(make), own(make)
    program = compiled(lambda x: layer(x * 2) + 1, fullgraph=False)
    before = torch.get_rng_state()
    for _ in range(3):
        y = program(x)
        assert torch.equal(y, twin(x * 2) + 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch._dynamo.reset()
    with pytest.raises(Exception, match=r"own generator: leave out generator=.* key="):
        compiled(own(make))(x)


GRAPHS = {
    "export": lambda f, x: torch.export.export(f, (x,)),
    "trace": torch.jit.trace,
    "make_fx": lambda f, x: make_fx(lambda x: f(x))(x),
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@each_layer
def test_a_graph_that_would_repeat_one_mask_refuses_a_generator(make, graph):
    with pytest.raises(RuntimeError, match=r"generator.*traced or exported.*key="):
        graph(own(make), units(make))
    graph(make(0.5, key=torch.tensor(3)), units(make))


# torch.export


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    ("strict", "dynamic"), [(True, False), (False, True)], ids=["strict", "dynamic"]
)
@each_layer
def test_an_exported_program_keeps_its_mode(make, strict, dynamic, training):
    net = nn.Sequential(make(0.4)).train(training)
    sizes = ({0: torch.export.Dim("n")},) if dynamic else None
    x = units(make)
    program = torch.export.export(net, (x,), dynamic_shapes=sizes, strict=strict)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    x = units(make, 77) if dynamic else x
    for kind in (program, torch.export.load(file), program.run_decompositions()):
        module = kind.module()
        if training:
            same(module, net, x)
        else:
            assert torch.equal(module(x), x)


@needs_compiler
@pytest.mark.filterwarnings("ignore")
def test_a_program_packed_ahead_of_time_draws_fresh_masks(tmp_path):
    x, net = torch.ones(3, 40, 2, 2), nn.Sequential(Dropout(), Dropout2d())
    package = torch._inductor.aoti_compile_and_package(
        torch.export.export(net, (x,)), package_path=str(tmp_path / "net.pt2")
    )
    program = torch._inductor.aoti_load_package(package)
    for seed in (0, 1):
        torch.manual_seed(seed)
        y = program(x)
        torch.manual_seed(seed)
        assert torch.equal(y, net(x))


# The operators


LAYOUTS = {
    "plain": torch.randn(5, 6),
    "leaf": torch.randn(5, 6).requires_grad_(),
    "half": torch.randn(5, 6).half(),
    "transposed": torch.randn(6, 5).T,
    "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "expanded": torch.randn(1, 5).expand(4, 5),
    "strided": torch.randn(8)[::2],
    "empty": torch.randn(0, 3),
    "0-d": torch.randn(()),
}


@pytest.mark.parametrize("x", LAYOUTS.values(), ids=LAYOUTS)
def test_the_operators_keep_pytorchs_rules(x):
    for axes in (None, [0]) if x.dim() else (None,):
        args = (x, torch.tensor(3), 20_000, axes)
        torch.library.opcheck(operator.drop, args)
        torch.library.opcheck(operator.drop_backward, (*args, x))


def test_the_operator_that_draws_keeps_them_too():
    rules = "test_schema", "test_autograd_registration", "test_faketensor"
    word = torch.empty((), dtype=torch.int64)
    torch.library.opcheck(operator.key_like, (word,), test_utils=rules)


def test_importing_the_layers_does_not_import_the_compiler():
    code = "import companion.nn, sys; sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
