"""What the audit takes, what it finds it to be, and what it says when it cannot run."""

import copy

import numpy as np
import pytest
import torch
from conditional import CONDITIONAL, FAMILY, RIGHT_FAMILY, Blocks, Connect, paths
from dropouts import MUTANTS, SMALL, checked, right, verdict
from torch import nn
from torch.nn import functional as F

import companion.nn
from companion.audit import audit
from companion.audit.adapters.calls import RATES, call_of
from companion.audit.kinds import KINDS

MANY = (64, 256)


def failed(report):
    return [check.name for check in report.failures]


def test_there_are_eighty_mutants():
    assert len(MUTANTS) + len(CONDITIONAL) + len(FAMILY) >= 80


@pytest.mark.parametrize("name", CONDITIONAL)
def test_a_flaw_under_a_condition_is_found_by_the_check_that_should(name):
    candidate, check = CONDITIONAL[name]
    found = verdict(checked(candidate, check, shape=MANY), check)
    assert found.verdict == "fail", found
    assert "Error" not in found.measured


@pytest.mark.parametrize("name", FAMILY)
def test_a_flaw_in_a_member_of_the_family_is_found(name):
    candidate, options, check = FAMILY[name]
    report = audit(candidate, **options)
    assert check in failed(report), str(report)
    assert "Error" not in verdict(report, check).measured


@pytest.mark.parametrize("name", RIGHT_FAMILY)
def test_right_members_of_the_family_pass(name):
    candidate, options = RIGHT_FAMILY[name]
    report = audit(candidate, **options)
    assert not report.core, str(report)


# What it is


@pytest.mark.parametrize(
    ("candidate", "options", "kind", "said"),
    [
        (nn.Dropout, {}, "units", "single units"),
        (nn.Dropout2d, {"shape": (8, 16, 4, 4)}, "channels", "whole channels: one draw"),
        (nn.Dropout1d, {"shape": (16, 32, 8)}, "tokens", "whole channels (or tokens)"),
        (companion.nn.Dropout(shared_axes=1), {"shape": (16, 8, 32)}, "steps", "every step"),
        (companion.nn.Dropout(shared_axes=1), {}, "paths", "paths, each sample as a whole"),
        (Blocks, {"shape": (8, 16, 14, 14)}, "blocks", "blocks of neighbouring units"),
        (Connect, {}, "weights", "weights: 100% of the units"),
        (nn.AlphaDropout, {}, "alpha", "set to -0.7792"),
    ],
)  # fmt: skip
def test_the_first_line_says_what_is_dropped(candidate, options, kind, said):
    first = audit(candidate, **options).checks[0]
    assert first.code == "DR101"
    assert first.verdict == ("pass" if kind == "units" else "note")
    assert said in first.measured
    meant = audit(candidate, kind=kind, **options).checks[0]
    assert meant.verdict == "pass"
    other = audit(candidate, kind="noise", **options).checks[0]
    assert (other.verdict, other.bound) == ("fail", "noise")


def test_a_kind_that_is_none_is_refused():
    with pytest.raises(ValueError, match="got 'pixels'") as refused:
        audit(right, kind="pixels")
    assert all(kind in str(refused.value) for kind in KINDS)


@pytest.mark.parametrize("factor", [0, 1, 2])
def test_nothing_or_everything_dropped_is_said_first_and_alone(factor):
    report = audit(lambda x, p, training: x * factor if training else x)
    assert failed(report) == ["what is dropped"]
    assert ("everything" in str(report)) == (factor == 0)


def test_noise_says_what_was_seen():
    def never_floored(x, p, training):
        keep = 1 - p
        noise = keep + torch.rand(x.shape[0], *[1] * (x.ndim - 1), dtype=x.dtype)
        return x / keep * noise if training and p else x + 0

    report = audit(never_floored, p=0.1)
    assert "no unit is 0, ratios from 1" in report.checks[0].measured
    assert verdict(report, "mean kept").measured.startswith("1.5")


def test_few_draws_a_call_are_made_up_for():
    """A rate off by 0.0015 is 10 standard errors of 4 million draws, and 1 of 16,384."""
    found = verdict(audit(paths, p=0.1), "drop rate")
    assert found.verdict == "fail"


def test_one_mask_in_time_is_right_where_time_comes_first():
    class Locked(companion.nn.Dropout):
        def __init__(self, p=0.5):
            super().__init__(p, shared_axes=0)

    assert audit(Locked, shape=(8, 16, 32), batch_axis=1).passed
    found = audit(Locked, shape=(8, 16, 32)).failures
    assert [check.name for check in found] == ["samples independent"]
    assert "say batch_axis=1" in found[0].consequence


def test_an_axis_that_is_none_is_refused():
    with pytest.raises(ValueError, match="got 2"):
        audit(right, shape=(8, 16), batch_axis=2)


