"""Dropout on a PyTensor graph: the layer, its generator, its gradient, a GRU that learns."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import torch
from pytensor.compile.mode import Mode
from pytensor.gradient import verify_grad
from pytensor.link.vm import VMLinker

import companion
from companion import standard, symbolic
from companion.masks import select
from companion.symbolic import (
    GRU,
    LanguageModel,
    adam,
    bernoulli_mask,
    dont_dropit,
    dropit,
    dropout_layer,
)

# Numba is the default, and computes both branches of a choice. The virtual machine computes
# only the one it needs; without C it starts at once, so most tests use it.
LAZY = Mode(VMLinker(use_cloop=False, c_thunks=False), "fast_run")
both_backends = pytest.mark.parametrize("mode", ["NUMBA", LAZY], ids=["numba", "lazy"])
dtypes_of_both = pytest.mark.parametrize(
    ("dtype", "mode"),
    [
        ("float32", "NUMBA"),
        ("float64", "NUMBA"),
        ("float16", LAZY),  # Numba has no float16
        ("float32", LAZY),
        ("float64", LAZY),
    ],
    ids=["f4 numba", "f8 numba", "f2 lazy", "f4 lazy", "f8 lazy"],
)
number_or_symbolic = pytest.mark.parametrize(
    "of", [float, pytensor.shared], ids=["number", "symbolic"]
)
# Numbers of order 1, fewer than a hundred roundings away from exact ones.
FLOAT32 = {"rtol": 0, "atol": 1e-5}
FLOAT64 = {"rtol": 0, "atol": 1e-14}
drops = pytest.mark.parametrize("drop", ["units", "weights"])
masks_per = pytest.mark.parametrize("mask_per", ["sequence", "step"])


@pytest.fixture(autouse=True)
def _without_a_c_compiler():
    # A scan would look for one, and warn where there is no BLAS to link to.
    with pytensor.config.change_flags(cxx=""):
        yield


@pytest.fixture
def _quickly_compiled():
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        yield


def generator(seed=0):
    return pt.random.shared_rng(seed=seed)


def state(rng):
    return rng.get_value().bit_generator.state


def masks(shapes, p, seed=0):
    """The masks of layers in a row, the first of which takes a generator of this seed."""
    rng, drawn = generator(seed), []
    for shape in shapes:
        rng, mask = bernoulli_mask(shape, p, rng)
        drawn.append(mask)
    return pytensor.function([], drawn, mode=LAZY)()


def activations(shape, dtype="float32"):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


# Training


@dtypes_of_both
def test_each_unit_is_x_where_kept_and_0_whatever_it_held_elsewhere(dtype, mode):
    x = pt.vector(dtype=dtype)
    f = pytensor.function([x], dropit(x, 0.5, generator())[1], mode=mode)
    value = np.tile(np.array([np.nan, np.inf, -np.inf, -1.5], dtype), 50)
    kept = f(np.ones(200, dtype)) == 1
    zero = np.zeros((), dtype)
    np.testing.assert_array_equal(f(value), np.where(kept, value, zero), strict=True)
    assert not np.signbit(f(value)[~kept]).any()
    assert 0 < kept.sum() < 200


@both_backends
def test_any_shape_will_do(mode):
    values = [activations(shape) for shape in [(), (0,), (3, 0), (1, 4), (2, 3, 5)]]
    rng, inputs, outputs = generator(), [], []
    for value in values:
        inputs.append(pt.tensor(dtype="float32", shape=(None,) * value.ndim))
        rng, y = dropit(inputs[-1], 0.5, rng)
        outputs.append(y)
    kept = masks([value.shape for value in values], 0.5)
    dropped = pytensor.function(inputs, outputs, mode=mode)(*values)
    for y, value, mask in zip(dropped, values, kept, strict=True):
        np.testing.assert_array_equal(y, select(value, mask), strict=True)


@both_backends
def test_units_are_dropped_with_probability_p(mode):
    rng, p, n = generator(1), pt.dscalar(), 100_000
    next_rng, y = dropit(pt.ones(n), p, rng)
    kept = pytensor.function([p], y.mean(), updates={rng: next_rng}, mode=mode)
    for value in [0.1, 0.5, 0.9]:
        standard_error = math.sqrt(value * (1 - value) / n)
        assert abs(kept(value) - (1 - value)) <= 5 * standard_error


@both_backends
def test_a_unit_is_kept_where_its_random_double_is_at_least_p(mode):
    # So a seed means one mask on every backend, and with p = 1 nothing is ever kept.
    uniform = np.random.default_rng(2).random(100)
    p = pt.dscalar()
    mask = pytensor.function([p], bernoulli_mask((100,), p, generator(2))[1], mode=mode)
    for value in [*uniform, *np.nextafter(uniform, 1)]:
        np.testing.assert_array_equal(mask(value), uniform >= value, strict=True)


def test_a_number_for_p_means_the_same_mask():
    uniform = np.random.default_rng(2).random(100)
    np.testing.assert_array_equal(
        masks([(100,)], uniform[0], seed=2)[0], uniform >= uniform[0]
    )


@pytest.mark.parametrize("p", [1, 1.0, pt.constant(1.0)], ids=repr)
def test_p_1_drops_all(p):
    y = dropit(np.array([1.0, np.nan, np.inf]), p, generator())[1]
    np.testing.assert_array_equal(y.eval(mode=LAZY), np.zeros(3), strict=True)


@pytest.mark.parametrize("p", [0, 0.0, pt.constant(0.0)], ids=repr)
def test_p_0_drops_nothing_and_draws_nothing(p):
    x, rng = np.array([1.0, np.nan, np.inf]), generator()
    next_rng, y = dropit(x, p, rng)
    assert next_rng is rng
    np.testing.assert_array_equal(y.eval(mode=LAZY), x, strict=True)


@both_backends
def test_p_0_and_1_may_come_with_the_call(mode):
    x, p, rng = pt.fvector(), pt.dscalar(), generator()
    next_rng, y = dropit(x, p, rng)
    f = pytensor.function([x, p], y, updates={rng: next_rng}, mode=mode)
    value, before = np.float32([1.0, np.nan, np.inf]), state(rng)
    np.testing.assert_array_equal(f(value, 0), value)
    assert state(rng) == before
    np.testing.assert_array_equal(f(value, 1), np.zeros(3))


@pytest.mark.parametrize(
    ("shared_axes", "drawn"),
    [
        (0, (1, 5, 6)),
        (-1, (4, 5, 1)),
        ((0, 2), (1, 5, 1)),
        ([-2, 0], (1, 1, 6)),
        ((0, 1, 2), (1, 1, 1)),
    ],
)
def test_one_draw_is_shared_along_the_axes_named_and_no_other(shared_axes, drawn):
    x = activations((4, 5, 6))
    y = dropit(x, 0.5, generator(3), shared_axes=shared_axes)[1].eval(mode=LAZY)
    mask = np.broadcast_to(masks([drawn], 0.5, seed=3)[0], x.shape)
    np.testing.assert_array_equal(y, select(x, mask), strict=True)


def test_layer_shares_a_draw_too():
    x, train = activations((4, 5)), pt.scalar(dtype="bool")
    y = dropout_layer(x, 0.5, train, generator(3), shared_axes=0)[1]
    mask = masks([(1, 5)], 0.5, seed=3)[0]
    np.testing.assert_array_equal(y.eval({train: True}, mode=LAZY), select(x, mask))


# Test time


@dtypes_of_both
def test_test_time_is_x_times_keep_probability_to_the_last_bit(dtype, mode):
    x, p = pt.vector(dtype=dtype), pt.dscalar()
    f = pytensor.function([x, p], dont_dropit(x, p), mode=mode)
    value = activations(1000, dtype)
    for number in [0, 0.1, 0.5, 1 - 2**-30]:
        expected = standard.dropout(value, number, training=False)
        np.testing.assert_array_equal(f(value, number), expected, strict=True)


@both_backends
def test_test_time_with_p_1_is_0_whatever_the_unit_held(mode):
    x, p = pt.fvector(), pt.dscalar()
    f = pytensor.function([x, p], [dont_dropit(x, p), dont_dropit(x, 1)], mode=mode)
    value = np.float32([1.0, np.nan, np.inf])
    np.testing.assert_array_equal(f(value, 1), np.zeros((2, 3)))
    np.testing.assert_array_equal(f(value, 0)[0], value)


# The choice between the two, made by the call


@both_backends
@number_or_symbolic
def test_layer_drops_in_training_and_scales_at_test_time(of, mode):
    x, train, rng = pt.fvector(), pt.scalar(dtype="bool"), generator(4)
    next_rng, y = dropout_layer(x, of(0.3), train, rng)
    f = pytensor.function([x, train], y, updates={rng: next_rng}, mode=mode)
    value = activations(100)
    scaled = standard.dropout(value, 0.3, training=False)

    before = state(rng)
    np.testing.assert_array_equal(f(value, False), scaled, strict=True)
    assert state(rng) == before
    dropped = select(value, masks([(100,)], 0.3, seed=4)[0])
    np.testing.assert_array_equal(f(value, True), dropped, strict=True)
    after = state(rng)
    assert after != before
    np.testing.assert_array_equal(f(value, False), scaled)
    assert state(rng) == after


@pytest.mark.parametrize("train", [True, 1, np.True_], ids=repr)
def test_python_flag_settles_it_now_for_training(train):
    x, rng = activations(100), generator(5)
    next_rng, y = dropout_layer(x, 0.3, train, rng)
    assert next_rng is not rng
    dropped = select(x, masks([(100,)], 0.3, seed=5)[0])
    np.testing.assert_array_equal(y.eval(mode=LAZY), dropped, strict=True)


@pytest.mark.parametrize("train", [False, 0, np.False_], ids=repr)
def test_python_flag_settles_it_now_for_test_time(train):
    x, rng = activations(100), generator(5)
    next_rng, y = dropout_layer(x, 0.3, train, rng)
    assert next_rng is rng
    scaled = standard.dropout(x, 0.3, training=False)
    np.testing.assert_array_equal(y.eval(mode=LAZY), scaled, strict=True)


@pytest.mark.parametrize("dtype", ["bool", "int8", "float32"])
def test_flag_may_have_any_dtype(dtype):
    train = pt.scalar(dtype=dtype)
    y = dropout_layer(np.ones(100), 0.25, train, generator())[1]
    assert set(y.eval({train: 1}, mode=LAZY)) == {0, 1}
    assert set(y.eval({train: 0}, mode=LAZY)) == {0.75}


# The generator


@both_backends
def test_updates_give_every_call_its_own_mask_and_the_seed_the_same_ones_again(mode):
    rng = generator(6)
    next_rng, mask = bernoulli_mask((100,), 0.5, rng)
    draw = pytensor.function([], mask, updates={rng: next_rng}, mode=mode)
    first, second = draw(), draw()
    assert (first != second).any()
    rng.set_value(np.random.default_rng(6))
    np.testing.assert_array_equal([draw(), draw()], [first, second])


@both_backends
def test_without_updates_every_call_repeats_the_mask(mode):
    rng = generator(6)
    draw = pytensor.function([], bernoulli_mask((100,), 0.5, rng)[1], mode=mode)
    before = state(rng)
    np.testing.assert_array_equal(draw(), draw())
    assert state(rng) == before


def test_layers_in_a_row_draw_masks_of_their_own():
    x, rng = np.ones(100), generator(7)
    next_rng, first = dropit(x, 0.5, rng)
    last_rng, second = dropit(x, 0.5, next_rng)
    f = pytensor.function([], [first, second], updates={rng: last_rng}, mode=LAZY)
    seen = {tuple(y) for _ in range(2) for y in f()}
    assert len(seen) == 4


# The gradient


@both_backends
def test_gradient_passes_where_kept_and_is_0_where_dropped(mode):
    x, weights = pt.fvector(), pt.fvector()
    y = dropit(x, 0.4, generator(8))[1]
    f = pytensor.function([x, weights], pt.grad((weights * y).sum(), x), mode=mode)
    mask = masks([(200,)], 0.4, seed=8)[0]
    above = np.where(mask, activations(200), np.float32(np.nan))
    np.testing.assert_array_equal(
        f(np.full(200, np.inf, "f4"), above), select(above, mask), strict=True
    )


@number_or_symbolic
@pytest.mark.parametrize("layer", [
    lambda x, p: dropit(x, p, generator(9))[1],
    lambda x, p: dropit(x, p, generator(9), shared_axes=0)[1],
    dont_dropit,
    lambda x, p: dropout_layer(x, p, pytensor.shared(1), generator(9))[1],
    lambda x, p: dropout_layer(x, p, pytensor.shared(0), generator(9))[1],
], ids=["dropit", "shared axis", "dont_dropit", "training", "test time"])  # fmt: skip
def test_gradient_is_the_limit_of_finite_differences(layer, of):
    x = activations((4, 3), "f8")
    verify_grad(
        lambda x: layer(x, of(0.3)), [x], rng=np.random.default_rng(0), mode=LAZY
    )


def test_test_time_has_a_gradient_in_p_too():
    x = activations((4, 3), "f8")
    verify_grad(dont_dropit, [x, 0.3], rng=np.random.default_rng(0), mode=LAZY)


@masks_per
@drops
def test_gradient_of_the_gru_is_the_limit_of_finite_differences(drop, mask_per):
    gru = GRU(2, 3, drop=drop, mask_per=mask_per, rng=0, dtype="float64")

    def states(x, *params):
        gru.W, gru.U, gru.b = params
        return gru(x, 0.4, True, generator(10))[1]

    values = [activations((3, 2, 2), "f8"), *(w.get_value() for w in gru.params)]
    verify_grad(states, values, n_tests=1, rng=np.random.default_rng(0), mode=LAZY)


# A drop probability that comes with the call


@both_backends
@pytest.mark.parametrize("p", [1.5, -0.1, math.nan])
def test_bad_p_of_a_call_is_refused_and_quoted(p, mode):
    call_p, train, rng = pt.dscalar(), pt.scalar(dtype="bool"), generator()
    next_rng, y = dropout_layer(np.ones(3), call_p, train, rng)
    f = pytensor.function([call_p, train], y, updates={rng: next_rng}, mode=mode)
    before = state(rng)
    for training in [True, False]:
        with pytest.raises(ValueError, match=rf"probability in \[0, 1\]; got {p}"):
            f(p, training)
    assert state(rng) == before


CALLS = {
    "bernoulli_mask": lambda p: bernoulli_mask((3,), p, generator())[1],
    "dropit": lambda p: dropit(np.ones(3), p, generator())[1],
    "dont_dropit": lambda p: dont_dropit(np.ones(3), p),
    "training": lambda p: dropout_layer(np.ones(3), p, True, generator())[1],
    "test time": lambda p: dropout_layer(np.ones(3), p, False, generator())[1],
    "GRU": lambda p: GRU(1, 1)(np.ones((1, 1, 1), "f4"), p, False, generator())[1],
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@every_call
@pytest.mark.parametrize("p", [1.5, -0.1, math.nan])
def test_every_function_refuses_a_bad_p_of_a_call(p, call):
    call_p = pt.dscalar()
    result = call(call_p)
    with pytest.raises(ValueError, match=rf"probability in \[0, 1\]; got {p}"):
        result.eval({call_p: p}, mode=LAZY)


@every_call
@pytest.mark.parametrize(
    "p", [1.5, -0.1, math.nan, np.float32(2), pt.constant(1.5)], ids=repr
)
def test_every_function_refuses_a_bad_number_now(p, call):
    with pytest.raises(ValueError, match=r"probability in \[0, 1\]; got"):
        call(p)


@every_call
@pytest.mark.parametrize("p", ["a", True, None, 0.5j, [0.5]], ids=repr)
def test_every_function_refuses_what_is_no_number(p, call):
    with pytest.raises(TypeError, match="p must be a real number; got"):
        call(p)


@every_call
def test_every_function_wants_a_real_scalar(call):
    with pytest.raises(ValueError, match="p must be a scalar; got 1 axes"):
        call(pt.vector())
    with pytest.raises(TypeError, match="p must be a real scalar"):
        call(pt.scalar(dtype="complex64"))
    with pytest.raises(TypeError, match="p must be a real scalar"):
        call(generator())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8"])
def test_p_of_a_call_may_have_any_real_dtype(dtype):
    p = pt.scalar(dtype=dtype)
    value = np.array(0.25).astype(dtype)
    y = dont_dropit(np.ones(2), p).eval({p: value}, mode=LAZY)
    np.testing.assert_array_equal(y, np.full(2, 1 - float(value)), strict=True)


@both_backends
def test_p_of_a_call_is_not_written_to(mode):
    p, x, train = pt.dscalar(), pt.dvector(), pt.scalar(dtype="bool")
    y = dropout_layer(x, p, train, generator())[1]
    f = pytensor.function([x, p, train], y, mode=mode)
    value = np.array(0.3)
    for training in [True, False]:
        f(np.ones(3), value, training)
        assert value == 0.3


# What else is refused


@pytest.mark.parametrize("x", [[1, 2], np.ones(3, bool), pt.ivector(), 1 + 2j], ids=str)
def test_only_floats_are_dropped(x):
    for call in [
        lambda: dropit(x, 0.5, generator()),
        lambda: dont_dropit(x, 0.5),
        lambda: dropout_layer(x, 0.5, True, generator()),
        lambda: GRU(1, 1)(x, 0.5, True, generator()),
    ]:
        with pytest.raises(TypeError, match="needs float16, float32 or float64; got"):
            call()


@pytest.mark.parametrize("p", [0, 0.5])
@pytest.mark.parametrize("rng", [0, None, np.random.default_rng(0), pt.scalar()])
def test_only_a_symbolic_generator_will_do(rng, p):
    for call in [
        lambda: bernoulli_mask((3,), p, rng),
        lambda: dropit(np.ones(3), p, rng),
        lambda: dropout_layer(np.ones(3), p, True, rng),
        lambda: dropout_layer(np.ones(3), p, False, rng),
        lambda: GRU(1, 1)(np.ones((1, 1, 1), "f4"), p, True, rng),
    ]:
        with pytest.raises(TypeError, match="rng must be a symbolic generator"):
            call()


@pytest.mark.parametrize("train", [None, 2, 0.0, "yes", np.ones(2, bool)], ids=repr)
def test_flag_must_be_a_bool(train):
    x = np.ones((1, 1, 1), "f4")
    for layer in [dropout_layer, GRU(1, 1)]:
        with pytest.raises(
            TypeError, match="train must be a bool or a symbolic scalar"
        ):
            layer(x, 0.5, train, generator())


def test_flag_must_be_a_scalar():
    with pytest.raises(ValueError, match="train must be a scalar; got 1 axes"):
        dropout_layer(np.ones(3), 0.5, pt.vector(dtype="bool"), generator())


@pytest.mark.parametrize("p", [0, 0.5])
@pytest.mark.parametrize("train", [True, False, pt.scalar(dtype="bool")], ids=str)
def test_an_axis_out_of_range_is_refused_whatever_else_is_given(train, p):
    with pytest.raises(ValueError, match="shared_axes"):
        dropout_layer(np.ones((2, 3)), p, train, generator(), shared_axes=2)
    with pytest.raises(ValueError, match="shared_axes"):
        dropit(np.ones((2, 3)), p, generator(), shared_axes=(0, -3))


# The GRU


def states_of(gru, x, p, train, seed=0):
    inputs = pt.tensor3(dtype=gru.dtype)
    _, states = gru(inputs, p, train, generator(seed))
    return pytensor.function([inputs], states, mode=LAZY)(x)


def gru_by_hand(gru, x, x_kept=1, h_kept=1, W_kept=1, U_kept=1):
    """The docstring's equations in NumPy; what is kept is 1, 0 or, at test time, 1 - p."""
    W, U, b = (param.get_value() for param in gru.params)
    h, states = np.zeros((x.shape[1], gru.hidden_size)), []
    h_kept = np.broadcast_to(h_kept, (len(x), *h.shape))
    U_kept = np.broadcast_to(U_kept, (len(x), *U.shape))
    for x_t, h_t, U_t in zip(
        (x * x_kept) @ (W * W_kept) + b, h_kept, U_kept, strict=True
    ):
        x_r, x_z, x_n = np.split(x_t, 3, axis=1)
        h_r, h_z, h_n = np.split((h * h_t) @ (U * U_t), 3, axis=1)
        r, z = 1 / (1 + np.exp(-x_r - h_r)), 1 / (1 + np.exp(-x_z - h_z))
        h = (1 - z) * np.tanh(x_n + r * h_n) + z * h
        states.append(h)
    return np.stack(states)


