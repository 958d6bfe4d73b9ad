"""The estimators: their gradient, their masks, and good citizens of scikit-learn.

Statistical bounds are 5 standard errors: a right program leaves them once in two million
draws, and with the fixed seeds used here never.
"""

import hashlib
import importlib.util
import inspect
import io
import math
import os
import pickle
import pydoc
import re
import sys
from copy import deepcopy
from types import ModuleType
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from dask.distributed import Client, LocalCluster
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils._param_validation import InvalidParameterError

from companion import estimators, inverted
from companion.estimators import HOOKS, MLPDropoutClassifier, MLPDropoutRegressor

# A few epochs show what is asked here.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

PARENTS = {MLPDropoutClassifier: MLPClassifier, MLPDropoutRegressor: MLPRegressor}
ACTIVATIONS = {
    "relu": lambda z: np.where(z > 0, z, 0),
    "tanh": np.tanh,
    "logistic": lambda z: 1 / (1 + np.exp(-z)),
    "identity": lambda z: z,
}
PROBLEMS = ["binary", "classes", "labels", "number", "numbers", "counts"]
LAYERS = [((5,), 0.5), ((5, 4), [0.2, 0.6]), ((5, 4, 3), [0.2, 0, 0.6])]

both = pytest.mark.parametrize("problem", ["classes", "number"])
masks_per = pytest.mark.parametrize("mask_per", ["sample", "batch"])
kinds = pytest.mark.parametrize("kind", [np.array, sparse.csr_matrix, sparse.csc_array])


def data(problem="classes", n=12, features=4):
    """Samples, 3 in 10 of their elements 0, and targets."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, features))
    X[rng.random(X.shape) < 0.3] = 0
    return X, {
        "binary": rng.integers(2, size=n),
        "classes": np.arange(n) % 3,
        "labels": rng.integers(2, size=(n, 3)),
        "number": rng.normal(size=n),
        "numbers": rng.normal(size=(n, 2)),
        "counts": rng.poisson(2, size=n),
    }[problem]


def make(problem="classes", **params):
    classifies = problem in ("binary", "classes", "labels")
    cls = MLPDropoutClassifier if classifies else MLPDropoutRegressor
    loss = {"loss": "poisson"} if problem == "counts" else {}
    return cls(**{"max_iter": 3, "random_state": 0} | loss | params)


def parent(model):
    """scikit-learn's model, its parameters otherwise the same."""
    cls = PARENTS[type(model)]
    return cls(**{name: getattr(model, name) for name in cls().get_params()})


def learnt(model):
    losses = getattr(model, "loss_curve_", model.loss_)
    return [*model.coefs_, *model.intercepts_, np.array(losses)]


def equal(model, other):
    np.testing.assert_equal(learnt(model), learnt(other))


def differ(model, other):
    return (model.coefs_[0] != other.coefs_[0]).any()


class Drop(NamedTuple):
    x: np.ndarray
    p: float
    y: np.ndarray
    mask: np.ndarray | None


@pytest.fixture
def drops(monkeypatch):
    """What dropout was given and gave, in order: the input, each hidden layer, and again."""
    calls, dropout = [], inverted.dropout

    def spy(x, p, **kwargs):
        y, mask = dropout(x, p, **kwargs)
        calls.append(Drop(x.copy(), p, y.copy(), mask))
        return y, mask

    monkeypatch.setattr(inverted, "dropout", spy)
    return calls


@pytest.fixture
def steps(monkeypatch):
    """The samples, the parameters before and the loss of each training step of any network."""
    taken, backprop = [], BaseMultilayerPerceptron._backprop

    def spy(self, X, *args):
        before = deepcopy(self.coefs_ + self.intercepts_)
        result = backprop(self, X, *args)
        taken.append((X.copy(), before, result[0]))
        return result

    monkeypatch.setattr(BaseMultilayerPerceptron, "_backprop", spy)
    return taken


# Loss and gradient


def loss_and_gradient(model, X, y, weight):
    """One training step; the generator of the masks is left as it was, for the next one."""
    if hasattr(model, "_label_binarizer"):
        y = model._label_binarizer.transform(y)
    state, layers = model._mask_rng.bit_generator.state, len(model.coefs_)
    results = [[None] * layers for _ in range(3)]
    loss, coefs, intercepts = model._backprop(
        X, y.reshape(X.shape[0], -1), weight, [X] + [None] * layers, *results
    )
    model._mask_rng.bit_generator.state = state
    return loss, coefs + intercepts


