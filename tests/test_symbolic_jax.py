"""The PyTensor graphs in mode "JAX": the same promises, with masks of JAX's own."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from graphs import (
    FLOAT32,
    LAZY,
    activations,
    drops,
    generator,
    gru_by_hand,
    masks_per,
    without_a_c_compiler,  # noqa: F401
)

from companion.symbolic import (
    GRU,
    LanguageModel,
    adam,
    bernoulli_mask,
    dont_dropit,
    dropit,
    dropout_layer,
)

pytest.importorskip("jax", reason="JAX is not the project's: pip install jax")
pytestmark = pytest.mark.filterwarnings("ignore:The RandomType SharedVariables")
dtypes = pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])


def compiled(inputs, outputs, updates=None):
    return pytensor.function(inputs, outputs, updates=updates or {}, mode="JAX")


def layer(symbolic, x, rng):
    """Graphs in training with p = 0.4: their inputs, their values, next state and output."""
    p, train = pt.dscalar(), pt.scalar(dtype="bool")
    if symbolic == "nothing":
        return [], [], dropit(x, 0.4, rng)
    if symbolic == "p":
        return [p], [0.4], dropit(x, p, rng)
    if symbolic == "train":
        return [train], [True], dropout_layer(x, 0.4, train, rng)
    return [p, train], [0.4, True], dropout_layer(x, p, train, rng)


what_is_symbolic = pytest.mark.parametrize(
    "symbolic", ["nothing", "p", "train", "both"]
)


@what_is_symbolic
@dtypes
def test_each_unit_is_x_or_0_and_every_call_draws_anew(symbolic, dtype):
    x, rng = pt.tensor(dtype=dtype, shape=(None, None)), generator()
    inputs, values, (next_rng, y) = layer(symbolic, x, rng)
    f = compiled([x, *inputs], y, {rng: next_rng})
    value = np.tile(np.array([np.nan, np.inf, -1.5, 1], dtype), (100, 50))
    kept = []
    for _ in range(2):
        result = np.asarray(f(value, *values))
        kept.append(result != 0)
        expected = np.where(kept[-1], value, np.zeros((), dtype))
        np.testing.assert_array_equal(result, expected, strict=True)
        # 5 standard errors of 20,000 units.
        assert abs(kept[-1].mean() - 0.6) <= 5 * (0.4 * 0.6 / value.size) ** 0.5
    assert (kept[0] != kept[1]).any()


@what_is_symbolic
@dtypes
def test_gradient_passes_where_kept_and_is_0_where_dropped(symbolic, dtype):
    x = pt.tensor(dtype=dtype, shape=(None, None))
    inputs, values, (_, y) = layer(symbolic, x, generator())
    gradient = pt.grad((3 * y).sum(), x)
    f = compiled([x, *inputs], [y, gradient])
    value = np.ones((4, 5), dtype)
    result, found = map(np.asarray, f(value, *values))
    np.testing.assert_array_equal(found, 3 * result)
    assert found.dtype == gradient.dtype
    assert 0 < (result == 0).sum() < value.size


def test_any_shape_will_do():
    rng, inputs, outputs = generator(), [], []
    values = [activations(shape) for shape in [(), (0,), (3, 0), (1, 4), (2, 3, 5)]]
    p = pt.dscalar()
    for value in values:
        inputs.append(pt.tensor(dtype="float32", shape=(None,) * value.ndim))
        rng, y = dropit(inputs[-1], p, rng)
        outputs.append(y)
    for y, value in zip(
        compiled([*inputs, p], outputs)(*values, 0), values, strict=True
    ):
        np.testing.assert_array_equal(y, value, strict=True)


@pytest.mark.parametrize("shared_axes", [0, (1, 2), (0, 1, 2)])
def test_one_draw_is_shared_along_the_axes_named_and_no_other(shared_axes):
    x, p = pt.tensor3(dtype="float32"), pt.dscalar()
    _, y = dropit(x, p, generator(), shared_axes=shared_axes)
    kept = np.asarray(compiled([x, p], y)(np.ones((30, 40, 2), "float32"), 0.5))
    np.testing.assert_array_equal(kept, kept.max(shared_axes, keepdims=True) + 0 * kept)
    assert len(np.unique(kept)) == (1 if shared_axes == (0, 1, 2) else 2)


def test_a_size_may_be_an_argument():
    n, p = pt.lscalar(), pt.dscalar()
    mask = compiled([n, p], bernoulli_mask((n, 3), p, generator())[1])
    assert mask(4, 0.5).shape == (4, 3)
    assert mask(50, 1).shape == (50, 3)


@pytest.mark.parametrize("still", [(0.0, True), (0.5, False)], ids=["p 0", "test time"])
def test_where_nothing_is_dropped_the_masks_go_on_as_if_nothing_had_been(still):
    def draws(*calls):
        x, p, train, rng = (
            pt.fvector(),
            pt.dscalar(),
            pt.scalar(dtype="bool"),
            generator(),
        )
        next_rng, y = dropout_layer(x, p, train, rng)
        f = compiled([x, p, train], y, {rng: next_rng})
        return [np.asarray(f(np.ones(40, "float32"), *call)) for call in calls]

    first, second = draws((0.5, True), (0.5, True))
    again, between, after = draws((0.5, True), still, (0.5, True))
    assert (between == (1 if still[1] else 0.5)).all()
    np.testing.assert_array_equal([first, second], [again, after])
    assert (first != second).any()


@pytest.mark.parametrize("p", [0.5, pt.dscalar()], ids=["number", "symbolic"])
def test_a_function_may_return_the_state_as_it_came(p):
    x, rng = pt.fvector(), generator()
    next_rng, y = dropout_layer(x, p, False, rng)
    assert next_rng is rng
    inputs, values = ([], []) if p == 0.5 else ([p], [0.5])
    f = compiled([x, *inputs], y, {rng: next_rng})
    for _ in range(2):
        np.testing.assert_array_equal(f(np.float32([2, 4]), *values), [1, 2])


@dtypes
def test_test_time_is_that_of_the_other_backends_to_the_last_bit(dtype):
    x, p = pt.vector(dtype=dtype), pt.dscalar()
    y, value = dont_dropit(x, p), activations(1000, dtype)
    expected = pytensor.function([x, p], y, mode=LAZY)(value, 0.1)
    np.testing.assert_array_equal(
        compiled([x, p], y)(value, 0.1), expected, strict=True
    )


@pytest.mark.parametrize("bad", [1.5, -0.1, np.nan])
def test_bad_p_of_a_call_is_refused_and_quoted_and_the_next_call_draws(bad):
    x, p, rng = pt.fvector(), pt.dscalar(), generator()
    next_rng, y = dropit(x, p, rng)
    f, ones = compiled([x, p], y, {rng: next_rng}), np.ones(100, "float32")
    with pytest.raises(Exception, match=rf"probability in \[0, 1\]; got {bad}"):
        np.asarray(f(ones, bad))
    assert 0 < np.asarray(f(ones, 0.5)).sum() < 100


def masks_of_a_gru(drop, mask_per, p, steps=5, batch=3, n=4, hidden=6):
    times, rng, drawn = (steps if mask_per == "step" else 1), generator(), []
    pairs = [(batch, n), (batch, hidden)]
    if drop == "weights":
        pairs = [(n, 3 * hidden), (hidden, 3 * hidden)]
    for pair in pairs:
        rng, mask = bernoulli_mask((times, *pair), p, rng)
        drawn.append(mask)
    names = ("x_kept", "h_kept") if drop == "units" else ("W_kept", "U_kept")
    found = map(np.asarray, compiled([], drawn)())
    return dict(zip(names, found, strict=True))


@drops
@masks_per
@pytest.mark.parametrize("train", [True, False])
def test_gru_masks_or_scales_what_the_gates_read(drop, mask_per, train):
    gru = GRU(4, 6, drop=drop, mask_per=mask_per, rng=0)
    x, p, flag = (
        pt.tensor("x", dtype="float32", shape=(5, 3, 4)),
        pt.dscalar(),
        pt.iscalar(),
    )
    _, states = gru(x, p, flag, generator())
    value, kept = activations((5, 3, 4)), masks_of_a_gru(drop, mask_per, 0.5)
    if not train:
        kept = dict.fromkeys(kept, 0.5)
    expected = gru_by_hand(gru, value, **kept)
    found = np.asarray(compiled([x, p, flag], states)(value, 0.5, train))
    np.testing.assert_allclose(found, expected, **FLOAT32)
    assert found.dtype == np.float32


@drops
@masks_per
def test_gradient_of_the_gru_is_the_limit_of_differences(drop, mask_per):
    gru = GRU(4, 6, drop=drop, mask_per=mask_per, rng=0, dtype="float64")
    x, p, train = pt.tensor("x", shape=(5, 3, 4)), pt.dscalar(), pt.scalar(dtype="bool")
    _, states = gru(x, p, train, generator())  # without updates every call has one mask
    loss = (states**2).sum()
    f = compiled([x, p, train], [loss, *pt.grad(loss, gru.params)])
    value = activations((5, 3, 4), "float64")
    _, *gradients = map(np.asarray, f(value, 0.5, True))
    step, expected = 1e-5, 0.0
    directions = [np.random.default_rng(1).normal(size=g.shape) for g in gradients]
    start = [param.get_value() for param in gru.params]
    for sign in (1, -1):
        for param, at, direction in zip(gru.params, start, directions, strict=True):
            param.set_value(at + sign * step * direction)
        expected += sign * float(f(value, 0.5, True)[0]) / (2 * step)
    found = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    assert abs(found - expected) <= 1e-6 * abs(expected)  # the rest is of order step**2


def test_a_language_model_learns_and_stays_in_its_dtype():
    model = LanguageModel(4, 8, embedding_size=6, rng=0)
    tokens, rng = pt.tensor(dtype="int32", shape=(9, 5)), generator()
    p, train = pt.dscalar(), pt.scalar(dtype="bool")
    next_rng, loss = model.loss(tokens, p, train, rng)
    at_test_time = pytensor.function([tokens, p, train], loss, mode=LAZY)
    updates = [*adam(loss, model.params, learning_rate=0.05), (rng, next_rng)]
    step = compiled([tokens, p, train], loss, updates)
    text = (np.arange(9)[:, None] + np.arange(5)).astype("int32") % 4
    expected = at_test_time(text, 0.2, False)
    losses = [np.asarray(step(text, 0.2, i > 0)) for i in range(60)]
    np.testing.assert_allclose(losses[0], expected, **FLOAT32)
    assert losses[-1] < 0.5 * losses[0]
    arrays = [*losses, *(param.get_value() for param in model.params)]
    assert {array.dtype for array in arrays} == {np.dtype("float32")}