def kept_in(drop, mask_per, p, seed, *, steps=5, batch=3, input_size=4, hidden_size=6):
    """The masks of a GRU in training: on its input and its state, or on W and U."""
    times = steps if mask_per == "step" else 1
    if drop == "units":
        names = ["x_kept", "h_kept"]
        shapes = [(times, batch, input_size), (times, batch, hidden_size)]
    else:
        names = ["W_kept", "U_kept"]
        shapes = [(times, n, 3 * hidden_size) for n in (input_size, hidden_size)]
    return dict(zip(names, masks(shapes, p, seed), strict=True))


def torch_gru(gru):
    copy = torch.nn.GRU(
        gru.input_size, gru.hidden_size, dtype=getattr(torch, gru.dtype)
    )
    W, U, b = (torch.from_numpy(param.get_value()) for param in gru.params)
    with torch.no_grad():
        copy.weight_ih_l0.copy_(W.T)
        copy.weight_hh_l0.copy_(U.T)
        copy.bias_ih_l0.copy_(b)
        copy.bias_hh_l0.zero_()
    return copy


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


def assert_uniform(param, bound):
    squares = (param.get_value() / bound) ** 2
    assert squares.max() <= 1
    # Their mean is 1/3 and their variance 1/5 - 1/9; 5 standard errors.
    assert abs(squares.mean() - 1 / 3) <= 5 * math.sqrt((1 / 5 - 1 / 9) / squares.size)


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
        ({"input_size": 2.0}, TypeError, "input_size must be an integer; got 2.0"),
        ({"hidden_size": True}, TypeError, "hidden_size must be an integer; got True"),
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


