"""How a gradient moves the parameters of a NumPy network: one step of descent, in place."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["adam", "sgd"]

Array = npt.NDArray[np.float64]
Step = Callable[[list[Array], list[Array]], None]


def sgd(rates: list[float], momentum: float) -> Step:
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
