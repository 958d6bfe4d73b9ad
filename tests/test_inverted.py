"""Inverted dropout: the mean over masks is the unit itself, and the backward pass is the same map.

Statistical bounds are 5 standard errors: a right program leaves them once in two million
draws, and with the fixed seeds used here never.
"""

import math

import numpy as np
import pytest

from companion.inverted import apply_mask, dropout, dropout_backward
from companion.masks import bernoulli_mask

DTYPES = ["f2", "f4", "f8"]
COMPLEX = ["c8", "c16"]
SHAPES = [(), (0,), (3, 0), (7,), (20, 30)]


def activations(shape, dtype="f8"):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


# Training


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_kept_units_are_scaled_and_the_mask_is_that_of_the_seed(p, shape, dtype):
    x = activations(shape, dtype)
    y, mask = dropout(x, p, rng=1, return_mask=True)
    np.testing.assert_array_equal(mask, bernoulli_mask(shape, p, rng=1), strict=True)
    wide = np.promote_types(dtype, "f4").type  # float16 would round the factor itself
    scaled = (x * wide(1 / (1 - p))).astype(dtype)
    np.testing.assert_array_equal(
        y, np.where(mask, scaled, np.zeros((), dtype)), strict=True
    )


@pytest.mark.parametrize(("dtype", "roundings"), [("f2", 1), ("f4", 2), ("f8", 3)])
@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9, 0.999, 1 - 1e-6])
def test_mean_over_both_masks_is_x_to_rounding(p, dtype, roundings):
    x = np.linspace(
        -0.06, 0.06, 100, dtype=dtype
    )  # 0.06 / 1e-6 is near float16's largest number
    kept = dropout(x, p, mask=np.True_).astype("f8")
    dropped = dropout(x, p, mask=np.False_).astype("f8")
    # The factor of float16 is kept in float32, so that only the product is rounded to float16;
    # float32 rounds factor and product, float64 also the mean below. 1 %: 2nd order, float64.
    bound = 1.01 * roundings * np.finfo(dtype).eps / 2
    np.testing.assert_allclose(
        (1 - p) * kept + p * dropped, x.astype("f8"), rtol=bound, atol=0
    )


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("p", [0.003, 0.1, 0.3, 0.9, 0.997])
def test_measured_mean_and_variance(p, dtype):
    n, x, keep = 2**22, 1.5, 1 - p
    y = dropout(np.full(n, x, dtype), p, rng=2).astype("f8")
    variance = x**2 * p / keep
    # The 4th central moment of a kept-or-not unit is p*keep*(1 - 3*p*keep), here times (x/keep)**4.
    fourth = p * keep * (1 - 3 * p * keep) * (x / keep) ** 4
    assert abs(y.mean() - x) <= 5 * math.sqrt(variance / n)
    assert abs(y.var() - variance) <= 5 * math.sqrt((fourth - variance**2) / n)


@pytest.mark.parametrize("shared_axes", [0, (-1,), (0, 1)])
def test_shared_axes_share_one_draw(shared_axes):
    _, mask = dropout(
        activations((20, 30)), 0.5, rng=3, shared_axes=shared_axes, return_mask=True
    )
    expected = bernoulli_mask((20, 30), 0.5, rng=3, shared_axes=shared_axes)
    np.testing.assert_array_equal(mask, expected)


def test_dropped_nan_and_inf_do_not_leak_and_kept_nan_stays():
    x = np.tile([np.nan, np.inf, -np.inf], 100)
    y, mask = dropout(x, 0.5, rng=4, return_mask=True)
    np.testing.assert_array_equal(y, np.where(mask, x, 0))
    assert not np.signbit(y[~mask]).any()


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("p", [0.2, 0.5, 1])
def test_a_complex_unit_has_the_mask_of_a_real_one_for_both_halves(p, dtype):
    x = activations((20, 60)).view("c16").astype(dtype)
    y, mask = dropout(x, p, rng=1, return_mask=True)
    assert y.dtype == x.dtype == dtype
    for half, whole in ((y.real, x.real), (y.imag, x.imag)):
        expected, same = dropout(whole, p, rng=1, return_mask=True)
        np.testing.assert_array_equal(half, expected, strict=True)
        np.testing.assert_array_equal(mask, same, strict=True)
    for replayed in (dropout_backward(x, mask, p), apply_mask(x, mask, p)):
        np.testing.assert_array_equal(replayed, y, strict=True)


# Where nothing is dropped, and where all is


@pytest.mark.parametrize(
    ("p", "training"), [(0, True), (0, False), (0.5, False), (1, False)]
)
def test_where_nothing_is_dropped_x_itself_comes_back_and_nothing_is_drawn(p, training):
    x, rng = activations(5), np.random.default_rng(5)
    before = rng.bit_generator.state
    y, mask = dropout(x, p, training=training, rng=rng, return_mask=True)
    assert y is x
    assert mask is None
    assert dropout_backward(x, mask, p) is x
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_p_1_gives_zeros_forward_and_backward(shape, dtype):
    x = np.full(shape, np.nan, dtype)
    y, mask = dropout(x, 1, return_mask=True)
    np.testing.assert_array_equal(y, np.zeros(shape, dtype), strict=True)
    np.testing.assert_array_equal(mask, np.zeros(shape, bool), strict=True)
    for replayed in (mask, ~mask):
        np.testing.assert_array_equal(dropout(x, 1, mask=replayed), y, strict=True)
        np.testing.assert_array_equal(dropout_backward(x, replayed, 1), y, strict=True)


