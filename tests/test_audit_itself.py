"""Auditing a model that cannot be copied: it is run itself, and all that it holds is put back."""

import logging
import random
import types

import numpy as np
import pytest
import torch
from test_audit_passes import Net, X, found, in_training, one_mask, part, seq
from test_audit_right_models import STEPS, dropped_weights
from torch import nn
from torch.nn import BatchNorm1d, Dropout, Linear

from companion.audit import audit_model
from companion.audit import misuses as m
from companion.audit.tree import ROOT


class Itself(nn.Module):
    """Cannot be copied, draws from everything, and writes to all that it holds."""

    def __init__(self):
        super().__init__()
        self.fc, self.bn, self.drop = (
            Linear(8, 8),
            BatchNorm1d(8),
            Dropout(inplace=True),
        )
        self.frozen = nn.Parameter(torch.ones(8), requires_grad=False)
        self.cache = self.fc.weight * 2  # has a history
        self.log, self.held = [1], {"n": 0, "array": np.zeros(3)}
        self.rng, self.random = np.random.default_rng(0), random.Random(0)
        self.helper = types.SimpleNamespace(calls=0)

    def forward(self, x):
        self.log.append(2)
        self.held["n"] += 1
        self.held["array"] += 1
        self.helper.calls += 1
        self.rng.random(), self.random.random(), random.random(), torch.rand(1)
        self.new = self.cache = self.cache + 1
        with torch.no_grad():
            self.frozen.add_(1.0).requires_grad_(True)
            self.fc.weight.data = self.fc.weight.data.clone()
        return self.bn(self.fc(self.drop(x.mul_(2))))

    def state(self):
        drawn = self.rng.bit_generator.state, self.random.getstate(), random.getstate()
        modes = [part.training for part in self.modules()]
        hooks = [len(part._forward_hooks) for part in self.modules()]
        held = self.log, self.held, self.helper.calls, hasattr(self, "new")
        wanted = [p.requires_grad for p in self.parameters()]
        tensors = [*self.parameters(), *self.buffers(), self.cache]
        tensors += [p.grad for p in self.parameters() if p.grad is not None]
        places = [x.data_ptr() for x in tensors]
        tensors = [x.detach().clone() for x in [*tensors, torch.get_rng_state()]]
        return repr((drawn, modes, hooks, held, wanted, places)), tensors


def test_a_model_that_cannot_be_copied_is_run_itself_and_put_back():
    model = Itself()
    cache = model.cache
    model(X.clone()).sum().backward(retain_graph=True)
    model.cache = cache
    model.bn.eval()
    model.frozen.requires_grad_(False)
    model.fc.bias.grad = None
    waiting = (model.cache**2).sum()
    del model.new
    said, tensors = model.state()
    assert audit_model(model, X).passed
    assert model.state()[0] == said
    torch.testing.assert_close(model.state()[1], tensors, rtol=0, atol=0)
    assert model.cache is cache
    waiting.backward()  # nothing of its graph was written to


class Uncopied(Net):
    def __deepcopy__(self, memo):
        return self


@pytest.mark.parametrize("mode", [True, False])
def test_a_copy_that_is_the_model_itself_is_put_back_too(mode):
    model = Uncopied(in_training(one_mask)).train(mode)
    assert found(model) == {(m.SHARED.name, ROOT)}
    assert model.training is mode


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_part_is_put_back_in_its_mode():
    part = torch.jit.script(Dropout())
    model = Uncopied(lambda n, x: n.part(x), part=part)
    audit_model(model, X)
    assert part.training
    audit_model(model.eval(), X)
    assert not part.training


def test_a_closure_over_the_model_is_found_and_the_model_put_back():
    lstm = dropped_weights(nn.LSTM(8, 8))
    lstm(STEPS)
    held = lstm.weight_hh_l0
    audit_model(lstm, STEPS)
    assert lstm.weight_hh_l0 is held


def test_it_says_the_same_whatever_was_drawn_before():
    def told():
        return str(audit_model(seq(part(one_mask), Dropout()), X))

    first = told()
    torch.rand(3), random.random(), np.random.rand()  # noqa: NPY002
    assert told() == first


@pytest.mark.parametrize("error", [ValueError, RecursionError, KeyError])
def test_whatever_a_model_raises_is_not_raised(error):
    def run(net, x):
        net.calls += 1
        if net.calls > net.limit:
            raise error("tired")
        return x

    for limit in range(6):
        model = Uncopied(run)
        model.limit = limit
        type(model).calls = 0
        report = audit_model(model, X)
        assert report.passed is (None if limit == 0 else report.passed)


class Odd(Dropout):
    """Has a rate for each unit, and holds what cannot be looked at."""

    def __init__(self):
        super().__init__()
        self.p, self.held = (
            torch.full((8,), 0.5),
            [Refusing(), logging.getLogger("odd")],
        )

    def forward(self, x):
        if not self.training:
            return x
        return torch.native_dropout(x, 0.5, True)[0]


class Refusing:
    @property
    def __dict__(self):
        raise RuntimeError("no")


def test_what_cannot_be_read_is_left_alone():
    logger, model = logging.getLogger("odd"), seq(Odd())
    before = dict(vars(logger))
    assert audit_model(model, X).passed
    assert vars(logger) == before


def test_no_hook_is_left_behind_that_compilation_would_warn_of():
    audit_model(nn.Sequential(nn.Linear(8, 8), Dropout()), X)
    assert not nn.modules.module._has_any_global_hook()
