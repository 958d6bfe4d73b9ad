"""Where the mask of a PyTorch layer comes from: its key, its generator, and who else sees them.

Statistical bounds are 5 standard errors, with fixed seeds.
"""

import copy
import io
import pickle
import shutil
import threading

import golden
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import companion.nn
from companion import counter
from companion.nn import Dropout, drop, kinds, operator
from companion.nn.functional import dropout

WHOLE = [case for case in golden.masks() if case.start == 0]
PIECES = [case for case in golden.masks() if case.start]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64]
LAYERS = {
    name: (layer, (4, 50, *[2] * axes))
    for name, axes in {
        "Dropout": 1,
        "Dropout1d": 1,
        "Dropout2d": 2,
        "Dropout3d": 3,
    }.items()
    if (layer := getattr(companion.nn, name))
}
BACKENDS = ["aot_eager", *(["inductor"] if shutil.which("g++") else [])]
each_layer = pytest.mark.parametrize(("layer", "shape"), LAYERS.values(), ids=LAYERS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def signed(key):
    return key - 2**64 if key >= 2**63 else key


# One key, one mask


def transposed(x):
    return x.transpose(0, -1).contiguous().transpose(0, -1)


def sliced(x):
    return torch.stack([x, x], -1)[..., 0]


def eager(x, case):
    return dropout(x, case.p, True, shared_axes=case.shared_axes, key=case.key)


def as_operator(x, case):
    key = torch.tensor(signed(case.key))
    return operator.drop(x, key, counter.threshold_of(case.p), case.shared_axes)


def under_a_transform(x, case):
    return torch.vmap(lambda x: eager(x, case))(x[None])[0]


def in_place(x, case):
    eager_in_place = {"inplace": True, "key": case.key}
    return dropout(x + 0, case.p, True, shared_axes=case.shared_axes, **eager_in_place)


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
@pytest.mark.parametrize("numba", [True, False], ids=["Numba", "no Numba"])
@pytest.mark.parametrize("way", [eager, as_operator, under_a_transform, in_place])
def test_every_way_gives_the_golden_masks(way, numba, case, monkeypatch):
    if not numba:
        monkeypatch.setattr(drop, "_kernels", lambda: None)
        monkeypatch.setattr(drop, "_kernel", lambda dtype, at_random: None)
    ones = torch.ones(case.shape)
    for x in (ones, transposed(ones), sliced(ones)):
        assert np.array_equal(way(x, case).numpy() != 0, case.mask)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_its_gradient_have_the_golden_masks(dtype):
    for case in WHOLE:
        x = torch.ones(case.shape, dtype=dtype, requires_grad=True)
        y = eager(x, case)
        y.backward(torch.ones_like(y))
        assert np.array_equal((y != 0).numpy(), case.mask), case.name
        assert np.array_equal((x.grad != 0).numpy(), case.mask), case.name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_compiled_code_gives_the_golden_masks(backend):
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda x, key: dropout(x, 0.1, True, key=key), backend=backend, dynamic=True
    )
    for case in WHOLE:
        if case.p == 0.1 and not case.shared_axes:
            y = compiled(torch.ones(case.shape), torch.tensor(signed(case.key)))
            assert np.array_equal(y.numpy() != 0, case.mask), case.name
    torch._dynamo.reset()


@pytest.mark.parametrize("case", golden.half_words(), ids=lambda case: case.name)
def test_kernel_and_operations_give_the_golden_half_words(case):
    from companion.counter import kernels

    n, key = len(case.half_words), signed(case.key)
    bits = np.zeros(n + 1, np.uint16)
    kernels.half_words(case.stream)(0, bits.ctypes.data, n, case.start, key, 0, 0.0)
    assert np.array_equal(bits[:n], case.half_words)
    assert bits[n] == 0
    positions = torch.arange(n) + case.start
    theirs = kinds.half_words_at(positions, torch.tensor(key), case.stream)
    assert np.array_equal(theirs.numpy(), case.half_words)


@pytest.mark.parametrize("case", PIECES, ids=lambda case: case.name)
def test_a_piece_has_its_part_of_the_golden_mask(case):
    from companion.counter import kernels

    x = torch.ones(case.mask.size)
    y, threshold = torch.empty_like(x), counter.threshold_of(case.p)
    kernels.drop("float32")(
        x.data_ptr(),
        y.data_ptr(),
        x.numel(),
        case.start,
        signed(case.key),
        threshold,
        2.0,
    )
    assert np.array_equal(y.numpy() != 0, case.mask.reshape(-1))


