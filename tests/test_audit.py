"""The audit: every mutant is caught by the check that should catch it, and no right layer is."""

import json
import re
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from dropouts import (
    MUTANTS,
    RIGHT,
    SHAPES,
    SMALL,
    adapt,
    audit_once,
    checked,
    global_draw,
    masked,
    plain,
    right,
    verdict,
)
from scipy import stats

import companion.nn
from companion import inverted
from companion.audit import (
    AuditReport,
    Check,
    audit,
    behaviour,
    chance,
    conditions,
    independence,
    layer,
    runner,
    statistics,
    subject,
)
from companion.audit.runner import run_checks
from companion.audit.state import global_states
from companion.audit.subject import Subject, rounding, units_to_pair

STATISTICS = [
    check.name
    for check in (*statistics.CHECKS, *independence.CHECKS, *conditions.CHECKS)
]
MANY = (64, 256)  # units and samples, so that small deviations show


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught_by_the_check_that_should_catch_them(name):
    candidate, check = MUTANTS[name]
    shape = MANY if check in STATISTICS else SMALL
    report = checked(candidate, check, shape=shape, kind="units")
    found = verdict(report, check)
    assert found.verdict == "fail", str(report)
    assert found.measured.partition(":")[0] != "AttributeError", str(report)


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize(("p", "seed"), [(0.5, 0), (0.93, 1)])
def test_right_ones_pass(name, p, seed):
    report = audit_once(RIGHT[name], p=p, seed=seed, shape=SHAPES.get(name, MANY))
    assert report.passed, f"{report}\n(more axes than two: see SHAPES in dropouts.py)"


@pytest.mark.parametrize(
    ("candidate", "kwargs"),
    [
        *((torch.nn.Dropout, {"p": p}) for p in (0.003, 0.15, 0.99)),
        (companion.nn.Dropout, {"p": 0.99}),
        *((right, {"shape": shape, "p": 0.1}) for shape in [(2, 3), (5,), (64, 1)]),
        (right, {"shape": (1,)}),
        (right, {"shape": (100_000, 2)}),
    ],
    ids=lambda case: getattr(case, "__qualname__", str(case)),
)
def test_unusual_but_right_ones_pass(candidate, kwargs):
    report = audit(candidate, **kwargs)
    assert report.passed, str(report)
    assert verdict(report, "input untouched").verdict == "pass"


def test_an_axis_of_one_element_has_no_place_in_memory():
    report = checked(right, "dtype and layout", shape=(1, 1000))
    assert verdict(report, "dtype and layout").verdict == "pass"


def test_a_seed_without_effect_and_another_order_in_memory_are_told():
    report = audit(MUTANTS["one mask for ever"][0])
    names = [check.name for check in report.failures]
    assert names == ["fresh mask every call", "seedable"]
    assert verdict(report, "seedable").measured == "two seeds, one mask"
    assert verdict(report, "dtype and layout").measured.endswith("memory order not")


def draws_at_p_0(x, p, training, rng):
    if p == 0 and training:
        rng.random()
    return right(x, p, training, rng)


def a_number_becomes_an_array(x, p, training, rng):
    return np.atleast_1d(right(x, p, training, rng))


def needs_samples(x, p, training, rng):
    len(x)
    return right(x, p, training, rng)


@pytest.mark.parametrize(
    ("candidate", "check", "measured"),
    [
        (draws_at_p_0, "p = 0", "x, but draws"),
        (a_number_becomes_an_array, "empty and 0-d input", r"shape (1,) from ()"),
        (needs_samples, "empty and 0-d input", "0-d input: TypeError: len() of unsiz"),
        (torch.nn.Dropout, "NaN and inf dropped", "a dropped nan leaks"),
    ],
)
def test_what_is_odd_and_not_wrong_is_noted(candidate, check, measured):
    found = verdict(checked(candidate, check), check)
    assert (found.verdict, found.measured[: len(measured)]) == ("note", measured)
    assert verdict(checked(right, check), check).verdict == "pass"


def keeps_some_at_p_1(x, p, training, rng):
    return right(x, 0.5 if p == 1 else p, training, rng)


