"""A GRU on a PyTensor graph: beside PyTorch's, and masked by hand in NumPy."""

import math

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import torch
from graphs import (
    FLOAT32,
    FLOAT64,
    LAZY,
    activations,
    assert_uniform,
    drops,
    generator,
    gru_by_hand,
    kept_in,
    masks_per,
    state,
    states_of,
    torch_gru,
    without_a_c_compiler,  # noqa: F401
)
from pytensor.gradient import verify_grad

from companion.symbolic import GRU


@drops
def test_gru_without_dropout_is_that_of_torch(drop):
    gru, x = GRU(4, 6, drop=drop, rng=0, dtype="float64"), activations((5, 3, 4), "f8")
    expected, _ = torch_gru(gru)(torch.from_numpy(x))
    np.testing.assert_allclose(
        states_of(gru, x, 0, False), expected.detach(), **FLOAT64
    )
    np.testing.assert_allclose(states_of(gru, x, 0, True), expected.detach(), **FLOAT64)


@masks_per
@drops
def test_gru_at_test_time_scales_what_would_be_masked(drop, mask_per):
    x = activations((5, 3, 4), "f8")
    gru = GRU(4, 6, drop=drop, mask_per=mask_per, rng=0, dtype="float64")
    names = ["x_kept", "h_kept"] if drop == "units" else ["W_kept", "U_kept"]
    expected = gru_by_hand(gru, x, **dict.fromkeys(names, 0.7))
    np.testing.assert_allclose(states_of(gru, x, 0.3, False), expected, **FLOAT64)


@masks_per
@drops
def test_gru_in_training_masks_what_the_gates_read(drop, mask_per):
    x = activations((5, 3, 4), "f8")
    gru = GRU(4, 6, drop=drop, mask_per=mask_per, rng=0, dtype="float64")
    expected = gru_by_hand(gru, x, **kept_in(drop, mask_per, 0.4, seed=11))
    np.testing.assert_allclose(
        states_of(gru, x, 0.4, True, seed=11), expected, **FLOAT64
    )


@masks_per
@drops
def test_memory_is_carried_on_even_when_all_is_dropped(drop, mask_per):
    gru = GRU(4, 3, drop=drop, mask_per=mask_per, rng=0, dtype="float64")
    states = states_of(gru, np.full((5, 1, 4), 7.0), 1, True)
    _, b_z, b_n = np.split(gru.b.get_value(), 3)
    z = 1 / (1 + np.exp(-b_z))
    remaining = z ** np.arange(1, 6).reshape(-1, 1, 1)  # of the way from 0 to tanh(b_n)
    np.testing.assert_allclose(states, np.tanh(b_n) * (1 - remaining), **FLOAT64)


@masks_per
@drops
def test_a_mask_lasts_a_sequence_or_a_step(drop, mask_per):
    # Without a memory, steps that read the same input differ by their masks alone.
    gru = GRU(20, 3, drop=drop, mask_per=mask_per, rng=0)
    gru.U.set_value(np.zeros((3, 9), "f4"))
    gru.b.set_value(np.repeat(np.float32([0, -100, 0]), 3))  # z = 0
    states = states_of(gru, np.ones((6, 1, 20), "f4"), 0.5, True)
    repeats = np.isclose(states[1:], states[:-1], **FLOAT32).all(axis=(1, 2))
    assert repeats.all() if mask_per == "sequence" else not repeats.any()


@masks_per
@drops
def test_sequences_have_masks_of_units_of_their_own_and_share_those_of_weights(
    drop, mask_per
):
    gru = GRU(20, 20, drop=drop, mask_per=mask_per, rng=0)
    same = np.ones((3, 4, 20), "f4")
    last = states_of(gru, same, 0.5, True)[-1]
    repeats = np.isclose(last[1:], last[:-1], **FLOAT32).all(axis=1)
    assert repeats.all() if drop == "weights" else not repeats.any()


def test_gru_computes_the_same_on_both_backends_and_draws_in_training_only():
    gru, value = GRU(4, 3, rng=0), activations((5, 2, 4))
    x = pt.tensor(dtype="float32", shape=value.shape)  # which halves the compilation
    p, train = pt.dscalar(), pt.scalar(dtype="bool")
    results = []
    for mode in ["NUMBA", LAZY]:
        rng = generator(12)
        next_rng, states = gru(x, p, train, rng)
        f = pytensor.function([x, p, train], states, updates={rng: next_rng}, mode=mode)
        test_time, unused = f(value, 0.5, False), state(rng)
        results.append((test_time, f(value, 0.5, True), unused, state(rng)))
    numba, lazy = results
    np.testing.assert_allclose(numba[:2], lazy[:2], **FLOAT32)
    assert abs(lazy[0] - lazy[1]).max() > 0.01  # so the line above can tell
    assert numba[2:] == lazy[2:]
    assert lazy[2] == state(generator(12)) != lazy[3]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_are_uniform_within_the_bound_and_come_from_the_seed(dtype):
    first, again, other = (GRU(20, 25, rng=seed, dtype=dtype) for seed in (0, 0, 1))
    assert [w.get_value().shape for w in first.params] == [(20, 75), (25, 75), (75,)]
    for w, same, new in zip(first.params, again.params, other.params, strict=True):
        assert w.dtype == dtype
        assert_uniform(w, 1 / math.sqrt(25))
        np.testing.assert_array_equal(w.get_value(), same.get_value())
        assert (w.get_value() != new.get_value()).any()
    assert states_of(first, np.ones((2, 3, 20), dtype), 0.5, True).dtype == dtype


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input_size": 0}, ValueError, "input_size must be at least 1; got 0"),
        ({"hidden_size": -1}, ValueError, "hidden_size must be at least 1; got -1"),
        ({"input_size": 2.0}, TypeError, "input_size must be an int; got 2.0"),
        ({"hidden_size": True}, TypeError, "hidden_size must be an int; got True"),
        ({"drop": "rows"}, ValueError, "drop must be .* units, weights; got 'rows'"),
        ({"mask_per": None}, ValueError, "mask_per must be .* step; got None"),
        ({"dtype": "float16"}, ValueError, "dtype must be one of float32, float64"),
        ({"rng": "0"}, TypeError, "rng must be a numpy.random.Generator"),
    ],
)
def test_gru_says_which_argument_is_wrong(arguments, error, message):
    with pytest.raises(error, match=message):
        GRU(**{"input_size": 4, "hidden_size": 3} | arguments)


def test_gru_says_what_is_wrong_with_its_input():
    with pytest.raises(
        ValueError, match=r"3 axes, \(steps, batch, input_size\); got 2"
    ):
        GRU(4, 3)(pt.fmatrix(), 0.5, True, generator())
    with pytest.raises(
        TypeError, match="x must be float32, as the weights; got float64"
    ):
        GRU(4, 3)(pt.tensor3(dtype="float64"), 0.5, True, generator())


@masks_per
@drops
def test_gradient_of_the_gru_is_the_limit_of_finite_differences(drop, mask_per):
    gru = GRU(2, 3, drop=drop, mask_per=mask_per, rng=0, dtype="float64")

    def states(x, *params):
        gru.W, gru.U, gru.b = params
        return gru(x, 0.4, True, generator(10))[1]

    values = [activations((3, 2, 2), "f8"), *(w.get_value() for w in gru.params)]
    verify_grad(states, values, n_tests=1, rng=np.random.default_rng(0), mode=LAZY)