def gradient_error(model, X, y, weight=None):
    """The largest relative distance to the slope in a random direction, over the parameters."""
    _, gradients = loss_and_gradient(model, X, y, weight)
    # scikit-learn's squared error is the mean over the outputs, its gradient that of the sum.
    summed = model.n_outputs_ if model.loss == "squared_error" else 1
    rng, step, errors = np.random.default_rng(2), 1e-5, []
    parameters = model.coefs_ + model.intercepts_
    for array, gradient in zip(parameters, gradients, strict=True):
        assert gradient.shape == array.shape
        value, direction = array.copy(), rng.normal(size=array.shape)
        ends = []
        for moved in (value + step * direction, value - step * direction):
            array[...] = moved
            ends.append(loss_and_gradient(model, X, y, weight)[0])
        array[...] = value
        slope = summed * (ends[0] - ends[1]) / (2 * step)
        size = np.linalg.norm(gradient) * np.linalg.norm(direction) + abs(slope)
        distance = abs(slope - (gradient * direction).sum())
        errors.append(distance / size if size else 0)
    return max(errors)


@masks_per
@pytest.mark.parametrize(("hidden", "dropout"), LAYERS, ids=str)
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("way", ["dense", "weighted", "sparse"])
def test_gradient_equals_central_differences(
    way, activation, problem, hidden, dropout, mask_per
):
    X, y = data(problem)
    alpha = 0 if problem == "numbers" else 0.1
    model = make(problem, hidden_layer_sizes=hidden, activation=activation, alpha=alpha)
    model.set_params(dropout=dropout, input_dropout=0.3, mask_per=mask_per).fit(X, y)
    weight = np.linspace(0, 2, len(X)) if way == "weighted" else None
    X = sparse.csr_matrix(X) if way == "sparse" else X
    assert gradient_error(model, X, y, weight) < 1e-6


@both
def test_gradient_by_public_means_alone(problem):
    X, y = data(problem)
    model = make(problem, hidden_layer_sizes=5, input_dropout=0.2, shuffle=False)
    model.set_params(solver="sgd", momentum=0, learning_rate_init=0.01).fit(X, y)

    def step_from(change):
        moved = deepcopy(model)
        moved.coefs_[0] += change
        return moved.partial_fit(X, y)

    change = 1e-5 * np.random.default_rng(1).normal(size=model.coefs_[0].shape)
    slope = (step_from(change).loss_ - step_from(-change).loss_) / 2
    gradient = (model.coefs_[0] - step_from(0).coefs_[0]) / 0.01
    assert slope != 0
    assert slope == pytest.approx((gradient * change).sum(), rel=1e-6)


@masks_per
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_step_is_the_thinned_network_written_out(activation, mask_per, drops):
    X, y = data()
    model = make(hidden_layer_sizes=(50, 40), activation=activation, shuffle=False)
    model.set_params(alpha=0, dropout=[0.3, 0.5], input_dropout=0.2, mask_per=mask_per)
    before = deepcopy(model.fit(X, y))
    drops.clear()
    model.partial_fit(X, y)
    assert [drop.p for drop in drops] == [0.2, 0.3, 0.5]
    units = X
    for drop, W, b in zip(drops, before.coefs_, before.intercepts_, strict=True):
        np.testing.assert_allclose(drop.x, units, rtol=1e-12, atol=1e-12)
        kept = np.where(drop.mask, units / (1 - drop.p), 0)
        np.testing.assert_allclose(drop.y, kept, rtol=1e-12, atol=1e-12)
        logits = kept @ W + b
        units = ACTIVATIONS[activation](logits)
    chosen = logits[np.arange(len(y)), y]
    by_hand = (np.log(np.exp(logits).sum(axis=1)) - chosen).mean()
    assert model.loss_ == pytest.approx(by_hand, rel=1e-12)


def test_loss_curve_is_the_mean_loss_of_the_batches_in_training(steps):
    X, y = data(n=10)
    model = make(batch_size=4).fit(X, y)
    sums = [loss * len(batch) for batch, _, loss in steps]
    epochs = np.reshape(sums, (3, 3)).sum(axis=1) / len(X)
    np.testing.assert_allclose(model.loss_curve_, epochs, rtol=1e-12)
    assert make(batch_size=4, dropout=0).fit(X, y).loss_ < model.loss_


