"""Dropout that is traced, transformed, watched or written to another format.

What is compared, bit for bit, is a result and its gradient with those of eager code that starts
from the same seed. Every layer that drops is tried; a new one joins by itself.
"""

import functools
import io

import pytest
import torch
from layers import MAKERS, Log, own, same, seen, units
from torch import fx, nn
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.flop_counter import FlopCounterMode

import companion.nn
from companion.nn import Dropout, Dropout2d
from companion.nn.functional import dropout

each_layer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


# torch.fx, TorchScript


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@each_layer
def test_make_fx_records_that_a_key_is_drawn(make, mode):
    layer, x = make(0.5), units(make)

    def net(x):
        y = layer(x)
        return y, torch.autograd.grad(y.sum(), x)[0]

    graph = make_fx(net, tracing_mode=mode)(x.clone().requires_grad_())
    for n in (64, 70) if mode == "symbolic" else (64,):
        x = units(make, n).requires_grad_()
        torch.manual_seed(0)
        results = graph(x)
        torch.manual_seed(0)
        assert all(map(torch.equal, results, net(x)))
        assert not torch.equal(graph(x)[0], results[0])


@each_layer
def test_a_layer_is_a_leaf_of_torch_fx(make):
    net, x = nn.Sequential(nn.Identity(), make(0.5)), units(make)
    graph = fx.symbolic_trace(net)
    assert [node.op for node in graph.graph.nodes].count("call_module") == 2
    same(graph, net, x)
    assert torch.equal(graph.eval()(x), x)
    alone = make(0.5)
    same(fx.symbolic_trace(alone), alone, x)


def test_so_is_the_function():
    graph = fx.symbolic_trace(lambda x: dropout(x, 0.5, True, shared_axes=1))
    (call,) = (node for node in graph.graph.nodes if node.op == "call_function")
    assert call.target is dropout
    same(graph, lambda x: dropout(x, 0.5, True, shared_axes=1), torch.ones(50, 2))


@each_layer
def test_a_traced_layer_draws_as_the_layer_does(make):
    layer, x = make(0.5), units(make)
    traced, file = torch.jit.trace(layer, x, check_trace=False), io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    for program in (traced, torch.jit.load(file)):
        for n in (64, 70):
            same(program, layer, units(make, n))


@each_layer
def test_torchscripts_compiler_is_refused(make):
    for net in (make(0.5), nn.Sequential(nn.ReLU(), make(0.5))):
        with pytest.raises(TypeError, match=r"jit.script .* use torch.compile or"):
            torch.jit.script(net)


# torch.func


@each_layer
def test_functionalize_changes_nothing(make):
    layer, x = make(0.5), units(make)
    same(torch.func.functionalize(layer), layer, x)
    into, before = make(0.5, inplace=True, key=3), x.clone()
    assert torch.equal(torch.func.functionalize(into)(x), make(0.5, key=3)(before))
    assert torch.equal(x, into(before))


@each_layer
def test_a_map_draws_as_it_is_told(make):
    layer, x = make(0.5), units(make)
    rows = torch.stack([x, x, x])
    for randomness in ("same", "different"):
        y = torch.vmap(layer, randomness=randomness)(rows)
        assert (
            torch.equal(y[0], y[1]) == torch.equal(y[1], y[2]) == (randomness == "same")
        )
    with pytest.raises(RuntimeError, match="randomness"):
        torch.vmap(layer)(rows)
    y = torch.vmap(make(0.5, key=3))(rows)
    assert torch.equal(y, torch.stack([make(0.5, key=3)(x)] * 3))


def test_a_key_may_be_mapped_over():
    keys, x = torch.tensor([4, -5]), torch.ones(300)
    each = torch.stack([dropout(x, 0.5, True, key=int(key)) for key in keys])

    def drop(key, x=x):
        return dropout(x, 0.5, True, key=key)

    assert torch.equal(torch.vmap(drop)(keys), each)
    assert torch.equal(torch.vmap(drop)(keys, torch.stack([x, x])), each)


