"""Activations of a NumPy network, each with its derivative, and the softmax behind the last."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["ACTIVATIONS", "log_softmax"]

Array = npt.NDArray[np.float64]

# The function, and its derivative written with the value of the function *before* any mask.
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (lambda z: np.maximum(z, 0), lambda h: (h > 0).astype(h.dtype)),
    "tanh": (np.tanh, lambda h: 1 - h**2),
    "logistic": (lambda z: 0.5 * (1 + np.tanh(0.5 * z)), lambda h: h * (1 - h)),
    "identity": (lambda z: z, np.ones_like),
}


def log_softmax(logits: Array) -> Array:
    """Return the logarithm of the softmax of each row, without overflow.

    Examples
    --------
    >>> np.exp(log_softmax(np.array([[1000.0, 1000.0]])))
    array([[0.5, 0.5]])
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