@kinds
@masks_per
@both
def test_p_1_leaves_the_last_biases_to_learn(problem, mask_per, kind, drops, steps):
    X, y = data(problem)
    model = make(problem, hidden_layer_sizes=(5, 4), alpha=0, mask_per=mask_per)
    model.set_params(dropout=1, input_dropout=1).fit(kind(X), y)
    assert len(drops) == 9
    assert not any(drop.y.any() for drop in drops)
    first, last = steps[0][1], [*model.coefs_, *model.intercepts_]
    np.testing.assert_equal(last[:-1], first[:-1])
    assert (last[-1] != first[-1]).all()
    assert np.isfinite(last[-1]).all()
    assert np.isfinite(model.predict(X)).all()


# Without dropout


@pytest.mark.parametrize("kind", ["dense", "float32", "csr", "csc"])
@pytest.mark.parametrize("dropout", [0, None, [0, 0]], ids=str)
@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "adam"])
@both
def test_without_dropout_no_bit_is_changed(problem, solver, dropout, kind):
    X, y = data(problem, n=50)
    X = X.astype(np.float32) if kind == "float32" else X
    X = sparse.csr_matrix(X).asformat(kind) if kind in ("csr", "csc") else X
    model = make(problem, hidden_layer_sizes=(8, 7), solver=solver, batch_size=20)
    theirs = parent(model).fit(X, y)
    equal(model.set_params(dropout=dropout).fit(X, y), theirs)
    for predict in ("predict", "predict_proba")[: 2 if problem == "classes" else 1]:
        expected = getattr(theirs, predict)(X)
        np.testing.assert_array_equal(getattr(model, predict)(X), expected)
    if solver != "lbfgs":
        equal(model.partial_fit(X, y), theirs.partial_fit(X, y))


@pytest.mark.parametrize("kind", [np.array, sparse.csr_matrix])
@both
def test_p_too_small_to_drop_a_unit_changes_no_bit(problem, kind, drops):
    X, y = data(problem, n=50)
    model = make(problem, dropout=1e-300, input_dropout=1e-300, batch_size=20)
    equal(model.fit(kind(X), y), parent(model).fit(kind(X), y))
    assert len(drops) == 3 * 3 * 2
    assert all(drop.mask.all() for drop in drops)


@both
def test_lbfgs_is_refused_with_dropout_and_only_with_it(problem):
    X, y = data(problem)
    for dropout in ({}, {"dropout": [0, 0.5]}, {"dropout": 0, "input_dropout": 0.5}):
        model = make(problem, hidden_layer_sizes=(5, 4), solver="lbfgs", **dropout)
        with pytest.raises(InvalidParameterError, match=r"solver='lbfgs'.*0\.5"):
            model.fit(X, y)
        with pytest.raises(NotFittedError):
            model.predict(X)
    make(problem, hidden_layer_sizes=(), solver="lbfgs").fit(X, y)  # no unit to drop


# Seeds and streams


@pytest.mark.parametrize("seeded", [int, np.random.RandomState])
@both
def test_same_seed_means_same_model(problem, seeded):
    X, y = data(problem)
    models = [make(problem, random_state=seeded(seed)).fit(X, y) for seed in (1, 1, 2)]
    equal(models[0], models[1])
    assert differ(models[0], models[2])
    if seeded is int:
        equal(models[0].fit(X, y), models[1])
    else:  # it goes on from where it is
        assert differ(models[0].fit(X, y), models[1])


@pytest.mark.parametrize("seed", [1, np.random.RandomState(1)], ids=["int", "state"])
@both
def test_first_weights_and_batches_are_those_without_dropout(problem, seed, steps):
    X, y = data(problem, n=20)
    model = make(problem, input_dropout=0.5, batch_size=8)
    model.set_params(random_state=deepcopy(seed)).fit(X, y)
    parent(model).set_params(random_state=deepcopy(seed)).fit(X, y)
    assert len(steps) == 2 * 9
    ours, theirs = steps[:9], steps[9:]
    np.testing.assert_equal(ours[0][1], theirs[0][1])
    np.testing.assert_equal([s[0] for s in ours], [s[0] for s in theirs])


