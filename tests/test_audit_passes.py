"""Auditing a model by several passes: what only they show, where it is, and what is put back."""

import functools
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import BatchNorm1d, Dropout, Linear, ReLU, Sequential
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import companion.nn
from companion.audit import audit_model
from companion.audit import misuses as m
from companion.audit.tree import ROOT

X = torch.linspace(-1, 1, 32).reshape(4, 8)
STEPS = torch.linspace(-1, 1, 192).reshape(4, 6, 8)


class Net(nn.Module):
    """What `run(net, x)` does with the parts, between two layers with weights."""

    def __init__(self, run, **parts):
        super().__init__()
        self.a, self.run, self.b = Linear(8, 8), run, Linear(8, 8)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.b(self.run(self, self.a(x)))


class Part(Net):
    def forward(self, x):
        return self.run(self, x)


def seq(*parts):
    return Sequential(Linear(8, 8), *parts, Linear(8, 8))


def found(model, x=X):
    report = audit_model(model, x)
    assert report.passed is not None, report
    return {(c.name, c.measured) for c in report.failures}


def masked(x, numbers):
    return x * (torch.as_tensor(numbers, dtype=x.dtype) > 0.5) * 2


def in_training(run):
    return lambda n, x: run(n, x) if n.training else x


def skipping(rng):
    def run(net, x):
        for layer in net.layers:
            x = x if rng(net) < 0.1 else x + layer(x)
        return x

    return run


def layers():
    return nn.ModuleList([Linear(8, 8), Linear(8, 8)])


class Sampling(Net):
    """Rests after train(False), and not after eval()."""

    def __init__(self, run):
        super().__init__(lambda n, x: run(n, x) if n.samples else x)
        self.samples = False

    def eval(self):
        self.samples = True
        return super().eval()


numpy = np.random.default_rng
by_numpy = Net(lambda n, x: masked(x, np.random.rand(*x.shape)))  # noqa: NPY002
owned = Net(lambda n, x: masked(x, n.rng.random(x.shape)), rng=numpy(0))
unseen = Net(lambda n, x: masked(x, numpy().random(x.shape)))
by_torch = Net(
    lambda n, x: masked(x, torch.rand(8, generator=n.g)), g=torch.Generator()
)
by_attention = functools.partial(
    companion.nn.functional.scaled_dot_product_attention, dropout_p=0.5, training=True
)
ACTIVE = {
    "rand": (ROOT, Net(lambda n, x: masked(x, torch.rand_like(x)))),
    "bernoulli": (ROOT, Net(lambda n, x: x * torch.full_like(x, 0.9).bernoulli())),
    "native": (ROOT, Net(lambda n, x: torch.native_dropout(x, 0.2, True)[0])),
    "normal": (ROOT, Net(lambda n, x: x * (1 + torch.randn_like(x)))),
    "NumPy": (ROOT, by_numpy),
    "random": (ROOT, Net(lambda n, x: x * (random.random() > 0.5))),
    "a generator of NumPy's": (ROOT, owned),
    "a generator of PyTorch's": (ROOT, by_torch),
    "one out of reach": (ROOT, unseen),
    "in a part": ("1", seq(Part(lambda n, x: masked(x, torch.rand_like(x))))),
    "between parts": ("1", seq(Net(lambda n, x: masked(x, torch.rand_like(x))))),
    "layers": (ROOT, Net(skipping(lambda n: random.random()), layers=layers())),
    "layers, seldom": (
        ROOT,
        Net(skipping(lambda n: torch.rand(1) * 2), layers=layers()),
    ),
    "attention of ours": (ROOT, Net(lambda n, x: by_attention(x, x, x))),
    "function of ours": (
        ROOT,
        Net(lambda n, x: companion.nn.functional.dropout(x, 0.2, True)),
    ),
    "eval() of its own": (ROOT, Sampling(lambda n, x: masked(x, torch.rand_like(x)))),
}


@pytest.mark.parametrize("name", ACTIVE)
def test_what_is_random_in_eval_is_found_whatever_draws(name):
    path, model = ACTIVE[name]
    assert found(model, STEPS) == {(m.ACTIVE.name, path)}


