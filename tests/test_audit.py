"""The audit: every mutant is caught by the check that should catch it, and no right layer is."""

import importlib
import json
import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import torch
from bs4 import BeautifulSoup
from scipy import stats

import companion.nn
from companion import inverted, standard, symbolic
from companion.audit import (
    Adapter,
    AuditReport,
    Check,
    audit,
    chance,
    layer,
    runner,
    statistics,
    subject,
)
from companion.audit.__main__ import main
from companion.audit.estimator import CHECKS as ESTIMATOR_CHECKS
from companion.audit.state import global_states


def right(x, p, training, rng):
    """Inverted dropout as short as it gets; the mutants change one thing each."""
    if not 0 <= p <= 1:
        raise ValueError(p)
    if not training or p == 0:
        return x.copy()
    return kept(x, rng.random(x.shape) >= p, p)


def kept(x, mask, p):
    scale = 1 / (1 - p) if p < 1 else 0
    return np.where(mask, x * x.dtype.type(scale), x.dtype.type(0))


def masked(draw):
    """`right`, with the mask from draw(shape, p, rng)."""

    def mutant(x, p, training, rng):
        if not training or p in (0, 1):
            return right(x, p, training, rng)
        return kept(x, np.broadcast_to(draw(x.shape, p, rng), x.shape), right_p(p))

    return mutant


def right_p(p):
    if not 0 <= p <= 1:
        raise ValueError(p)
    return p


def scaled(scale):
    def mutant(x, p, training, rng):
        y = right(x, p, training, rng)
        return y * x.dtype.type(scale(p) * (1 - p)) if training and 0 < p < 1 else y

    return mutant


def at_inference(change):
    return lambda x, p, training, rng: (
        right(x, p, True, rng) if training else change(x, p, rng)
    )


def bare(inference):
    def mutant(x, p, training, rng):
        return scaled(lambda p: 1)(x, p, True, rng) if training else inference(x, p)

    return mutant


