"""The gradient of an estimator's update, beside central differences of its loss."""

import copy
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from companion.audit.adapters import Array

if TYPE_CHECKING:
    from companion.audit.watched import Subject


def gradient_error(s: "Subject", activation: str, seed: int) -> float:
    """Return how far, in relation, a gradient is from central differences of the loss."""
    model = _two_layers(s, activation, seed)
    update = _repeatable_update(s, model)
    numeric = _central_differences(
        lambda: update()[0], model.coefs_ + model.intercepts_
    )
    _, weights, biases = update()
    analytic = np.concatenate([g.ravel() for g in [*weights, *biases]])
    size = max(float(np.linalg.norm(numeric)), 1e-3)
    return float(np.linalg.norm(analytic - numeric)) / size


def _two_layers(s: "Subject", activation: str, seed: int) -> Any:
    return s.make(
        hidden_layer_sizes=(6, 5),
        activation=activation,
        max_iter=3,
        random_state=seed,
        # scikit-learn clips the loss of outputs that are far out
        **{s.name: min(s.p, 0.5)},
    ).fit(*s.few(12))


def _repeatable_update(s: "Subject", model: Any) -> Callable[[], Any]:
    """Return a function that gives loss and gradients of one update, always with the same masks.

    It looks at the parameters that the model has when it is called.
    """
    X, y = s.few(12)
    if s.classifies:
        y = model._label_binarizer.transform(y)
    layers = len(model.coefs_)
    names = list(inspect.signature(model._backprop).parameters)
    if "X" not in names:  # it hands on whatever it gets
        names = list(inspect.signature(s.parent()._backprop).parameters)

    def update() -> Any:
        given = {
            "X": X,
            "y": y.reshape(len(y), -1),
            "sample_weight": None,
            "activations": [X, *[None] * layers],
            "layer_units": [X.shape[1], *model.hidden_layer_sizes, model.n_outputs_],
        }
        np.random.seed(s.seed)  # noqa: NPY002
        arguments = [given.get(name, [None] * layers) for name in names]
        # On a copy, so that a generator of its own starts anew
        return copy.deepcopy(model)._backprop(*arguments)[:3]

    return update


def _central_differences(
    loss: Callable[[], float], arrays: list[Array], step: float = 1e-6
) -> Array:
    """Return the slope of the loss along each element of the arrays."""
    slopes = []
    for array in arrays:
        for index in np.ndindex(array.shape):
            value, losses = array[index], []
            for shifted in (value + step, value - step):
                array[index] = shifted
                losses.append(loss())
            array[index] = value
            slopes.append((losses[0] - losses[1]) / (2 * step))
    return np.array(slopes)