@masks_per
@pytest.mark.parametrize("more", ["partial_fit", "fit"])
def test_masks_never_repeat_until_everything_starts_again(more, mask_per, drops):
    X, y = data(n=8)
    model = make(mask_per=mask_per, warm_start=True, batch_size=4, shuffle=False)
    model.fit(X, y)
    for _ in range(3):
        getattr(model, more)(X, y)
    masks = [drop.mask.tobytes() for drop in drops[1::2]]
    assert len(set(masks)) == len(masks) >= 12
    drops.clear()
    model.set_params(warm_start=False).fit(X, y)
    assert [drop.mask.tobytes() for drop in drops[1::2]] == masks[:6]


def test_masks_of_a_seed_never_change(drops):
    make(random_state=0, max_iter=1).fit(*data())
    drawn = b"".join(d.mask.tobytes() for d in drops if d.mask is not None)
    assert hashlib.sha256(drawn).hexdigest()[:16] == "050764e51dfac28a"


def test_seeds_mean_different_masks(drops):
    for seed in range(5):
        make(random_state=seed, max_iter=1).fit(*data())
    assert len({drop.mask.tobytes() for drop in drops[1::2]}) == 5


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1:3]  # noqa: NPY002
    make(input_dropout=0.5).fit(*data())
    np.testing.assert_equal(np.random.get_state()[1:3], before)  # noqa: NPY002


# Masks


def test_a_mask_a_sample_or_one_a_batch(drops):
    X, y = data(n=40, features=60)
    for mask_per, distinct in [("sample", 20), ("batch", 1)]:
        drops.clear()
        make(input_dropout=0.5, mask_per=mask_per, batch_size=20).fit(X, y)
        assert len(drops) == 3 * 2 * 2
        for drop in drops:
            assert len(np.unique(drop.mask, axis=0)) == distinct


@masks_per
@kinds
def test_drop_rates_are_those_of_their_layers(kind, mask_per, drops):
    X, y = data(n=100, features=1000)
    ps, sizes = (0.6, 0.1, 0.3), (1000, 900, 800)
    model = make(hidden_layer_sizes=sizes[1:], dropout=ps[1:], input_dropout=ps[0])
    model.set_params(mask_per=mask_per, max_iter=1).fit(kind(X + 100), y)
    for drop, p, units in zip(drops, ps, sizes, strict=True):
        draws = units * (100 if mask_per == "sample" else 1)
        assert (drop.p, drop.mask.size) == (p, 100 * units)
        assert abs(drop.mask.mean() - (1 - p)) <= 5 * math.sqrt(p * (1 - p) / draws)
        assert (drop.y[~drop.mask] == 0).all()
        np.testing.assert_allclose(drop.y[drop.mask], drop.x[drop.mask] / (1 - p))


def test_p_may_change_between_partial_fits(drops):
    X, y = data()
    model = make(dropout=0).fit(X, y)
    assert drops == []
    for dropout, input_dropout in [(0.5, 0.25), ([0.75], 0), (0, 0.5)]:
        model.set_params(dropout=dropout, input_dropout=input_dropout)
        model.partial_fit(X, y)
    assert [drop.p for drop in drops] == [0.25, 0.5, 0, 0.75, 0.5, 0]


class MaskFinder(pickle.Pickler):
    """Looks at all that a pickle holds, which is all that can be reached."""

    def persistent_id(self, thing):
        dtype = getattr(thing, "dtype", None)
        if isinstance(thing, estimators._Thinned) or dtype == np.dtype(bool):
            self.found.append(thing)


def masks_in(thing):
    finder = MaskFinder(io.BytesIO())
    finder.found = []
    finder.dump(thing)
    return finder.found


@masks_per
@pytest.mark.parametrize("ending", [None, KeyboardInterrupt, RuntimeError])
def test_no_mask_outlives_the_training(ending, mask_per, monkeypatch):
    X, y = data()
    model = make(input_dropout=0.5, mask_per=mask_per, max_iter=9)
    calls, backward = [], inverted.dropout_backward

    def spy(*args):
        calls.append(args)
        if len(calls) == 5 and ending:
            raise ending("enough")
        return backward(*args)

    monkeypatch.setattr(inverted, "dropout_backward", spy)
    if ending is None:
        model.fit(X, y)
    elif ending is KeyboardInterrupt:
        with pytest.warns(UserWarning, match="interrupted by user"):
            model.fit(X, y)
    else:
        with pytest.raises(RuntimeError, match="enough"):
            model.fit(X, y)
    assert len(calls) >= 5
    assert masks_in(calls)
    assert not masks_in(model)