# The language model

TOKENS = np.random.default_rng(13).integers(5, size=(6, 3)).astype("int32")


def tiny(**kwargs):
    sizes = {"vocabulary_size": 5, "hidden_size": 4, "embedding_size": 2}
    return LanguageModel(**sizes | {"rng": 0} | kwargs)


def loss_of(model, p, train, seed=0):
    tokens = pt.imatrix()
    _, loss = model.loss(tokens, p, train, generator(seed))
    return pytensor.function([tokens], loss, mode=LAZY)(TOKENS)


def loss_by_hand(model, states_kept=1, **kept):
    x = model.embedding.get_value()[TOKENS[:-1]]
    states = gru_by_hand(model.gru, x, **kept) * states_kept
    logits = states @ model.V.get_value() + model.c.get_value()
    of_targets = np.take_along_axis(logits, TOKENS[1:, :, None], axis=2)[..., 0]
    return (np.log(np.exp(logits).sum(axis=2)) - of_targets).mean()


@drops
def test_loss_at_test_time_is_the_cross_entropy_of_the_scaled_model(drop):
    model = tiny(drop=drop)
    names = (
        ["x_kept", "h_kept", "states_kept"] if drop == "units" else ["W_kept", "U_kept"]
    )
    expected = loss_by_hand(model, **dict.fromkeys(names, 0.7))
    np.testing.assert_allclose(loss_of(model, 0.3, False), expected, **FLOAT32)


