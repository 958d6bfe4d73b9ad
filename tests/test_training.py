"""The training loop: repeatable from its seed, measured with dropout off, nothing left behind."""

import importlib
import math
import sys
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

import companion.nn
from companion.history import History
from companion.training import evaluate, fit, predict, seeded

LAYERS = [nn.Dropout, companion.nn.Dropout]

every_layer = pytest.mark.parametrize("layer", LAYERS, ids=["torch", "companion"])


@pytest.fixture(autouse=True)
def _global_generator():
    with torch.random.fork_rng(devices=[]):
        yield


def data(n=10, classes=3):
    """Samples of two features, the first of which numbers them."""
    rng = np.random.default_rng(0)
    X = np.column_stack([np.arange(n), rng.normal(size=n)]).astype("f4")
    return X, rng.integers(classes, size=n)


def network(layer=nn.Dropout, p=0.5):
    return seeded(
        1, lambda: nn.Sequential(nn.Linear(2, 8), nn.ReLU(), layer(p), nn.Linear(8, 3))
    )


def train(net, X, y, lr=0.01, **kwargs):
    sgd = torch.optim.SGD(net.parameters(), lr=lr)
    return fit(net, X, y, **{"optimizer": sgd, "epochs": 2, "batch_size": 4} | kwargs)


def weights(net):
    return torch.nn.utils.parameters_to_vector(net.parameters()).detach().numpy()


def calls(net):
    """Every call of the network from now on: was it in training, and the samples' numbers."""
    seen = []
    net.register_forward_pre_hook(
        lambda module, inputs: seen.append(
            (module.training, inputs[0][:, 0].int().tolist())
        )
    )
    return seen


def batches(p=0.5, **kwargs):
    net = network(p=p)
    seen = calls(net)
    train(net, *data(), **kwargs)
    return [numbers for training, numbers in seen if training]


# seeded


def test_seeded_repeats_and_another_seed_differs():
    first, again, other = (
        seeded(seed, lambda: torch.rand(5).tolist()) for seed in (3, 3, 4)
    )
    assert first == again != other
    assert first == torch.rand(5, generator=torch.Generator().manual_seed(3)).tolist()


