"""What is seen of a multilayer perceptron of scikit-learn while it trains."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from companion.audit.adapters import Array

from scipy import special  # isort: skip

try:
    from sklearn.base import clone, is_classifier
    from sklearn.neural_network import MLPClassifier, MLPRegressor
except ImportError as error:
    raise ImportError(
        "companion.audit.audit_estimator needs scikit-learn: "
        "pip install 'dropout-companion[scikit-learn]'"
    ) from error

UNITS = 64  # in the hidden layer whose masks are looked at
STEPS = 1000  # updates in which they are looked at
STATISTICS = 4  # tests that chance could fail: each gets this share of alpha


class Masks(NamedTuple):
    """What each update kept of the hidden layer, and what the output shows of its scale."""

    kept: Array  # (updates, UNITS), bool
    scales: Array  # (updates,); NaN where no unit was kept


class Subject:
    """An estimator, and what is seen of its masks while it trains."""

    def __init__(self, estimator: Any, p: float, seed: int, alpha: float) -> None:
        self.estimator, self.name = estimator, _dropout_parameter(estimator)
        self.classifies = is_classifier(estimator)
        self.parent = MLPClassifier if self.classifies else MLPRegressor
        self.p, self.seed, self.level = p, seed, alpha / STATISTICS
        self.masks = cache(self._masks)
        rng = np.random.default_rng(seed)
        self.X = rng.normal(size=(STEPS, 5))
        self.y = np.arange(STEPS) % 2 if self.classifies else rng.normal(size=STEPS)

    def make(self, **params: Any) -> Any:
        """Return an unfitted model with one small layer, trained in one pass."""
        small = {
            "hidden_layer_sizes": (UNITS,),
            "activation": "logistic",  # no unit is 0 unless it is dropped
            "solver": "sgd",
            # 1/(1-p) must not make it diverge
            "learning_rate_init": 1e-3 * (1 - self.p) ** 2,
            "alpha": 0.0,
            "batch_size": 1,
            "max_iter": 1,
            "shuffle": False,
            "random_state": self.seed,
            self.name: self.p,
        }
        return clone(self.estimator).set_params(**(small | params))

    def few(self, n: int = 20) -> tuple[Array, Array]:
        """Return a few samples."""
        return self.X[:n], self.y[:n]

    def fitted(self, **params: Any) -> Any:
        """Return a model trained on a few samples."""
        return self.make(**params).fit(*self.few())

    def predicted(self, model: Any) -> Array:
        """Return what a model says of a few samples: a number, or the chance of class 1."""
        X, _ = self.few()
        return model.predict_proba(X)[:, 1] if self.classifies else model.predict(X)

    def whole(self, model: Any) -> Array:
        """Return what the whole network gives its output function."""
        hidden = _hidden(self.few()[0], model.coefs_, model.intercepts_)
        return (hidden @ model.coefs_[1] + model.intercepts_[1])[:, 0]

    def before_output(self, output: Array) -> Array:
        """Return what the output function was given."""
        return special.logit(output) if self.classifies else output

    def masks_of_calls(self) -> tuple[Array, Array]:
        """Return what two calls of `partial_fit` on the same samples kept."""
        kept: list[Array] = []
        model = watched(self.make(), lambda *seen: kept.append(_kept_units(seen[-1])))
        classes = {"classes": [0, 1]} if self.classifies else {}
        for _ in range(2):
            model.partial_fit(*self.few(), **classes)
        first, second = np.array(kept).reshape(2, -1)
        return first, second

    def _masks(self, batch: int = 1) -> Masks:
        """Train, and see what each update kept.

        The gradient of the weights out of a unit is 0 if, and only if, no sample of the batch
        kept it. In a network with one layer of hidden units, what the output gets of them is
        their sum of weighted activations times the scale, which can be solved for.
        """
        model, seen = self.make(batch_size=batch), []

        def watch(X: Array, W: list, b: list, output: Array, gradients: list) -> None:
            kept = _kept_units(gradients)
            from_hidden = self.before_output(output) - b[1]
            scale = from_hidden / ((_hidden(X, W, b) * kept) @ W[1])
            seen.append((kept, np.median(scale)))

        watched(model, watch).fit(self.X, self.y)
        return Masks(*map(np.array, zip(*seen, strict=True)))


def _dropout_parameter(estimator: Any) -> str:
    if not isinstance(estimator, MLPClassifier | MLPRegressor):
        raise TypeError(
            "estimator must be scikit-learn's MLPClassifier or MLPRegressor with a "
            f"parameter for dropout, or its class; got {estimator!r}"
        )
    names = [n for n in estimator.get_params() if "drop" in n and "input" not in n]
    if len(names) != 1:
        raise TypeError(
            "estimator must have one parameter for the dropout of its hidden layers; "
            f"found {', '.join(names) or 'none'} in {type(estimator).__name__}"
        )
    return names[0]


def _hidden(X: Array, W: list, b: list) -> Array:
    return special.expit(X @ W[0] + b[0])


def _kept_units(gradients: list) -> Array:
    """Return which hidden units have a gradient on their outgoing weights."""
    return (gradients[1] != 0).any(axis=1)


def watched(model: Any, watch: Callable[..., None]) -> Any:
    """Have every update looked at: X, the parameters before, the output, the gradients."""
    backprop, forward = model._backprop, model._forward_pass
    outputs: list[Array] = []

    def forward_spy(*args: Any, **kwargs: Any) -> Any:
        activations = forward(*args, **kwargs)
        outputs.append(activations[-1])
        return activations

    def backprop_spy(X: Array, *args: Any, **kwargs: Any) -> Any:
        before = copy.deepcopy((model.coefs_, model.intercepts_))
        result = backprop(X, *args, **kwargs)
        watch(X, *before, outputs.pop(), result[1])
        return result

    model._backprop, model._forward_pass = backprop_spy, forward_spy
    return model