@pytest.mark.parametrize("n", [1, 127, 128, 129, 1023, 1024, 1025, 5000])
def test_a_kernel_writes_its_units_and_no_others(n):
    whole = torch.full((n + 2,), 7.0)
    y = whole[1:-1]
    y.copy_(dropout(torch.ones(n), 0.3, True, key=5))
    mask = counter.bernoulli_mask(n, 0.3, 5)
    assert np.array_equal(y.numpy() != 0, mask)
    assert whole[[0, -1]].tolist() == [7, 7]


@each_layer
def test_a_key_repeats_its_mask_and_draws_nothing(layer, shape):
    before, x = torch.get_rng_state(), torch.ones(shape)
    one, other = layer(0.5, key=3), layer(0.5, key=torch.tensor(3))
    assert torch.equal(one(x), one(x))
    assert torch.equal(one(x), other(x))
    one.key = counter.fold_in(3, 1)
    assert not torch.equal(one(x), other(x))
    assert torch.equal(torch.get_rng_state(), before)
    assert repr(one).endswith(f", key={one.key})")


@pytest.mark.parametrize("key", [2**64, -(2**63) - 1])
def test_a_key_has_64_bits(key):
    for call in (Dropout, lambda key: dropout(torch.ones(3), 0.5, True, key=key)):
        with pytest.raises(ValueError, match=f"64 bits, .*; got {key}"):
            call(key=key)


@pytest.mark.parametrize(
    "key",
    ["3", 3.0, True, torch.tensor(3.0), torch.tensor([3]), np.float64(3)],
    ids=repr,
)
def test_a_key_is_an_int(key):
    for call in (Dropout, lambda key: dropout(torch.ones(3), 0.5, False, key=key)):
        with pytest.raises(TypeError, match=r"key .*int.*; got "):
            call(key=key)


@each_layer
def test_a_mask_has_a_key_or_a_generator(layer, shape):
    with pytest.raises(ValueError, match=r"a generator or a key; got <torch.*> and 3"):
        layer(0.5, key=3, generator=seeded())
    with pytest.raises(ValueError, match="a generator or a key"):
        dropout(torch.ones(shape), 0.5, True, key=3, generator=seeded())


def test_the_upper_half_of_keys_is_the_negative_ones():
    x = torch.ones(1000)
    y = dropout(x, 0.5, True, key=2**64 - 2)
    assert torch.equal(y, dropout(x, 0.5, True, key=-2))
    assert torch.equal(y, dropout(x, 0.5, True, key=np.int64(-2)))


def test_a_drawn_key_is_64_bits_of_the_generator():
    word = torch.empty((), dtype=torch.int64)
    for seed in range(20):
        word.random_(-(2**63), None, generator=seeded(seed))
        y = dropout(torch.ones(500), 0.5, True, generator=seeded(seed))
        assert torch.equal(y, dropout(torch.ones(500), 0.5, True, key=int(word)))
    low = [drop.drawn_key(seeded(seed), torch.device("cpu")) < 0 for seed in range(100)]
    assert 25 <= sum(low) <= 75  # the top bit is drawn too: 5 standard errors


@pytest.mark.parametrize("n", [200, 200_000])
def test_threads_share_a_generator_and_repeat_no_mask(n):
    layer, masks = Dropout(0.5, generator=seeded()), []

    def work():
        masks.extend(layer(torch.ones(n))[:200].tolist() for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tuple(mask) for mask in masks}) == 80


def test_a_forked_child_can_use_the_layer_after_its_parent_did():
    import multiprocessing

    layer = Dropout(0.5, key=1)
    expected = total(layer, 200_000)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(total, (layer, 200_000)).get(timeout=60) == expected


def total(layer, n):
    """PyTorch's own loops may hang in a forked child; NumPy's do not."""
    return float(layer(torch.from_numpy(np.ones(n, np.float32))).numpy().sum())


# The layer's own generator


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
@each_layer
def test_copies_of_a_layer_do_not_repeat_its_masks(layer, shape, copied):
    first = layer(0.5, generator=seeded())
    layers = [first, *(copied(first) for _ in range(5))]
    x = torch.ones(shape)
    assert len({tuple(layer(x).flatten().tolist()) for layer in layers}) == 6
    assert all(layer.generator is first.generator for layer in layers)


