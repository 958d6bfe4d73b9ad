"""The network: its loss and gradient, both conventions, its streams, and its training."""

import math
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from companion.network import MLP
from companion.standard import scale_weights

ACTIVATIONS = {
    "relu": lambda z: np.where(z > 0, z, 0),
    "tanh": np.tanh,
    "logistic": lambda z: 1 / (1 + np.exp(-z)),
    "identity": lambda z: z,
}
CONVENTIONS = ["inverted", "standard"]
SIZES = [4, 6, 5, 3]


def data(n=7, features=4, classes=3):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, features)), rng.integers(classes, size=n)


def network(sizes=SIZES, **kwargs):
    """A network whose biases are not 0, so that no unit sits on the kink of relu."""
    net = MLP(sizes, **{"rng": 1} | kwargs)
    rng = np.random.default_rng(2)
    for bias in net.biases:
        bias[:] = rng.normal(size=bias.shape)
    return net


def forward_by_hand(net, X, masks):
    """What each layer computes before its activation, written out; the last are the logits."""
    units, sums = X, []
    for i, p in enumerate((net.input_p, *net.p)):
        if masks[i] is not None:
            kept = units / (1 - p) if net.convention == "inverted" else units
            units = np.where(masks[i], kept, 0)
        sums.append(units @ net.weights[i] + net.biases[i])
        units = ACTIVATIONS[net.activation](sums[-1])
    return sums


def loss_by_hand(logits, y):
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -np.log(probabilities[np.arange(len(y)), y]).mean()


# Loss and gradient


@pytest.mark.parametrize("input_p", [0, 0.3])
@pytest.mark.parametrize("p", [0, 0.2, 0.5, (0.2, 0.6)])
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_equals_central_differences(activation, convention, p, input_p):
    net = network(p=p, input_p=input_p, convention=convention, activation=activation)
    X, y = data()
    masks = net.draw_masks(len(X), rng=3)
    loss, gradients = net.loss_and_grad(X, y, masks=masks)
    sums = forward_by_hand(net, X, masks)
    np.testing.assert_allclose(
        net.logits(X, masks=masks), sums[-1], rtol=1e-12, atol=1e-12
    )
    assert loss == pytest.approx(loss_by_hand(sums[-1], y), rel=1e-12)

    step = 1e-5
    if activation == "relu":  # no unit changes sides within a step
        assert min(abs(z).min() for z in sums[:-1]) > 50 * step
    for array, gradient in zip(net.parameters, gradients, strict=True):
        numerical = np.empty_like(array)
        for index, value in np.ndenumerate(array):
            ends = []
            for moved in (value + step, value - step):
                array[index] = moved
                ends.append(loss_by_hand(forward_by_hand(net, X, masks)[-1], y))
            array[index] = value
            numerical[index] = (ends[0] - ends[1]) / (2 * step)
        norm = np.linalg.norm
        error = norm(gradient - numerical) / (norm(gradient) + norm(numerical))
        assert gradient.shape == array.shape
        assert error < 1e-6


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(("p", "input_p"), [(1, 0), ((0.5, 1), 0), (0.5, 1)])
def test_p_1_leaves_the_biases_alone_to_learn(p, input_p, convention):
    X, y = data()
    net = network(p=p, input_p=input_p, convention=convention)
    loss, gradients = net.loss_and_grad(X, y, rng=0)
    assert math.isfinite(loss)
    reading_dropped = 0 if input_p == 1 else 4
    assert not gradients[reading_dropped].any()
    assert gradients[-1].any()
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_large_logits_neither_overflow_nor_lose_the_loss():
    net = network([4, 3], p=0)
    for array in net.parameters:
        array *= 1e5
    X, y = data()
    logits = forward_by_hand(net, X, [None])[-1]
    margin = (
        logits.max(axis=1) - logits[np.arange(len(y)), y]
    )  # the loss, all but its last bits
    assert net.evaluate(X, y)[0] == pytest.approx(margin.mean(), rel=1e-12)
    np.testing.assert_allclose(net.predict_proba(X).sum(axis=1), 1, rtol=1e-12)


