"""Auditing scikit-learn estimators: each mutant is caught, and no right one is."""

import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.neural_network._base import ACTIVATIONS

from companion.audit import audit_estimator, estimator
from companion.audit.estimator import CHECKS
from companion.audit.gradient import gradient_error
from companion.audit.runner import run_checks
from companion.audit.state import undisturbed
from companion.audit.watched import Subject
from companion.estimators import MLPDropoutClassifier, MLPDropoutRegressor

CHEAP = [check for check in CHECKS if check.name != "backward"]  # all but half a second


def checked(candidate, checks=CHEAP, p=0.4, seed=0):
    """Return how the checks went, by their names."""
    made = candidate() if isinstance(candidate, type) else candidate
    subject = Subject(made, p, seed, alpha=1e-6)
    return {check.name: check for check in run_checks(checks, subject)}


def failures(checks):
    return [name for name, check in checks.items() if check.verdict == "fail"]


# What is wrong with each mutant


def variant(parent=MLPDropoutClassifier, **methods):
    return type("Variant", (parent,), methods)


class UpsideDown(MLPDropoutClassifier):
    """Divides by p, in the stored activations; one mask a batch, from everybody's generator."""

    def _forward_pass(self, activations):
        last = len(self.coefs_) - 1
        for i in range(last + 1):
            h = activations[i] @ self.coefs_[i] + self.intercepts_[i]
            ACTIVATIONS[self.activation if i < last else self.out_activation_](h)
            kept = np.random.random(h.shape[1]) >= self.dropout  # noqa: NPY002
            activations[i + 1] = h * kept / self.dropout if i < last else h
        return activations


class Unscaled(MLPDropoutClassifier):
    def _drop(self, h, p):
        y, mask = super()._drop(h, p)
        return y * (1 - p), mask


class Uneven(MLPDropoutClassifier):
    """Right in most steps, and in every fifth not scaled."""

    steps = 0

    def _drop(self, h, p):
        y, mask = super()._drop(h, p)
        self.steps += p > 0
        return y * (1 - p) if self.steps % 5 == 0 else y, mask


class TwoRates(MLPClassifier):
    def __init__(self, *, dropout=0.5, drop_more=0.5):
        super().__init__()
        self.dropout, self.drop_more = dropout, drop_more


def seeds_anew(self, *args):
    MLPDropoutClassifier._initialize(self, *args)
    self._mask_rng = np.random.default_rng(0)


def fits_anew(self, *args, **kwargs):
    if hasattr(self, "coefs_"):
        self._mask_rng = np.random.default_rng(self.random_state)
    return MLPDropoutClassifier._fit(self, *args, **kwargs)


