"""Which units are kept: the rate, independence, seeds, shared axes, and an exact selection.

Statistical bounds are 5 standard errors: a right program leaves them once in two million
draws, and with the fixed seeds used here never.
"""

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from companion import masks
from companion.masks import BLOCK, bernoulli_mask, select

DTYPES = ["f2", "f4", "f8"]


def within_5_standard_errors(kept, p, n):
    """Is every share in `kept`, each of `n` units, as close to 1 - p as chance allows?"""
    return np.all(abs(np.asarray(kept) - (1 - p)) <= 5 * math.sqrt(p * (1 - p) / n))


# How many are kept


@pytest.mark.parametrize(
    "shape", [7, (7,), [2, 3], (2, 3, 4), (2, 0, 3), (), np.int64(5)]
)
@pytest.mark.parametrize("p", [0, 0.3, 1])
def test_mask_is_boolean_and_has_the_shape_asked_for(shape, p):
    mask = bernoulli_mask(shape, p, rng=0)
    assert mask.dtype == bool
    assert mask.shape == np.empty(shape).shape


@pytest.mark.parametrize(
    "p", [2**-20, 0.001, 0.003, 0.1, 0.3, 0.48, 0.5, 0.52, 0.9, 0.997, 1 - 2**-20]
)
def test_units_are_dropped_with_probability_p(p):
    n = (
        2**23 if 0.001 <= p <= 0.999 else 2**26
    )  # the rarer event happens 64 times or more
    assert within_5_standard_errors(bernoulli_mask(n, p, rng=1).mean(), p, n)


class EveryByte(np.random.Generator):
    """Deals each of the 256 bytes once, and no hit; remembers how many hits to expect."""

    expected_hits = 0.0

    def integers(self, *args, size, dtype=np.int64, **kwargs):
        if dtype == np.uint64:
            return np.arange(256, dtype=np.uint8).view("<u8").astype(np.uint64)
        return np.zeros(size, dtype)

    def poisson(self, lam):
        self.expected_hits = lam
        return 0


@pytest.mark.parametrize(
    "p", [1e-12, 0.0039, 0.1, np.float16(0.1), 0.3, 0.4999, 0.5, 0.502, 0.9, 1 - 1e-12]
)
def test_probability_is_p_to_the_last_bits(p):
    # Too fine for statistics, so this test knows how a unit is hit with the rarer of p and
    # 1 - p: by its random byte, or else by a Poisson process.
    rng = EveryByte(np.random.PCG64(0))
    mask = bernoulli_mask(256, p, rng=rng)
    by_byte = (mask if p > 0.5 else ~mask).mean()
    by_process = -math.expm1(-rng.expected_hits / 256)
    hit = by_byte + (1 - by_byte) * by_process
    assert hit == pytest.approx(float(min(p, 1 - p)), rel=1e-13, abs=0)


@pytest.mark.parametrize("p", [0.003, 0.3, 0.9, 0.997])
@pytest.mark.parametrize(
    "shape", [(2**18, 16), (16, 2**18)], ids=["in a word", "in the mask"]
)
def test_rate_does_not_depend_on_the_position(shape, p):
    kept = bernoulli_mask(shape, p, rng=2).mean(axis=shape.index(2**18))
    assert within_5_standard_errors(kept, p, 2**18)


@pytest.mark.parametrize("shape", [(), 1, 7, 9, 1001, BLOCK + 3, 2 * BLOCK + 5])
def test_last_unit_is_dropped_as_often_as_any(shape):
    rng = np.random.default_rng(3)
    last = [bernoulli_mask(shape, 0.4, rng=rng).flat[-1] for _ in range(1000)]
    assert within_5_standard_errors(np.mean(last), 0.4, 1000)


@pytest.mark.parametrize("p", [0.02, 0.3, 0.5, 0.9])
def test_units_are_independent(p):
    mask = bernoulli_mask(2**22, p, rng=4)
    centred = mask - mask.mean()
    for lag in [*range(1, 9), BLOCK]:  # eight units share a 64-bit draw
        correlation = (centred[lag:] * centred[:-lag]).mean() / centred.var()
        assert abs(correlation) <= 5 / math.sqrt(mask.size - lag), lag


def test_masks_drawn_one_after_the_other_are_independent():
    rng, n = np.random.default_rng(5), 2**20
    both = bernoulli_mask(n, 0.3, rng=rng) & bernoulli_mask(n, 0.3, rng=rng)
    assert within_5_standard_errors(both.mean(), 1 - 0.7**2, n)


