"""Auditing right models by several passes: no false alarm, and what may be meant is a note."""

import random

import pytest
import torch
from test_audit_passes import (
    STEPS,
    Net,
    Part,
    X,
    again,
    in_training,
    layers,
    masked,
    normalised,
    numpy,
    seq,
    skipping,
)
from torch import nn
from torch.nn import BatchNorm1d, Dropout, Linear, ReLU, Sequential
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import companion.nn
from companion.audit import audit_model
from companion.audit import misuses as m
from companion.audit.tree import ROOT

TOKENS = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]])


class Embedded(nn.Module):
    """Drops words of the table, for the whole batch: that is meant."""

    def __init__(self):
        super().__init__()
        self.table, self.fc = nn.Embedding(10, 8), Linear(8, 4)

    def forward(self, x):
        weight = self.table.weight
        if self.training:
            weight = masked(weight, torch.rand(10, 1))
        return self.fc(F.embedding(x, weight))


class Recurrent(nn.Module):
    """Keeps its state from call to call."""

    def __init__(self):
        super().__init__()
        self.drop, self.rnn, self.fc = (
            Dropout(),
            nn.GRU(8, 8, batch_first=True),
            Linear(8, 8),
        )
        self.state = None

    def forward(self, x):
        fits = self.state is not None and self.state.shape[1] == len(x)
        y, state = self.rnn(self.drop(x), self.state if fits else None)
        self.state = state.detach()
        return self.fc(y)