@pytest.mark.parametrize(
    ("candidate", "check", "measured"),
    [
        (keeps_some_at_p_1, "p = 1", "kept some units"),
        (MUTANTS["divides by 0"][0], "p = 1", "NaN or inf"),
        (MUTANTS["gradient at 1"][0], "p = 1", "zeros, gradient not 0"),
        (MUTANTS["no scale"][0], "survivors' scale", "none (1 at p = 0.1)"),
        (MUTANTS["jitter"][0], "survivors' scale", "other (1.1"),
        (MUTANTS["1-p"][0], "mean kept", "0.8"),
        (MUTANTS["coarse"][0], "p = 1", ""),  # a constant, without a gradient
        (MUTANTS["pads empty"][0], "empty and 0-d input", "shape (1, 32) from (0, 32)"),
        (MUTANTS["drops at inference"][0], "inference", "still drops units"),
        (MUTANTS["scales twice"][0], "inference", ""),
        (
            MUTANTS["by memory"][0],
            "the same in every condition",
            "a transposed input: the result is not the input with units dropped",
        ),
        (MUTANTS["also global"][0], "global state left alone", "changed numpy.random"),
        (MUTANTS["takes 1.5"][0], "bad p refused", "took 1.5"),
    ],
)
def test_a_verdict_says_what_was_seen(candidate, check, measured):
    found = verdict(checked(candidate, check), check)
    assert found.measured.startswith(measured)
    assert found.verdict == ("fail" if measured else "pass")
    assert bool(found.consequence) == (found.verdict == "fail")


def test_noted_are_what_pytorch_does_on_purpose():
    notes = {"half precision", "NaN and inf dropped"}
    report = audit_once(torch.nn.Dropout, p=0.5, seed=0, shape=MANY)
    assert {check.name for check in report.checks if check.verdict == "note"} == notes
    assert "bfloat16" in verdict(report, "half precision").measured


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
    report = audit(companion.nn.Dropout(shared_axes=0), shape=(16, 256))
    assert [check.name for check in report.failures] == ["samples independent"]


def test_a_vector_has_no_samples():
    report = audit(inverted.dropout, shape=(4096,))
    assert report.passed, str(report)
    assert verdict(report, "samples independent").verdict == "not applicable"


def test_without_inference_to_compare_with_no_mean_is_asked_for():
    def noisy(x, p, training, rng):
        return right(x, 0.5, True, rng) if not training else right(x, p, True, rng)

    found = verdict(checked(noisy, "mean kept"), "mean kept")
    assert found.measured == "inference gives no mean to compare with"


def test_one_call_of_one_sample_has_nothing_to_be_compared():
    def same(x, p, training, rng):
        return right(x, p, training, np.random.default_rng(0))

    found = verdict(
        checked(same, "units independent", shape=(1, 32)), "units independent"
    )
    assert found.measured == "there is only one to look at"


def test_of_many_units_far_ones_are_compared_too():
    def last_repeats_first(shape, p, rng):
        mask = plain(shape, p, rng)
        if len(shape) > 1:
            mask[..., 300:] = mask[..., :300]
        return mask

    report = checked(masked(last_repeats_first), "units independent", shape=(64, 600))
    found = verdict(report, "units independent")
    assert found.verdict == "fail"
    i, j = map(int, re.findall(r"\d+", found.measured.partition("units")[2]))
    assert j - i == 300


def test_no_more_tests_are_made_than_share_alpha(monkeypatch):
    tests = []
    for module, name in [
        (statistics, "two_sided"),
        (chance, "two_sided"),
        (independence, "uneven_p"),
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
    assert chance.uneven_p(np.ones((4, 3), dtype=bool)) == 1
    assert chance.uneven_p(np.tile([[False, False], [True, True]], (50, 1))) < 1e-9


@pytest.mark.parametrize("q", [0.1, 0.5, 0.8])
def test_the_spread_of_survivors_is_judged_by_the_variance_of_its_squares(q):
    """Which SciPy knows as the excess kurtosis of a binomial; the rate is that of the rows."""
    n, m = 400, 12
    rows = np.random.default_rng(7).random((n, m)) < q
    kept = rows.sum(axis=1)
    binomial = stats.binom(m, kept.mean() / m)
    variance = 2 + binomial.stats("k")
    statistic = ((kept - kept.mean()) ** 2).sum() / binomial.var()
    scaled = stats.chi2((n - 1) * 2 / variance, scale=variance / 2)
    expected = 2 * min(scaled.cdf(statistic), scaled.sf(statistic))
    assert 0.01 < chance.uneven_p(rows) < 1
    assert chance.uneven_p(rows) == pytest.approx(expected, rel=1e-9)


# Whatever a candidate does


def raises(x, p, training, rng):
    raise RuntimeError("not today")


def leaves(x, p, training, rng):
    sys.exit(3)


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (raises, "It raised RuntimeError: not today"),
        (leaves, "It raised SystemExit: 3"),
        (lambda x, p, training, rng: x.tolist(), "it returned list, not an array"),
        (lambda x, p, training, rng: (x, x), "it returned tuple, not an array"),
        (lambda x, p, training, rng: x[:1], "returned the shape (1, 256)"),
        (lambda x, p, training: x.numpy().tolist(), "it returned list, not a tensor"),
    ],
)
def test_what_cannot_be_called_is_no_failure(candidate, said):
    report = audit(candidate)
    assert report.passed is None
    assert report.checks == report.failures == ()
    assert said in report.obstacle
    assert "I called f(x, p, training" in report.obstacle
    assert "of shape (64, 256)" in report.obstacle


