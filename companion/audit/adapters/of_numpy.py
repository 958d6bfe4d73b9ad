"""Functions on NumPy arrays."""

from typing import Any

import numpy as np

from companion.audit.adapters.base import (
    FrameworkAdapter,
    count_required,
    has_parameters,
)


class NumPyFunction(FrameworkAdapter):
    """`f(x, p, training, rng)` on NumPy arrays; `f.backward(grad)`, if it has one, goes back."""

    takes = "a function f(x, p, training, rng) on NumPy arrays"

    def __init__(self, function: Any, made_by: type | None = None) -> None:
        super().__init__(function)
        self.function = function
        self.has_backward = hasattr(function, "backward")
        self.by_name = has_parameters(function, "training", "rng")
        self.seed(0)

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        return callable(candidate) and (
            has_parameters(candidate, "rng") or count_required(candidate) == 4
        )

    def seed(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def state(self) -> Any:
        return self.rng.bit_generator.state

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        if self.by_name:
            return self.function(x, p, training=training, rng=self.rng)
        return self.function(x, p, training, self.rng)

    def gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        return self(x, p), self.function.backward(grad)