@masks_per
@drops
def test_loss_in_training_is_the_cross_entropy_of_the_masked_model(drop, mask_per):
    kept = kept_in(drop, mask_per, 0.4, 14, batch=3, input_size=2, hidden_size=4)
    if drop == "units":
        shapes = [*(mask.shape for mask in kept.values()), kept["h_kept"].shape]
        kept["states_kept"] = masks(shapes, 0.4, 14)[-1]
    model = tiny(drop=drop, mask_per=mask_per)
    expected = loss_by_hand(model, **kept)
    np.testing.assert_allclose(loss_of(model, 0.4, True, 14), expected, **FLOAT32)


def test_loss_and_gradient_without_dropout_are_those_of_torch():
    model, tokens = tiny(), pt.imatrix()
    _, loss = model.loss(tokens, 0, True, generator())
    f = pytensor.function([tokens], [loss, *pt.grad(loss, model.params)], mode=LAZY)

    gru = torch_gru(model.gru)
    embedding, V, c = (
        torch.from_numpy(w.get_value()).requires_grad_()
        for w in (model.embedding, model.V, model.c)
    )
    text = torch.from_numpy(TOKENS).long()
    logits = gru(embedding[text[:-1]])[0].flatten(0, 1) @ V + c
    expected = torch.nn.functional.cross_entropy(logits, text[1:].flatten())
    expected.backward()
    weights = [embedding, gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, V, c]
    gradients = [w.grad.numpy() for w in weights]
    gradients[1:3] = [gradient.T for gradient in gradients[1:3]]

    value, *actual = f(TOKENS)
    np.testing.assert_allclose(value, expected.item(), **FLOAT32)
    for gradient, theirs in zip(actual, gradients, strict=True):
        assert abs(gradient).max() > 0
        np.testing.assert_allclose(gradient, theirs, **FLOAT32)