def test_an_endless_candidate_is_left_behind(monkeypatch):
    monkeypatch.setattr(runner, "TIME_LIMIT", 0.2)
    enough = threading.Event()

    def endless(x, p, training, rng):
        if p == 0.9:
            enough.wait()
        return right(x, p, training, rng)

    threads = threading.active_count()
    report = audit(endless, shape=SMALL)
    assert threading.active_count() == threads
    assert report.failures[-1].measured == "no answer within 0.2 s"
    assert len(report.checks) < len(layer.CHECKS)


def test_an_audit_leaves_everything_as_it_was():
    layer = torch.nn.Dropout(0.25)
    before, filters = global_states(), warnings.filters[:]
    audit(layer, p=0.5, shape=SMALL)
    audit(masked(global_draw), shape=SMALL)
    assert global_states() == before
    assert warnings.filters == filters
    assert (layer.p, layer.training) == (0.25, True)


def test_an_audit_is_repeatable():
    first, again, other = (
        audit(right, seed=seed, shape=SMALL).to_dict()["checks"] for seed in (1, 1, 2)
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
    named = [(check.name, check.meaning) for check in report.checks]
    assert named == [(check.name, check.meaning) for check in layer.CHECKS]
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
    assert "18 passed, 1 failed" in report.summary
    assert {th["scope"] for th in table.select("th")} == {"row", "col"}


def test_text_in_a_report_is_no_markup():
    report = AuditReport("<b>", (Check("<i>", "m", "fail", "<u>", "&", "<s>"),))
    assert BeautifulSoup(report._repr_html_(), "html.parser").select("b, i, u, s") == []


def test_import_without_scipy_says_how_to_install_it():
    code = (
        "import sys; sys.modules['scipy'] = None; import companion.audit as a; a.audit"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImportError: " in done.stderr
    assert "pip install 'dropout-companion[audit]'" in done.stderr


@pytest.mark.parametrize(
    ("samples", "verdict_is", "measured"),
    [
        (1, "not applicable", "the input has no batch axis"),
        (2, "pass", "largest correlation"),
    ],
)
def test_two_samples_are_enough_to_compare(samples, verdict_is, measured):
    found = verdict(
        checked(right, "samples independent", shape=(samples, 256)),
        "samples independent",
    )
    assert found.verdict == verdict_is
    assert found.measured.startswith(measured)


@pytest.mark.parametrize("p", [0.1, 0.9])
def test_the_bound_of_the_mean_is_what_chance_reaches(p):
    drawn = Subject(adapt(right, p), p, SMALL, seed=0, alpha=1e-6)
    n = drawn.draws(p, "float64").masks.size
    away = stats.norm.isf(1e-6 / subject.TESTS / 2) * np.sqrt(p / (1 - p) / n)
    assert statistics._mean(drawn, p, "float64").bound == f"1 ± {away:.4f}"


def test_the_input_has_both_signs_and_about_one_size():
    subject = Subject(adapt(right, 0.5), 0.5, MANY, seed=0, alpha=1e-6)
    x = subject.input_values()
    assert 0.4 < (x > 0).mean() < 0.6
    assert abs(x).min() >= 0.5
    assert abs(x).max() <= 1.5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_rounding_is_half_a_step(dtype):
    step = torch.finfo(getattr(torch, dtype)).eps
    assert rounding(dtype) == step / 2


def test_of_many_units_the_first_and_as_many_far_ones_are_paired():
    subject = Subject(adapt(right, 0.5), 0.5, (16, 1000), seed=0, alpha=1e-6)
    units = units_to_pair(subject, 1000)
    assert units[:128].tolist() == list(range(128))
    assert 200 < len(units) <= 256
    assert len(set(units)) == len(units)


def test_reports_cannot_be_changed():
    report = checked(right, "drop rate")
    with pytest.raises(AttributeError):
        report.checks = ()
    with pytest.raises(AttributeError):
        report.checks[0].verdict = "fail"


@pytest.mark.parametrize("check", behaviour.CHECKS, ids=lambda check: check.name)
def test_what_a_check_finds_does_not_hang_on_what_was_drawn_before(check):
    subject = Subject(adapt(torch.nn.Dropout, 0.5), 0.5, SMALL, seed=0, alpha=1e-6)

    def found():
        (result,) = run_checks([check], subject)
        return result

    first = found()
    subject.output(subject.input(), 0.5)
    assert found() == first