class Own(nn.Module):
    """Draws from a generator of its own, of which a checkpoint does not know."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator()

    def forward(self, x):
        drawn = torch.rand(x.shape, generator=self.generator)
        return masked(x, drawn) if self.training else x


class Cached(nn.Module):
    def __init__(self, *, used="eval", as_buffer=False):
        super().__init__()
        self.used, self.as_buffer = used, as_buffer
        if as_buffer:
            self.register_buffer("mask", torch.ones(4, 8))
        else:
            self.mask = None

    def forward(self, x):
        new = torch.rand(len(x), x.shape[1]) > 0.5
        if self.used == "eval":
            if self.training:
                self.mask = 2.0 * new
            return x if self.mask is None or len(self.mask) != len(x) else x * self.mask
        if not self.training:
            return x
        if self.mask is None or len(self.mask) != len(x):
            self.mask = 2.0 * new
        return x * self.mask


class PerEpoch(Cached):
    """Draws its mask anew when train() is called."""

    def train(self, mode=True):
        self.mask = None
        return super().train(mode)


class OffForEver(nn.Module):
    p = 0.5

    def forward(self, x):
        if not self.training:
            self.p = 0.0
        return F.dropout(x, self.p)


class Once(nn.Module):
    """As a layer whose dropped weight is a parameter in eval(), which training then refuses."""

    def __init__(self):
        super().__init__()
        self.raw = nn.Parameter(torch.ones(8, 8))

    def forward(self, x):
        self.weight = F.dropout(self.raw, 0.5, self.training)
        return x @ self.weight


def seeded(net, x):
    torch.manual_seed(0)
    return F.dropout(x, 0.5, net.training)


def forked(net, x):
    with torch.random.fork_rng():
        return F.dropout(x, 0.5, net.training)


def seeded_numpy(net, x):
    np.random.seed(0)  # noqa: NPY002
    return x


def made_anew(net, x):
    return masked(x, torch.rand(x.shape, generator=torch.Generator().manual_seed(0)))


def reseeded(net, x):
    net.g.manual_seed(0)
    return masked(x, torch.rand(x.shape, generator=net.g))


def one_mask(net, x):
    return masked(x, torch.rand(x.shape[-1]))


def part(run):
    return Part(in_training(run))


class InTraining(nn.Module):
    """Monte Carlo dropout by a wrapper that switches everything to training."""

    def __init__(self, net, puts_back):
        super().__init__()
        self.net, self.puts_back = net, puts_back

    def forward(self, x):
        mode = self.net.training
        y = self.net.train()(x)
        if self.puts_back:
            self.net.train(mode)
        return y


class Interrupted(nn.Module):
    """Looks at itself in eval() in the middle of training, and stays there."""

    def __init__(self):
        super().__init__()
        self.drop = Dropout()

    def forward(self, x):
        y = self.drop(x)
        if self.training:
            self.eval()
        return y


class Drifting(nn.Module):
    """Moves a buffer in eval(), and reads it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("center", torch.zeros(8))

    def forward(self, x):
        y = x - self.center
        if not self.training:
            self.center += x.mean(0)
        return y


def normalised():
    return Sequential(Linear(8, 8), BatchNorm1d(8), ReLU(), Dropout(), Linear(8, 8))


def again(*parts, **options):
    inner = Sequential(*parts, Linear(8, 8), ReLU())
    options = {"use_reentrant": False} | options
    return Net(lambda n, x: checkpoint(n.inner, x, **options), inner=inner)


def again_alone(run):
    options = {"use_reentrant": False, "preserve_rng_state": False}
    return Net(lambda n, x: checkpoint(lambda y: run(n, y).tanh(), x, **options))


