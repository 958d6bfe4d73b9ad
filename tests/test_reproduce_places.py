"""The networks of the experiments on places are what their chapter says they are."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[1]
NAMES = ["where_it_goes", "convolutional_places", "runs"]


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "reproduce")
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def where(load):
    return load("where_it_goes")


@pytest.fixture
def clothes(load):
    return load("convolutional_places")


def alone(stack, i, norms):
    """The i-th network of a stack, of PyTorch's own layers."""
    layers = []
    for depth, (weight, bias) in enumerate(
        zip(stack.weights, stack.biases, strict=True)
    ):
        linear = nn.Linear(*weight.shape[1:])
        linear.weight.data = weight[i].detach().T.clone()
        linear.bias.data = bias[i, 0].detach().clone()
        layers.append(linear)
        if depth < len(stack.weights) - 1:
            layers += [nn.ReLU(), *norms[depth : depth + 1]]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("norm", ["", "batch", "layer"])
def test_a_stack_is_its_networks_side_by_side(where, norm):
    stack = where.Stack([5, 4, 3, 2], 3, norm=norm)
    kind = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}.get(norm)
    X = torch.randn(3, 16, 5, generator=torch.Generator().manual_seed(3))
    for i in range(3):
        norms = [kind(4), kind(3)] if kind else []
        one = alone(stack, i, norms)
        fresh = where.Stack([5, 4, 3, 2], 3, norm=norm)
        for training in (True, False):
            one.train(training)
            ours = fresh(X, training=training)[i]
            torch.testing.assert_close(ours, one(X[i]), rtol=1e-3, atol=1e-4)


def test_every_place_of_a_stack_begins_with_the_same_weights(where):
    one, *others = (
        where.Stack([5, 4, 3, 2], 2, **rates) for rates in where.PLACES.values()
    )
    for other in others:
        for a, b in zip(one.weights, other.weights, strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(one.weights[0][0], one.weights[0][1])


@pytest.mark.parametrize(
    ("place", "dropped"),
    [("input", 0), ("first", 1), ("last", 2), ("output", 3)],
)
def test_a_place_drops_there_and_nowhere_else(where, place, dropped):
    rates = where.PLACES[place]["p"]
    assert [p > 0 for p in rates] == [where_ == dropped for where_ in range(4)]
    stack = where.Stack([5, 4, 3, 2], 2, **where.PLACES[place])
    assert torch.equal(stack(torch.ones(2, 9, 5)), stack(torch.ones(2, 9, 5)))
    ones = torch.ones(2, 500, 5)
    h = stack.drop(ones, dropped, training=True)
    assert set(h.unique().tolist()) == {0, np.float32(1 / (1 - rates[dropped]))}
    assert stack.drop(ones, (dropped + 1) % 4, training=True) is ones


def test_statistics_stored_anew_are_those_of_all_samples_without_dropout(where):
    rates = where.PLACES["0.5 before batch norm"]
    stack = where.Stack([5, 4, 3, 2], 2, **rates)
    X = torch.randn(2, 50, 5, generator=torch.Generator().manual_seed(4))
    stack(X, training=True)
    stack.store_anew(X)
    h = torch.baddbmm(stack.biases[0], X, stack.weights[0]).relu()
    mean, variance = stack.stored[0]
    torch.testing.assert_close(mean, h.mean(1, keepdim=True))
    torch.testing.assert_close(variance, h.var(1, keepdim=True))
    assert stack.p == rates["p"]


def test_a_fifth_of_the_noisy_labels_is_wrong_and_none_of_the_others(where):
    (_, noisy), *others = where.parts("noisy")
    X, y = where.data.load("digits")
    order = np.random.default_rng(0).permutation(len(X))
    train, *rest = np.split(order, [500, 800])
    assert (noisy[0].numpy() != y[train]).sum() == 100
    for (_, labels), rows in zip(others, rest, strict=True):
        np.testing.assert_array_equal(labels[0], y[rows])


def test_friedmans_columns_are_measured_once_or_four_times(where):
    one, four = (where.friedman(0, n)[0] for n in (1, 4))
    assert (one.shape[1], four.shape[1]) == (10, 40)
    same = np.corrcoef(four[:, :5].T)
    assert same[0, 1:4].min() > 0.7
    assert abs(same[0, 4]) < 0.1


def test_dropout_stands_in_a_convolutional_network_where_its_name_says(clothes):
    order = {
        "nowhere": [],
        "head": [(nn.ReLU, nn.Dropout, nn.Linear)],
        "pixels, then pooling": [(nn.ReLU, nn.Dropout, nn.MaxPool2d)] * 2,
        "pooling, then pixels": [
            (nn.MaxPool2d, nn.Dropout, nn.Conv2d),
            (nn.MaxPool2d, nn.Dropout, nn.Flatten),
        ],
        "pooling, then channels": [
            (nn.MaxPool2d, nn.Dropout2d, nn.Conv2d),
            (nn.MaxPool2d, nn.Dropout2d, nn.Flatten),
        ],
        "batch norm": [],
        "batch norm, head": [(nn.ReLU, nn.Dropout, nn.Linear)],
    }
    assert list(order) == clothes.PLACES
    for place, expected in order.items():
        layers = list(clothes.network(place))
        found = [
            tuple(type(layer) for layer in layers[i - 1 : i + 2])
            for i, layer in enumerate(layers)
            if isinstance(layer, nn.Dropout | nn.Dropout2d)
        ]
        assert found == expected
        norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in layers)
        assert norms == (2 if "norm" in place else 0)


def test_the_tuned_rate_has_the_lowest_mean_validation_loss(clothes):
    rates, seeds = clothes.SETTINGS["rates"], range(clothes.SETTINGS["tuning_seeds"])
    best = rates[1]
    runs = [
        {"place": "head", "rate": r, "seed": s, "validation": abs(r - best) + s}
        for r in rates
        for s in seeds
    ]
    assert clothes.tuned(runs, "head") == best
    assert clothes.tuned(runs[1:], "head") is None