@pytest.mark.parametrize("p", [0.003, 0.3, 0.9])
def test_number_of_survivors_is_binomial(p):
    rng, n, draws = np.random.default_rng(6), 1000, 4000
    survivors = np.array([bernoulli_mask(n, p, rng=rng).sum() for _ in range(draws)])
    variance = n * p * (1 - p)
    kurtosis = 3 + (1 - 6 * p * (1 - p)) / variance
    assert abs(survivors.mean() - n * (1 - p)) <= 5 * math.sqrt(variance / draws)
    assert abs(survivors.var() / variance - 1) <= 5 * math.sqrt((kurtosis - 1) / draws)


# What is drawn, and from where


@pytest.mark.parametrize("shared_axes", [(), 0])
@pytest.mark.parametrize(
    ("shape", "p", "kept"),
    [((9, 5), 0, 45), ((9, 5), 1, 0), ((9, 0), 0.5, 0), (0, 0.5, 0)],
)
def test_nothing_is_drawn_where_nothing_is_to_be_decided(shape, p, kept, shared_axes):
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert bernoulli_mask(shape, p, rng=rng, shared_axes=shared_axes).sum() == kept
    assert rng.bit_generator.state == before


def test_mask_of_a_seed_never_changes():
    mask = bernoulli_mask((3, 16), 0.3, rng=0)
    assert ["".join(row) for row in mask.astype(int).astype(str)] == [
        "1111110101111100",
        "1111101001001000",
        "0110110110011111",
    ]


