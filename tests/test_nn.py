"""Dropout for PyTorch: what is drawn, what is refused, and a good citizen of the framework.

Statistical bounds are 5 standard errors: a right program leaves them once in two million
draws, and with the fixed seeds used here never.
"""

import copy
import io
import itertools
import math
import pickle
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.utils.checkpoint import checkpoint

import companion
from companion import counter
from companion.nn import Dropout, drop
from companion.nn.functional import dropout

HALF = [torch.float16, torch.bfloat16]
WIDE = [torch.float32, torch.float64]
DTYPES = HALF + WIDE
NOT_FLOATING = [torch.int64, torch.uint8, torch.bool]
SHAPES = [(), (0,), (3, 0), (1,), (7,), (20, 30), (2, 3, 4, 5)]
NAN, INF = math.nan, math.inf
SAME = {"rtol": 0, "atol": 0, "equal_nan": True}

ways = pytest.mark.parametrize("way", ["compiled", "unaided", "mapped"], indirect=True)
eager = pytest.mark.parametrize("way", ["compiled", "unaided"], indirect=True)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
halves = pytest.mark.parametrize("dtype", HALF, ids=str)
drop_probabilities = pytest.mark.parametrize(
    "p", [0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 0.999]
)
# PyTorch's own forward mode warns of what it is made of.
forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def way(request, monkeypatch):
    """Each of the ways units are dropped: by Numba, without it, and under a transform."""
    if request.param == "unaided":
        monkeypatch.setattr(drop, "_kernels", lambda: None)
        monkeypatch.setattr(drop, "_kernel", lambda dtype, at_random: None)
    if request.param != "mapped":
        return dropout

    def mapped(x, *args, **kwargs):
        call = torch.vmap(lambda row: dropout(row, *args, **kwargs), randomness="same")
        return call(x[None])[0]

    return mapped


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def activations(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=seeded(99), dtype=torch.float64).to(dtype)


def kept(*shape, p=0.5, seed=0, dtype=torch.float32, way=dropout, **kwargs):
    """The mask of a seed: what is left of ones."""
    x = torch.ones(shape, dtype=dtype)
    return way(x, p, True, generator=seeded(seed), **kwargs) != 0


def equal(actual, expected):
    torch.testing.assert_close(actual, expected, **SAME)


def gradient(f, x, grad=None):
    x = x.detach().requires_grad_()
    y = f(x)
    return torch.autograd.grad(y, x, torch.ones_like(y) if grad is None else grad)[0]


# Training


@ways
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", WIDE, ids=str)
@pytest.mark.parametrize("p", [0.25, 0.5])
def test_kept_units_are_scaled_and_the_others_0(p, dtype, shape, way):
    x = activations(*shape, dtype=dtype)
    mask = kept(*shape, p=p, way=way)
    zero = torch.zeros((), dtype=dtype)
    expected = torch.where(mask, x * (1 / (1 - p)), zero)
    equal(way(x, p, True, generator=seeded()), expected)
    if x.numel() > 100:
        assert 0 < mask.sum() < x.numel()


@ways
@halves
def test_half_precision_rounds_up_or_down_and_nothing_else(dtype, way):
    x = activations(1000, dtype=dtype)
    mask = kept(1000, p=0.25, way=way)
    exact = torch.where(mask, x.double() / 0.75, 0)
    y = way(x, 0.25, True, generator=seeded())
    assert y.dtype == dtype
    assert (y[~mask] == 0).all()
    # The exact value lies between two neighbours, one of them y.
    ulp = torch.nextafter(y.abs(), torch.tensor(INF, dtype=dtype)) - y.abs()
    assert ((y.double() - exact).abs() < ulp.double()).all()
    nearest = exact.to(dtype)
    assert 0 < (y != nearest).sum() < 500


@ways
@dtypes
def test_nan_and_inf_of_a_dropped_unit_do_not_leak_and_kept_ones_stay(dtype, way):
    x = torch.tensor([NAN, INF, -INF, -1.0], dtype=dtype).repeat(50)
    mask = kept(200, way=way)
    expected = torch.where(mask, 2 * x, torch.zeros((), dtype=dtype))
    y = way(x, 0.5, True, generator=seeded())
    equal(y, expected)
    if way is dropout:
        assert not y[~mask].signbit().any()
    incoming = torch.tensor([NAN, -INF, INF, 1.0], dtype=dtype).repeat(50)
    expected = torch.where(mask, 2 * incoming, torch.zeros((), dtype=dtype))
    slope = gradient(lambda x: way(x, 0.5, True, generator=seeded()), x, incoming)
    equal(slope, expected)


@eager
@forward_mode
@pytest.mark.parametrize("batched", [True, False])
def test_nan_does_not_leak_through_other_gradients(batched, way):
    x, mask = torch.ones(100), kept(100, way=way)
    expected = torch.where(mask, NAN, 0.0)
    grad = torch.full((100,), NAN)
    if batched:
        x.requires_grad_()
        y = way(x, 0.5, True, generator=seeded())
        (slopes,) = torch.autograd.grad(y, x, grad[None], is_grads_batched=True)
        equal(slopes[0], expected)
    else:
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, grad)
            y = forward_ad.unpack_dual(way(dual, 0.5, True, generator=seeded()))
            equal(y.tangent, expected)
            equal(y.primal, 2 * mask.float())


@ways
@dtypes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("value", [1.0, -1.0, NAN])
def test_p_1_gives_zeros_forward_and_backward(value, shape, dtype, way):
    x, grad = torch.full(shape, value, dtype=dtype), torch.full(shape, INF, dtype=dtype)
    equal(way(x, 1, True), torch.zeros_like(x))
    equal(gradient(lambda x: way(x, 1, True), x, grad), torch.zeros_like(x))


def test_the_input_is_not_written_to():
    for dtype, n in itertools.product(DTYPES, [100, 40_000]):
        x = activations(n, dtype=dtype)
        before = x.clone()
        dropout(x, 0.5, True)
        equal(x, before)