def test_masks_given_are_replayed():
    net, (X, y) = network(p=0.5, input_p=0.3), data()
    loss, gradients = net.loss_and_grad(X, y, rng=4)
    again, same = net.loss_and_grad(X, y, masks=net.draw_masks(len(X), rng=4))
    assert again == loss
    np.testing.assert_equal(same, gradients)
    assert net.loss_and_grad(X, y, rng=5)[0] != loss


@pytest.mark.parametrize("own", [True, False], ids=["own stream", "generator"])
def test_every_call_draws_new_masks(own):
    net, (X, y) = network(), data()
    rng = None if own else np.random.default_rng(6)
    assert net.loss_and_grad(X, y, rng=rng)[0] != net.loss_and_grad(X, y, rng=rng)[0]


def test_masks_have_the_shapes_and_rates_of_their_layers():
    n, ps = 100_000, (0.1, 0.3, 0.6)
    masks = MLP(SIZES, p=ps[1:], input_p=ps[0]).draw_masks(n, rng=7)
    for mask, units, p in zip(masks, SIZES, ps, strict=False):
        assert mask.shape == (n, units)
        # 5 standard errors
        assert abs(mask.mean() - (1 - p)) <= 5 * math.sqrt(p * (1 - p) / mask.size)


def test_one_p_is_for_every_hidden_layer_and_never_for_the_input():
    net = MLP(SIZES, p=0.25)
    assert (net.p, net.input_p) == ((0.25, 0.25), 0)
    assert [mask is None for mask in net.draw_masks(2)] == [True, False, False]


# Inference


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_inference_is_deterministic_and_draws_nothing(convention):
    X, y = data()
    net, twin = (
        MLP(SIZES, input_p=0.2, convention=convention, rng=8) for _ in range(2)
    )
    for _ in range(2):
        np.testing.assert_array_equal(net.predict_proba(X), net.predict_proba(X))
        np.testing.assert_array_equal(net.predict(X), net.logits(X).argmax(axis=1))
        assert net.evaluate(X, y) == net.evaluate(X, y)
    np.testing.assert_equal(net.draw_masks(5), twin.draw_masks(5))


def test_evaluate_gives_cross_entropy_and_accuracy_of_the_predictions():
    net, (X, y) = network(input_p=0.2), data(50)
    loss, accuracy = net.evaluate(X, y)
    chosen = net.predict_proba(X)[np.arange(50), y]
    assert loss == pytest.approx(-np.log(chosen).mean(), rel=1e-12)
    assert accuracy == (net.predict(X) == y).mean()


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hidden_units_are_those_before_their_own_dropout(activation, masked):
    net, (X, _) = network(p=0.5, input_p=0.3, activation=activation), data()
    masks = net.draw_masks(len(X), rng=5) if masked else [None] * 3
    expected = map(ACTIVATIONS[activation], forward_by_hand(net, X, masks)[:-1])
    found = net.hidden(X, masks=masks if masked else None)
    for layer, units in zip(found, expected, strict=True):
        np.testing.assert_allclose(layer, units, rtol=1e-12, atol=1e-12)


def test_inverted_inference_is_the_plain_network():
    net, (X, _) = network(p=0.5, input_p=0.3), data()
    plain = forward_by_hand(net, X, [None] * 3)[-1]
    np.testing.assert_allclose(net.logits(X), plain, rtol=1e-12)


def test_standard_inference_is_the_plain_network_with_scaled_weights():
    ps = (0.3, 0.5, 0.2)
    net, plain = network(p=ps[1:], input_p=ps[0], convention="standard"), network(p=0)
    plain.weights = [scale_weights(w, p) for w, p in zip(net.weights, ps, strict=True)]
    X, _ = data()
    np.testing.assert_allclose(net.predict_proba(X), plain.predict_proba(X), rtol=1e-12)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_inference_is_the_mean_over_the_masks_where_the_network_is_linear(convention):
    net = network(p=0.4, input_p=0.2, convention=convention, activation="identity")
    X, n = data(1)[0], 200_000
    thinned = net.logits(np.repeat(X, n, axis=0), masks=net.draw_masks(n, rng=9))
    standard_error = thinned.std(axis=0) / math.sqrt(n)
    assert np.all(abs(thinned.mean(axis=0) - net.logits(X)[0]) <= 5 * standard_error)