def test_seeded_puts_the_generator_back():
    before = torch.get_rng_state()
    seeded(5, lambda: torch.rand(5))
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_puts_the_generator_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        seeded(5, lambda: torch.rand(5) / (1 // 0))
    assert torch.equal(torch.get_rng_state(), before)


# What the seed decides


@every_layer
def test_same_seed_trains_the_same_network_whatever_was_drawn_before(layer):
    nets = [network(layer), network(layer)]
    histories = []
    for net in nets:
        histories.append(train(net, *data(), seed=6))
        torch.rand(7)
    assert histories[0] == histories[1]
    np.testing.assert_array_equal(weights(nets[0]), weights(nets[1]))


def test_seed_is_0_if_none_is_given():
    nets = [network(), network()]
    for net, kwargs in zip(nets, ({}, {"seed": 0}), strict=True):
        train(net, *data(), **kwargs)
    np.testing.assert_array_equal(weights(nets[0]), weights(nets[1]))


def test_another_seed_means_another_order():
    assert batches(seed=7) == batches(seed=7) != batches(seed=8)


@pytest.mark.parametrize("p", [0.0, 0.9])
def test_same_seed_means_same_batches_whatever_is_dropped(p):
    assert batches(p=p) == batches()


@every_layer
@pytest.mark.parametrize("p", [0.0, 0.5])
def test_another_seed_means_other_masks(p, layer):
    nets = [network(layer, p), network(layer, p)]
    for seed, net in enumerate(nets):  # of equal samples, so that no order matters
        train(net, np.ones((8, 2), "f4"), np.zeros(8, int), seed=seed)
    assert (weights(nets[0]) == weights(nets[1])).all() == (p == 0)


def test_a_layer_with_a_generator_of_its_own_keeps_its_masks():
    def made(p):
        return companion.nn.Dropout(p, generator=torch.Generator().manual_seed(9))

    nets = [network(made), network(made)]
    for seed, net in enumerate(nets):
        train(net, np.ones((8, 2), "f4"), np.zeros(8, int), seed=seed)
    np.testing.assert_array_equal(weights(nets[0]), weights(nets[1]))


@pytest.mark.parametrize(
    ("lr", "outcome"),
    [(0.01, nullcontext()), (math.inf, pytest.raises(FloatingPointError))],
)
def test_global_generator_is_left_alone_also_by_a_fit_that_fails(lr, outcome):
    before = torch.get_rng_state()
    with outcome:
        train(network(), *data(), lr=lr)
    assert torch.equal(torch.get_rng_state(), before)


# Batches


def test_an_epoch_is_every_sample_once_in_a_new_order():
    seen = batches(epochs=3)
    assert [len(batch) for batch in seen] == 3 * [4, 4, 2]
    epochs = [seen[i] + seen[i + 1] + seen[i + 2] for i in (0, 3, 6)]
    assert [sorted(epoch) for epoch in epochs] == 3 * [list(range(10))]
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_256_samples_are_a_batch_if_nothing_is_said():
    net = network()
    seen, sgd = calls(net), torch.optim.SGD(net.parameters(), lr=0.01)
    fit(net, *data(300), optimizer=sgd, epochs=1)
    assert [len(numbers) for training, numbers in seen if training] == [256, 44]


def test_each_batch_is_a_step_down_its_own_gradient():
    (X, y), net = data(10), seeded(1, lambda: nn.Linear(2, 3))
    W, b = net.weight.detach().double().numpy(), net.bias.detach().double().numpy()
    seen = calls(net)
    train(net, X, y, lr=0.1, epochs=3)
    for batch in [numbers for training, numbers in seen if training]:
        scores = np.exp(X[batch] @ W.T + b)
        error = scores / scores.sum(axis=1, keepdims=True) - np.eye(3)[y[batch]]
        W, b = W - 0.1 * error.T @ X[batch] / len(batch), b - 0.1 * error.mean(axis=0)
    np.testing.assert_allclose(net.weight.detach(), W, rtol=0, atol=1e-5)
    np.testing.assert_allclose(net.bias.detach(), b, rtol=0, atol=1e-5)


def test_gradients_from_before_do_not_count():
    nets = [network(), network()]
    nets[1](torch.ones(1, 2)).sum().backward()
    for net in nets:
        train(net, *data())
    np.testing.assert_array_equal(weights(nets[0]), weights(nets[1]))


# The history


def test_it_trains_in_training_mode_and_measures_both_sets_in_evaluation_mode():
    net = network().eval()
    seen = calls(net)
    train(net, *data(10), validation=data(3))
    modes = [(training, len(numbers)) for training, numbers in seen]
    assert modes == 2 * [(True, 4), (True, 4), (True, 2), (False, 10), (False, 3)]


@every_layer
def test_history_is_what_evaluate_measures(layer):
    train_set, validation = data(10), data(7)
    net = network(layer, p=0.9)
    history = train(net, *train_set, lr=0.0, validation=validation)
    on_train, on_validation = evaluate(net, *train_set), evaluate(net, *validation)
    assert on_train != on_validation
    assert history == History(*([value] * 2 for value in (*on_train, *on_validation)))


def test_history_is_measured_after_the_epoch():
    net = network()
    before = evaluate(net, *data())
    history = train(net, *data(), epochs=3)
    last = (history.train_loss[-1], history.train_accuracy[-1])
    assert last == evaluate(net, *data())
    assert len({before[0], *history.train_loss}) == 4


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("validation", [None, data(4)])
def test_history_has_a_number_an_epoch_and_none_of_a_set_that_is_not_given(
    epochs, validation
):
    history = train(network(), *data(), epochs=epochs, validation=validation)
    assert len(history.train_loss) == len(history.train_accuracy) == epochs
    expected = 0 if validation is None else epochs
    assert len(history.val_loss) == len(history.val_accuracy) == expected


def test_validation_set_is_not_trained_on():
    nets = [network(), network()]
    for net, validation in zip(nets, (None, data(4)), strict=True):
        train(net, *data(), validation=validation)
    np.testing.assert_array_equal(weights(nets[0]), weights(nets[1]))


def test_measuring_moves_no_running_statistics():
    nets = [
        seeded(1, lambda: nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 3)))
        for _ in range(2)
    ]
    for net, validation in zip(nets, (None, data(4)), strict=True):
        train(net, *data(), validation=validation)
    assert torch.equal(nets[0][0].running_var, nets[1][0].running_var)
    assert nets[0][0].num_batches_tracked == 6