@eager
@dtypes
def test_inplace_writes_the_result_into_the_input(dtype, way):
    x = activations(100, dtype=dtype)
    expected = way(x, 0.3, True, generator=seeded())
    assert way(x, 0.3, True, inplace=True, generator=seeded()) is x
    equal(x, expected)


@eager
@dtypes
def test_inplace_is_differentiable_but_not_on_a_leaf(dtype, way):
    x = torch.ones(100, dtype=dtype, requires_grad=True)
    y = x * 3
    z = way(y, 0.5, True, inplace=True, generator=seeded())
    assert z is y
    z.sum().backward()
    equal(x.grad, 6 * kept(100, way=way).to(dtype))
    for layer in (Dropout(0.5, inplace=True), torch.nn.Dropout(0.5, inplace=True)):
        with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
            layer(x)
        with torch.no_grad():
            assert layer(x) is x


@ways
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
@pytest.mark.parametrize("shape", [(7, 9), (1, 9), (7, 1)], ids=str)
@pytest.mark.parametrize("p", [0.25, 0.5])
@dtypes
def test_every_way_gives_what_the_plain_lines_give(dtype, p, shape, layout, way):
    x, grad = activations(2, 7, 9, dtype=dtype)
    x[1, :4] = grad[2, :4] = torch.tensor([NAN, INF, -INF, -0.0])
    x = x if layout == "contiguous" else x.T.contiguous().T
    axes = [axis for axis in (0, 1) if shape[axis] == 1]

    def fast(x):
        return way(x, p, True, shared_axes=axes, key=-3)

    def plain(x):
        return drop.plain(x, -3, counter.threshold_of(p), shape)

    equal(fast(x), plain(x))
    assert way is not dropout or fast(x).stride() == plain(x).stride() == x.stride()
    equal(gradient(fast, x, grad), gradient(plain, x, grad))


@dtypes
def test_the_plain_lines_drop_and_scale(dtype):
    x = torch.tensor([1.0, NAN, -INF, 2.0], dtype=dtype).repeat(50)
    y = drop.plain(x, 3, 2**14, x.shape)
    keep = torch.from_numpy(counter.bernoulli_mask(200, 0.25, 3))
    torch.testing.assert_close(y, torch.where(keep, x / 0.75, 0.0), equal_nan=True)
    assert 0 < keep.sum() < 200


# Rate and mean


@drop_probabilities
@ways
def test_the_scale_is_the_inverse_of_the_keep_probability_really_used(p, way):
    used = math.floor(p * 2**16) / 2**16
    x = torch.ones(10_000, dtype=torch.float64)
    y = way(x, p, True, generator=seeded(1))
    assert y.max().item() == pytest.approx(1 / (1 - used), rel=1e-12)


@ways
@dtypes
@drop_probabilities
@pytest.mark.parametrize(("n", "calls"), [(1000, 100), (200_000, 1)])
def test_rate_and_mean(n, calls, p, dtype, way):
    x, rng = torch.full((n,), 1.375, dtype=dtype), seeded(2)
    total = n * calls
    y = torch.stack([way(x, p, True, generator=rng) for _ in range(calls)]).double()
    # p is rounded down by less than 2**-16.
    rate = (y == 0).double().mean().item()
    assert -5 * math.sqrt(p * (1 - p) / total) - 2**-16 <= rate - p
    assert rate - p <= 5 * math.sqrt(p * (1 - p) / total)
    # A kept unit is (1 / (1 - p)) and, in half precision, up to a spacing off: at most 1/128.
    variance = p / (1 - p) + (dtype in HALF) * 2**-14 / (1 - p)
    mean = y.mean().item() / 1.375
    assert abs(mean - 1) <= 5 * math.sqrt(variance / total)


@eager
@pytest.mark.parametrize("p", [2**-16, 1 - 2**-16])
def test_the_last_step_of_16_bits_is_neither_lost_nor_doubled(p, way):
    rng, calls, n, rare = seeded(3), 256, 2**15, min(p, 1 - 2**-16, 1 - p)
    x = torch.ones(n)
    dropped = sum(
        (way(x, p, True, generator=rng) == 0).sum().item() for _ in range(calls)
    )
    hits = dropped if p < 0.5 else calls * n - dropped
    assert abs(hits - calls * n * rare) <= 5 * math.sqrt(calls * n * rare)


@halves
@pytest.mark.parametrize("value", [1.0, -1.375, 3e-3])
def test_the_mean_is_exact_in_half_precision(dtype, value):
    n, p = 2_000_000, 0.01
    x = torch.full((n,), value, dtype=dtype)
    mean = (dropout(x, p, True, generator=seeded(4)).double() / x.double()).mean()
    assert abs(mean.item() - 1) <= 5 * math.sqrt((p + 2**-14) / (1 - p) / n)


@ways
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_survivors_are_binomial(p, way):
    n, calls, rng = 1000, 800, seeded(5)
    x = torch.ones(n)
    counts = [(way(x, p, True, generator=rng) != 0).sum() for _ in range(calls)]
    counts = torch.stack(counts).double()
    variance = n * p * (1 - p)
    assert abs(counts.mean() - n * (1 - p)) <= 5 * math.sqrt(variance / calls)
    assert abs(counts.var() / variance - 1) <= 5 * math.sqrt(2 / calls)


@ways
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_units_rows_and_calls_are_independent(p, way):
    rng, x = seeded(6), torch.ones(64, 256)
    masks = torch.stack([way(x, p, True, generator=rng) != 0 for _ in range(16)])
    units = (masks.double() - (1 - p)) / math.sqrt(p * (1 - p))
    pairs = {
        "calls": (units[1:], units[:-1]),
        "rows": (units[:, 1:], units[:, :-1]),
        **{f"{k} apart": (units[..., k:], units[..., :-k]) for k in (1, 2, 3, 4, 8)},
    }
    for name, (one, other) in pairs.items():
        product = one * other
        assert abs(product.mean()) <= 5 / math.sqrt(product.numel()), name
    # Nor is a place in the tensor favoured: each of 8 neighbours has the same rate.
    places = units.reshape(-1, 8).mean(0).abs()
    assert places.max() <= 5 / math.sqrt(units.numel() / 8)