# Data


def with_duplicates(X):
    """Every element that is not 0 twice, half of it each time, as scipy lets a matrix be."""
    whole = sparse.csr_matrix(X)
    values, indices = np.repeat(whole.data / 2, 2), np.repeat(whole.indices, 2)
    return sparse.csr_matrix((values, indices, 2 * whole.indptr), shape=X.shape)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, with_duplicates])
@pytest.mark.parametrize("shuffle", [True, False])
@masks_per
def test_the_callers_data_are_not_written_to(mask_per, shuffle, kind):
    X, y = data()
    S = kind(X)
    arrays = [X, y, S.data, S.indices, S.indptr]
    before = deepcopy(arrays)
    for array in arrays:
        array.flags.writeable = False
    for given in (X, S):
        model = make(input_dropout=0.5, mask_per=mask_per, shuffle=shuffle)
        model.fit(given, y).partial_fit(given, y)
        model._forward_pass([given, None, None])  # where no batch was cut out first
    np.testing.assert_equal([X, y, S.data, S.indices, S.indptr], before)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, with_duplicates])
@pytest.mark.parametrize(
    "params", [{}, {"mask_per": "batch"}, {"mask_per": "batch", "input_dropout": 0.5}]
)
@both
def test_sparse_and_dense_give_the_same_model(problem, params, kind):
    X, y = data(problem)
    model = make(problem, **params)
    expected = learnt(clone(model).fit(X, y))
    for array, dense in zip(learnt(model.fit(kind(X), y)), expected, strict=True):
        np.testing.assert_allclose(array, dense, rtol=1e-7, atol=1e-9)


@masks_per
def test_what_a_matrix_stores_twice_is_one_unit(mask_per, drops):
    X, y = data()
    model = make(input_dropout=0.5, mask_per=mask_per)
    equal(clone(model).fit(with_duplicates(X), y), model.fit(sparse.csr_matrix(X), y))
    assert {drop.x.size for drop in drops[::2]} == {np.count_nonzero(X)}


def test_a_mask_a_batch_drops_whole_features_of_a_sparse_matrix(drops):
    X, y = data(n=40, features=30)
    model = make(input_dropout=0.5, mask_per="batch", shuffle=False)
    model.fit(sparse.csr_matrix(X), y)
    features = np.nonzero(X)[1]
    for drop in drops[::2]:
        kept = set(features[drop.mask])
        assert kept.isdisjoint(features[~drop.mask])
        assert 0 < len(kept) < 30
    assert len({drop.mask.tobytes() for drop in drops[::2]}) == 3


@kinds
@both
def test_float32_stays_float32(problem, kind, drops):
    X, y = data(problem)
    X, y = kind(X.astype(np.float32)), y.astype(np.float32)
    model = make(problem, input_dropout=0.2, hidden_layer_sizes=(5, 4)).fit(X, y)
    predicted = getattr(model, "predict_proba", model.predict)(X)
    step = model._forward_pass([X, None, None, None])
    arrays = [*model.coefs_, *model.intercepts_, predicted, *step, *step.passed_on]
    arrays += [array for drop in drops for array in (drop.x, drop.y)]
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


def test_names_of_features_are_kept_and_compared():
    X, y = data()
    table = pd.DataFrame(X, columns=list("abcd"))
    model = make(input_dropout=0.2).fit(table, y)
    assert list(model.feature_names_in_) == list("abcd")
    equal(model, make(input_dropout=0.2).fit(X, y))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)
    with pytest.raises(ValueError, match="feature names should match"):
        model.partial_fit(table.rename(columns={"a": "e"}), y)


# Prediction


