"""Auditing scikit-learn estimators: each mutant is caught, and no right one is."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.neural_network._base import ACTIVATIONS

from companion.audit import audit_estimator
from companion.estimators import MLPDropoutClassifier, MLPDropoutRegressor


class Unscaled(MLPDropoutClassifier):
    def _drop(self, h, p):
        y, mask = super()._drop(h, p)
        return y * (1 - p), mask


def test_no_scale_is_seen_where_hardly_a_unit_is_kept():
    assert "survivors' scale" in [
        c.name for c in audit_estimator(Unscaled, p=0.99).failures
    ]


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


def variant(**methods):
    return type("Variant", (MLPDropoutClassifier,), methods)


def seeds_anew(self, *args):
    MLPDropoutClassifier._initialize(self, *args)
    self._mask_rng = np.random.default_rng(0)


def fits_anew(self, *args, **kwargs):
    if hasattr(self, "coefs_"):
        self._mask_rng = np.random.default_rng(self.random_state)
    return MLPDropoutClassifier._fit(self, *args, **kwargs)


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


def never_the_parent(self, *args):
    MLPDropoutClassifier._initialize(self, *args)
    self.coefs_[0] *= 2


def upcasts(self, *args, **kwargs):
    MLPDropoutClassifier._fit(self, *args, **kwargs)
    self.coefs_ = [array.astype(float) for array in self.coefs_]
    return self


def burns_at_one(self, *args, **kwargs):
    MLPDropoutClassifier._fit(self, *args, **kwargs)
    if self.dropout == 1:
        self.coefs_[0][:] = np.nan
    return self


def takes_any(self):
    return [
        0.0,
        *(float(np.clip(np.nan_to_num(self.dropout), 0, 1)),)
        * np.size(self.hidden_layer_sizes),
    ]


def also_draws(self, *args, **kwargs):
    np.random.random()  # noqa: NPY002
    return MLPDropoutClassifier._fit(self, *args, **kwargs)


ESTIMATORS = {
    "backward": variant(_compute_loss_grad=forgets_the_mask),
    "drop rate": variant(_drop_probabilities=other_rate),
    "survivors' scale": UpsideDown,
    "samples independent": MLPDropoutClassifier(mask_per="batch"),
    "fresh mask every call": variant(_fit=fits_anew, _initialize=seeds_anew),
    "inference": variant(predict_proba=noisy),
    "p = 0": variant(_initialize=never_the_parent),
    "p = 1": variant(_fit=burns_at_one),
    "bad p refused": variant(
        _drop_probabilities=takes_any,
        _parameter_constraints=MLPDropoutClassifier._parameter_constraints
        | {"dropout": "no_validation"},
    ),
    "dtype and layout": variant(_fit=upcasts),
    "seedable": UpsideDown,
    "global state left alone": variant(_fit=also_draws),
}


def test_one_activation_with_a_wrong_gradient_is_enough():
    report = audit_estimator(variant(_compute_loss_grad=wrong_for_tanh))
    assert [failure.name for failure in report.failures] == ["backward"]
    assert "relative error" in report.failures[0].measured


@pytest.mark.parametrize("check", ESTIMATORS)
def test_mutant_estimators_are_caught(check):
    report = audit_estimator(ESTIMATORS[check], p=0.4)
    failed = [failure.name for failure in report.failures]
    assert check in failed, str(report)
    assert failed == [check] or check == "drop rate" or ESTIMATORS[check] is UpsideDown


def test_a_backprop_that_hands_on_its_arguments_is_audited():
    def hands_on(self, *args):
        return MLPDropoutClassifier._backprop(self, *args)

    assert audit_estimator(variant(_backprop=hands_on)).passed


@pytest.mark.parametrize("estimator", [MLPDropoutClassifier, MLPDropoutRegressor()])
@pytest.mark.parametrize("p", [0.5, 0.1, 0.9, 0.99])
def test_right_estimators_pass(estimator, p):
    report = audit_estimator(estimator, p=p, seed=3)
    assert report.passed, str(report)
    assert {check.verdict for check in report.checks} == {"pass"}


@pytest.mark.parametrize(
    ("estimator", "kwargs", "error", "said"),
    [
        (MLPClassifier, {}, TypeError, "found none in MLPClassifier"),
        (LogisticRegression, {}, TypeError, r"got LogisticRegression\(\)"),
        (MLPDropoutClassifier, {"p": 1}, ValueError, "got 1"),
        (MLPDropoutClassifier, {"alpha": 1}, ValueError, "alpha must lie .* got 1"),
    ],
)
def test_what_is_no_estimator_with_dropout_is_refused(estimator, kwargs, error, said):
    with pytest.raises(error, match=said):
        audit_estimator(estimator, **kwargs)