ACTIVE_IN_NET = (m.ACTIVE.name, "net.3")
FOUND = {
    "masks for ever": (seq(Cached(used="train")), {(m.REPEATS.name, "1")}),
    "a mask for each epoch": (seq(PerEpoch(used="train")), {(m.REPEATS.name, "1")}),
    "forked": (Net(forked), {(m.REPEATS.name, ROOT)}),
    "generator made anew": (seq(part(made_anew)), {(m.REPEATS.name, "1")}),
    "generator seeded": (
        Net(in_training(reseeded), g=torch.Generator()),
        {(m.REPEATS.name, ROOT)},
    ),
    "NumPy's made anew": (
        seq(part(lambda n, x: masked(x, numpy(0).random(tuple(x.shape))))),
        {(m.REPEATS.name, "1")},
    ),
    "seeded": (
        seq(Part(seeded)),
        {(m.RESET.name, "1"), (m.REPEATS.name, "1")},
    ),
    "seeded, NumPy": (seq(ReLU(), Part(seeded_numpy)), {(m.RESET.name, "2")}),
    "one mask": (seq(part(one_mask)), {(m.SHARED.name, "1")}),
    "one mask, by hand": (Net(in_training(one_mask)), {(m.SHARED.name, ROOT)}),
    "one mask, of ours": (
        seq(companion.nn.Dropout(shared_axes=0)),
        {(m.SHARED.name, "1")},
    ),
    "one mask after others": (
        seq(Dropout(), ReLU(), Linear(8, 8), part(one_mask)),
        {(m.SHARED.name, "4")},
    ),
    "cached": (seq(Cached()), {(m.CARRIED.name, "1")}),
    "cached in a buffer": (seq(Cached(as_buffer=True)), {(m.CARRIED.name, "1")}),
    "off for ever": (seq(OffForEver()), {(m.CARRIED.name, "1")}),
    "training raises then": (seq(Once()), {(m.CARRIED.name, ROOT)}),
    "checkpoint": (
        again(Dropout(), preserve_rng_state=False),
        {(m.CHECKPOINT.name, "inner.0")},
    ),
    "reentrant": (
        again(Dropout(), preserve_rng_state=False, use_reentrant=True),
        {(m.CHECKPOINT.name, "inner.0")},
    ),
    "checkpoint, NumPy's": (
        again(part(lambda n, x: masked(x, np.random.rand(*x.shape)))),  # noqa: NPY002
        {(m.CHECKPOINT.name, "inner.0")},
    ),
    "checkpoint, own generator": (again(Own()), {(m.CHECKPOINT.name, "inner.0")}),
    "checkpoint, refused": (
        again(companion.nn.Dropout(generator=torch.Generator())),
        {(m.CHECKPOINT.name, ROOT)},
    ),
    "checkpoint of a function": (
        again_alone(lambda n, x: F.dropout(x, 0.5, n.training)),
        {(m.CHECKPOINT.name, ROOT)},
    ),
    "checkpoint of a mask": (
        again_alone(in_training(lambda n, x: masked(x, torch.rand_like(x)))),
        {(m.CHECKPOINT.name, ROOT)},
    ),
    "Monte Carlo, all of it": (
        InTraining(normalised(), puts_back=True),
        {ACTIVE_IN_NET, (m.MOVED.name, "net.1")},
    ),
    "Monte Carlo for ever": (
        InTraining(normalised(), puts_back=False),
        {ACTIVE_IN_NET, (m.MOVED.name, "net.1"), (m.MODES.name, "net")},
    ),
    "stays in eval()": (seq(Interrupted()), {(m.MODES.name, "1.drop")}),
    "drifting": (seq(Drifting()), {(m.MOVED.name, "1")}),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_passes_show_is_found_in_its_place_and_nothing_else(name):
    model, findings = FOUND[name]
    assert found(model) == findings


def test_a_model_is_one_whatever_room_its_class_names():
    kind = type("Anywhere", (InTraining,), {"__module__": "builtins"})
    assert (m.MOVED.name, "net.1") in found(kind(normalised(), puts_back=False))


def test_monte_carlo_dropout_is_called_that():
    said = {
        c.code: c.consequence
        for c in audit_model(FOUND["Monte Carlo, all of it"][0], X).failures
    }
    assert "Is it on purpose, as in Monte Carlo dropout" in said["DR301"]
    assert "Its running_mean, running_var" in said["DR314"]
