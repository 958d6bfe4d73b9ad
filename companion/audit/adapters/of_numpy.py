"""Functions and callable objects on NumPy arrays."""

from typing import Any

import numpy as np

from companion.audit.adapters.base import Array, FrameworkAdapter, Make
from companion.audit.adapters.calls import (
    call_of,
    can_set,
    copied,
    named_rate,
    told,
)


class Function(FrameworkAdapter):
    """What functions of all frameworks have in common: which argument is which."""

    def __init__(self, function: Any, made_by: Make | None = None) -> None:
        super().__init__(function)
        self.function, self.made_by = function, made_by
        self.p: float | None = None
        self.call = call_of(function)
        self.attribute: str | None = None
        if self.call.rate is None and not self.call.by_position:
            self._hold()
        self.has_inference = self.call.by_position or self.call.mode is not None
        self.signature = f"f({', '.join(self._roles())})"

    def _hold(self) -> None:
        """Set the rate of an object that keeps it itself, in a copy."""
        self.function = copied(self.function)
        self.attribute = named_rate(self.function)
        if self.attribute is not None:
            self.original = float(getattr(self.function, self.attribute))
            self.rate = told(self.attribute, self.original)
            if not can_set(self.function, self.attribute):
                self.attribute = None
        self.sets_p = self.attribute is not None or self.made_by is not None

    def _roles(self) -> list[str]:
        if self.call.by_position:
            return ["x", "p", "training", "rng"][: max(3, self.call.required)]
        named = self.call.rate, self.call.mode, self.call.stream
        return ["x", *filter(None, named)]

    def stream(self) -> Any:
        """Return what is given as generator."""
        return None

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        self._set(p)
        call = self.call
        if call.by_position:
            return self.function(
                *[x, p, training, self.stream()][: max(3, call.required)]
            )
        named: dict[str, Any] = {}
        if call.rate:
            named[call.rate] = told(call.rate, p)
        if call.mode:
            named[call.mode] = training != call.rests
        if call.stream and self.stream() is not None:
            named[call.stream] = self.stream()
        return self.function(x, **named)

    def _set(self, p: float) -> None:
        if self.call.rate or self.call.by_position or self.p == p:
            return
        if self.made_by is not None:
            self.function = self.made_by(p)
        elif self.attribute is not None:
            setattr(self.function, self.attribute, told(self.attribute, p))
        self.p = p

    def put_back(self) -> None:
        if self.attribute is not None and self.made_by is None:
            setattr(self.function, self.attribute, self.original)


class NumPyFunction(Function):
    """`f(x, p, training, rng)` on NumPy arrays; `f.backward(grad)`, if it has one, goes back."""

    takes = "a function f(x, p, training, rng) on NumPy arrays"

    def __init__(self, function: Any, made_by: Make | None = None) -> None:
        super().__init__(function, made_by)
        self.has_backward = hasattr(function, "backward")
        self.own_stream = self.call.stream is not None or self.call.required == 4
        self.seed(0)

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        if not callable(candidate):
            return False
        call = call_of(candidate)
        return call.stream in ("rng", "random_state") or call.required == 4

    def values(self, array: Any) -> Array:
        if hasattr(array, "__array__") and not hasattr(array, "detach"):
            return np.array(array, dtype=float)
        return super().values(array)

    def strided(self, values: Array, dtype: str) -> Any:
        return np.repeat(values.astype(dtype), 2, axis=-1)[..., ::2]

    def seed(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        if not self.own_stream:
            np.random.seed(seed % 2**32)  # noqa: NPY002

    def state(self) -> Any:
        if not self.own_stream:
            kind, keys, *rest = np.random.get_state()  # noqa: NPY002
            return kind, keys.tolist(), *rest  # type: ignore[attr-defined]
        return self.rng.bit_generator.state

    def stream(self) -> Any:
        return self.rng

    def gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        return self(x, p), self.function.backward(grad)


class GlobalNumPyFunction(NumPyFunction):
    """`f(x, p, training)` on NumPy arrays, which draws from NumPy's global generator."""

    takes = "a function f(x, p, training) on NumPy arrays"

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        return callable(candidate)