def masks_in_pairs(self, activations):
    self.steps = getattr(self, "steps", -1) + 1
    self._mask_rng = np.random.default_rng([self.random_state, self.steps // 2])
    return MLPDropoutClassifier._forward_pass(self, activations)


def forgets_the_mask(self, layer, sw_sum, activations, *args):
    seen = getattr(activations, "passed_on", activations)
    MLPClassifier._compute_loss_grad(self, layer, sw_sum, seen, *args)


def wrong_for_tanh(self, layer, *args):
    MLPDropoutClassifier._compute_loss_grad(self, layer, *args)
    if self.activation == "tanh":
        args[-1][layer] *= 2  # the gradient of the biases


def other_rate(self):
    return [0.0, *(min(1.0, 1.1 * p) for p in estimators_p(self)[1:])]


estimators_p = MLPDropoutClassifier._drop_probabilities


def noisy(self, X):
    return MLPClassifier.predict_proba(self, X + 0.1)


def noisy_numbers(self, X):
    return MLPRegressor.predict(self, X + 0.1)


def never_the_parent(self, *args):
    MLPDropoutClassifier._initialize(self, *args)
    self.coefs_[0] *= 2


def upcasts(self, *args, **kwargs):
    MLPDropoutClassifier._fit(self, *args, **kwargs)
    self.coefs_ = [array.astype(float) for array in self.coefs_]
    return self


def burns(self, *args, **kwargs):
    MLPDropoutClassifier._fit(self, *args, **kwargs)
    self.coefs_[0][:] = np.nan
    return self


def burns_at_one(self, *args, **kwargs):
    fit = burns if self.dropout == 1 else MLPDropoutClassifier._fit
    return fit(self, *args, **kwargs)


def refuses(refused):
    def fit(self, *args, **kwargs):
        if self.dropout == refused:
            raise ValueError("another p")
        return MLPDropoutClassifier._fit(self, *args, **kwargs)

    return fit


def takes_any(self):
    p = float(np.clip(np.nan_to_num(self.dropout), 0, 1))
    return [0.0, *[p] * np.size(self.hidden_layer_sizes)]


def also_draws(self, *args, **kwargs):
    np.random.random()  # noqa: NPY002
    return MLPDropoutClassifier._fit(self, *args, **kwargs)


def draws_from_fresh_entropy(self, *args):
    MLPDropoutClassifier._initialize(self, *args)
    self._mask_rng = np.random.default_rng()


def one_seed(self, *args, **kwargs):
    self.random_state = 0
    return MLPDropoutClassifier._fit(self, *args, **kwargs)


ANY_P = MLPDropoutClassifier._parameter_constraints | {"dropout": "no_validation"}
MUTANTS = {
    "another rate": (
        *("drop rate", "0.44"),
        variant(_drop_probabilities=other_rate),
    ),
    "not scaled": ("survivors' scale", "1", Unscaled),
    "not always scaled": ("survivors' scale", "1.667", Uneven),
    "one mask a batch": (
        *("samples independent", "0.4"),
        MLPDropoutClassifier(mask_per="batch"),
    ),
    "each mask twice": (
        *("fresh mask every call", "correlation +"),
        variant(_forward_pass=masks_in_pairs),
    ),
    "partial_fit starts anew": (
        *("fresh mask every call", "the masks of partial_fit repeat"),
        variant(_fit=fits_anew, _initialize=seeds_anew),
    ),
    "another input": ("inference", "something else", variant(predict_proba=noisy)),
    "another input of a regressor": (
        *("inference", "something else"),
        variant(MLPDropoutRegressor, predict=noisy_numbers),
    ),
    "twice the weights": (
        *("p = 0", "another model"),
        variant(_initialize=never_the_parent),
    ),
    "NaN": ("p = 1", "NaN or inf", variant(_fit=burns_at_one)),
    "any p": (
        *("bad p refused", "took -0.1, 1.5, nan"),
        variant(_drop_probabilities=takes_any, _parameter_constraints=ANY_P),
    ),
    "upcast": ("dtype and layout", "float64", variant(_fit=upcasts)),
    "masks from fresh entropy": (
        *("seedable", "one seed, two models"),
        variant(_initialize=draws_from_fresh_entropy),
    ),
    "one seed": ("seedable", "two seeds, one model", variant(_fit=one_seed)),
    "draws from everybody's": (
        *("global state left alone", "changed"),
        variant(_fit=also_draws),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught_by_the_check_that_should_and_by_no_other(name):
    check, measured, estimator = MUTANTS[name]
    found = checked(estimator)
    assert check in failures(found)
    assert found[check].measured.startswith(measured)
    assert found[check].consequence
    if check != "drop rate":
        assert failures(found) == [check]


def test_no_scale_is_seen_where_hardly_a_unit_is_kept():
    assert "survivors' scale" in failures(checked(Unscaled, p=0.99))


def test_a_wrong_gradient_is_caught():
    found = checked(variant(_compute_loss_grad=forgets_the_mask), CHECKS)
    assert failures(found) == ["backward"]
    assert found["backward"].measured.startswith("relative error ")


@pytest.mark.parametrize("seed", [5, 6, 7])
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
def test_one_wrong_gradient_is_enough(activation, seed, monkeypatch):
    wrong = activation, seed
    monkeypatch.setattr(
        estimator, "gradient_error", lambda s, *case: 1e-3 * (case == wrong)
    )
    found = checked(MLPDropoutClassifier, CHECKS[:2], seed=5)
    assert failures(found) == ["backward"]
    assert f"0.001 {activation}" in found["backward"].measured


def test_a_gradient_is_that_of_the_activation():
    subject = Subject(variant(_compute_loss_grad=wrong_for_tanh)(), 0.4, 0, 1e-6)
    with undisturbed():
        assert gradient_error(subject, "relu", 0) < 1e-6
        assert gradient_error(subject, "tanh", 0) > 0.1


def test_several_slips_are_all_caught():
    slips = {
        *("backward", "survivors' scale", "samples independent"),
        *("seedable", "global state left alone"),
    }
    assert {*failures(checked(UpsideDown, CHECKS))} == slips


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_p_at_an_end_may_be_refused(p):
    found = checked(variant(_fit=refuses(p)))
    noted = found.pop(f"p = {p:g}")
    assert (noted.verdict, noted.measured) == ("note", "refused")
    assert {check.verdict for check in found.values()} == {"pass"}


@pytest.mark.parametrize("parent", [MLPDropoutClassifier, MLPDropoutRegressor])
def test_nothing_else_is_asked_of_what_does_not_train(parent):
    found = checked(variant(parent, _fit=burns))
    assert found.pop("trains").measured == "ValueError: predictions are not finite"
    assert {check.verdict for check in found.values()} == {"not applicable"}


def test_a_regressor_may_take_the_dtype_of_its_targets():
    def fit(self, X, y, **kwargs):
        MLPDropoutRegressor._fit(self, X, y, **kwargs)
        self.coefs_ = [array.astype(y.dtype) for array in self.coefs_]
        return self

    assert failures(checked(variant(MLPDropoutRegressor, _fit=fit))) == []


def test_a_backprop_that_hands_on_its_arguments_is_audited():
    def hands_on(self, *args):
        return MLPDropoutClassifier._backprop(self, *args)

    assert failures(checked(variant(_backprop=hands_on), CHECKS)) == []


@pytest.mark.parametrize("estimator", [MLPDropoutClassifier, MLPDropoutRegressor()])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_right_estimators_pass(estimator, p):
    report = audit_estimator(estimator, p=p, seed=3)
    assert report.passed, str(report)
    assert report.subject.startswith("MLPDropout")
    assert [(check.name, check.verdict) for check in report.checks] == [
        (check.name, "pass") for check in CHECKS
    ]


@pytest.mark.parametrize("estimator", [MLPDropoutClassifier, MLPDropoutRegressor])
@pytest.mark.parametrize("p", [0.9, 0.99])  # the gradient is that of p = 0.5
def test_right_estimators_pass_where_most_is_dropped(estimator, p):
    found = checked(estimator, p=p, seed=3)
    assert {check.verdict for check in found.values()} == {"pass"}


@pytest.mark.parametrize(
    ("estimator", "kwargs", "error", "said"),
    [
        (MLPClassifier, {}, TypeError, "found none in MLPClassifier"),
        (TwoRates, {}, TypeError, "found drop_more, dropout in TwoRates"),
        (LogisticRegression, {}, TypeError, r"got LogisticRegression\(\)"),
        (7, {}, TypeError, "estimator must be scikit-learn's MLPClassifier .* got 7"),
        (MLPDropoutClassifier, {"p": 1}, ValueError, "got 1"),
        (MLPDropoutClassifier, {"p": "a"}, TypeError, "got 'a'"),
        (MLPDropoutClassifier, {"alpha": 1}, ValueError, "alpha must lie .* got 1"),
    ],
)
def test_what_is_no_estimator_with_dropout_is_refused(estimator, kwargs, error, said):
    with pytest.raises(error, match=said):
        audit_estimator(estimator, **kwargs)


def test_without_scikit_learn_it_says_how_to_install_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "companion.audit.watched")
    for name in ("sklearn.base", "sklearn.neural_network"):
        monkeypatch.setitem(sys.modules, name, None)
    said = r"audit_estimator needs .* 'dropout-companion\[scikit-learn\]'"
    with pytest.raises(ImportError, match=said):
        audit_estimator(MLPDropoutClassifier)
