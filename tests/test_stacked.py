"""Networks trained as a stack: the gradient is autograd's, and each is the network alone."""

import importlib
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy, mse_loss

ROOT = Path(__file__).parents[1]


@pytest.fixture
def stacked(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "reproduce")
    yield importlib.import_module("stacked")
    sys.modules.pop("stacked", None)


def problem(networks, outputs, n=48, features=5):
    rng = torch.Generator().manual_seed(0)
    X = torch.randn(networks, n, features, generator=rng)
    if outputs == 1:
        return X, torch.randn(networks, n, generator=rng)
    return X, torch.randint(outputs, (networks, n), generator=rng)


def settings(**changes):
    usual = {"p": 0.5, "rate": 0.05, "decay": 0.01, "after": [1, 3], "epochs": 3}
    return usual | {"seed": 0} | changes


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_the_gradient_of_each_network_is_autograds(stacked, p, outputs):
    x, y = problem(2, outputs)
    sizes = [5, 7, 6, outputs]
    pairs = list(pairwise(sizes))
    weights = [torch.randn(2, a, b, requires_grad=True) for a, b in pairs]
    biases = [torch.randn(2, 1, b, requires_grad=True) for _, b in pairs]
    found = stacked._gradients(
        x,
        y,
        [w.detach() for w in weights],
        [b.detach() for b in biases],
        p,
        0.01,
        torch.Generator().manual_seed(1),
    )
    masks, h = torch.Generator().manual_seed(1), x
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        h = torch.relu(h @ w + b)
        h = h * (torch.rand(h.shape, generator=masks) >= p) / (1 - p) if p else h
    output = h @ weights[-1] + biases[-1]
    loss = 0.005 * sum((w**2).sum() for w in weights)
    for out, target in zip(output, y, strict=True):
        if outputs == 1:
            loss = loss + mse_loss(out[:, 0], target)
        else:
            loss = loss + cross_entropy(out, target)
    loss.backward()
    for gradient, parameter in zip(found, weights + biases, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-5)


def test_networks_of_two_calls_are_pairs_and_learn(stacked):
    train, test = problem(3, 4), problem(3, 4)
    data = stacked.Data(train, {"training": train, "test": test})
    losses = {
        p: stacked.train(data, [16], 4, **settings(p=p, epochs=60, after=[1, 60]))
        for p in (0.0, 1e-9)
    }
    for name, values in losses[0.0].items():
        assert values.shape == (2, 3)
        assert losses[1e-9][name] == pytest.approx(values, rel=1e-3, abs=0.03)
    assert (losses[0.0]["training_loss"][1] < losses[0.0]["training_loss"][0]).all()


def test_the_rate_above_the_first_layer_can_be_another(stacked):
    train = problem(2, 4)
    data = stacked.Data(train, {"training": train})
    same = stacked.train(data, [16], 4, **settings())["training_loss"]
    one = stacked.train(data, [16], 4, **settings(upper=1.0))["training_loss"]
    quarter = stacked.train(data, [16], 4, **settings(upper=0.25))["training_loss"]
    assert (one == same).all()
    assert (quarter != same).all()


def test_the_loss_is_measured_after_the_epochs_asked_for_and_starts_the_same(stacked):
    train = problem(2, 1)
    data = stacked.Data(train, {"test": train})
    short = stacked.train(data, [8], 1, **settings(rate=0.001, epochs=1))["test_loss"]
    whole = stacked.train(data, [8], 1, **settings(rate=0.001))["test_loss"]
    assert short.shape == (1, 2)
    assert (whole[:1] == short).all()