def test_training_learns_two_clouds():
    y = np.arange(60) % 2
    X = np.random.default_rng(10).normal(size=(60, 2)) + 3 * y[:, None]
    net = network(p=0.2)
    history = train(net, X.astype("f4"), y, lr=0.1, epochs=10)
    assert history.train_loss[0] > history.train_loss[-1]
    assert history.train_accuracy[-1] > 0.9


# What is left behind


@pytest.mark.parametrize("training", [True, False])
def test_fit_leaves_the_whole_network_in_training_mode(training):
    net = network().train(training)
    train(net, *data())
    assert all(module.training for module in net.modules())


@pytest.mark.parametrize("convert", [torch.as_tensor, np.ndarray.tolist])
def test_arrays_tensors_and_lists_give_the_same(convert):
    histories, outputs = [], []
    for change in (np.asarray, convert):
        net, (X, y) = network(), (change(part) for part in data())
        histories.append(train(net, X, y, validation=(X, y)))
        outputs.append((evaluate(net, X, y), predict(net, X).tolist()))
    assert histories[0] == histories[1]
    assert outputs[0] == outputs[1]


def test_nothing_of_the_caller_is_written_to():
    X, y = data()
    train(network(), X, y, validation=(X, y))
    np.testing.assert_array_equal(X, data()[0])
    np.testing.assert_array_equal(y, data()[1])


# evaluate and predict


def test_evaluate_gives_the_mean_cross_entropy_and_the_fraction_right():
    logits, y = [[1.0, 2.0, 0.0], [0.0, 0.0, 3.0], [5.0, 1.0, 1.0]], [1, 0, 0]
    loss, accuracy = evaluate(nn.Identity(), logits, y)
    losses = [
        math.log(sum(math.exp(logit) for logit in row)) - row[label]
        for row, label in zip(logits, y, strict=True)
    ]
    assert loss == pytest.approx(sum(losses) / 3, rel=1e-6)
    assert accuracy == 2 / 3
    assert type(loss) is type(accuracy) is float


def test_evaluate_and_predict_leave_dropout_off_and_draw_nothing():
    net, (X, y), before = network(p=0.9), data(), torch.get_rng_state()
    assert torch.equal(predict(net, X), net.eval()(torch.as_tensor(X)))
    net.train()
    assert evaluate(net, X, y) == evaluate(net.eval(), X, y)
    assert torch.equal(torch.get_rng_state(), before)


def mixed():
    """Half of it frozen, one layer deep inside as well."""
    inner = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4).eval(), nn.Dropout(0.5))
    return nn.Sequential(inner, nn.Dropout(0.5).eval(), nn.Linear(4, 3))


@pytest.mark.parametrize("change", [lambda net: net, nn.Module.train, nn.Module.eval])
@pytest.mark.parametrize("fails", [False, True])
def test_predict_puts_every_mode_back_also_after_an_error(fails, change):
    net = change(mixed())
    modes = [module.training for module in net.modules()]
    inside = []
    net[2].register_forward_pre_hook(
        lambda *_: inside.extend(module.training for module in net.modules())
    )
    if fails:
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            predict(net, np.ones((2, 5), "f4"))
    else:
        predict(net, data()[0])
        assert inside == [False] * len(modes)
    assert [module.training for module in net.modules()] == modes


@pytest.mark.parametrize("grad", [True, False])
def test_predict_records_no_gradient_and_leaves_that_switch_alone(grad):
    with torch.set_grad_enabled(grad):
        logits = predict(network(), torch.ones(2, 2, requires_grad=True))
        assert torch.is_grad_enabled() is grad
    assert not logits.requires_grad
    assert logits.shape == (2, 3)


# Progress bar


@pytest.mark.parametrize("progress", [{"progress": True}, {"progress": False}, {}])
def test_progress_bar_is_shown_only_when_asked_for(progress, capsys):
    history = train(network(), *data(), **progress)
    out, err = capsys.readouterr()
    assert (out, len(history.train_loss)) == ("", 2)
    assert ("training" in err and "2/2" in err) if any(progress.values()) else err == ""