def test_prediction_draws_nothing(monkeypatch):
    X, y = data()
    model = make(input_dropout=0.5).fit(X, y)
    theirs, before = parent(model).fit(X, y), joblib.hash(vars(model))
    theirs.coefs_, theirs.intercepts_ = model.coefs_, model.intercepts_
    monkeypatch.setattr(estimators._Dropout, "_forward_pass", None)
    for predict in ("predict", "predict_proba", "predict_log_proba"):
        expected = getattr(theirs, predict)(X)
        np.testing.assert_array_equal(getattr(model, predict)(X), expected)
    assert model.score(X, y) == theirs.score(X, y)
    assert joblib.hash(vars(model)) == before


def test_early_stopping_scores_the_network_that_predicts(monkeypatch):
    by_hand, score = [], MLPClassifier._score

    def spy(self, X, y, **kwargs):
        units = np.maximum(X @ self.coefs_[0] + self.intercepts_[0], 0)
        logits = units @ self.coefs_[1] + self.intercepts_[1]
        by_hand.append((self.classes_[logits.argmax(axis=1)] == y).mean())
        return score(self, X, y, **kwargs)

    monkeypatch.setattr(MLPClassifier, "_score", spy)
    model = make(input_dropout=0.5, learning_rate_init=0.1, max_iter=20)
    model.set_params(early_stopping=True, validation_fraction=0.5).fit(*data(n=60))
    assert model.validation_scores_ == by_hand
    assert len(set(by_hand)) > 3


# What is refused


BAD = [
    *({"dropout": p} for p in (-0.1, 1.1, math.nan, math.inf, "0.5", True, {}, [0.5])),
    *({"dropout": [0.5, p]} for p in (1.5, -1, "a", True, math.nan, None, [0.5])),
    *({"dropout": p} for p in ([], [[0.5, 0.5]], [0.5] * 3)),
    *({"input_dropout": p} for p in (-0.1, 1.1, math.nan, None, "a", True, [0.5])),
    *({"mask_per": name} for name in ("row", None)),
]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("fitted", [True, False])
@pytest.mark.parametrize("bad", BAD, ids=str)
@both
def test_what_cannot_be_is_refused_and_changes_nothing(problem, bad, fitted, method):
    X, y = data(problem)
    model = make(problem, hidden_layer_sizes=(5, 4))
    model = model.fit(X, y).set_params(**bad) if fitted else model.set_params(**bad)
    assert isinstance(type(model)(**bad), type(model))
    before = joblib.hash(vars(model))
    first = problem == "classes" and method == "partial_fit"
    with pytest.raises(InvalidParameterError) as caught:
        getattr(model, method)(X, y, **({"classes": [0, 1, 2]} if first else {}))
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TypeError)
    ((name, value),), message = bad.items(), str(caught.value)
    wrong = value[1] if isinstance(value, list) and len(value) == 2 else value
    assert name in message
    assert type(model).__name__ in message
    assert repr(value) in message or repr(wrong) in message
    assert joblib.hash(vars(model)) == before


def test_dropout_without_hidden_layers():
    X, y = data()
    model = make(hidden_layer_sizes=()).fit(X, y)
    equal(model, parent(model).fit(X, y))
    equal(model, clone(model).set_params(dropout=[]).fit(X, y))
    assert differ(model, clone(model).set_params(input_dropout=0.5).fit(X, y))
    with pytest.raises(InvalidParameterError, match=r"each of 0 .* Got \[0\.5\]"):
        model.set_params(dropout=[0.5]).fit(X, y)


@pytest.mark.parametrize("cls", [*PARENTS, *PARENTS.values()])
def test_scikit_learns_check_of_all_parameters(cls):
    estimator_checks.check_param_validation(cls.__name__, cls())


HALVES = [(0.5, 0.5), np.array([0.5, 0.5]), [np.float32(0.5), 0.5], np.float16(0.5)]


@pytest.mark.parametrize("dropout", [0.5, *HALVES], ids=repr)
def test_ways_to_say_one_half(dropout):
    X, y = data()
    model = make(hidden_layer_sizes=np.array([5, 4]), dropout=dropout).fit(X, y)
    assert model.dropout is dropout
    equal(model, make(hidden_layer_sizes=(5, 4), dropout=[0.5, 0.5]).fit(X, y))
    equal(model, clone(model).fit(X, y))


# The hooks


@pytest.mark.parametrize("name", HOOKS)
def test_scikit_learn_still_has_the_method(name):
    method = getattr(BaseMultilayerPerceptron, name)
    assert tuple(inspect.signature(method).parameters) == ("self", *HOOKS[name])