# Seeds and streams


class Spy(MLP):
    """Remembers which samples each training step saw; the first feature numbers them."""

    def loss_and_grad(self, X, y, **kwargs):
        self.__dict__.setdefault("batches", []).append(X[:, 0].astype(int).tolist())
        return super().loss_and_grad(X, y, **kwargs)


def batches_seen(sizes, **kwargs):
    X, y = data(10, sizes[0])
    X[:, 0] = np.arange(10)
    net = Spy(sizes, rng=10, **kwargs)
    net.fit(X, y, epochs=3, batch_size=4, learning_rate=1e-3)
    return net.batches


@pytest.mark.parametrize("p", [0, 0.9])
def test_same_seed_means_same_first_weights_whatever_p(p):
    first, second = MLP(SIZES, p=0.5, rng=11), MLP(SIZES, p=p, input_p=p, rng=11)
    np.testing.assert_equal(second.parameters, first.parameters)
    assert (MLP(SIZES, rng=12).weights[0] != first.weights[0]).any()


def test_seed_means_default_rng_of_it():
    nets = [MLP(SIZES, input_p=0.2, rng=rng) for rng in (13, np.random.default_rng(13))]
    for net in nets:
        net.fit(*data(), epochs=2)
    np.testing.assert_equal(nets[1].parameters, nets[0].parameters)


def test_networks_made_from_one_generator_differ():
    rng = np.random.default_rng(14)
    assert (MLP(SIZES, rng=rng).weights[0] != MLP(SIZES, rng=rng).weights[0]).any()


def test_an_epoch_is_every_sample_once_in_a_new_order():
    batches = batches_seen([4, 5, 3])
    assert [len(batch) for batch in batches] == 3 * [4, 4, 2]
    epochs = [batches[i] + batches[i + 1] + batches[i + 2] for i in (0, 3, 6)]
    assert [sorted(epoch) for epoch in epochs] == 3 * [list(range(10))]
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize(
    ("sizes", "p"), [([4, 5, 3], 0), ([4, 5, 3], 0.9), ([4, 9, 9, 3], 0.5)]
)
def test_same_seed_means_same_batches_whatever_p_and_sizes(sizes, p):
    assert batches_seen(sizes, p=p, input_p=p) == batches_seen([4, 5, 3])


def test_same_seed_means_same_masks_whatever_the_sizes():
    small, large = (MLP(sizes, input_p=0.5, rng=15) for sizes in ([4, 3], [4, 99, 3]))
    np.testing.assert_array_equal(large.draw_masks(7)[0], small.draw_masks(7)[0])


@pytest.mark.parametrize(
    ("activation", "variance"),
    [
        ("relu", 2 / 400),
        ("tanh", 2 / 700),
        ("logistic", 2 / 700),
        ("identity", 2 / 700),
    ],
)
def test_first_weights_have_the_variance_of_he_or_glorot(activation, variance):
    net = MLP([400, 300, 2], activation=activation, rng=16)
    n = net.weights[0].size
    # 5 standard errors of a mean, and of the variance of a normal sample
    assert abs(net.weights[0].mean()) <= 5 * math.sqrt(variance / n)
    assert abs(net.weights[0].var() / variance - 1) <= 5 * math.sqrt(2 / n)
    assert all(
        np.abs(bias).min() > 0 and np.abs(bias).max() < 0.1 for bias in net.biases
    )


# Training


