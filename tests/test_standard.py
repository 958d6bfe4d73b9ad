"""Dropout as first published: mask in training, multiply by 1 - p at test time."""

import math

import numpy as np
import pytest

from companion.masks import bernoulli_mask
from companion.standard import dropout, scale_weights

DTYPES = ["f2", "f4", "f8"]
SHAPES = [(), (0,), (3, 0), (7,), (20, 30)]


def activations(shape, dtype="f8"):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


# Training


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("p", [0.3, 1])
def test_training_gives_x_where_kept_and_0_elsewhere(p, shape, dtype):
    x = activations(shape, dtype)
    y = dropout(x, p, training=True, rng=1)
    mask = bernoulli_mask(shape, p, rng=1)
    np.testing.assert_array_equal(
        y, np.where(mask, x, np.zeros((), dtype)), strict=True
    )


def test_training_drops_with_probability_p():
    n, p = 2**20, 0.3
    kept = dropout(np.ones(n), p, training=True, rng=2).mean()
    assert abs(kept - (1 - p)) <= 5 * math.sqrt(p * (1 - p) / n)  # 5 standard errors


def test_p_0_in_training_returns_x_itself_and_draws_nothing():
    x, rng = activations(5), np.random.default_rng(3)
    before = rng.bit_generator.state
    assert dropout(x, 0, training=True, rng=rng) is x
    assert rng.bit_generator.state == before


def test_dropped_nan_and_inf_do_not_leak_and_kept_nan_stays():
    x = np.tile([np.nan, np.inf, -np.inf], 100)
    y = dropout(x, 0.5, training=True, rng=4)
    np.testing.assert_array_equal(y, np.where(bernoulli_mask(300, 0.5, rng=4), x, 0))


@pytest.mark.parametrize("shared_axes", [0, (-1,), (0, 1)])
def test_shared_axes_share_one_draw(shared_axes):
    x = activations((20, 30))
    y = dropout(x, 0.5, training=True, rng=5, shared_axes=shared_axes)
    mask = bernoulli_mask(x.shape, 0.5, rng=5, shared_axes=shared_axes)
    np.testing.assert_array_equal(y, np.where(mask, x, 0))


@pytest.mark.parametrize("dtype", ["c8", "c16"])
@pytest.mark.parametrize("training", [True, False])
def test_both_halves_of_a_complex_unit_are_dropped_or_scaled_alike(training, dtype):
    x = activations((20, 60)).view("c16").astype(dtype)
    y = dropout(x, 0.3, training=training, rng=9)
    assert y.dtype == dtype
    for half, whole in ((y.real, x.real), (y.imag, x.imag)):
        expected = dropout(whole, 0.3, training=training, rng=9)
        np.testing.assert_array_equal(half, expected, strict=True)


# Test time


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("p", [0, 0.1, 0.5, 1])
def test_test_time_gives_x_times_keep_probability_and_draws_nothing(p, shape, dtype):
    x, rng = activations(shape, dtype), np.random.default_rng(6)
    before = rng.bit_generator.state
    y = dropout(x, p, training=False, rng=rng)
    wide = np.promote_types(
        dtype, "f4"
    ).type  # float16 would round the factor 0.9 itself
    np.testing.assert_array_equal(y, (x * wide(1 - p)).astype(dtype), strict=True)
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_byte_order_is_kept(dtype, training):
    x = activations(100, dtype)
    swapped = x.astype(x.dtype.newbyteorder())
    y = dropout(swapped, 0.5, training=training, rng=8)
    assert y.dtype == swapped.dtype
    np.testing.assert_array_equal(y, dropout(x, 0.5, training=training, rng=8))


@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9, 1 - 1e-6])
def test_test_time_value_is_the_mean_over_the_masks(p):
    x = activations(100)
    mean_over_masks = (1 - p) * x + p * 0
    np.testing.assert_array_equal(dropout(x, p, training=False), mean_over_masks)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -2.0])
@pytest.mark.parametrize("training", [True, False])
def test_p_1_gives_plus_0_whatever_the_unit_held(training, value):
    y = dropout([value], 1, training=training)
    assert y == 0
    assert not np.signbit(y)


# The scale on the weights instead


@pytest.mark.parametrize("p", [0, 0.2, 0.9, 1])
def test_scaling_the_next_weights_is_scaling_the_activations(p):
    x, weights = activations((8, 5)), activations((5, 3))
    # Two sums of 5 products, each a few roundings from the same number.
    np.testing.assert_allclose(
        x @ scale_weights(weights, p),
        dropout(x, p, training=False) @ weights,
        rtol=0,
        atol=1e-14,
    )


@pytest.mark.parametrize("p", [0, 0.25, 1])
def test_scaled_weights_are_a_new_array(p):
    weights = activations((5, 3))
    weights.flags.writeable = False
    assert not np.shares_memory(scale_weights(weights, p), weights)


@pytest.mark.parametrize(
    "integers", [[[2, 4]], np.array([[2, 4]], "i1"), np.array([[2, 4]], "u8")]
)
def test_integer_weights_become_float64(integers):
    expected = np.array([[1.5, 3.0]])
    np.testing.assert_array_equal(scale_weights(integers, 0.25), expected, strict=True)


# The caller's array, and what is refused


@pytest.mark.parametrize("training", [True, False])
def test_x_is_not_written_to_and_may_be_a_list(training):
    x = activations(50)
    x.flags.writeable = False
    from_array = dropout(x, 0.5, training=training, rng=7)
    np.testing.assert_array_equal(
        dropout(x.tolist(), 0.5, training=training, rng=7), from_array
    )


def test_whether_training_must_be_said():
    with pytest.raises(TypeError, match="training"):
        dropout(np.ones(3), 0.5)


@pytest.mark.parametrize("p", [0, 0.5, 1])
@pytest.mark.parametrize(
    "x", [[1, 2], [True, False], np.ones(3, "u1"), np.ones(3, "g"), np.ones(3, "G")]
)
def test_only_floats_are_trained_on(x, p):
    with pytest.raises(TypeError, match=r"needs float16.*complex128; got "):
        dropout(x, p, training=True)


@pytest.mark.parametrize("call", [
    lambda p: dropout(np.ones(3), p, training=True),
    lambda p: dropout(np.ones(3), p, training=False),
    lambda p: scale_weights(np.ones(3), p),
], ids=["training", "test", "scale_weights"])  # fmt: skip
@pytest.mark.parametrize(
    ("p", "error"),
    [(-0.1, ValueError), (1.5, ValueError), (math.nan, ValueError), ("x", TypeError)],
)
def test_bad_p_is_refused_and_quoted(call, p, error):
    with pytest.raises(error, match=f"p .*; got '?{p}"):
        call(p)


@pytest.mark.parametrize("p", [0, 0.5])
def test_axis_out_of_range_is_refused(p):
    with pytest.raises(ValueError, match="shared_axes"):
        dropout(np.ones((2, 3)), p, training=True, shared_axes=2)


@pytest.mark.parametrize(("training", "p"), [(False, 0.5), (True, 0), (True, 1)])
def test_an_axis_out_of_range_is_refused_whatever_else_is_given(training, p):
    with pytest.raises(ValueError, match="shared_axes"):
        dropout(np.ones(3), p, training=training, shared_axes=7)


@pytest.mark.dropout(edges=True)
def test_the_audit_finds_nothing_wrong():
    return dropout