def test_loss_and_gradient_survive_logits_that_overflow_exp():
    model, tokens = tiny(), pt.imatrix()
    model.c.set_value(np.float32([1000, 0, 0, 0, 0]))  # so the model is sure of token 0
    _, loss = model.loss(tokens, 0, False, generator())
    f = pytensor.function([tokens], [loss, pt.grad(loss, model.c)], mode=LAZY)
    value, gradient = f(TOKENS)
    frequency = np.bincount(TOKENS[1:].flatten()) / TOKENS[1:].size
    # The other logits are a few units: states within 1 times 4 weights within 1/2.
    assert abs(value - 1000 * (1 - frequency[0])) <= 4
    np.testing.assert_allclose(gradient, np.eye(5)[0] - frequency, **FLOAT32)


@pytest.mark.usefixtures("_quickly_compiled")
def test_model_learns_a_sequence_that_repeats_and_repeats_itself_from_its_seeds():
    def losses():
        model = LanguageModel(5, 8, embedding_size=4, rng=0)
        tokens, rng = pt.imatrix(), generator()
        next_rng, loss = model.loss(tokens, 0.2, True, rng)
        updates = [*adam(loss, model.params, learning_rate=0.03), (rng, next_rng)]
        step = pytensor.function([tokens], loss, updates=updates)
        text = (np.arange(7)[:, None] + np.arange(4)).astype("int32") % 5
        return [step(text).item() for _ in range(40)]

    first = losses()
    assert first[0] > 0.9 * math.log(5)  # guessing costs log(5)
    assert np.mean(first[-5:]) < 0.5 * math.log(5)
    assert losses() == first