def train_by_hand(net, X, y, steps, update):
    """Run `update(memory, gradient, step)` on every parameter, from the whole data each time."""
    memories = [{} for _ in net.parameters]
    for step in range(1, steps + 1):
        _, gradients = net.loss_and_grad(X, y)
        for array, memory, gradient in zip(
            net.parameters, memories, gradients, strict=True
        ):
            array += update(memory, gradient, step)


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_sgd_follows_its_formula(momentum):
    def update(memory, gradient, step):
        memory["v"] = momentum * memory.get("v", 0) - 0.1 * gradient
        return memory["v"]

    (X, y), net, twin = data(), network(p=0), network(p=0)
    net.fit(X, y, epochs=4, batch_size=7, learning_rate=0.1, momentum=momentum)
    train_by_hand(twin, X, y, 4, update)
    for ours, theirs in zip(net.parameters, twin.parameters, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11)


def test_adam_follows_its_published_formula():
    def update(memory, gradient, step):  # Kingma and Ba, algorithm 1
        memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * gradient
        memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * gradient**2
        m, v = memory["m"] / (1 - 0.9**step), memory["v"] / (1 - 0.999**step)
        return -0.1 * m / (np.sqrt(v) + 1e-8)

    (X, y), net, twin = data(), network(p=0), network(p=0)
    net.fit(X, y, epochs=4, batch_size=7, optimizer="adam", learning_rate=0.1)
    train_by_hand(twin, X, y, 4, update)
    for ours, theirs in zip(net.parameters, twin.parameters, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_one_rate_is_the_same_rate_for_every_parameter(optimizer):
    nets = [network(), network()]
    for net, rate in zip(nets, (0.1, [0.1] * 6), strict=True):
        net.fit(*data(), epochs=2, optimizer=optimizer, learning_rate=rate)
    np.testing.assert_equal(nets[1].parameters, nets[0].parameters)


def test_both_conventions_train_the_same_network():
    # Inverted dropout divides what a layer reads by 1 - p. The standard network computes the
    # same with weights 1 / (1 - p) as large; their gradient is 1 - p times as large.
    ps, rate = (0.2, 0.5, 0.3), 0.1
    nets = [
        network(p=ps[1:], input_p=ps[0], convention=convention, activation="tanh")
        for convention in CONVENTIONS
    ]
    inverted, standard = nets
    inverted.weights = [
        scale_weights(w, p) for w, p in zip(standard.weights, ps, strict=True)
    ]
    rates = [r for p in ps for r in (rate * (1 - p) ** 2, rate)]
    X, y = data(40)
    start = inverted.logits(X)
    for net, learning_rate in ((standard, rate), (inverted, rates)):
        net.fit(
            X, y, epochs=20, batch_size=16, learning_rate=learning_rate, momentum=0.9
        )
    assert abs(inverted.logits(X) - start).max() > 0.1  # they did learn
    for w_inverted, w_standard, p in zip(
        inverted.weights, standard.weights, ps, strict=True
    ):
        np.testing.assert_allclose(w_inverted, (1 - p) * w_standard, rtol=1e-9)
    np.testing.assert_allclose(
        inverted.predict_proba(X), standard.predict_proba(X), rtol=1e-9
    )


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(
    ("optimizer", "learning_rate"), [("sgd", 0.03), ("adam", 0.003)]
)
def test_training_learns_digits(optimizer, learning_rate, convention):
    X, y = load_digits(return_X_y=True)
    X = X / 16
    net = MLP([64, 64, 10], p=0.3, input_p=0.1, convention=convention, rng=17)
    before, _ = net.evaluate(X[:1200], y[:1200])
    history = net.fit(
        X[:1200],
        y[:1200],
        epochs=15,
        optimizer=optimizer,
        learning_rate=learning_rate,
        validation=(X[1200:], y[1200:]),
    )
    assert history.val_accuracy[-1] > 0.9
    assert before > history.train_loss[0] > history.train_loss[-1]


def test_history_holds_what_evaluate_measures_after_each_epoch():
    (X, y), (X_val, y_val) = data(30), data(5)
    net, twin = network(), network()
    history = net.fit(X, y, epochs=3, momentum=0, validation=(X_val, y_val))
    for epoch in range(
        3
    ):  # without momentum, three fits of one epoch are one fit of three
        twin.fit(X, y, epochs=1, momentum=0)
        measured = (history.train_loss[epoch], history.train_accuracy[epoch])
        assert measured == twin.evaluate(X, y)
        assert (history.val_loss[epoch], history.val_accuracy[epoch]) == twin.evaluate(
            X_val, y_val
        )
    assert {len(values) for values in vars(history).values()} == {3}


def test_defaults_of_training_are_those_of_its_docstring():
    X, y = data(100)
    nets = [network(), network()]
    nets[0].fit(X, y)
    said = {"epochs": 100, "batch_size": 32, "learning_rate": 0.01, "momentum": 0.9}
    nets[1].fit(X, y, optimizer="sgd", **said)
    np.testing.assert_equal(nets[0].parameters, nets[1].parameters)


def test_without_validation_its_history_is_empty():
    history = network().fit(*data(), epochs=2)
    assert (len(history.train_loss), history.val_loss, history.val_accuracy) == (
        2,
        [],
        [],
    )


def test_training_writes_to_nothing_of_the_caller():
    X, y = data()
    X.flags.writeable = y.flags.writeable = False
    network(input_p=0.3).fit(X, y, epochs=2, validation=(X, y))


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1:3]  # noqa: NPY002
    network().fit(*data(), epochs=2)
    np.testing.assert_equal(np.random.get_state()[1:3], before)  # noqa: NPY002


