"""Dropout on a PyTensor graph: the layer, its generator, its gradient, what it refuses."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from graphs import (
    LAZY,
    activations,
    generator,
    masks,
    state,
    without_a_c_compiler,  # noqa: F401
)
from pytensor.gradient import verify_grad

import companion
from companion import standard
from companion.masks import select
from companion.symbolic import (
    GRU,
    bernoulli_mask,
    dont_dropit,
    dropit,
    dropout_layer,
)
from companion.symbolic.checks import check_p

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


@pytest.mark.parametrize("p", [0.5, 0.1, 0, np.float32(0.3)])
def test_p_is_kept_in_double_precision(p):
    """Autocasting would take float32 for 0.5, and the rate of the next number with it."""
    assert check_p(p).dtype == "float64"