@halves
def test_units_are_rounded_independently(dtype):
    p, scale = 0.1, counter.scale_of(counter.threshold_of(0.1))
    y = dropout(torch.ones(2, 100_000, dtype=dtype), p, True, generator=seeded(7))
    y = y.double()
    low, high = y[y > 0].min().item(), y.max().item()
    assert low < scale < high
    chance = (scale - low) / (high - low)
    up = ((y == high).double() - chance) / math.sqrt(chance * (1 - chance))
    assert abs(up[y > 0].mean()) <= 5 / math.sqrt((y > 0).sum())
    neighbours, rows = (y[:, 1:], y[:, :-1]), (y[0], y[1])
    for name, (one, other) in {"neighbours": neighbours, "rows": rows}.items():
        both = (one > 0) & (other > 0)
        same = (one == other)[both].double() - (chance**2 + (1 - chance) ** 2)
        assert abs(same.mean()) <= 5 * 0.5 / math.sqrt(both.sum()), name


# Where nothing is dropped


@pytest.mark.parametrize(
    ("p", "training"), [(0, True), (0.0, False), (0.5, False), (1, False)]
)
@dtypes
def test_where_nothing_is_dropped_x_itself_comes_back_and_nothing_is_drawn(
    dtype, p, training
):
    x, rng = activations(5, dtype=dtype), seeded()
    before, untouched = rng.get_state(), torch.get_rng_state()
    for generator, inplace in itertools.product([rng, None], [True, False]):
        y = dropout(x, p, training, generator=generator, inplace=inplace)
        assert y is x
        layer = Dropout(p, generator=generator, inplace=inplace).train(training)
        assert layer(x) is x
    equal(rng.get_state(), before)
    equal(torch.get_rng_state(), untouched)


@dtypes
def test_an_empty_tensor_draws_nothing(dtype):
    before = torch.get_rng_state()
    for shape in [(0,), (0, 3), (2, 0, 5)]:
        x = torch.empty(shape, dtype=dtype, requires_grad=True)
        y = dropout(x, 0.5, True)
        y.sum().backward()
        assert (y.shape, y.dtype, x.grad.shape) == (shape, dtype, shape)
    equal(torch.get_rng_state(), before)


# What is refused

wrong_p = pytest.mark.parametrize(
    ("p", "error"),
    [
        *[(p, ValueError) for p in (-0.1, 1.5, 1 + 2**-52, -(2**-60), NAN, INF, 2)],
        *[(p, TypeError) for p in ("0.5", None, True, np.True_, 0.5j, [0.5])],
        (torch.tensor(0.5), TypeError),
        (Decimal("0.5"), TypeError),
    ],
    ids=repr,
)


@wrong_p
@pytest.mark.parametrize("call", [
    lambda p: Dropout(p),
    lambda p: setattr(Dropout(0.25), "p", p),
    lambda p: dropout(torch.ones(3), p, True),
    lambda p: dropout(torch.ones(3), p, False),
    lambda p: dropout(torch.empty(0), p, True),
], ids=["made", "assigned", "training", "eval", "empty"])  # fmt: skip
def test_bad_p_is_refused_and_quoted(call, p, error):
    with pytest.raises(error, match=r"p .*; got ") as caught:
        call(p)
    assert str(caught.value).endswith(f"; got {p!r}")


@wrong_p
def test_bad_p_leaves_the_old_one(p, error):
    layer = Dropout(0.25)
    with pytest.raises(error):
        layer.p = p
    assert layer.p == 0.25
    layer.p = 1
    assert layer.p == 1
    assert not layer(torch.ones(100)).any()


@pytest.mark.parametrize("p", [Fraction(1, 4), np.float32(0.25), np.float64(0.25)])
def test_any_real_number_will_do_for_p(p):
    assert type(Dropout(p).p) is float
    equal(
        dropout(torch.ones(100), p, True, generator=seeded()),
        kept(100, p=0.25) * (4 / 3),
    )


@pytest.mark.parametrize("dtype", NOT_FLOATING, ids=str)
@pytest.mark.parametrize("shape", [(3,), (0,), ()])
def test_only_floats_are_trained_on(dtype, shape):
    x = torch.ones(shape, dtype=dtype)
    for p in (0, 0.5, 1):
        with pytest.raises(TypeError, match=f"needs float16, .*; got {dtype}"):
            dropout(x, p, True)
        with pytest.raises(TypeError, match=f"needs float16, .*; got {dtype}"):
            Dropout(p)(x)
        assert dropout(x, p, False) is x
        assert Dropout(p).eval()(x) is x


@pytest.mark.parametrize("x", [[1.0], 1.0, np.ones(3), None], ids=repr)
@pytest.mark.parametrize("training", [True, False])
def test_only_tensors_are_dropped(x, training):
    with pytest.raises(TypeError, match=f"torch.Tensor; got {type(x).__name__}"):
        dropout(x, 0.5, training)


@pytest.mark.parametrize("axes", [2, -3, (0, 2), (0, 0), (1, -1)], ids=str)
@pytest.mark.parametrize(("p", "training"), [(0.5, True), (0.5, False), (0, True)])
def test_an_axis_out_of_range_or_named_twice_is_refused(axes, p, training):
    layer = Dropout(p, shared_axes=axes).train(training)
    with pytest.raises(ValueError, match="shared_axes"):
        layer(torch.ones(2, 3))
    with pytest.raises(ValueError, match="shared_axes"):
        dropout(torch.ones(2, 3), p, training, shared_axes=axes)