# How it is called


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, p, training: x, ("p", "training", False, None)),
        (lambda x, keep, flag: x, (None, None, False, None)),
        (F.dropout, ("p", "training", False, None)),
        (lambda h, *, drop_prob, deterministic: h, ("drop_prob", "deterministic", True, None)),
        (lambda x, p, training, rng: x, ("p", "training", False, "rng")),
    ],
)  # fmt: skip
def test_parameters_are_told_by_their_names(function, expected):
    assert tuple(call_of(function))[1:5] == expected


def upside(x, *, dropout_rate, deterministic, rng):
    return right(x, dropout_rate, not deterministic, rng)


def no_generator(x, p, training):
    if not 0 <= p <= 1:
        raise ValueError(p)
    if not training or p == 0:
        return np.array(x)
    keep = np.random.random(x.shape) >= p  # noqa: NPY002
    return np.where(keep, x / (1 - p), 0).astype(x.dtype) if p < 1 else 0 * x


class Callable:
    """An object that keeps its rate, and is told to rest."""

    def __init__(self, rate=0.5):
        self.rate = rate

    def __call__(self, x, *, deterministic=False):
        return torch.nn.functional.dropout(x, self.rate, not deterministic)


@pytest.mark.parametrize("candidate", [upside, no_generator, Callable(0.2), Callable])
def test_calls_of_many_manners(candidate):
    report = audit(candidate, shape=SMALL)
    assert not report.core, str(report)
    assert verdict(report, "inference").verdict == "pass"
    if isinstance(candidate, Callable):
        assert candidate.rate == 0.2


class Keeps(nn.Module):
    def __init__(self, keep_prob=0.5):
        super().__init__()
        self.keep_prob = keep_prob

    def forward(self, x):
        return F.dropout(x, 1 - self.keep_prob, self.training)


def keeps(x, keep_prob, training):
    return F.dropout(x, 1 - keep_prob, training)


@pytest.mark.parametrize("candidate", [Keeps, Keeps(0.9), keeps])
def test_a_keep_probability_is_told_by_its_name(candidate):
    found = verdict(audit(candidate, p=0.1, shape=MANY), "drop rate")
    assert found.verdict == "pass"
    assert found.measured.startswith(("0.099", "0.100"))


@pytest.mark.parametrize("name", RATES)
def test_a_rate_is_found_under_every_name_in_use(name):
    class Layer(nn.Module):
        def __init__(self, rate=0.5):
            super().__init__()
            setattr(self, name, rate)

        def forward(self, x):
            return F.dropout(x, getattr(self, name), self.training)

    assert verdict(checked(Layer(0.3), "drop rate"), "drop rate").verdict == "pass"


class Inside(nn.Module):
    """Its rate is that of a layer in it."""

    def __init__(self, p=0.5):
        super().__init__()
        self.layer = nn.Dropout(p)

    def forward(self, x):
        return self.layer(x)