def test_copies_in_a_stack_drop_independently():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = Dropout(0.5, generator=seeded())

        def forward(self, x):
            return self.drop(x)

    block = Block()
    stack = nn.Sequential(*(copy.deepcopy(block) for _ in range(6)))
    kept = (stack(torch.ones(100_000)) != 0).double().mean().item()
    assert abs(kept - 0.5**6) <= 5 * (0.5**6 / 100_000) ** 0.5


def test_a_transformer_of_copied_layers_drops_independently():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    layer.dropout1 = Dropout(0.5, generator=seeded())
    encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    seen = []
    for block in encoder.layers:
        block.dropout1.register_forward_hook(
            lambda m, i, y: seen.append((y != 0).flatten())
        )
    encoder(torch.randn(4, 64, 8, generator=seeded(1)))
    for i in range(4):
        for j in range(i):
            same = (seen[i] == seen[j]).double().mean().item()
            assert abs(same - 0.5) <= 5 * 0.5 / seen[i].numel() ** 0.5


@each_layer
def test_the_state_of_a_generator_stands_in_the_state_dict(layer, shape):
    def network(seed):
        return nn.Sequential(nn.Linear(4, 4), layer(0.5, generator=seeded(seed)))

    net, again, x = network(0), network(5), torch.ones(shape)
    net[1](x)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    wanted = [net[1](x) for _ in range(3)]
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    assert all(torch.equal(again[1](x), y) for y in wanted)


@each_layer
def test_a_pickled_layer_goes_on_with_its_masks(layer, shape):
    first, x = layer(0.5, generator=seeded()), torch.ones(shape)
    first(x)
    again = pickle.loads(pickle.dumps(first))
    assert torch.equal(again(x), first(x))


@each_layer
def test_state_that_does_not_fit_is_named(layer, shape):
    plain, own = layer(0.5), layer(0.5, generator=seeded())
    assert plain.state_dict() == {}
    with pytest.raises(RuntimeError, match=r'Missing key.*"_extra_state"'):
        own.load_state_dict(plain.state_dict())
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"_extra_state"'):
        plain.load_state_dict(own.state_dict())
    before = own.generator.get_state()
    result = own.load_state_dict({}, strict=False)
    assert result.missing_keys == ["_extra_state"]
    assert torch.equal(own.generator.get_state(), before)


@pytest.mark.parametrize("reentrant", [True, False])
@each_layer
def test_a_checkpoint_refuses_a_generator_it_cannot_restore(layer, shape, reentrant):
    own, x = layer(0.5, generator=seeded()), torch.ones(shape, requires_grad=True)
    y = checkpoint(lambda x: own(x * 2) ** 2, x, use_reentrant=reentrant)
    with pytest.raises(RuntimeError, match=r"generator.*recomputation.*key="):
        y.sum().backward()


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("options", [{}, {"key": 7}], ids=str)
@each_layer
def test_a_checkpoint_recomputes_the_mask(layer, shape, options, reentrant):
    own, x = layer(0.5, **options), torch.ones(shape, requires_grad=True)
    y = checkpoint(lambda x: own(x * 2) ** 2, x, use_reentrant=reentrant)
    y.sum().backward()
    assert torch.equal(x.grad, 2 * y.detach())  # y = (4 mask x)**2
    assert 0 < (y == 0).sum() < y.numel()


def test_a_gradient_may_be_dropped_by_an_own_generator():
    x, rng = torch.ones(1000, requires_grad=True), seeded()
    (x * 1).register_hook(lambda g: g)
    y = x * 1
    y.register_hook(lambda grad: dropout(grad, 0.5, True, generator=rng))
    y.sum().backward()
    assert set(x.grad.unique().tolist()) == {0, 2}


def test_data_parallel_replicas_do_not_repeat_a_mask():
    layer = Dropout(0.5, generator=seeded())
    replicas = [layer._replicate_for_data_parallel() for _ in range(2)]
    one, other = (replica(torch.ones(200)) for replica in replicas)
    assert not torch.equal(one, other)


@each_layer
def test_a_functional_call_takes_the_whole_state(layer, shape):
    own, x = nn.Sequential(layer(0.5, generator=seeded())), torch.ones(shape)
    expected = layer(0.5, generator=seeded())(x)
    assert torch.equal(torch.func.functional_call(own, own.state_dict(), x), expected)