def test_embedding_is_uniform_within_1_and_all_else_as_in_the_gru():
    embedding, *others = LanguageModel(30, 25, embedding_size=20, rng=0).params
    assert_uniform(embedding, 1)
    for param in others:
        assert_uniform(param, 1 / math.sqrt(25))


def test_model_says_what_is_wrong_with_its_tokens():
    with pytest.raises(ValueError, match=r"2 axes, \(steps \+ 1, batch\); got 1"):
        tiny().loss(pt.ivector(), 0.5, True, generator())
    with pytest.raises(TypeError, match="tokens must be integers; got float32"):
        tiny().loss(pt.fmatrix(), 0.5, True, generator())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"vocabulary_size": 0}, ValueError, "vocabulary_size must be .* 1; got 0"),
        ({"hidden_size": 0}, ValueError, "hidden_size must be at least 1; got 0"),
        ({"embedding_size": 0}, ValueError, "size must be at least 1; got 0"),
        ({"drop": "rows"}, ValueError, "drop must be .* units, weights; got 'rows'"),
        ({"mask_per": "x"}, ValueError, "mask_per must be .* sequence, step; got 'x'"),
        ({"rng": "0"}, TypeError, "rng must be a numpy.random.Generator"),
    ],
)
def test_model_says_which_argument_is_wrong(arguments, error, message):
    with pytest.raises(error, match=message):
        LanguageModel(**{"vocabulary_size": 5, "hidden_size": 4} | arguments)