@pytest.mark.parametrize("progress", [True, False])
def test_progress_bar_is_shown_only_when_asked_for(progress, capsys):
    network().fit(*data(), epochs=2, progress=progress)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("training" in err and "2/2" in err) if progress else err == ""


def test_progress_bar_without_tqdm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r'pip install "dropout-companion\[data\]"'):
        network().fit(*data(), epochs=1, progress=True)
    network().fit(*data(), epochs=1)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_learning_rate_too_high_is_a_floating_point_error(optimizer):
    net = network(activation="identity")
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        net.fit(*data(), epochs=20, optimizer=optimizer, learning_rate=1e200)


# What is refused


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layer_sizes": [4]}, ValueError, r"got \[4\]"),
        ({"layer_sizes": []}, ValueError, r"got \[\]"),
        (
            {"layer_sizes": [4, 0, 3]},
            ValueError,
            "layer_sizes must be at least 1; got 0",
        ),
        ({"layer_sizes": [4, -2]}, ValueError, "at least 1; got -2"),
        (
            {"layer_sizes": [4, 2.5, 3]},
            TypeError,
            "layer_sizes must be an int; got 2.5",
        ),
        ({"layer_sizes": [4, True]}, TypeError, "got True"),
        ({"convention": "inverse"}, ValueError, "inverted, standard; got 'inverse'"),
        (
            {"activation": "gelu"},
            ValueError,
            "relu, tanh, logistic, identity; got 'gelu'",
        ),
        ({"p": 1.5}, ValueError, r"p is a drop probability in \[0, 1\]; got 1.5"),
        ({"p": [0.5, -0.1]}, ValueError, "got -0.1"),
        ({"p": [0.5]}, ValueError, r"one for each of 2; got \[0.5\]"),
        ({"p": [0.5] * 3}, ValueError, r"one for each of 2; got \[0.5, 0.5, 0.5\]"),
        ({"p": "0.5"}, TypeError, "p must be a real number; got '0.5'"),
        ({"layer_sizes": [4, 3], "p": 1.5}, ValueError, "got 1.5"),
        ({"input_p": math.nan}, ValueError, "input_p is a drop probability.*got nan"),
        ({"input_p": None}, TypeError, "input_p must be a real number; got None"),
        ({"rng": "0"}, TypeError, "got '0'"),
        ({"rng": -1}, ValueError, "got -1"),
    ],
)
def test_a_network_that_cannot_be_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        MLP(**{"layer_sizes": SIZES} | arguments)