@each_layer
def test_derivatives_of_torch_func_are_the_eager_ones(make):
    layer, x = make(0.5, key=3), units(make)
    y, slope = seen(layer, x)
    v = torch.linspace(1, 2, y.numel()).view_as(y)
    assert torch.equal(torch.func.vjp(layer, x)[1](v)[0], slope)
    assert torch.equal(torch.func.jvp(layer, (x,), (v,))[1], slope)
    assert torch.equal(torch.func.grad(lambda x: (layer(x) * v).sum())(x), slope)

    def some(x):
        return layer(x).flatten()[:8]

    rows = torch.func.jacrev(some)(x)
    assert torch.equal(rows, torch.func.jacfwd(some)(x))
    assert torch.equal(rows.sum(0).flatten()[:8], some(x))
    point = x.flatten()[:4].reshape(4, *[1] * (x.dim() - 1))
    hessian = torch.func.hessian(lambda x: layer(x).pow(2).sum())(point)
    expected = torch.diag(2 * layer(point).flatten() ** 2)
    assert torch.equal(hessian.reshape(4, 4), expected)


@each_layer
def test_batched_gradients(make):
    layer, x = make(0.5), units(make).requires_grad_()
    y = layer(x)
    v = torch.stack([torch.ones_like(y), torch.full_like(y, 3)])
    (slopes,) = torch.autograd.grad(y, x, v, is_grads_batched=True)
    assert torch.equal(slopes, torch.stack([y, 3 * y]))


# Watched and faked


@pytest.mark.parametrize(
    "mode", [Log, functools.partial(FlopCounterMode, display=False)]
)
@each_layer
def test_who_watches_changes_nothing(make, mode):
    layer, x = make(0.5), units(make)

    def watched(x):
        with mode() as watcher:
            y = layer(x)
        if mode is Log:
            assert {
                "companion.key.default",
                "companion.dropout.default",
            } <= watcher.seen
        return y

    same(watched, layer, x)


@each_layer
def test_fake_numbers_have_a_shape_for_every_source_of_masks(make):
    x = units(make)
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(x).requires_grad_()
        for layer in (make(), make(p=1), own(make), make(key=3), make(inplace=True)):
            y = layer(fake * 1)
            y.sum().backward()
            assert y.shape == fake.grad.shape == x.shape


@each_layer
def test_a_tensor_of_two_has_one_mask(make):
    x = TwoTensor(units(make), 3 * units(make)).requires_grad_()
    y = make(0.5)(x)
    y.sum().backward()
    assert torch.equal(y.b, 3 * y.a)
    assert torch.equal(x.grad.a, x.grad.b)
    assert torch.equal(x.grad.a, y.a)


# ONNX


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [Dropout, Dropout2d])
def test_an_onnx_file_drops_in_training_and_only_there(make):

    from onnx.reference import ReferenceEvaluator

    for training in (True, False):
        x, net = torch.ones(50, 40, 3, 3), nn.Sequential(make(0.25)).train(training)
        program = torch.onnx.export(net, (x,), dynamo=True, verbose=False)
        model = program.model_proto
        run = ReferenceEvaluator(model)
        y, again = (
            torch.tensor(run.run(None, {model.graph.input[0].name: x.numpy()})[0])
            for _ in range(2)
        )
        named = [node.op_type for node in model.graph.node]
        assert ("Dropout" in named) == (training and make is Dropout)
        if training:
            masks = y if make is Dropout else y.amax((2, 3))
            share, n = (masks == 0).double().mean().item(), masks.numel()
            assert abs(share - 0.25) <= 5 * (0.25 * 0.75 / n) ** 0.5
            assert y.max().item() == pytest.approx(4 / 3)
            assert not torch.equal(y, again)
            assert make is Dropout or torch.equal(y.amin((2, 3)), masks)
        else:
            assert torch.equal(y, x)
    with pytest.raises(
        Exception, match=r"ONNX (draws masks|function found for .*drop)"
    ):
        torch.onnx.export(nn.Sequential(make(key=3)), (x,), dynamo=True, verbose=False)


def test_every_dropout_of_the_package_is_tried():
    named = {name for name in companion.nn.__all__ if "Dropout" in name}
    assert named <= MAKERS.keys()
