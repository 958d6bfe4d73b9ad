"""A language model on a PyTensor graph: its loss, its training on a text, its optimiser."""

import math
import sys

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import torch
from graphs import (
    FLOAT32,
    LAZY,
    activations,
    assert_uniform,
    drops,
    generator,
    gru_by_hand,
    kept_in,
    masks,
    masks_per,
    torch_gru,
    without_a_c_compiler,  # noqa: F401
)

from companion.symbolic import LanguageModel, adam, language_model


@pytest.fixture
def _quickly_compiled():
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        yield


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
def test_model_learns_a_sequence_that_repeats():
    model = LanguageModel(5, 8, embedding_size=4, rng=0)
    tokens, rng = pt.imatrix(), generator()
    next_rng, loss = model.loss(tokens, 0.2, True, rng)
    updates = [*adam(loss, model.params, learning_rate=0.03), (rng, next_rng)]
    step = pytensor.function([tokens], loss, updates=updates)
    text = (np.arange(7)[:, None] + np.arange(4)).astype("int32") % 5
    losses = [step(text) for _ in range(40)]
    assert losses[0] > 0.9 * math.log(5)  # guessing costs log(5)
    assert np.mean(losses[-5:]) < 0.5 * math.log(5)


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


@pytest.fixture(scope="module")
def compiled_once():
    """A model for each test to restart: compiling its training takes longer than the test."""
    return tiny()


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
    monkeypatch.setattr(
        language_model, "adam", lambda loss, params: []
    )  # learns nothing
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


def test_a_batch_is_32_stretches_of_64_tokens_unless_said(monkeypatch):
    asked = []

    def training(model, steps, batch_size):
        asked.append((steps, batch_size))
        return lambda columns, p: 0.0

    monkeypatch.setattr(LanguageModel, "_training", training)
    tiny(vocabulary_size=10).fit(np.arange(100) % 10, p=0, updates=1)
    assert asked == [(64, 32)]


@pytest.mark.usefixtures("_quickly_compiled")
def test_fit_goes_on_where_it_stopped_and_restart_begins_again(compiled_once):
    model, text = compiled_once, np.arange(50) % 5
    model.restart(0)
    initial = weights_of(tiny())
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
def test_restart_forgets_training_in_every_size_of_batch(compiled_once):
    model, text = compiled_once, np.arange(50) % 5
    model.restart(0)
    model.fit(text, p=0, updates=3, **SIZES)
    first = weights_of(model)
    model.fit(text, p=0, updates=1, batch_size=2, steps=5)
    model.restart(0)
    model.fit(text, p=0, updates=3, **SIZES)
    np.testing.assert_equal(weights_of(model), first)


@pytest.mark.usefixtures("_quickly_compiled")
def test_fit_stops_where_the_loss_is_no_longer_finite(monkeypatch):
    monkeypatch.setattr(language_model, "adam", lambda loss, params: [])
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
        ({"batch_size": 2.0}, TypeError, "batch_size must be an int; got 2.0"),
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