def repeated(axis, times):
    """Neighbours along an axis share a draw."""

    def draw(shape, p, rng):
        if len(shape) < 2 or not shape[axis]:
            return rng.random(shape) >= p
        fewer = list(shape)
        fewer[axis] = -(-fewer[axis] // times)
        return (rng.random(fewer) >= p).repeat(times, axis)[: shape[0], : shape[1]]

    return draw


def far_pairs(shape, p, rng):
    """Units 0 and 128 share a draw, 1 and 129, and so on."""
    if len(shape) < 2:
        return plain(shape, p, rng)
    return np.tile(plain((shape[0], -(-shape[1] // 2)), p, rng), 2)[:, : shape[1]]


def same_for_ever(shape, p, rng):
    return plain(shape, p, np.random.default_rng(0))


def exactly(shape, p, rng):
    """The same number of units of every sample."""
    ranks = rng.random(shape).argsort(-1).argsort(-1) if shape else np.ones(())
    return ranks >= round(p * shape[-1]) if shape else ranks > p


def slightly_correlated(shape, p, rng):
    mask = rng.random(shape) >= p
    if len(shape) > 1:
        copied = rng.random(shape) < 0.1
        mask = np.where(copied, np.roll(mask, 1, axis=1), mask)
    return mask


def biased_bits(shape, p, rng):
    """Every fourth unit at another rate, the mean of all as it should be."""
    rates = np.full(shape, p)
    if len(shape) > 1:
        rates[..., ::4] += 0.03
        rates[..., 1::4] -= 0.03
    return rng.random(shape) >= rates


def once(function):
    cache = {}

    def draw(shape, p, rng):
        return cache.setdefault((shape, p), function(shape, p, rng))

    return draw


def plain(shape, p, rng):
    return rng.random(shape) >= p


def global_draw(shape, p, rng):
    return np.random.random(shape) >= p  # noqa: NPY002


def also_global(shape, p, rng):
    np.random.random()  # noqa: NPY002
    return plain(shape, p, rng)


def whole_row(shape, p, rng):
    return rng.random((1, *shape[1:])) >= p if shape else rng.random() >= p


def unrefused(x, p, training, rng):
    if not training or p == 0:
        return x.copy()
    return kept(x, rng.random(x.shape) >= p, p if p != 1 else 0)


def takes_nan(x, p, training, rng):
    return right(x, 0.5 if np.isnan(p) else p, training, rng)


def divides(x, p, training, rng):
    if not 0 <= p <= 1:
        raise ValueError(p)
    mask = rng.random(x.shape) >= p
    return x * mask / x.dtype.type(1 - p) if training and p else x.copy()


def upcast(x, p, training, rng):
    return right(x, p, training, rng).astype(np.float64)


def in_place(x, p, training, rng):
    x[...] = right(x, p, training, rng)
    return x


def by_memory(x, p, training, rng):
    return right(x.ravel("K").reshape(x.shape), p, training, rng)


def no_empty(x, p, training, rng):
    x.max()
    return right(x, p, training, rng)


def gaussian(x, p, training, rng):
    return x * rng.normal(1, 0.5, x.shape) if training else x


def drop_at_zero(x, p, training, rng):
    return right(x, max(p, 0.01) if p >= 0 else p, training, rng)


def noisy_inference(x, p, rng):
    return x * (1 + 1e-3 * rng.normal(size=x.shape)).astype(x.dtype)


def jittery(x, p, training, rng):
    """One scale a call, right on average."""
    y = right(x, p, training, rng)
    return y * x.dtype.type(rng.choice([0.9, 1.1])) if training and 0 < p < 1 else y


def twice(function):
    """Each mask serves two calls."""
    last = {}

    def draw(shape, p, rng):
        if (shape, p) in last:
            return last.pop((shape, p))
        return last.setdefault((shape, p), function(shape, p, rng))

    return draw


def too_much_in_half(x, p, training):
    """2% too much in bfloat16, more than its rounding."""
    y = torch.nn.functional.dropout(x, p, training)
    return y * 1.02 if training and 0 < p < 1 and x.dtype == torch.bfloat16 else y


class Redrawn(torch.autograd.Function):
    """A backward pass of another kind than the forward pass."""

    @staticmethod
    def forward(ctx, x, p, how):
        ctx.mask = torch.rand(x.shape) >= p
        ctx.p, ctx.how = p, how
        return torch.where(ctx.mask, x / (1 - p), 0) if p < 1 else torch.zeros_like(x)

    @staticmethod
    def backward(ctx, grad):
        mask, scale = ctx.mask, 1 / (1 - ctx.p) if ctx.p < 1 else 0
        if ctx.how == "redrawn":
            mask = torch.rand(grad.shape) >= ctx.p
        elif ctx.how == "unscaled":
            scale = 1
        elif (ctx.how == "straight through" and ctx.p < 1) or (
            ctx.how == "gradient at 1" and ctx.p == 1
        ):
            return grad, None, None
        elif ctx.how == "once":
            return (torch.where(mask, grad * scale, 0)).detach(), None, None
        return torch.where(mask, grad * scale, 0), None, None


def torch_mutant(how):
    def function(x, p, training):
        return Redrawn.apply(x, right_p(p), how) if training and p else x

    return function


def coarse(x, p, training):
    """Draws in the input's own dtype."""
    if not training or not p:
        return x
    mask = torch.rand(x.shape, dtype=x.dtype) >= right_p(p)
    return torch.where(mask, x / (1 - p), 0) if p < 1 else torch.zeros_like(x)


class DropConnect(torch.nn.Linear):
    def __init__(self, p=0.5):
        super().__init__(256, 256, dtype=torch.float64)
        self.p = p

    def forward(self, x):
        weight = torch.nn.functional.dropout(self.weight, self.p, self.training)
        return torch.nn.functional.linear(x, weight)


# Each mutant, and the check that has to fail for it.
MUTANTS = {
    "no scale": (scaled(lambda p: 1), "survivors' scale"),
    "1/p": (scaled(lambda p: 1 / p), "survivors' scale"),
    "1-p": (scaled(lambda p: 1 - p), "survivors' scale"),
    "1% too much": (scaled(lambda p: 1.01 / (1 - p)), "survivors' scale"),
    "jitter": (jittery, "survivors' scale"),
    "too much in half": (too_much_in_half, "mean kept"),
    "rounded scale": (scaled(lambda p: round(1 / (1 - p), 1)), "survivors' scale"),
    "p is kept": (masked(lambda s, p, r: r.random(s) < p), "drop rate"),
    "0.52 for 0.5": (masked(lambda s, p, r: r.random(s) >= p + 0.02), "drop rate"),
    "always 0.5": (masked(lambda s, p, r: r.random(s) >= 0.5), "drop rate"),
    "8 bits": (masked(lambda s, p, r: r.integers(256, size=s) >= int(p * 256)), "drop rate"),
    "biased bits": (masked(biased_bits), "drop rate"),
    "pairs of units": (masked(repeated(1, 2)), "units independent"),
    "far pairs": (masked(far_pairs), "units independent"),
    "slightly correlated": (masked(slightly_correlated), "units independent"),
    "exactly half": (masked(exactly), "units independent"),
    "one mask a batch": (masked(whole_row), "samples independent"),
    "pairs of samples": (masked(repeated(0, 2)), "samples independent"),
    "one mask for ever": (masked(same_for_ever), "fresh mask every call"),
    "cached mask": (masked(once(plain)), "fresh mask every call"),
    "every mask twice": (masked(twice(plain)), "fresh mask every call"),
    "noise at inference": (at_inference(noisy_inference), "inference"),
    "drops at inference": (lambda x, p, training, rng: right(x, p, True, rng), "inference"),
    "times p at inference": (bare(lambda x, p: x * x.dtype.type(p)), "inference"),
    "scales twice": (at_inference(lambda x, p, rng: x * x.dtype.type(1 - p)), "survivors' scale"),
    "redrawn": (torch_mutant("redrawn"), "backward"),
    "unscaled": (torch_mutant("unscaled"), "backward"),
    "straight through": (torch_mutant("straight through"), "backward"),
    "once": (torch_mutant("once"), "double backward"),
    "coarse": (coarse, "drop rate"),
    "drops at 0": (drop_at_zero, "p = 0"),
    "divides by 0": (divides, "p = 1"),
    "gradient at 1": (torch_mutant("gradient at 1"), "p = 1"),
    "takes any p": (unrefused, "bad p refused"),
    "takes NaN": (takes_nan, "bad p refused"),
    "takes 1.5": (lambda x, p, t, rng: right(x, min(p, 1), t, rng), "bad p refused"),
    "upcast": (upcast, "dtype and layout"),
    "by memory": (by_memory, "dtype and layout"),
    "in place": (in_place, "input untouched"),
    "global draw": (masked(global_draw), "seedable"),
    "also global": (masked(also_global), "global state left alone"),
    "no empty": (no_empty, "empty and 0-d input"),
    "gaussian": (gaussian, "what is dropped"),
    "weights": (DropConnect, "what is dropped"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught_by_the_check_that_should_catch_them(name):
    candidate, check = MUTANTS[name]
    report = audit(candidate)
    assert check in [failure.name for failure in report.failures], str(report)


RIGHT = {
    "right": right,
    "companion.inverted": inverted.dropout,
    "companion.standard": standard.dropout,
    "companion.nn": companion.nn.Dropout,
    "companion.nn.functional": companion.nn.functional.dropout,
    "torch.nn": torch.nn.Dropout,
    "torch.nn.functional": torch.nn.functional.dropout,
    "torch": torch.dropout,
    "torch's right": torch_mutant(""),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("p", [0.5, 0.93])
def test_right_ones_pass(name, p):
    report = audit(RIGHT[name], p=p, seed=1)
    assert report.passed, str(report)


class Precomputed(torch.nn.Module):
    def __init__(self, p=0.5):
        super().__init__()
        self.p, self.scale = p, 1 / (1 - p) if right_p(p) < 1 else 0.0

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        return torch.where(torch.rand(x.shape) >= self.p, x * self.scale, 0)


class Wrapped(torch.nn.Module):
    """Its attribute `dropout` is a layer, not a rate."""

    def __init__(self):
        super().__init__()
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(x)


def by_keyword(x, p, *, training):
    return torch.nn.functional.dropout(x, p, training)


@pytest.mark.parametrize(
    ("candidate", "kwargs"),
    [
        *((torch.nn.Dropout, {"p": p}) for p in (0.003, 0.15, 0.99)),
        (companion.nn.Dropout, {"p": 0.99}),
        *((right, {"shape": shape, "p": 0.1}) for shape in [(2, 3), (5,), (64, 1)]),
        (right, {"shape": (1,)}),
        (right, {"shape": (100_000, 2)}),
        (Precomputed, {"p": 0.3}),
        (Wrapped(), {}),
        (by_keyword, {}),
        (torch.nn.Dropout(inplace=True), {}),
    ],
    ids=lambda case: getattr(case, "__qualname__", str(case)),
)
def test_unusual_but_right_ones_pass(candidate, kwargs):
    report = audit(candidate, **kwargs)
    assert report.passed, str(report)
    written = isinstance(candidate, torch.nn.Dropout) and candidate.inplace
    expected = "note" if written else "pass"
    assert verdict(report, "input untouched").verdict == expected


def test_an_axis_of_one_element_has_no_place_in_memory():
    report = audit(right, shape=(1, 1000))
    assert verdict(report, "dtype and layout").verdict == "pass"


def test_alpha_dropout_is_no_dropout():
    found = audit(torch.nn.AlphaDropout).failures[0].measured
    assert "not the input with units dropped and one scale" in found


def test_a_seed_without_effect_and_another_order_in_memory_are_told():
    report = audit(MUTANTS["one mask for ever"][0])
    names = [check.name for check in report.failures]
    assert names == ["fresh mask every call", "seedable"]
    assert verdict(report, "seedable").measured == "two seeds, one mask"
    assert verdict(report, "dtype and layout").measured.endswith("memory order not")


def test_a_draw_at_p_0_is_noted():
    def drawing(x, p, training, rng):
        if p == 0 and training:
            rng.random()
        return right(x, p, training, rng)

    assert verdict(audit(right), "p = 0").verdict == "pass"
    assert verdict(audit(drawing), "p = 0").verdict == "note"


def test_noted_are_what_pytorch_does_on_purpose():
    notes = {"mean kept", "NaN and inf dropped"}
    report = audit(torch.nn.Dropout)
    assert {check.name for check in report.checks if check.verdict == "note"} == notes
    assert "bfloat16" in verdict(report, "mean kept").measured


def verdict(report, name):
    (found,) = [check for check in report.checks if check.name == name]
    return found


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (torch.nn.Dropout1d, (16, 32, 8), "axis 2"),
        (torch.nn.Dropout2d, (16, 32, 4, 4), "axes 2, 3"),
        (companion.nn.Dropout(shared_axes=-1), (16, 32, 8), "axis 2"),
        (companion.nn.Dropout(shared_axes=1), (64, 8), "axis 1"),
    ],
)
def test_whole_channels_are_noted_and_the_rest_holds(layer, shape, axes):
    report = audit(layer, shape=shape)
    assert report.passed, str(report)
    assert verdict(report, "what is dropped").verdict == "note"
    assert axes in verdict(report, "what is dropped").measured


def test_a_mask_shared_by_the_batch_is_counted_once():
    report = audit(companion.nn.Dropout(shared_axes=0))
    assert [check.name for check in report.failures] == ["samples independent"]


def test_a_vector_has_no_samples():
    report = audit(inverted.dropout, shape=(4096,))
    assert report.passed, str(report)
    assert verdict(report, "samples independent").verdict == "not applicable"


class WithBackward:
    """A NumPy layer that goes back with `change`d gradients."""

    def __init__(self, change):
        self.change = change

    def __call__(self, x, p, training, rng):
        self.p = p
        y, self.mask = inverted.dropout(
            x, p, training=training, rng=rng, return_mask=True
        )
        return y

    def backward(self, grad):
        return self.change(inverted.dropout_backward(grad, self.mask, self.p))


def test_backward_of_a_numpy_layer():
    assert verdict(audit(WithBackward(np.copy)), "backward").verdict == "pass"
    assert verdict(audit(WithBackward(lambda g: 2 * g)), "backward").verdict == "fail"


# Frameworks


def compiled(*inputs, updates=True, layer=None):
    rng = pt.random.shared_rng(seed=0)
    next_rng, y = (layer or symbolic.dropout_layer)(*inputs, rng)
    symbols = [i for i in inputs if not isinstance(i, float)]
    return pytensor.function(symbols, y, updates={rng: next_rng} if updates else {})


X, P, TRAIN = pt.matrix("x"), pt.scalar("p"), pt.scalar("train", dtype="bool")


def test_compiled_functions():
    report = audit(compiled(X, P, TRAIN))
    assert report.passed, str(report)
    assert verdict(report, "survivors' scale").measured == "none"
    assert verdict(report, "inference").measured == "x(1-p)"
    stuck = audit(compiled(X, P, TRAIN, updates=False))
    assert "fresh mask every call" in [check.name for check in stuck.failures]


@pytest.mark.parametrize(("inputs", "p"), [((X, P), 0.5), ((X, 0.3), 0.3)])
def test_a_compiled_function_without_inference(inputs, p):
    report = audit(compiled(*inputs, layer=symbolic.dropit), p=p)
    assert report.passed, str(report)
    assert verdict(report, "inference").verdict == "not applicable"
    assert verdict(report, "survivors' scale").verdict == "note"
    one_rate = verdict(report, "p = 1").verdict == "not applicable"
    assert one_rate == (len(inputs) == 2 and inputs[1] == 0.3)


def test_keras_on_pytorch(tmp_path):
    code = """
import keras
from companion.audit import audit
report = audit(keras.layers.Dropout(0.5))
assert report.passed, str(report)
assert "float32" in str(report)
class Upside(keras.layers.Dropout):
    def call(self, inputs, training=False):
        y = super().call(inputs, training=training)
        return y * (1 - self.rate) / self.rate if training and self.rate else y
assert "survivors' scale" in [check.name for check in audit(Upside(0.5)).failures]
"""
    home = os.environ | {"KERAS_BACKEND": "torch", "KERAS_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=home)


class Halves(Adapter):
    """Of another kind: arrays are lists of numbers."""

    name, dtypes, sets_p, has_inference = "halves", ("float64",), False, False

    def array(self, values, dtype):
        return (values.tolist(), values.shape)

    def values(self, array):
        return np.array(array[0], dtype=float).reshape(array[1])

    def dtype(self, array):
        return "float64"

    def reversed(self, array):
        return None

    def seed(self, seed):
        self.rng = np.random.default_rng(seed)

    def state(self):
        return self.rng.bit_generator.state

    def __call__(self, x, p, training=True):
        return (right(self.values(x), 0.5, True, self.rng).tolist(), x[1])


def test_an_adapter_of_ones_own():
    assert audit(Halves(), shape=(16, 32)).passed
    wrong = audit(Halves(), p=0.4, shape=(16, 32))
    assert wrong.failures[0].name == "drop rate"


def test_no_more_tests_are_made_than_share_alpha(monkeypatch):
    tests = []
    for module, name in [
        (statistics, "two_sided"),
        (chance, "two_sided"),
        (statistics, "uneven_p"),
    ]:
        made = getattr(module, name)
        monkeypatch.setattr(
            module,
            name,
            lambda *args, made=made: tests.append(made(*args)) or tests[-1],
        )
    audit(torch.nn.Dropout, p=0.3)
    assert 20 < len(tests) <= subject.TESTS
    assert min(tests) < 1e-6  # bfloat16, where the mean is not kept
    assert sorted(tests)[4] > 1e-3


def test_chances_count_both_sides_and_every_pair():
    assert chance.two_sided(stats.binom(10, 0.5), 0) == pytest.approx(2 * 0.5**10)
    columns = np.random.default_rng(0).random((40, 3)) < 0.5
    columns[:, 2] = columns[:, 0]
    p, i, j = chance.worst_pair(columns)
    assert (i, j) == (0, 2)
    assert p == pytest.approx(3 * chance.overlap_p(columns[:, 0], columns[:, 2]))


# Whatever a candidate does


def raises(x, p, training, rng):
    raise RuntimeError("not today")


def leaves(x, p, training, rng):
    sys.exit(3)


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (raises, "RuntimeError: not today"),
        (leaves, "SystemExit: 3"),
        (lambda x, p, training, rng: x.tolist(), "it returned list, not an array"),
        (lambda x, p, training, rng: x[:1], "not the input with units dropped"),
        (lambda x, p, training: x.numpy(), "it returned ndarray, not a tensor"),
    ],
)
def test_what_a_candidate_does_wrong_is_reported(candidate, said):
    report = audit(candidate)
    assert not report.passed
    assert said in report.failures[0].measured
    assert {check.verdict for check in report.checks[1:]} == {"not applicable"}


def test_an_endless_candidate_is_left_behind(monkeypatch):
    monkeypatch.setattr(runner, "TIME_LIMIT", 0.2)
    enough = threading.Event()

    def endless(x, p, training, rng):
        if p == 0.9:
            enough.wait()
        return right(x, p, training, rng)

    report = audit(endless)
    enough.set()
    assert report.failures[-1].measured == "no answer within 0.2 s"
    assert len(report.checks) < len(layer.CHECKS)


def test_an_audit_leaves_everything_as_it_was():
    layer = torch.nn.Dropout(0.25)
    before, filters = global_states(), warnings.filters[:]
    audit(layer, p=0.5)
    audit(masked(global_draw))
    assert global_states() == before
    assert warnings.filters == filters
    assert (layer.p, layer.training) == (0.25, True)


def test_an_audit_is_repeatable():
    first, again, other = (
        audit(right, seed=seed).to_dict()["checks"] for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("kwargs", "error", "said"),
    [
        ({"p": 0}, ValueError, "p must lie between 0 and 1, ends excluded; got 0"),
        ({"p": 1.5}, ValueError, "got 1.5"),
        ({"p": "a"}, TypeError, "'a'"),
        ({"alpha": 0}, ValueError, "alpha must lie between 0 and 1"),
        ({"shape": ()}, ValueError, r"got \(\)"),
        ({"shape": (3, 0)}, ValueError, r"got \(3, 0\)"),
        ({"candidate": 7}, TypeError, "candidate must be a function .* got 7"),
    ],
)
def test_what_cannot_be_audited_is_refused(kwargs, error, said):
    with pytest.raises(error, match=said):
        audit(**{"candidate": right} | kwargs)


# The report


def test_a_report_says_the_same_in_three_ways():
    report = audit(MUTANTS["one mask a batch"][0])
    failed = [check.name for check in report.failures]
    assert failed == ["samples independent"]
    plain_data = json.loads(json.dumps(report.to_dict()))
    assert plain_data["passed"] is report.passed is False
    table = BeautifulSoup(report._repr_html_(), "html.parser")
    rows = table.select("tbody tr")
    lines = [line for line in str(report).splitlines() if line[0] in "✓✗·-"]
    for data, check, row, line in zip(
        plain_data["checks"], report.checks, rows, lines, strict=True
    ):
        assert data["name"] == check.name == row.th.text
        assert check.meaning == data["meaning"] == row.th["title"]
        assert row.td.text.endswith(check.verdict)
        assert line.startswith(f"✗ {check.name}") == (check.verdict == "fail")
        assert check.measured in line
    assert table.caption.text == str(report).splitlines()[0] == report.summary
    assert "16 passed, 1 failed" in report.summary
    assert {th["scope"] for th in table.select("th")} == {"row", "col"}


def test_text_in_a_report_is_no_markup():
    report = AuditReport("<b>", (Check("<i>", "m", "fail", "<u>", "&", "<s>"),))
    assert BeautifulSoup(report._repr_html_(), "html.parser").select("b, i, u, s") == []


# The command


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["companion.inverted:dropout", "--p", "0.3"], 0, "17 passed, 0 failed"),
        (["companion.estimators:MLPDropoutRegressor"], 0, "13 passed, 0 failed"),
        (["test_audit:upcast"], 1, "✗ dtype and layout"),
        (["nothing"], 2, "name must be package.module:name; got 'nothing'"),
        (["nowhere:f"], 2, "No module named 'nowhere'"),
        (["os:nowhere"], 2, "has no attribute 'nowhere'"),
        (["os:sep"], 2, "got '/'"),
        (["companion.inverted:dropout", "--p", "1"], 2, "got 1.0"),
    ],
)
def test_the_command(arguments, status, said, capsys):
    assert main(arguments) == status
    printed = capsys.readouterr()
    assert said in (printed.err if status == 2 else printed.out)
    assert (printed.out if status == 2 else printed.err) == ""


def test_the_command_in_a_shell_with_json():
    command = [sys.executable, "-m", "companion.audit", "torch.nn:Dropout", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == audit(torch.nn.Dropout).to_dict()


@pytest.mark.parametrize(
    ("name", "checks"),
    [
        ("torch.nn:Dropout", layer.CHECKS),
        ("companion.estimators:MLPDropoutRegressor", ESTIMATOR_CHECKS),
    ],
)
def test_checks_have_names_where_docstrings_are_left_out(name, checks):
    command = [sys.executable, "-OO", "-m", "companion.audit", name, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [(c["name"], c["meaning"]) for c in json.loads(done.stdout)["checks"]]
    assert found == [(check.name, check.meaning) for check in checks]
    assert all(map(all, found))


def test_import_without_scipy_says_how_to_install_it(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("companion.audit")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"pip install 'dropout-companion\[audit\]'"):
        importlib.import_module("companion.audit")