@pytest.mark.parametrize("axes", [1.0, "0", None, (0, 1.0), ("a",), [None]], ids=str)
def test_axes_that_are_no_integers_are_refused_at_once(axes):
    with pytest.raises(TypeError):
        Dropout(0.5, shared_axes=axes)
    with pytest.raises(TypeError):
        dropout(torch.ones(2, 3), 0.5, True, shared_axes=axes)


@pytest.mark.parametrize("rng", [0, "cpu", np.random.default_rng(0)], ids=str)
def test_only_a_torch_generator_is_drawn_from(rng):
    with pytest.raises(TypeError, match=r"torch\.Generator or None; got "):
        Dropout(0.5, generator=rng)


# Shared axes


@ways
@dtypes
@pytest.mark.parametrize(
    ("axes", "drawn"),
    [
        (0, (1, 5, 6)),
        (-1, (4, 5, 1)),
        ((0, 2), (1, 5, 1)),
        ([-2, 0], (1, 1, 6)),
        ((0, 1, 2), (1, 1, 1)),
        (range(1), (1, 5, 6)),
    ],
    ids=str,
)
def test_one_draw_is_shared_along_the_axes_named_and_no_other(axes, drawn, dtype, way):
    x = activations(4, 5, 6, dtype=dtype)
    mask = kept(*drawn, way=way).expand(4, 5, 6)
    y = way(x, 0.5, True, shared_axes=axes, generator=seeded())
    equal(y, torch.where(mask, 2 * x, torch.zeros((), dtype=dtype)))
    layer = Dropout(0.5, shared_axes=axes, generator=seeded())
    if way is dropout:
        equal(layer(x), y)
        assert layer.shared_axes == tuple(np.atleast_1d(axes))
    slope = gradient(
        lambda x: way(x, 0.5, True, shared_axes=axes, generator=seeded()), x
    )
    equal(slope, 2 * mask.to(dtype))


def test_draws_that_are_not_shared_differ():
    mask = kept(50, 40, 3, 3, shared_axes=(2, 3))
    channels = mask.double().mean((2, 3))
    assert set(channels.unique().tolist()) == {0, 1}
    assert len(channels.unique(dim=0)) == 50
    assert abs(channels.mean() - 0.5) <= 5 * 0.5 / math.sqrt(2000)


# The generator


@ways
@dtypes
@pytest.mark.parametrize("n", [10, 50_000])
def test_a_seed_means_a_mask_and_nothing_else_is_drawn_from(n, dtype, way):
    x = activations(n, dtype=dtype)
    untouched, numpys = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    rng = seeded(8)
    first, second = (way(x, 0.3, True, generator=rng) for _ in range(2))
    equal(way(x, 0.3, True, generator=seeded(8)), first)
    if n > 10:
        assert not torch.equal(first, second)
        assert not torch.equal(way(x, 0.3, True, generator=seeded(9)), first)
    equal(torch.get_rng_state(), untouched)
    assert np.random.get_state()[1].tolist() == numpys  # noqa: NPY002