# Its training on a text

SIZES = {"batch_size": 3, "steps": 5}


def weights_of(model):
    return [param.get_value() for param in model.params]


@drops
@pytest.mark.usefixtures("_quickly_compiled")
def test_bits_are_the_loss_of_16_stretches_with_dropout_off(drop):
    model = tiny(drop=drop)
    stretches = np.random.default_rng(15).integers(5, size=(16, 4))
    loss = model.loss(stretches.T, 0.3, False, generator())[1].eval()
    bits = model.bits(stretches.flatten(), 0.3)
    np.testing.assert_allclose(bits, loss / math.log(2), **FLOAT32)
    # What is too short for one more token in each stretch is left out.
    assert model.bits([*stretches.flatten(), *range(5)], 0.3) == bits


@pytest.mark.usefixtures("_quickly_compiled")
def test_fit_returns_the_mean_loss_in_bits_with_dropout_on(monkeypatch):
    monkeypatch.setattr(symbolic, "adam", lambda loss, params: [])  # learns nothing
    model, stretch = tiny(), [0, 1, 2, 3, 4, 0]
    loss = model.fit(stretch, p=0, updates=2, **SIZES)
    np.testing.assert_allclose(loss, model.bits(stretch * 16, 0), **FLOAT32)
    losses = {model.fit(stretch, p=0.5, updates=1, **SIZES) for _ in range(3)}
    assert len(losses) == 3  # every update has masks of its own


def test_fit_reads_stretches_from_all_of_the_text(monkeypatch):
    read = []
    monkeypatch.setattr(
        LanguageModel,
        "_training",
        lambda *_: lambda columns, p: read.extend(columns.T.tolist()) or 0.0,
    )
    tiny(vocabulary_size=10).fit(np.arange(10), p=0, updates=40, **SIZES)
    # 120 draws miss one of the 5 starts with a probability of 1e-11.
    assert sorted(set(map(tuple, read))) == [tuple(range(i, i + 6)) for i in range(5)]


@pytest.mark.usefixtures("_quickly_compiled")
def test_fit_goes_on_where_it_stopped_and_restart_begins_again():
    model, text = tiny(), np.arange(50) % 5
    initial = weights_of(model)
    at_once = model.fit(text, p=0.3, updates=4, **SIZES)
    trained = weights_of(model)
    assert all((a != b).any() for a, b in zip(initial, trained, strict=True))

    model.restart(0)
    np.testing.assert_equal(weights_of(model), initial)
    halves = [model.fit(text, p=0.3, updates=2, **SIZES) for _ in range(2)]
    np.testing.assert_equal(weights_of(model), trained)
    assert np.mean(halves) == pytest.approx(at_once)

    model.restart(1)
    assert all((a != b).any() for a, b in zip(initial, weights_of(model), strict=True))


@pytest.mark.usefixtures("_quickly_compiled")
def test_restart_forgets_training_in_every_size_of_batch():
    model, text = tiny(), np.arange(50) % 5
    model.fit(text, p=0, updates=3, **SIZES)
    first = weights_of(model)
    model.fit(text, p=0, updates=1, batch_size=2, steps=5)
    model.restart(0)
    model.fit(text, p=0, updates=3, **SIZES)
    np.testing.assert_equal(weights_of(model), first)


@pytest.mark.usefixtures("_quickly_compiled")
def test_fit_stops_where_the_loss_is_no_longer_finite(monkeypatch):
    monkeypatch.setattr(symbolic, "adam", lambda loss, params: [])
    model = tiny()
    model.c.set_value(np.full(5, np.nan, "f4"))
    with pytest.raises(FloatingPointError, match="update 0: the loss is nan"):
        model.fit(np.arange(50) % 5, p=0, updates=1, **SIZES)


@pytest.mark.parametrize("progress", [True, False])
def test_a_progress_bar_is_shown_on_request(progress, monkeypatch, capsys):
    monkeypatch.setattr(LanguageModel, "_training", lambda *_: lambda text, p: 0.0)
    tiny().fit(np.arange(50) % 5, p=0, updates=2, progress=progress, **SIZES)
    assert ("2/2" in capsys.readouterr().err) == progress


