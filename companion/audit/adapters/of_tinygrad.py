"""Functions and layers on tensors of tinygrad."""

import sys
from typing import Any

import numpy as np

from companion.audit.adapters.base import Array, Make
from companion.audit.adapters.of_numpy import Function
from companion.audit.adapters.origin import is_of

FLOATS = {
    "double": "float64",
    "float": "float32",
    "half": "float16",
    "__bf16": "bfloat16",
}


class TinygradFunction(Function):
    """`f(x, p, training)`; tinygrad's own TRAINING is set as well, for `Tensor.dropout`."""

    takes = "a function f(x, p) or f(x, p, training) of tinygrad"
    dtypes = ("float64", "float32", "float16", "bfloat16")
    has_backward = True
    own_stream = False

    def __init__(self, function: Any, made_by: Make | None = None) -> None:
        super().__init__(function, made_by)
        self.has_inference = True

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        loaded = "tinygrad" in sys.modules and callable(candidate)
        return loaded and is_of(candidate, "tinygrad")

    def array(self, values: Array, dtype: str) -> Any:
        from tinygrad import Tensor, dtypes

        wide = Tensor(np.ascontiguousarray(values, dtype=np.float64))
        return wide.cast(getattr(dtypes, dtype)).contiguous().realize()

    def values(self, array: Any) -> Array:
        from tinygrad import Tensor, dtypes

        if not isinstance(array, Tensor):
            raise TypeError(f"it returned {type(array).__name__}, not a tensor")
        return array.cast(dtypes.float64).numpy().copy()

    def dtype(self, array: Any) -> str:
        return FLOATS.get(array.dtype.name, array.dtype.name)

    def reversed(self, array: Any) -> Any:
        return array.permute(*range(array.ndim)[::-1])

    def layout(self, array: Any) -> Any:
        return None

    def seed(self, seed: int) -> None:
        from tinygrad import Tensor

        Tensor.manual_seed(seed)

    def state(self) -> Any:
        from tinygrad import Tensor

        counters = Tensor._device_rng_counters.items()
        return Tensor._seed, [(device, n.tolist()) for device, n in counters]

    def _lazy(self, x: Any, p: float, training: bool) -> Any:
        from tinygrad import Context

        with Context(TRAINING=int(training)):
            return super().__call__(x, p, training)

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        return self._lazy(x, p, training).realize()

    def gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        y = self._lazy(x, p, True)
        (dx,) = y.gradient(x, gradient=grad)
        return y.realize(dx), dx

    def second_gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        cotangent = grad.clone().realize()
        y = self._lazy(x, p, True)
        (dx,) = y.gradient(x, gradient=cotangent)
        (second,) = dx.gradient(cotangent, gradient=grad)
        return y.realize(second), second