@ways
@dtypes
def test_without_a_generator_manual_seed_decides(dtype, way):
    x = activations(1000, dtype=dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        first, second = way(x, 0.3, True), way(x, 0.3, True)
        torch.manual_seed(8)
        equal(way(x, 0.3, True), first)
        assert not torch.equal(first, second)
        # The two streams are one: what is drawn depends on the seed alone.
        equal(way(x, 0.3, True, generator=seeded(8)), first)


@eager
@halves
def test_rounding_too_comes_from_the_generator(dtype, way):
    x, mask = torch.ones(1000, dtype=dtype), kept(1000, p=0.1, dtype=dtype, way=way)
    once, again = (way(x, 0.1, True, generator=seeded()) for _ in range(2))
    equal(once, again)
    other = way(x, 0.1, True, generator=seeded(1))
    assert not torch.equal(once[mask & (other != 0)], other[mask & (other != 0)])


def test_layers_with_one_generator_draw_masks_of_their_own():
    rng = seeded()
    one, other = Dropout(0.5, generator=rng), Dropout(0.5, generator=rng)
    x = torch.ones(100)
    seen = {tuple(layer(x).tolist()) for layer in (one, other, one, other)}
    assert len(seen) == 4


@pytest.mark.parametrize("n", [500, 50_000])
@pytest.mark.parametrize("shared_axes", [(), (0,), -1])
@dtypes
def test_module_and_function_agree(dtype, shared_axes, n):
    x = activations(n // 5, 5, dtype=dtype)
    layer = Dropout(0.3, shared_axes=shared_axes, generator=seeded())
    y = dropout(x, 0.3, True, shared_axes=shared_axes, generator=seeded())
    equal(layer(x), y)
    layer = Dropout(0.3, shared_axes=shared_axes, inplace=True, generator=seeded())
    assert layer(x) is x
    equal(x, y)


@pytest.mark.parametrize("shape", [(1000,), (300, 200)], ids=str)
def test_every_dtype_has_the_same_mask(shape):
    masks = [kept(*shape, p=0.3, dtype=dtype) for dtype in DTYPES]
    for mask in masks[1:]:
        equal(mask, masks[0])


# Memory layout

LAYOUTS = {
    "transposed": lambda x: x.transpose(1, 3).contiguous().transpose(1, 3),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "strided": lambda x: torch.stack([x, x], -1)[..., 0],
    "sliced": lambda x: torch.cat([x, x])[: len(x)],
    "offset": lambda x: torch.cat([x.flatten()[:1], x.flatten()])[1:].view(x.shape),
}


@eager
@dtypes
@pytest.mark.parametrize("layout", [*LAYOUTS.values()], ids=[*LAYOUTS])
def test_the_mask_does_not_depend_on_the_layout(layout, dtype, way):
    x, grad = activations(2, 2, 5, 4, 6, dtype=dtype)
    laid = layout(x)
    equal(laid, x)
    for axes in [(), (2, 3), (0,)]:

        def f(x, axes=axes):
            return way(x, 0.3, True, shared_axes=axes, generator=seeded())

        equal(f(laid), f(x))
        equal(gradient(f, laid, layout(grad)), gradient(f, x, grad))
        for other in LAYOUTS.values():  # of an incoming gradient
            equal(gradient(f, laid, other(grad)), gradient(f, x, grad))


@eager
@dtypes
def test_expanded_inputs_and_gradients(dtype, way):
    x = torch.ones(1, 3, 1, dtype=dtype).expand(4, 3, 50)
    y = way(x, 0.5, True, generator=seeded())
    equal(y, 2 * kept(4, 3, 50, way=way).to(dtype))
    leaf = torch.ones(4, 3, 50, dtype=dtype, requires_grad=True)
    way(leaf, 0.5, True, generator=seeded()).sum().backward()
    equal(leaf.grad, y)


@eager
@dtypes
@pytest.mark.parametrize("shared_axes", [(), (2, 3), (0,)], ids=str)
def test_channels_last_is_kept(dtype, shared_axes, way):
    def f(x):
        return way(x, 0.5, True, shared_axes=shared_axes)

    x = activations(2, 5, 4, 6, dtype=dtype).to(memory_format=torch.channels_last)
    assert f(x).is_contiguous(memory_format=torch.channels_last)
    assert gradient(f, x, x).is_contiguous(memory_format=torch.channels_last)
    assert f(x.contiguous()).is_contiguous()


# Gradients


@eager
@forward_mode
@pytest.mark.parametrize("shape", [(), (5,), (2, 3)], ids=str)
@pytest.mark.parametrize("p", [0, 0.4, 1])
def test_gradients_of_both_modes_and_both_orders_are_right(p, shape, way):
    x = activations(*shape, dtype=torch.float64).requires_grad_()

    def f(x):
        return way(x, p, True, generator=seeded())

    assert gradcheck(f, x, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(
        lambda x: f(x * x), x, check_fwd_over_rev=True, check_batched_grad=True
    )


@eager
@forward_mode
def test_gradients_with_a_shared_mask_are_right(way):
    x = activations(2, 3, dtype=torch.float64).requires_grad_()

    def f(x):
        return way(x, 0.4, True, shared_axes=0, generator=seeded())

    assert gradcheck(f, x, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(lambda x: f(x * x), x, check_batched_grad=True)


@ways
@dtypes
@pytest.mark.parametrize("p", [0.5, 0.75])
def test_gradient_is_the_mask_times_the_scale(p, dtype, way):
    x, grad = torch.ones(200, dtype=dtype), activations(200, dtype=dtype)
    mask = kept(200, p=p, way=way).to(dtype)
    leaf = x.requires_grad_()
    y = way(leaf, p, True, generator=seeded())
    for _ in range(2):
        (slope,) = torch.autograd.grad(y, leaf, grad, retain_graph=True)
        equal(slope, grad * mask / (1 - p))


@halves
def test_gradient_in_half_precision_is_rounded_to_nearest(dtype):
    grad, mask = activations(500, dtype=dtype), kept(500, p=0.1)
    x = torch.ones(500, dtype=dtype)
    slope = gradient(lambda x: dropout(x, 0.1, True, generator=seeded()), x, grad)
    scale = dropout(torch.ones(500), 0.1, True, generator=seeded()).max()
    equal(slope, torch.where(mask, grad.float() * scale, 0).to(dtype))


@pytest.mark.parametrize("p", [0.3, 1])
def test_requires_grad_is_passed_on_and_only_then(p):
    x = torch.ones(10)
    assert not dropout(x, p, True).requires_grad
    x.requires_grad_()
    assert dropout(x, p, True).requires_grad
    with torch.no_grad():
        assert not dropout(x, p, True).requires_grad


@eager
@dtypes
def test_inference_mode_and_no_grad_draw_the_same_mask(dtype, way):
    x = activations(100, dtype=dtype)
    expected = way(x, 0.3, True, generator=seeded())
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            equal(way(x, 0.3, True, generator=seeded()), expected)


def bytes_saved(f, x):
    saved = []

    def pack(tensor):
        saved.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        f(x.requires_grad_())
    return sum(saved)


@pytest.mark.parametrize("axes", [(), 0, (0, 1)], ids=str)
@dtypes
@eager
def test_nothing_is_kept_for_backward(dtype, axes, way):
    def f(x):
        return way(x, 0.5, True, shared_axes=axes)

    for x in (torch.ones(100, 10, dtype=dtype), torch.ones(10, 100, dtype=dtype).T):
        assert bytes_saved(f, x) == 0
        assert bytes_saved(torch.nn.Dropout(0.5), x) >= x.numel()


# What the room exports


def layers():
    return {
        name: thing
        for name, thing in vars(companion.nn).items()
        if isinstance(thing, type) and thing.__module__.startswith("companion.nn")
    }


def test_every_layer_is_exported():
    named = {name: getattr(companion.nn, name) for name in companion.nn.__all__}
    assert layers() == {
        k: thing for k, thing in named.items() if isinstance(thing, type)
    }


@pytest.mark.parametrize("name", sorted(companion.nn.__all__))
def test_every_export_is_in_the_reference(name):
    thing = getattr(companion.nn, name)
    module = thing.__name__ if name == "functional" else "companion.nn"
    page = Path(companion.__file__).parents[1] / "book" / "api.md"
    block = re.search(rf"automodule:: {module}\n((?: +:.*\n)+)", page.read_text())
    assert block, module
    options = dict(re.findall(r":([a-z-]+): ?(.*)", block[1]))
    assert options.get("members") == ""
    assert name not in re.split(", *", options.get("exclude-members", ""))
    # A class that has no words of its own is left out.
    assert vars(thing).get("__doc__") if isinstance(thing, type) else thing.__doc__


# The layer


def test_it_is_a_torch_dropout():
    layer = Dropout()
    assert isinstance(layer, torch.nn.Dropout)
    assert layer.training
    assert (layer.p, layer.inplace) == (0.5, False)
    assert (layer.shared_axes, layer.generator) == ((), None)
    assert layer.state_dict() == {}
    assert list(layer.parameters()) == list(layer.buffers()) == []
    assert layer.load_state_dict({}).missing_keys == []


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Dropout(), "p=0.5, inplace=False"),
        (Dropout(1, inplace=True), "p=1.0, inplace=True"),
        (Dropout(shared_axes=-1), "p=0.5, inplace=False, shared_axes=(-1,)"),
        (
            Dropout(0.1, shared_axes=(2, 3), generator=seeded()),
            "p=0.1, inplace=False, shared_axes=(2, 3), generator=torch.Generator('cpu')",
        ),
    ],
)
def test_its_repr_says_what_differs_from_the_default(layer, expected):
    assert layer.extra_repr() == expected
    assert repr(layer) == str(layer) == f"Dropout({expected})"


def saved_and_loaded(layer):
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer)), saved_and_loaded],
    ids=["deepcopy", "pickle", "save"],
)
def test_a_copy_is_a_layer_of_its_own(copied):
    layer = Dropout(0.3, shared_axes=1, inplace=True, generator=seeded())
    twin = copied(layer)
    assert repr(twin) == repr(layer)
    twin.p = 0.9
    assert layer.p == 0.3
    assert copied(layer.eval()).training is False
    assert copied(Dropout()).generator is None
    assert copied(Dropout(key=3)).key == 3