def test_a_progress_bar_without_tqdm_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(LanguageModel, "_training", lambda *_: None)
    with pytest.raises(ImportError, match=r'pip install "dropout-companion\[data\]"'):
        tiny().fit(np.arange(50) % 5, p=0, updates=1, progress=True, **SIZES)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ([0.0] * 40, TypeError, "a text must be integers; got float64"),
        ([True] * 40, TypeError, "a text must be integers; got bool"),
        ([[0] * 40], ValueError, r"1 axis and at least 32 .* got shape \(1, 40\)"),
        ([0] * 31, ValueError, r"1 axis and at least 32 .* got shape \(31,\)"),
        ([0, 5] * 20, ValueError, "tokens must be 0 to 4; got 0 to 5"),
        ([-1, 4] * 20, ValueError, "tokens must be 0 to 4; got -1 to 4"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused(text, error, message):
    with pytest.raises(error, match=message):
        tiny().fit(text, p=0, updates=1, steps=31)
    with pytest.raises(error, match=message):
        tiny().bits(text, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"p": 1.5}, ValueError, r"probability in \[0, 1\]; got 1.5"),
        ({"p": None}, TypeError, "p must be a real number; got None"),
        ({"updates": 0}, ValueError, "updates must be at least 1; got 0"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an integer; got 2.0"),
        ({"steps": 0}, ValueError, "steps must be at least 1; got 0"),
    ],
)
def test_fit_says_which_argument_is_wrong(arguments, error, message):
    with pytest.raises(error, match=message):
        tiny().fit([0] * 100, **{"p": 0, "updates": 1} | arguments)


@pytest.mark.parametrize(("p", "error"), [(1.5, ValueError), (None, TypeError)])
def test_bits_refuse_a_bad_p(p, error):
    with pytest.raises(error, match=f"got {p}"):
        tiny().bits([0] * 100, p)


# Adam


def quadratic(dtype):
    """A loss of a vector and a scalar, each step's data coming with the call."""
    params = [pytensor.shared(np.ones(3, dtype)), pytensor.shared(np.array(2, dtype))]
    data = pt.vector(dtype=dtype)
    return params, data, ((params[0] - data) ** 2).sum() * params[1] ** 2


def adam_by_hand(gradients, rate):
    """How far each step moves, as at the end of section 2 of the paper."""
    m, v = 0, 0
    for t, g in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        yield rate * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-8)


@pytest.mark.parametrize("size", [1, 1e-7], ids=["large", "of the size of epsilon"])
def test_adam_takes_the_steps_of_the_paper(size):
    w, data = pytensor.shared(np.zeros(3)), pt.dvector()
    loss = (w * data).sum()  # whose gradient is the data
    step = pytensor.function([data], updates=adam(loss, [w], 0.1), mode=LAZY)
    gradients = size * activations((6, 3), "f8")
    expected = -np.cumsum(list(adam_by_hand(gradients, 0.1)), axis=0)
    for gradient, value in zip(gradients, expected, strict=True):
        step(gradient)
        # 1 - 0.999 loses 3 digits of 16, in either program.
        np.testing.assert_allclose(w.get_value(), value, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adam_agrees_with_torch_and_keeps_the_dtype(dtype):
    params, data, loss = quadratic(dtype)
    step = pytensor.function([data], updates=adam(loss, params), mode=LAZY)
    theirs = [torch.from_numpy(w.get_value()).requires_grad_() for w in params]
    optimizer = torch.optim.Adam(theirs, lr=0.002)
    for values in activations((5, 3), dtype):
        step(values)
        optimizer.zero_grad()
        x = torch.from_numpy(values)
        (((theirs[0] - x) ** 2).sum() * theirs[1] ** 2).backward()
        optimizer.step()
    for w, tensor in zip(params, theirs, strict=True):
        assert w.get_value().dtype == dtype
        # Epsilon stands elsewhere, and 1 - 0.999 keeps 4 digits of float32's 7: each of the
        # 5 steps of 0.002 agrees to those.
        np.testing.assert_allclose(
            w.get_value(), tensor.detach().numpy(), rtol=0, atol=5 * 0.002 * 1e-4
        )


# Without PyTensor


def python(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=Path(companion.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("missing", ["pytensor", "numba"])
@pytest.mark.parametrize(
    "use", ["import companion.symbolic", "import companion; companion.symbolic"]
)
def test_import_without_pytensor_says_how_to_install_it(use, missing):
    result = python(f"import sys; sys.modules[{missing!r}] = None\n{use}")
    assert result.returncode == 1
    assert result.stderr.endswith(
        "\nImportError: companion.symbolic needs PyTensor: "
        'pip install "dropout-companion[pytensor]"\n'
    )


def test_package_itself_does_not_import_pytensor():
    code = "import sys, companion; print({'pytensor', 'numba'} & set(sys.modules))"
    result = python(code)
    assert (result.stdout, result.stderr) == ("set()\n", "")