def test_hooks_are_what_is_overridden():
    written = inspect.getmembers(estimators._Dropout, inspect.isfunction)
    ours = {name for name, f in written if f.__module__ == estimators.__name__}
    assert {name for name in ours if hasattr(BaseMultilayerPerceptron, name)} == set(
        HOOKS
    )


def test_scikit_learn_calls_the_hooks_as_expected():
    class Spy(MLPClassifier):
        def _forward_pass(self, activations):
            calls.append("forward")
            self.ours = list(super()._forward_pass(activations))
            return self.ours

        def _compute_loss_grad(self, layer, sw_sum, activations, *args):
            assert activations is self.ours
            calls.append(layer)
            super()._compute_loss_grad(layer, sw_sum, activations, *args)

    calls, (X, y) = [], data()
    model = Spy((5, 4), max_iter=2).fit(X, y)
    model.predict(X)
    assert calls == ["forward", 2, 1, 0] * 2


def run_again():
    """The module's code from the top, in a module that nobody else sees."""
    spec = importlib.util.spec_from_file_location("again", estimators.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("version", ["1.6.1", "0.24.2", "1.10.0", "1.10.dev0", "2.0.0"])
def test_other_versions_of_scikit_learn_are_refused(version, monkeypatch):
    monkeypatch.setattr(sklearn, "__version__", version)
    message = r"from 1\.7 up to, but not including, 1\.10: .*; found " + re.escape(
        version
    )
    with pytest.raises(ImportError, match=message):
        run_again()


@pytest.mark.parametrize("version", ["1.7.0", "1.8.2", "1.9.0rc1", "1.9.dev0"])
def test_known_versions_of_scikit_learn_are_taken(version, monkeypatch):
    monkeypatch.setattr(sklearn, "__version__", version)
    run_again().MLPDropoutClassifier(max_iter=1).fit(*data())


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("sklearn", None),
        ("sklearn.neural_network._base", None),
        ("sklearn.neural_network._base", ModuleType("without ACTIVATIONS")),
    ],
)
def test_import_without_what_it_needs_says_what_to_install(name, there, monkeypatch):
    monkeypatch.setitem(sys.modules, name, there)
    message = "pip install 'dropout-companion[scikit-learn]'"
    with pytest.raises(ImportError, match=re.escape(message)):
        run_again()


# An estimator of scikit-learn


@pytest.mark.parametrize("cls", PARENTS)
def test_every_parameter_of_scikit_learn_is_taken_and_three_more_by_name(cls):
    ours = {"dropout": 0.5, "input_dropout": 0.0, "mask_per": "sample"}
    theirs = PARENTS[cls]().get_params()
    assert cls().get_params() == theirs | ours
    values = {name: object() for name in theirs | ours}
    assert cls(**values).get_params() == values
    shown, expected = (inspect.signature(c).parameters for c in (cls, PARENTS[cls]))
    assert list(shown) == [*expected, *ours]
    assert [shown[name] for name in expected] == list(expected.values())
    assert {name: shown[name].default for name in ours} == ours
    assert {shown[name].kind for name in ours} == {inspect.Parameter.KEYWORD_ONLY}
    with pytest.raises(TypeError, match="positional"):
        cls(*values.values())
    with pytest.raises(TypeError, match="unexpected keyword argument 'drop'"):
        cls(drop=0.5)


@pytest.mark.parametrize("cls", PARENTS)
def test_help_shows_every_parameter(cls):
    section = inspect.getdoc(cls).split("Parameters\n----------\n")[1].split("\n\n")[0]
    entries = [line for line in section.splitlines() if not line.startswith(" ")]
    names = [name for line in entries for name in line.split(" :")[0].split(", ")]
    assert sorted(names) == sorted(cls().get_params())
    shown = pydoc.render_doc(cls, renderer=pydoc.plaintext)
    for name, parameter in inspect.signature(PARENTS[cls]).parameters.items():
        assert re.search(
            rf" __init__\(self, .*{name}={re.escape(repr(parameter.default))}", shown
        )


WEIGHT_CHECKS = [
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
]


def expected_to_fail(estimator):
    if estimator.dropout == 0 or estimator.mask_per == "batch":
        return {}
    why = "a sample of weight 2 gets one mask, the same sample twice gets two"
    return dict.fromkeys(WEIGHT_CHECKS, why)