@pytest.mark.parametrize(
    ("p", "digest"),
    [(0.5, "e2da8b2249701e6a"), (0.3, "87465c710058d7e2"), (0.7, "13c3c4d55c20356c")],
)
def test_large_mask_of_a_seed_never_changes(p, digest):
    mask = bernoulli_mask((3, 2**17 + 1), p, rng=12345)
    assert hashlib.sha256(mask.tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("seed", [0, 7, np.int64(7), 2**70])
def test_int_seed_means_default_rng_of_it(seed):
    expected = bernoulli_mask(1000, 0.3, rng=np.random.default_rng(seed))
    np.testing.assert_array_equal(bernoulli_mask(1000, 0.3, rng=seed), expected)


def test_without_a_seed_every_mask_is_new():
    assert (bernoulli_mask(256, 0.5) != bernoulli_mask(256, 0.5)).any()


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_any_bit_generator_will_do(bits):
    mask = bernoulli_mask(2**20, 0.3, rng=np.random.Generator(bits(0)))
    assert within_5_standard_errors(mask.mean(), 0.3, 2**20)


def test_global_random_state_is_neither_read_nor_changed():
    masks, uniforms = [], []
    for _ in range(2):
        np.random.seed(8)  # noqa: NPY002
        if masks:
            np.random.random()  # noqa: NPY002
        state = np.random.get_state()[1:3]  # noqa: NPY002
        masks.append(bernoulli_mask(1000, 0.3, rng=9))
        uniforms.append(np.random.get_state()[1:3])  # noqa: NPY002
        np.testing.assert_equal(uniforms[-1], state)
    np.testing.assert_array_equal(*masks)


# Shared axes


@pytest.mark.parametrize(
    ("shared_axes", "axes"),
    [
        ((), ()),
        ((0,), (0,)),
        (0, (0,)),
        (-1, (3,)),
        ((-1,), (3,)),
        ((2, 3), (2, 3)),
        ([1, -1], (1, 3)),
        (np.int64(1), (1,)),
    ],
)
@pytest.mark.parametrize("p", [0.3, 0.7])
def test_one_draw_is_shared_along_the_axes_named_and_no_other(shared_axes, axes, p):
    mask = bernoulli_mask((70, 50, 60, 40), p, rng=10, shared_axes=shared_axes)
    drawn = mask[tuple(slice(1) if axis in axes else slice(None) for axis in range(4))]
    np.testing.assert_array_equal(mask, np.broadcast_to(drawn, mask.shape))
    assert within_5_standard_errors(drawn.mean(), p, drawn.size)


@given(data=st.data(), shape=array_shapes(min_dims=0, min_side=0, max_side=5))
def test_a_shared_mask_is_the_mask_of_one_draw_for_each(data, shape):
    """Those of the smaller shape, repeated: whatever the axes, in whatever order."""
    axes = st.integers(-len(shape), len(shape) - 1)
    shared = data.draw(
        st.lists(axes, unique_by=lambda axis: axis % len(shape))
        if shape
        else st.just([])
    )
    small = np.array(shape, int)
    small[[*shared]] = np.minimum(small[[*shared]], 1)
    expected = np.broadcast_to(bernoulli_mask(small.tolist(), 0.4, rng=0), shape)
    found = bernoulli_mask(shape, 0.4, rng=0, shared_axes=shared)
    np.testing.assert_array_equal(found, expected, strict=True)


def test_all_axes_shared_is_one_draw_for_all():
    masks = [
        bernoulli_mask((2, 3), 0.4, rng=seed, shared_axes=(0, 1))
        for seed in range(1000)
    ]
    assert {int(mask.sum()) for mask in masks} == {0, 6}
    assert within_5_standard_errors(np.mean(masks), 0.4, len(masks))


@pytest.mark.parametrize("p", [0, 0.5])
@pytest.mark.parametrize(
    ("shape", "shared_axes", "error"),
    [
        ((2, 3), 2, ValueError),
        ((2, 3), (0, -3), ValueError),
        ((2, 3), (0, 0), ValueError),
        ((2, 3), (1, -1), ValueError),
        ((), 0, ValueError),
        ((2, 3), 1.0, TypeError),
        ((2, 3), (0, 0.5), TypeError),
        ((2, 3), "0", TypeError),
        ((2, 3), None, TypeError),
    ],
)
def test_bad_shared_axes_are_refused(shape, shared_axes, error, p):
    with pytest.raises(error):
        bernoulli_mask(shape, p, rng=0, shared_axes=shared_axes)


# What is refused


@pytest.mark.parametrize(
    "p", [-0.1, 1.5, -1, 2, math.nan, math.inf, -math.inf, 1 + 2**-52]
)
def test_p_outside_0_to_1_is_refused_and_quoted(p):
    with pytest.raises(ValueError, match=rf"drop probability in \[0, 1\]; got {p}$"):
        bernoulli_mask(3, p, rng=0)


@pytest.mark.parametrize(
    "p", ["0.5", None, 0.5j, [0.5], True, np.True_, np.array([0.5])], ids=repr
)
def test_p_that_is_no_real_number_is_refused(p):
    with pytest.raises(TypeError, match="p must be a real number; got"):
        bernoulli_mask(3, p, rng=0)


@pytest.mark.parametrize(
    "p", [0, 1, np.float16(0.1), np.float32(0.3), Fraction(1, 3)], ids=repr
)
def test_any_real_number_type_will_do(p):
    expected = bernoulli_mask(1000, float(p), rng=0)
    np.testing.assert_array_equal(bernoulli_mask(1000, p, rng=0), expected)


@pytest.mark.parametrize(
    ("rng", "error"),
    [
        ("0", TypeError),
        (0.0, TypeError),
        (True, TypeError),
        (np.random.PCG64(0), TypeError),
        (np.random, TypeError),
        (-1, ValueError),
        (np.int64(-1), ValueError),
    ],
)
def test_bad_rng_is_refused(rng, error):
    with pytest.raises(error, match=r"rng must be .*; got|negative; got -1"):
        bernoulli_mask(3, 0.5, rng=rng)


@pytest.mark.parametrize(("shape", "error"), [(-1, ValueError), (2.5, TypeError)])
def test_bad_shape_is_refused(shape, error):
    with pytest.raises(error):
        bernoulli_mask(shape, 0.5, rng=0)


# select


def activations(shape, dtype):
    return np.random.default_rng(11).normal(size=shape).astype(dtype)


def expected_selection(x, mask, scale):
    """The same by an ordinary choice, with the product taken in at least float32."""
    wide = np.promote_types(x.dtype, "f4").type
    return np.where(mask, (x * wide(scale)).astype(x.dtype), x.dtype.type(0))


@pytest.mark.parametrize("dtype", [*DTYPES, "c8", "c16"])
@pytest.mark.parametrize("scale", [0.0, 0.7, 1.0, 3])
@pytest.mark.parametrize(
    "shape", [(), (0,), (3, 0), 5, (3, 4), BLOCK + 3, (3, BLOCK - 1)]
)
def test_select_keeps_scaled_or_gives_0(shape, scale, dtype):
    x, mask = activations(shape, dtype), bernoulli_mask(shape, 0.4, rng=12)
    y = select(x, mask, scale)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, expected_selection(x, mask, scale), strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 1.25])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, -3.0])
def test_dropped_unit_is_plus_0_whatever_it_held(value, scale, dtype):
    y = select(np.full(2, value, dtype), np.array([False, True]), scale)
    assert y[0] == 0
    assert not np.signbit(y[0])
    np.testing.assert_equal(float(y[1]), value * scale)  # a kept NaN stays NaN


@pytest.mark.parametrize("dtype", ["c8", "c16"])
@pytest.mark.parametrize("scale", [1.0, 1.25])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, -3.0])
@pytest.mark.parametrize("half", ["real", "imag"])
def test_one_half_of_a_complex_unit_does_not_leak_into_the_other(
    half, value, scale, dtype
):
    x = np.full(2, 3 + 3j, dtype)
    getattr(x, half)[:] = value
    with np.errstate(all="raise"):
        y = select(x, np.array([False, True]), scale)
    assert y.dtype == dtype
    for part in ("real", "imag"):
        held = value if part == half else 3
        dropped, kept = getattr(y, part)
        assert dropped == 0
        assert not np.signbit(dropped)
        np.testing.assert_equal(float(kept), held * scale)