def test_it_works_in_a_network():
    network = torch.nn.Sequential(
        torch.nn.Linear(8, 50), torch.nn.ReLU(), Dropout(0.5), torch.nn.Linear(50, 1)
    )
    x = torch.ones(20, 8)
    dropped = network(x)
    dropped.sum().backward()
    assert all(torch.isfinite(w.grad).all() for w in network.parameters())
    assert len(dropped.unique()) > 1
    network.eval()
    assert not network[2].training
    equal(network(x), network[3](network[1](network[0](x))))
    network.train()
    assert network[2].training
    seen = []
    network.apply(lambda m: seen.append(isinstance(m, torch.nn.Dropout)))
    assert sum(seen) == 1
    # As is done to every dropout layer of a network at once:
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0
    equal(network(x), network.eval()(x))


def test_autocast():
    torch.manual_seed(0)
    linear, layer = torch.nn.Linear(8, 500), Dropout(0.5, generator=seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(linear(torch.ones(1, 8)))
        assert y.dtype == torch.bfloat16
        y.sum().backward()
    assert linear.weight.grad.dtype == torch.float32
    equal(linear.bias.grad, 2 * kept(500).float())


@pytest.mark.parametrize("n", [1000, 50_000])
@dtypes
def test_checkpointing_recomputes_the_same_mask(n, dtype):
    x = torch.ones(n, dtype=dtype)

    def f(x):
        return dropout(x * 1.5, 0.3, True) ** 2  # its gradient needs its value

    def slope(f):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(11)
            return gradient(f, x)

    def checkpointed(x):
        return checkpoint(f, x, use_reentrant=False, preserve_rng_state=True)

    equal(slope(checkpointed), slope(f))
    assert slope(f).unique().numel() > 1


@ways
def test_fork_rng_restores_the_stream(way):
    x, before = torch.ones(100), torch.get_rng_state()
    with torch.random.fork_rng(devices=[]):
        way(x, 0.5, True)
        assert not torch.equal(torch.get_rng_state(), before)
    equal(torch.get_rng_state(), before)


@dtypes
@pytest.mark.parametrize("p", [0, 0.5, 1])
def test_meta_tensors_have_a_shape_and_a_dtype(p, dtype):
    x = torch.empty(2, 3, 4, 5, dtype=dtype, device="meta")
    before = torch.get_rng_state()
    y = dropout(x, p, True, shared_axes=(2, 3))
    assert (y.shape, y.dtype, y.device.type) == (x.shape, dtype, "meta")
    equal(torch.get_rng_state(), before)


# torch.func


@dtypes
def test_vmap_does_with_randomness_what_it_is_told(dtype):
    x, layer = torch.ones(20, 30, dtype=dtype), Dropout(0.5)
    with pytest.raises(RuntimeError, match="randomness error mode"):
        torch.vmap(layer)(x)
    same = torch.vmap(layer, randomness="same")(x)
    equal(same, same[:1].expand(20, 30))
    assert set(same.unique().tolist()) == {0, 2}
    different = torch.vmap(layer, randomness="different")(x)
    assert len(different.unique(dim=0)) == 20
    equal(torch.vmap(layer.eval())(x), x)


@dtypes
def test_func_grad_goes_with_the_mask(dtype):
    x = torch.ones(100, dtype=dtype)

    def loss(x):
        y = dropout(x, 0.5, True, generator=seeded())
        return y.sum(), y

    slope, y = torch.func.grad(loss, has_aux=True)(x)
    equal(slope, y)
    assert set(y.unique().tolist()) == {0, 2}
    per_sample = torch.func.vmap(
        torch.func.grad(loss, has_aux=True), randomness="different"
    )
    slopes, ys = per_sample(x.reshape(10, 10))
    equal(slopes, ys)


@forward_mode
def test_func_jvp_goes_with_the_mask():
    x = torch.ones(100)
    y, tangent = torch.func.jvp(lambda x: dropout(x, 0.5, True), (x,), (x,))
    equal(tangent, y)
    assert set(y.unique().tolist()) == {0, 2}


# PyTorch's own tests of its layer, in other words

formats = pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last], ids=str
)