# Replaying a mask, and the backward pass


def test_a_given_mask_is_replayed_and_nothing_is_drawn():
    x, rng = activations((20, 30)), np.random.default_rng(6)
    y, mask = dropout(x, 0.3, rng=rng, return_mask=True)
    before = rng.bit_generator.state
    again, same_mask = dropout(x, 0.3, rng=rng, mask=mask, return_mask=True)
    np.testing.assert_array_equal(again, y)
    assert same_mask is mask
    assert rng.bit_generator.state == before


def test_a_given_mask_is_ignored_at_inference():
    x = activations(5)
    y, mask = dropout(x, 0.3, training=False, mask=np.zeros(5, bool), return_mask=True)
    assert y is x
    assert mask is None


@pytest.mark.parametrize("p", [0, 0.2, 0.9])
def test_forward_and_backward_apply_the_mask_alike(p):
    x, mask = activations((4, 5)), bernoulli_mask((4, 5), 0.5, rng=4)
    expected = np.where(mask, x / (1 - p), 0)
    for applied in (
        apply_mask(x, mask, p),
        dropout(x, p, mask=mask),
        dropout_backward(x, mask, p),
    ):
        np.testing.assert_allclose(applied, expected, rtol=1e-15, strict=True)
    assert apply_mask(x, None, p) is x


def test_a_given_mask_may_be_broadcast():
    x, mask = activations((4, 3)), np.array([True, False, True])
    np.testing.assert_array_equal(dropout(x, 0.5, mask=mask), 2 * x * mask)


@pytest.mark.parametrize("shared_axes", [(), 0])
@pytest.mark.parametrize("p", [0, 0.2, 0.9, 1])
def test_gradient_equals_central_differences(p, shared_axes):
    x, weights = activations((4, 5)), activations((4, 5))[::-1]
    _, mask = dropout(x, p, rng=7, shared_axes=shared_axes, return_mask=True)

    def loss(x):
        return (weights * dropout(x, p, mask=mask)).sum()

    steps = 0.5 * np.eye(x.size).reshape(-1, *x.shape)
    numerical = [
        loss(x + step) - loss(x - step) for step in steps
    ]  # exact: the map is linear
    gradient = dropout_backward(weights, mask, p)
    np.testing.assert_allclose(gradient.ravel(), numerical, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_in_the_gradient_of_a_dropped_unit_is_blocked(dtype):
    grad = np.array([np.nan, np.inf, np.nan, 1], dtype)
    back = dropout_backward(grad, np.array([False, False, True, True]), 0.5)
    np.testing.assert_array_equal(back, np.array([0, 0, np.nan, 2], dtype), strict=True)


# The caller's array, and what is refused


@pytest.mark.parametrize("training", [True, False])
def test_x_is_not_written_to_and_may_be_a_list(training):
    x = activations(50)
    x.flags.writeable = False
    from_array = dropout(x, 0.5, training=training, rng=8)
    np.testing.assert_array_equal(
        dropout(x.tolist(), 0.5, training=training, rng=8), from_array
    )


@pytest.mark.parametrize(
    "x", [[1, 2], [True, False], np.ones(3, "u1"), np.ones(3, "g"), np.ones(3, "G")]
)
def test_only_floats_are_trained_on(x):
    rng = np.random.default_rng(3)
    before = rng.bit_generator.state
    for p in (0, 0.5, 1):
        with pytest.raises(TypeError, match=r"needs float16.*complex128; got "):
            dropout(x, p, rng=rng)
    assert rng.bit_generator.state == before  # refused before anything is drawn
    np.testing.assert_array_equal(dropout(x, 0.5, training=False), x)


@pytest.mark.parametrize("call", [
    lambda p: dropout(np.ones(3), p),
    lambda p: dropout(np.ones(3), p, training=False),
    lambda p: dropout(np.ones(3), p, mask=np.ones(3, bool)),
    lambda p: dropout_backward(np.ones(3), None, p),
    lambda p: apply_mask(np.ones(3), np.ones(3, bool), p),
], ids=["training", "inference", "replay", "backward", "apply"])  # fmt: skip
@pytest.mark.parametrize(
    ("p", "error"),
    [(-0.1, ValueError), (1.5, ValueError), (math.nan, ValueError), ("x", TypeError)],
)
def test_bad_p_is_refused_and_quoted(call, p, error):
    with pytest.raises(error, match=f"p .*; got '?{p}"):
        call(p)


@pytest.mark.parametrize("p", [0, 0.5, 1])
@pytest.mark.parametrize(
    ("mask", "error"), [(np.ones(4, bool), ValueError), (np.ones(3, int), TypeError)]
)
def test_a_mask_that_does_not_fit_is_refused(mask, error, p):
    with pytest.raises(error, match="mask"):
        dropout(np.ones(3), p, mask=mask)


@pytest.mark.parametrize("p", [0, 0.5])
def test_axis_out_of_range_is_refused(p):
    with pytest.raises(ValueError, match="shared_axes"):
        dropout(np.ones((2, 3)), p, shared_axes=2)


@pytest.mark.parametrize(
    "arguments", [{"training": False}, {"mask": np.ones(3, bool)}, {"p": 0}, {"p": 1}]
)
def test_an_axis_out_of_range_is_refused_whatever_else_is_given(arguments):
    with pytest.raises(ValueError, match="shared_axes"):
        dropout(np.ones(3), **{"p": 0.5, "shared_axes": 7, **arguments})


@pytest.mark.dropout(edges=True)
def test_the_audit_finds_nothing_wrong():
    return dropout