@pytest.mark.parametrize(
    "arrange",
    [
        lambda x: x[:, ::-2],
        lambda x: x.T,
        lambda x: np.asfortranarray(x),
        lambda x: np.broadcast_to(x[:1], x.shape),
        lambda x: x.astype(x.dtype.newbyteorder()),
        lambda x: x.astype(x.dtype.newbyteorder())[::2, ::3],
        lambda x: x[:, 0],
    ],
    ids=[
        "strided",
        "transposed",
        "Fortran",
        "broadcast",
        "swapped",
        "swapped strided",
        "column",
    ],
)
@pytest.mark.parametrize("dtype", [*DTYPES, "c8", "c16"])
def test_memory_layout_of_x_does_not_matter(arrange, dtype):
    x = arrange(activations((6, 8), dtype))
    mask = bernoulli_mask(x.shape, 0.5, rng=13)
    y = select(x, mask, 0.7)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, expected_selection(x, mask, 0.7))


@pytest.mark.parametrize("arrange", [np.transpose, np.asfortranarray])
@pytest.mark.parametrize("arrange_mask", [np.asarray, np.asfortranarray])
def test_large_array_is_selected_in_any_layout(arrange, arrange_mask):
    """It does not fit the cache, and only rows that lie one after the other can be cut."""
    x = arrange(activations((1000, 600), "f4"))
    mask = arrange_mask(bernoulli_mask(x.shape, 0.5, rng=13))
    np.testing.assert_array_equal(select(x, mask), expected_selection(x, mask, 1))


@given(
    data=st.data(),
    shape=array_shapes(max_side=6),
    dtype=st.sampled_from(DTYPES),
    scale=st.sampled_from([0.7, 1.0]),
)
def test_select_is_a_choice_for_any_layout_and_any_block(data, shape, dtype, scale):
    """Blocks of five units: the smallest arrays then cross them, like large ones the cache."""

    def laid_out(array):
        order = data.draw(st.permutations(range(array.ndim)))
        steps = data.draw(st.tuples(*[st.sampled_from([-1, 1])] * array.ndim))
        turned = array[tuple(slice(None, None, step) for step in steps)]
        return np.ascontiguousarray(turned.transpose(order)).transpose(
            np.argsort(order)
        )

    x = laid_out(activations(shape, dtype))
    mask = laid_out(np.array(bernoulli_mask(shape, 0.5, rng=1)))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(masks, "BLOCK", 5)
        y = select(x, mask, scale)
    np.testing.assert_array_equal(y, expected_selection(x, mask, scale), strict=True)


@pytest.mark.parametrize("shape", [(), (8,), (6, 1), (1, 8), (6, 8)])
def test_mask_is_broadcast_to_x(shape):
    x, mask = activations((6, 8), "f4"), np.asarray(bernoulli_mask(shape, 0.5, rng=14))
    np.testing.assert_array_equal(select(x, mask, 2), expected_selection(x, mask, 2))


def test_select_writes_to_neither_argument():
    x, mask = activations(100, "f4"), bernoulli_mask(100, 0.5, rng=15)
    x.flags.writeable = mask.flags.writeable = False
    y = select(x, mask)
    assert not np.shares_memory(y, x)
    assert y.flags.writeable


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_warning_for_what_is_dropped(dtype):
    x = np.array([np.finfo(dtype).max, np.inf, np.nan, 1], dtype)
    with np.errstate(all="raise"):
        y = select(x, np.array([False, False, False, True]), 4)
    np.testing.assert_array_equal(y, [0, 0, 0, 4])


def test_factor_of_float16_is_not_rounded_to_float16():
    x = np.linspace(0.5, 4, 1000).astype("f2")
    y = select(x, np.True_, 0.9)
    np.testing.assert_array_equal(y, (x.astype("f4") * np.float32(0.9)).astype("f2"))
    assert (y != x * np.float16(0.9)).any()  # so the line above can tell


@pytest.mark.parametrize(
    ("x", "mask", "error", "message"),
    [
        (
            np.ones(3),
            np.ones(3, int),
            TypeError,
            "mask must be boolean.*got dtype int64",
        ),
        (np.ones(3), [1, 0, 1], TypeError, "mask must be boolean.*got dtype int64"),
        (
            np.ones(3),
            np.ones(4, bool),
            ValueError,
            r"shape \(4,\) does not fit x of shape \(3,\)",
        ),
        (np.ones(3), np.ones((2, 3), bool), ValueError, r"shape \(2, 3\) does not fit"),
        (np.ones(3, int), np.ones(3, bool), TypeError, "needs float16.*got int64"),
        (np.ones(3, bool), np.ones(3, bool), TypeError, "needs float16.*got bool"),
    ],
)
def test_select_says_what_does_not_fit(x, mask, error, message):
    with pytest.raises(error, match=message):
        select(x, mask)