def dropout_nd(axes):
    """Dropout1d, 2d and 3d drop whole channels, which is sharing the axes after them."""
    return lambda p, inplace=False: Dropout(p, shared_axes=axes, inplace=inplace)


CASES = [
    (Dropout, torch.empty(1000), torch.contiguous_format),
    (Dropout, torch.empty(1000, dtype=torch.bfloat16), torch.contiguous_format),
    (dropout_nd(2), torch.empty(12, 1300, 11), torch.contiguous_format),
    (dropout_nd((2, 3)), torch.empty(1000, 5, 3, 2), torch.contiguous_format),
    (dropout_nd((2, 3)), torch.empty(1000, 5, 3, 2), torch.channels_last),
    (dropout_nd((2, 3, 4)), torch.empty(1000, 5, 2, 3, 2), torch.contiguous_format),
]


@pytest.mark.parametrize(("layer", "x", "memory_format"), CASES)
@pytest.mark.parametrize("inplace", [True, False])
def test_mean_and_layout_forward_and_backward(layer, x, memory_format, inplace):
    p = 0.2
    torch.manual_seed(12)
    x = torch.full_like(x, 1 - p).contiguous(memory_format=memory_format)
    leaf = x.clone(memory_format=memory_format).requires_grad_()
    y = layer(p, inplace=inplace)(leaf + 0)
    y.backward(x)
    for result in (y.detach(), leaf.grad):
        assert result.is_contiguous(memory_format=memory_format)
        # 1000 draws at least: 5 standard errors are 0.8 * 5 * sqrt(0.25 / 1000) = 0.063.
        assert abs(result.double().mean() - (1 - p)) < 0.063
    assert layer(p, inplace=inplace).eval()(x) is x


@pytest.mark.parametrize("layer", [Dropout, *map(dropout_nd, [3, (2, 3), (1, 2, 3)])])
@formats
@pytest.mark.parametrize("p", [0, 1e-10])
def test_next_to_no_dropout_of_a_strided_tensor(p, memory_format, layer):
    x = torch.empty(2, 3, 3, 6).to(memory_format=memory_format)[..., ::2].fill_(1)
    y = layer(p)(x)
    equal(y, x)
    if p != 0:
        assert y.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("perm", [*itertools.permutations(range(4))], ids=str)
@pytest.mark.parametrize("p", [1e-10, 0.3, 0.5, 0.7])
def test_permuted_and_cropped_tensors_come_back_dense_in_their_own_order(p, perm):
    torch.manual_seed(13)
    whole = torch.ones(2, 3, 4, 5).permute(perm).contiguous()
    for i, j in itertools.product(range(2), range(2)):
        x = whole.permute(np.argsort(perm).tolist())[i:, j:]
        y = Dropout(p)(x)
        assert y.permute(perm).is_contiguous()
        # 40 to 120 units: 5 standard errors of the mean.
        assert abs(y.mean() - 1) <= 5 * math.sqrt(p / (1 - p) / x.numel()) + 2**-15
        assert torch.equal(x, y) == (p == 1e-10)


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("axes", [(2,), (2, 3), (2, 3, 4)], ids=str)
def test_whole_channels_are_dropped_with_or_without_a_batch(axes, inplace):
    x = torch.ones(10, 4, *[2] * len(axes))
    layer = Dropout(0.5, shared_axes=axes, inplace=inplace, generator=seeded())
    y = layer(x.clone())
    sums = y.flatten(2).sum(2)
    assert set(sums.unique().tolist()) == {0, 2.0 ** (len(axes) + 1)}
    unbatched = Dropout(
        0.5, shared_axes=tuple(a - len(axes) - 2 for a in axes), generator=seeded()
    )
    equal(unbatched(x.flatten(0, 1)).reshape(x.shape), y)


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("training", [True, False])
def test_corner_cases_agree_with_pytorch(p, training):
    x = activations(5)
    theirs = gradient(lambda x: torch.dropout(x, p, training), x)
    equal(dropout(x, p, training), torch.dropout(x, p, training))
    equal(gradient(lambda x: dropout(x, p, training), x), theirs)


def test_every_row_of_a_batch_gets_a_mask_of_its_own_or_all_get_one():
    x = torch.ones(50, 40)
    for axes, distinct in [((), 50), (0, 1)]:
        y = Dropout(0.5, shared_axes=axes, generator=seeded())(x)
        assert len(y.unique(dim=0)) == distinct


# Where PyTorch's own layer works too


def negated_when_read(x):
    """A tensor that equals x, as PyTorch makes them of complex numbers."""
    return torch.conj(torch.complex(-x, -x)).imag


@eager
def test_a_tensor_negated_when_read(way):
    x = activations(100)
    lazy = negated_when_read(x)
    assert lazy.is_neg()

    def f(x):
        return way(x, 0.5, True, generator=seeded())

    equal(f(lazy), f(x))
    equal(gradient(f, torch.ones(100), lazy), gradient(f, torch.ones(100), x))


@eager
def test_the_default_device_does_not_matter_to_a_cpu_tensor(way):
    x = activations(100)
    expected = way(x, 0.5, True, generator=seeded())
    with torch.device("meta"):
        equal(way(x, 0.5, True, generator=seeded()), expected)


@pytest.fixture
def _bfloat16_by_default():
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(torch.float32)


@ways
@pytest.mark.usefixtures("_bfloat16_by_default")
def test_nor_does_the_default_dtype(way):
    n, p = 200_000, 0.001
    x = torch.ones(n, dtype=torch.float32)
    dropped = (way(x, p, True, generator=seeded(16)) == 0).sum().item()
    assert abs(dropped - n * p) <= 5 * math.sqrt(n * p)


