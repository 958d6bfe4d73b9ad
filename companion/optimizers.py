"""How a gradient moves the parameters of a NumPy network: one step of descent, in place."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["adam", "sgd"]

Array = npt.NDArray[np.float64]
Step = Callable[[list[Array], list[Array]], None]


def sgd(rates: list[float], momentum: float) -> Step:
    """Return a step of gradient descent with momentum, one rate for each array.

    Examples
    --------
    >>> step, w = sgd([0.1], momentum=0.9), np.array([1.0])
    >>> step([w], [np.array([2.0])])
    >>> w
    array([0.8])
    """
    velocities: list[Array] = []

    def step(parameters: list[Array], gradients: list[Array]) -> None:
        if not velocities:
            velocities.extend(np.zeros_like(array) for array in parameters)
        for array, v, g, rate in zip(
            parameters, velocities, gradients, rates, strict=True
        ):
            v *= momentum
            v -= rate * g
            array += v

    return step


def adam(rates: list[float], beta1: float = 0.9, beta2: float = 0.999) -> Step:
    """Return a step of Adam, one rate for each array.

    References
    ----------
    .. [1] Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.

    Examples
    --------
    >>> step, w = adam([0.1]), np.array([1.0])
    >>> step([w], [np.array([2.0])])
    >>> w.round(6)
    array([0.9])
    """
    firsts: list[Array] = []
    seconds: list[Array] = []
    t = 0

    def step(parameters: list[Array], gradients: list[Array]) -> None:
        nonlocal t
        t += 1
        if not firsts:
            firsts.extend(np.zeros_like(array) for array in parameters)
            seconds.extend(np.zeros_like(array) for array in parameters)
        for array, m, v, g, rate in zip(
            parameters, firsts, seconds, gradients, rates, strict=True
        ):
            m += (1 - beta1) * (g - m)
            v += (1 - beta2) * (g**2 - v)
            array -= rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + 1e-8)

    return step