@pytest.mark.parametrize("method", ["loss_and_grad", "fit", "evaluate"])
@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (
            np.ones((2, 3)),
            [0, 1],
            r"X must have shape \(n_samples > 0, 4\); got \(2, 3\)",
        ),
        (np.ones(4), [0], r"got \(4,\)"),
        (np.ones((0, 4)), [], r"got \(0, 4\)"),
        (np.ones((2, 4)), [0, 3], "classes 0 to 2; got 0 to 3"),
        (np.ones((2, 4)), [-1, 2], "classes 0 to 2; got -1 to 2"),
        (np.ones((2, 4)), [0.0, 1.0], "vector of ints; got shape .*dtype float64"),
        (np.ones((2, 4)), [True, False], "dtype bool"),
        (np.ones((2, 4)), [[0], [1]], r"got shape \(2, 1\)"),
        (np.ones((2, 4)), [0, 1, 2], "X has 2 samples, y has 3"),
        (np.ones((2, 4)), [1], "X has 2 samples, y has 1"),
    ],
)
def test_data_that_do_not_fit_are_refused(X, y, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(network(), method)(X, y)


@pytest.mark.parametrize("method", ["hidden", "logits", "predict_proba", "predict"])
def test_samples_that_do_not_fit_are_refused(method):
    with pytest.raises(ValueError, match=r"got \(2, 3\)"):
        getattr(network(), method)(np.ones((2, 3)))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_samples_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="X must be finite"):
        network().logits([[1.0, bad, 0.0, 0.0]])


def test_a_validation_set_that_does_not_fit_is_refused_before_training():
    net = network()
    before = [array.copy() for array in net.parameters]
    with pytest.raises(ValueError, match=r"got \(2, 3\)"):
        net.fit(np.ones((2, 4)), [0, 1], validation=(np.ones((2, 3)), [0, 1]))
    for old, new in zip(before, net.parameters, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be at least 1; got 0"),
        ({"epochs": 1.0}, TypeError, "epochs must be an int; got 1.0"),
        ({"epochs": True}, TypeError, "epochs must be an int; got True"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1; got 0"),
        ({"batch_size": None}, TypeError, "batch_size must be an int; got None"),
        ({"optimizer": "lbfgs"}, ValueError, "sgd, adam; got 'lbfgs'"),
        ({"momentum": 1}, ValueError, r"momentum must be in \[0, 1\); got 1"),
        ({"momentum": -0.1}, ValueError, "got -0.1"),
        ({"momentum": math.nan}, ValueError, "got nan"),
        ({"momentum": "0.5"}, ValueError, "got '0.5'"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be positive; got 0"),
        ({"learning_rate": math.nan}, ValueError, "got nan"),
        ({"learning_rate": "fast"}, ValueError, "got 'fast'"),
        (
            {"learning_rate": [0.1, 0.1]},
            ValueError,
            r"one for each of 6; got \[0.1, 0.1\]",
        ),
        ({"learning_rate": [0.1] * 5 + [-1]}, ValueError, "must be positive; got .*-1"),
        ({"validation": (np.ones((2, 3)), [0, 1])}, ValueError, r"got \(2, 3\)"),
        ({"validation": np.ones((3, 4))}, ValueError, r"pair \(X, y\); got 3 items"),
    ],
)
def test_training_that_cannot_be_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        network().fit(*data(), **arguments)


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        ([None, None], ValueError, "masks must hold 3 entries; got 2"),
        ([None] * 4, ValueError, "masks must hold 3 entries; got 4"),
        (
            [None, np.ones((7, 9), bool), None],
            ValueError,
            r"shape \(7, 9\) does not fit",
        ),
        ([None, np.ones((7, 6)), None], TypeError, "mask must be boolean.*float64"),
    ],
)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_masks_that_do_not_fit_are_refused(masks, error, message, convention):
    net, (X, y) = network(convention=convention), data()
    with pytest.raises(error, match=message):
        net.loss_and_grad(X, y, masks=masks)
    with pytest.raises(error, match=message):
        net.logits(X, masks=masks)