def test_progress_bar_without_tqdm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r'pip install "dropout-companion\[data\]"'):
        train(network(), *data(), progress=True)
    train(network(), *data())


# What is refused


@pytest.mark.parametrize("count", [0, -1])
@pytest.mark.parametrize("name", ["epochs", "batch_size"])
def test_counts_below_1_are_refused(name, count):
    with pytest.raises(ValueError, match=f"{name} must be at least 1; got {count}"):
        train(network(), *data(), **{name: count})


@pytest.mark.parametrize("count", [2.0, True, "2", None], ids=repr)
@pytest.mark.parametrize("name", ["epochs", "batch_size"])
def test_counts_that_are_no_int_are_refused(name, count):
    with pytest.raises(TypeError, match=f"{name} must be an int; got {count!r}"):
        train(network(), *data(), **{name: count})


def test_counts_of_numpy_are_taken():
    history = train(network(), *data(), epochs=np.int64(3), batch_size=np.int32(4))
    assert len(history.train_loss) == 3


@pytest.mark.parametrize("labels", [9, 11])
def test_samples_and_labels_of_different_number_are_refused(labels):
    pair = data(10)[0], data(labels)[1]
    for refused in (
        lambda: train(network(), *pair),
        lambda: evaluate(network(), *pair),
    ):
        with pytest.raises(ValueError, match=f"got 10 and {labels}"):
            refused()


def test_a_validation_set_that_does_not_fit_is_refused_before_training():
    net = network()
    before = weights(net)
    with pytest.raises(ValueError, match="got 3 and 2"):
        train(net, *data(), validation=(data(3)[0], data(2)[1]))
    np.testing.assert_array_equal(weights(net), before)


@pytest.mark.parametrize("lr", [1e30, math.inf])
def test_a_learning_rate_too_high_is_a_floating_point_error(lr):
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        train(network(), *data(), lr=lr, epochs=20)


def test_a_loss_that_is_not_finite_is_not_stepped_down():
    net = network()
    before = weights(net)
    with pytest.raises(FloatingPointError, match="not finite"):
        train(net, np.full((4, 2), np.nan, "f4"), np.zeros(4, int))
    np.testing.assert_array_equal(weights(net), before)


def test_an_infinite_loss_is_a_floating_point_error():
    net = nn.Linear(1, 2, bias=False)
    nn.init.constant_(net.weight[:1], 1.0)
    nn.init.constant_(net.weight[1:], -1.0)
    assert evaluate(net, [[3e38]], [1])[0] == math.inf
    with pytest.raises(FloatingPointError, match="not finite"):
        train(net, [[3e38]], [1], epochs=1)


def test_import_without_torch_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "companion.training")
    with pytest.raises(
        ImportError, match=r'pip install "dropout-companion\[torch\]"'
    ) as error:
        importlib.import_module("companion.training")
    assert error.value.__suppress_context__


def test_a_loss_that_is_not_finite_never_reaches_the_history():
    X, y = np.ones((4, 2), np.float32), np.array([0, 1, 0, 1])
    network = torch.nn.Linear(2, 2)
    sgd = torch.optim.SGD(network.parameters(), lr=0.1)
    with pytest.raises(FloatingPointError, match="val loss is nan"):
        fit(network, X, y, optimizer=sgd, epochs=1, validation=(X * np.inf, y))


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([], ValueError, "at least 1"),
        ([0.5, 1.0], TypeError, "float"),
        ([0, -100], ValueError, "-100"),
    ],
)
def test_labels_that_are_not_classes_are_refused(y, error, message):
    X = np.ones((len(y), 2), np.float32)
    with pytest.raises(error, match=message):
        evaluate(torch.nn.Identity(), X, np.array(y))


def test_a_validation_set_is_a_pair():
    X, y = np.ones((4, 2), np.float32), np.array([0, 1, 0, 1])
    network = torch.nn.Linear(2, 2)
    sgd = torch.optim.SGD(network.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="pair"):
        fit(network, X, y, optimizer=sgd, epochs=1, validation=X)


def test_read_only_reversed_and_short_integer_arrays_are_taken():
    X = np.arange(8, dtype=np.float32).reshape(4, 2)[::-1]
    X.flags.writeable = False
    y = np.array([0, 1, 0, 1], np.int32)
    assert evaluate(torch.nn.Identity(), X, y)[1] == 0.5