class Averaging(nn.Module):
    """Keeps a mean of what training shows, which eval() subtracts: a statistic, no mask."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        return x - self.mean


class Frozen(nn.Module):
    """A teacher that stays in eval(), also in training."""

    def __init__(self):
        super().__init__()
        self.teacher, self.drop = seq(ReLU(), BatchNorm1d(8), ReLU()), Dropout()
        self.fc = Linear(8, 8)

    def forward(self, x):
        return self.fc(self.drop(x)) + self.teacher.eval()(x)


def dropped_weights(lstm):
    """Replace forward by a closure over the layer, as libraries do that drop its weights."""
    raw = lstm.weight_hh_l0
    del lstm._parameters["weight_hh_l0"]
    lstm.raw, run = nn.Parameter(raw.detach()), lstm.forward

    def forward(*args):
        lstm.weight_hh_l0 = F.dropout(lstm.raw, 0.5, lstm.training) + 0
        return run(*args)

    lstm.forward = forward
    return lstm


def encoder(**options):
    layer = nn.TransformerEncoderLayer(8, 2, 16, **options)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def same_noise(net, x):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return x + torch.randn_like(x)


def features(net, x):
    weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
    return net.drop((x @ weight).cos())


def path(net, x):
    return x + masked(net.fc(x), torch.rand(len(x), *[1] * (x.ndim - 1)))


def aux(net, x):
    y = net.b(net.drop(net.a(x)))
    return (y, y) if net.training else y


class Rising(nn.Module):
    """Counts its training passes, and reads the count in both modes."""

    passes = 0

    def forward(self, x):
        self.passes += self.training
        return x * (1 + self.passes)


class NoisyGradient(torch.autograd.Function):
    """Draws in the backward pass as well: that is no checkpoint."""

    @staticmethod
    def forward(ctx, x):
        return x + torch.rand_like(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.rand_like(gradient)


def slope(net, x):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(net.inner(x).sum(), x)[0]


RIGHT = {
    "encoder": (encoder(), STEPS),
    "encoder, batch first": (encoder(batch_first=True, norm_first=True), STEPS),
    "encoder of ours": (companion.nn.convert(encoder(batch_first=True)), STEPS),
    "LSTM": (nn.LSTM(8, 8, 2, dropout=0.5), STEPS),
    "LSTM of ours": (companion.nn.convert(nn.LSTM(8, 8, 2, dropout=0.5)), STEPS),
    "weights": (dropped_weights(nn.LSTM(8, 8)), STEPS),
    "words": (Embedded(), TOKENS),
    "layers": (
        Net(in_training(skipping(lambda n: random.random())), layers=layers()),
        X,
    ),
    "paths": (Net(in_training(path), fc=Linear(8, 8)), X),
    "paths of a batch": (Net(in_training(lambda n, x: x * (random.random() > 0.2))), X),
    "in training alone": (
        Net(in_training(lambda n, x: masked(x, n.rng.random(x.shape))), rng=numpy(0)),
        X,
    ),
    "keeps its state": (Recurrent(), STEPS),
    "statistics": (seq(Dropout(), ReLU(), Averaging()), X),
    "spectral": (
        Sequential(
            nn.utils.parametrizations.spectral_norm(Linear(8, 8)),
            Dropout(),
            Linear(8, 8),
        ),
        X,
    ),
    "frozen": (Frozen(), X),
    "norm": (normalised(), X),
    "noise that is the same": (Net(same_noise), X),
    "features": (Net(features, drop=Dropout()), X),
    "two outputs in training": (
        Part(aux, a=Linear(8, 8), b=Linear(8, 8), drop=Dropout()),
        X,
    ),
    "checkpoint": (again(Dropout()), X),
    "checkpoint of ours": (again(companion.nn.Dropout()), X),
    "reentrant": (again(Dropout(), use_reentrant=True), X),
    "checkpoint, by name": (
        Net(
            lambda n, x: checkpoint(
                lambda y: n.inner(input=y).tanh(), x, use_reentrant=False
            ),
            inner=Sequential(Dropout(), Linear(8, 8)),
        ),
        X,
    ),
    "checkpoint, by name alone": (
        Net(
            lambda n, x: checkpoint(lambda y: n.inner(input=y), x, use_reentrant=False),
            inner=Sequential(Dropout(), Linear(8, 8), ReLU()),
        ),
        X,
    ),
    "a schedule": (seq(Rising(), Dropout()), X),
    "noise in the gradient": (Net(in_training(lambda n, x: NoisyGradient.apply(x))), X),
    "a gradient inside": (Part(slope, inner=seq(nn.Tanh(), Dropout())), X),
    "p near 0, in training": (Net(in_training(lambda n, x: F.dropout(x, 1e-4))), X),
    "own generator": (seq(companion.nn.Dropout(generator=torch.Generator())), X),
    "p near 0": (seq(Dropout(1e-3)), X),
    "bfloat16": (seq(ReLU(), Dropout()).bfloat16(), X.bfloat16()),
    "lazy": (Sequential(nn.LazyLinear(8), Dropout(), nn.LazyLinear(2)), X),
    "no batch": (seq(ReLU(), Dropout()), torch.linspace(-1, 1, 8)),
    "draws in vain": (Net(lambda n, x: (torch.rand(1), x)[1]), X),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_passes(name):
    model, x = RIGHT[name]
    report = audit_model(model, x)
    assert report.passed, report
    assert not [c for c in report.checks if c.verdict == "note"], report
    assert not [c for c in report.checks if "Error" in c.measured], report


NOTED = {
    "one mask for all steps": (
        seq(companion.nn.Dropout(shared_axes=0)),
        STEPS,
        (m.SHARED.name, "1"),
    ),
    "a key": (seq(companion.nn.Dropout(key=7)), X, (m.REPEATS.name, "1")),
    "statistics of the batch": (
        seq(BatchNorm1d(8, track_running_stats=False), Dropout()),
        X,
        (m.BATCH.name, ROOT),
    ),
}


@pytest.mark.parametrize("name", NOTED)
def test_what_may_be_meant_is_a_note(name):
    model, x, note = NOTED[name]
    report = audit_model(model, x)
    noted = [(c.name, c.measured) for c in report.checks if c.verdict == "note"]
    assert (report.passed, noted) == (True, [note])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_model_is_run_and_not_looked_into():
    model = torch.jit.script(seq(ReLU(), Dropout())).eval()
    assert audit_model(model, X).passed
    assert not model.training
    always = torch.jit.trace(seq(Dropout()), X, check_trace=False)
    (finding,) = audit_model(always, X).failures
    assert finding.name == m.ACTIVE.name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_model_is_run_as_it_is_written():
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    inner = torch.compile(seq(ReLU(), Dropout()), backend=backend)
    model = torch.compile(seq(inner, ReLU(), Dropout(1.0)), backend=backend)
    (finding,) = audit_model(model, X).failures
    assert (finding.name, finding.measured) == (m.RATE.name, "3")
    assert compiled == []