class Sealed(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.inside = [rate]

    def forward(self, x):
        return F.dropout(x, self.inside[0], self.training)


class Deaf(nn.Module):
    """It shows a rate that it does not look at again."""

    def __init__(self, p, shown=None):
        super().__init__()
        self.drop_rate, self.layer = shown or p, [nn.Dropout(p)]

    def forward(self, x):
        return F.dropout(x, self.layer[0].p, self.training)


@pytest.mark.parametrize(
    ("layer", "rate"),
    [(Inside(0.3), "0.5"), (Sealed(0.3), "0.3"), (Deaf(0.3), "0.3")],
    ids=["inside", "sealed", "deaf"],
)
def test_a_rate_that_was_not_given_is_the_layers_own(layer, rate):
    before = copy.deepcopy(layer.state_dict())
    report = audit(layer)
    assert report.passed, str(report)
    assert verdict(report, "drop rate").measured.startswith(
        (rate, f"{float(rate) - 0.001:.3f}")
    )
    assert layer.state_dict() == before


def test_a_rate_that_is_taken_the_wrong_way_round_is_set_all_the_same():
    class Upside(nn.Module):
        def __init__(self, p=0.5):
            super().__init__()
            self.p = p

        def forward(self, x):
            return F.dropout(x, 1 - self.p, self.training)

    for candidate in (Upside, Upside(0.5)):
        found = verdict(checked(candidate, "drop rate"), "drop rate")
        assert found.measured.startswith("0.90")
        assert "drop rate" in failed(audit(candidate))


def test_a_rate_that_is_shown_and_not_kept_is_a_failure():
    assert "drop rate" in failed(audit(Deaf(0.3, shown=0.5)))
    assert verdict(audit(Sealed(0.3)), "drop rate").verdict == "note"
    assert "drop rate" in failed(audit(Sealed(0.3), p=0.4))


def test_a_scripted_layer_is_audited_at_its_own_rate():
    with pytest.warns(DeprecationWarning, match="deprecated"):
        scripted = torch.jit.script(nn.Dropout(0.4))
    report = audit(scripted)
    assert not report.core, str(report)
    assert "Error" not in str([check.measured for check in report.failures])


class NeedsMore(nn.Module):
    def __init__(self, size, p=0.5, *, also):
        super().__init__()
        self.p = p

    def forward(self, x):
        return F.dropout(x, self.p, self.training)


def test_what_a_class_must_be_given_is_given():
    report = audit(NeedsMore)
    assert report.passed is None
    assert "NeedsMore(0.5)" in report.obstacle or "size" in report.obstacle
    assert "arguments=" in report.obstacle
    assert audit(NeedsMore, arguments={"size": 3, "also": 1}, shape=SMALL).passed


class Images(nn.Module):
    def __init__(self, p=0.5):
        super().__init__()
        self.p = p

    def forward(self, x):
        n, c, _, _ = x.shape
        keep = F.dropout(x.new_ones(n, c, 1, 1), self.p, self.training)
        print("a call")
        return x * keep


def test_a_shape_that_fits_is_found_and_what_is_printed_is_kept_out(capsys):
    report = audit(Images)
    assert not report.core, str(report)
    assert "axes 2, 3" in report.checks[0].measured
    assert capsys.readouterr().out == ""


def test_a_layer_with_weights_of_one_dtype():
    class Single(nn.Linear):
        def __init__(self):
            super().__init__(256, 256)
            self.dropout = nn.Dropout(0.5)

        def forward(self, x):
            return self.dropout(x + 0 * super().forward(x))

    report = audit(Single())
    assert not report.core, str(report)
    assert "float64" not in str(report)


def test_dtypes_are_those_that_are_asked_for():
    report = audit(nn.Dropout, dtypes=("float32",), shape=SMALL)
    assert report.passed
    assert "float64" not in str(report)
    assert "bfloat16" not in str(report)


def test_a_ratio_is_judged_at_the_dtype_that_came_back():
    def single(x, p, training, rng):
        return right(x.astype(np.float32), p, training, rng)

    assert failed(audit(single)) == ["dtype and layout"]


def test_checks_are_switched_off_with_a_reason():
    report = audit(
        MUTANTS["takes NaN"][0], skip={"DR202": "p is checked by the caller"}
    )
    assert report.passed
    found = verdict(report, "bad p refused")
    assert found.verdict == "not applicable"
    assert "p is checked by the caller" in found.measured
    with pytest.raises(ValueError, match="got 'DR999'"):
        audit(right, skip={"DR999": "why"})


def test_the_dtype_of_one_mode_alone_is_a_matter_of_dtype_too():
    def single(x, p, training, rng):
        return right(x if training else x.astype(np.float32), p, training, rng)

    assert failed(audit(single)) == ["dtype and layout"]


def test_an_error_at_rest_is_told_by_the_check_of_inference():
    def raises_at_rest(x, p, training, rng):
        if not training:
            raise RuntimeError("no rest")
        return right(x, p, training, rng)

    report = audit(raises_at_rest)
    assert report.checks[0].verdict == "pass"
    assert verdict(report, "inference").measured == "RuntimeError: no rest"


def test_noise_of_channels_is_compared_channel_by_channel():
    class Channels(nn.Module):
        def __init__(self, p=0.5):
            super().__init__()
            self.p = p

        def forward(self, x):
            if not self.training or self.p in (0, 1):
                return x + 0
            noise = torch.randn(*x.shape[:2], 1, 1, dtype=x.dtype)
            return x * (1 + (self.p / (1 - self.p)) ** 0.5 * noise)

    report = audit(Channels, shape=(16, 8, 7, 7))
    assert not report.core, str(report)


def open_ended(x, p, training, rng):
    """Dropout for 0 < p < 1."""
    if not 0 < p < 1:
        raise ValueError(f"p must be in (0, 1); got {p}")
    return right(x, p, training, rng)


def test_an_end_of_the_range_may_be_refused():
    report = audit(open_ended, shape=SMALL)
    assert report.passed
    assert {verdict(report, f"p = {p}").verdict for p in (0, 1)} == {"note"}

    def fails(x, p, training, rng):
        return right(x, p, training, rng) * (1 / (1 - p) * (1 - p))

    assert failed(audit(fails, shape=SMALL)) == ["p = 1"]


def test_a_layer_that_cannot_be_copied_is_put_back():
    layer = nn.Dropout(0.3).eval()
    layer.cache = nn.Linear(2, 2).weight * 2
    assert audit(layer, shape=SMALL).passed
    assert (layer.p, layer.training) == (0.3, False)


def test_a_slow_layer_is_looked_at_less_often():
    from companion.audit.subject import Subject
    from companion.audit.trial import prepare

    options = {"seed": 0, "alpha": 1e-6, "batch_axis": 0, "dtypes": None}
    subject = prepare(right, 0.5, MANY, arguments=None, **options)
    slow = Subject(subject.adapter, 0.5, MANY, 0, 1e-6, seconds=0.1)
    assert (subject.calls(), slow.calls()) == (256, 32)