@halves
@forward_mode
def test_forward_mode_in_half_precision(dtype):
    x = torch.ones(100, dtype=dtype)
    y, tangent = torch.func.jvp(lambda x: dropout(x, 0.5, True), (x,), (x,))
    equal(tangent, y)
    with forward_ad.dual_level():
        y = dropout(forward_ad.make_dual(x, x), 0.5, True)
        equal(forward_ad.unpack_dual(y).tangent, forward_ad.unpack_dual(y).primal)


@eager
@dtypes
@forward_mode
def test_func_transforms_of_weights_may_drop_units_of_the_data(dtype, way):
    x, w = activations(20, 5, dtype=dtype), torch.ones(5, dtype=dtype)

    def loss(w):
        return (way(x, 0.5, True) * w).sum(0)

    def summed(w):
        y = loss(w)
        return y.sum(), y

    slope, y = torch.func.grad(summed, has_aux=True)(w)
    torch.testing.assert_close(slope, y)
    y, tangent = torch.func.jvp(loss, (w,), (w,))
    torch.testing.assert_close(tangent, y)
    for randomness, distinct in [("same", 1), ("different", 8)]:
        f = torch.vmap(lambda w: way(x, 0.5, True) * w, randomness=randomness)
        assert len(f(w.expand(8, 5)).unique(dim=0)) == distinct


@halves
@pytest.mark.parametrize("units", [1, 3, 1021])
def test_the_mean_is_exact_for_subnormal_numbers(units, dtype):
    n, p = 200_000, 0.1
    info = torch.finfo(dtype)
    x = torch.full((n,), units * info.smallest_normal * info.eps, dtype=dtype)
    mean = (dropout(x, p, True, generator=seeded(17)).double() / x.double()).mean()
    # Rounding to a whole number of units adds a variance of 1/4 unit at most.
    assert abs(mean - 1) <= 5 * math.sqrt((p / (1 - p) + 0.25 / units**2) / n)


@pytest.mark.parametrize("n", [100, 50_000])
def test_a_subclass_of_tensor_comes_back(n):
    class Tagged(torch.Tensor):
        pass

    x = torch.ones(n).as_subclass(Tagged)
    assert type(dropout(x, 0.5, True)) is type(torch.nn.Dropout()(x)) is Tagged


@pytest.mark.parametrize("p", [0.5, 1])
@pytest.mark.parametrize("shared_axes", [(), (2, 3)])
def test_channels_last_is_kept_on_other_devices(shared_axes, p):
    x = torch.empty(2, 3, 4, 5, device="meta").to(memory_format=torch.channels_last)
    for layer in (Dropout(p, shared_axes=shared_axes), torch.nn.Dropout(p)):
        assert layer(x).is_contiguous(memory_format=torch.channels_last)


def test_inplace_is_given_by_name_only():
    assert Dropout(0.25, inplace=True).inplace is True
    with pytest.raises(TypeError, match="positional"):
        Dropout(0.25, True)


def test_a_network_with_it_can_be_traced_symbolically():
    for layer in (Dropout(0.5), torch.nn.Dropout(0.5)):
        traced = torch.fx.symbolic_trace(torch.nn.Sequential(layer))
        y = traced(torch.ones(100))
        assert set(y.unique().tolist()) == {0, 2}


@eager
@dtypes
def test_fake_tensors(dtype, way):
    with torch._subclasses.FakeTensorMode():
        x = torch.ones(100, dtype=dtype, requires_grad=True)
        y = way(x, 0.5, True)
        y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    assert y.shape == x.grad.shape == (100,)


# Without PyTorch


def python(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=Path(companion.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )


def test_import_without_torch_says_how_to_install_it():
    uses = ["import companion.nn", "import companion.nn.functional", "companion.nn"]
    result = python(f"""
import sys, companion
sys.modules["torch"] = None
for use in {uses}:
    try:
        exec(use)
    except ImportError as error:
        print(error)
""")
    message = "companion.nn needs PyTorch: pip install 'dropout-companion[torch]'\n"
    assert (result.stdout, result.stderr) == (3 * message, "")


# torch.compile


@pytest.fixture
def _forgetful():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


BACKEND = "inductor" if shutil.which("g++") else "aot_eager"


@pytest.mark.usefixtures("_forgetful")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@forward_mode
def test_compiled_into_one_graph(dtype):
    p = 0.125  # which 24 bits have exactly
    layer = Dropout(p)
    compiled = torch.compile(layer, backend=BACKEND, fullgraph=True)
    x = torch.ones(500, 400, dtype=dtype, requires_grad=True)
    torch.manual_seed(15)
    y, again = compiled(x), compiled(x)
    y.sum().backward()
    kept, scale = y != 0, torch.tensor(1 / (1 - p))
    equal(x.grad, torch.where(kept, scale.to(dtype), 0))
    # A kept unit is the scale, or one of its two neighbours in half precision.
    assert len(y.unique()) == (3 if dtype in HALF else 2)
    standard_error = math.sqrt((p + (dtype in HALF) * 2**-14) / (1 - p) / x.numel())
    assert abs(y.double().mean() - 1) <= 5 * standard_error
    assert not torch.equal(y, again)
    layer.eval()
    equal(compiled(x), x)


@pytest.mark.usefixtures("_forgetful")
def test_compiled_with_axes_and_another_p():
    layer = Dropout(0.5, shared_axes=0)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = torch.full((10, 100), NAN)
    y = compiled(x)
    equal(y, y[:1].expand(10, 100))
    assert 0 < (y == 0).sum() < 1000
    layer.p = 1
    equal(compiled(x), torch.zeros(10, 100))


@pytest.mark.usefixtures("_forgetful")
def test_compiled_with_a_generator_is_seeded_too():
    layer = Dropout(0.5, generator=seeded())
    compiled = torch.compile(layer, backend="aot_eager")
    x, before = torch.ones(100), torch.get_rng_state()
    first, second = compiled(x), compiled(x)
    layer.generator.manual_seed(0)
    equal(compiled(x), first)
    assert not torch.equal(first, second)
    equal(torch.get_rng_state(), before)