@estimator_checks.parametrize_with_checks(
    [
        cls(max_iter=40, **params)
        for cls in PARENTS
        for params in (
            {},
            {"dropout": 0},
            {"mask_per": "batch", "dropout": 0.2, "input_dropout": 0.2},
        )
    ],
    expected_failed_checks=expected_to_fail,
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("check", WEIGHT_CHECKS)
@pytest.mark.parametrize("cls", PARENTS)
def test_the_checks_expected_to_fail_do_fail(cls, check):
    with pytest.raises(AssertionError, match="is not equivalent"):
        getattr(estimator_checks, check)(cls.__name__, cls(max_iter=40))


def digits():
    X, y = load_digits(return_X_y=True)
    return X[:300] / 16, y[:300]


def search():
    grid = {"dropout": [0, 0.5], "mask_per": ["sample", "batch"]}
    model = make(input_dropout=0.1, learning_rate_init=0.01, max_iter=10)
    return GridSearchCV(model, grid, cv=2, error_score="raise")


def test_pipeline_search_and_calibration():
    X, y = digits()
    pipeline = make_pipeline(StandardScaler(), search()).fit(X, y)
    assert pipeline.score(X, y) > 0.8
    assert len(set(pipeline[-1].cv_results_["mean_test_score"])) > 2
    calibrated = CalibratedClassifierCV(pipeline[-1].best_estimator_, cv=2).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)


def test_search_on_a_cluster_of_two_workers_equals_the_serial_one():
    X, y = digits()
    serial = search().fit(X, y)
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with cluster, Client(cluster) as client:
        workers = set(client.run(os.getpid).values())
        with joblib.parallel_config(backend="dask"):
            parallel = search().fit(X, y)
    assert len(workers - {os.getpid()}) == 2
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    for name in ("params", "mean_test_score", "std_test_score", "rank_test_score"):
        np.testing.assert_equal(parallel.cv_results_[name], serial.cv_results_[name])
    equal(parallel.best_estimator_, serial.best_estimator_)


def test_probabilities_of_several_labels():
    X, y = data("labels", n=50)
    model = make("labels").fit(X, y)
    probabilities = model.predict_proba(X)
    assert probabilities.shape == y.shape
    np.testing.assert_array_equal(model.predict(X), probabilities > 0.5)


def dumped_and_loaded(model, folder):
    joblib.dump(model, folder / "model.joblib")
    return joblib.load(folder / "model.joblib")


@pytest.mark.parametrize(
    "copied", [dumped_and_loaded, lambda model, _: deepcopy(model)]
)
@both
def test_a_copy_goes_on_with_the_same_masks(problem, copied, tmp_path):
    X, y = data(problem)
    model = make(problem, input_dropout=0.2).fit(X, y)
    copy = copied(model, tmp_path)
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    equal(model.partial_fit(X, y), copy.partial_fit(X, y))


@pytest.mark.parametrize("cls", PARENTS)
def test_parameters_are_shown_set_and_cloned(cls):
    model = cls(dropout=[0.25, 0.5], mask_per="batch")
    assert repr(model) == f"{cls.__name__}(dropout=[0.25, 0.5], mask_per='batch')"
    for text in ("input_dropout", "mask_per", "0.25"):
        assert text in model._repr_html_()
    model.set_params(input_dropout=0.1)
    assert clone(model).get_params() == model.get_params()


class Narrow(MLPDropoutClassifier):
    """As users derive their own."""

    def __init__(self, units=8, *, dropout=0.2, random_state=None):
        super().__init__(units, max_iter=3, dropout=dropout, random_state=random_state)
        self.units = units


def test_a_subclass_with_its_own_parameters():
    X, y = data()
    model = clone(Narrow(6, random_state=0)).fit(X, y)
    assert model.get_params() == {"units": 6, "dropout": 0.2, "random_state": 0}
    equal(model, make(hidden_layer_sizes=6, dropout=0.2).fit(X, y))


def test_sample_weights_are_routed():
    X, y = data()
    weight = np.linspace(0, 2, len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(make().set_fit_request(sample_weight=True))
        pipeline.fit(X, y, sample_weight=weight)
    equal(pipeline[-1], make().fit(X, y, weight))
