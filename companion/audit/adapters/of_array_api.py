"""Functions on arrays of any library in the manner of the array API: CuPy, MLX and others."""

import sys
from contextlib import suppress
from typing import Any

import numpy as np

from companion.audit.adapters.base import Array, Make, is_a
from companion.audit.adapters.of_numpy import Function
from companion.audit.adapters.origin import modules_of

OTHERS = ("numpy", "jax", "torch", "tinygrad")  # have an adapter of their own
FLOATS = ("float64", "float32", "float16", "bfloat16")


def namespace(candidate: Any) -> Any:
    """Return the array library of a candidate: its attribute `xp`, or what its code refers to."""
    if (named := getattr(candidate, "xp", None)) is not None:
        return named
    for name in sorted(modules_of(candidate)):
        root = name.partition(".")[0]
        if root in OTHERS:
            continue
        for module in map(sys.modules.get, (name, root)):
            if hasattr(module, "__array_namespace_info__"):
                return module
    return None


class ArrayAPIFunction(Function):
    """`f(x, p, training)`, with or without `rng`, on arrays of the library that its code names."""

    takes = "a function f(x, p, training, rng) of an array API, named in its code or as f.xp"

    def __init__(self, function: Any, made_by: Make | None = None) -> None:
        super().__init__(function, made_by)
        self.xp = namespace(function)
        self.random: Any = getattr(self.xp, "random", None)
        self.has_backward = hasattr(function, "backward")
        self.own_stream = self.call.stream is not None or self.call.required == 4
        self.dtypes = tuple(name for name in FLOATS if self._holds(name))
        self.seed(0)

    def _holds(self, dtype: str) -> bool:
        with suppress(Exception):
            return self.dtype(self.array(np.ones(2), dtype)) == dtype
        return False

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        return callable(candidate) and namespace(candidate) is not None

    def array(self, values: Array, dtype: str) -> Any:
        make = getattr(self.xp, "asarray", None) or self.xp.array
        return make(values.copy(), dtype=getattr(self.xp, dtype))

    def values(self, array: Any) -> Array:
        if not hasattr(array, "__dlpack__"):
            raise TypeError(f"it returned {type(array).__name__}, not an array")
        if self.dtype(array) == "bfloat16":
            array = array.astype(self.xp.float32)
        if hasattr(array, "get"):  # CuPy's, from the device
            array = array.get()
        return np.array(np.from_dlpack(array), dtype=float)

    def dtype(self, array: Any) -> str:
        return str(array.dtype).rpartition(".")[2]

    def reversed(self, array: Any) -> Any:
        permute = getattr(self.xp, "permute_dims", None) or self.xp.transpose
        return permute(array, tuple(range(array.ndim))[::-1])

    def layout(self, array: Any) -> Any:
        return None

    def seed(self, seed: int) -> None:
        make = getattr(self.random, "default_rng", np.random.default_rng)
        self.rng = make(seed)
        if not self.own_stream and hasattr(self.random, "seed"):
            self.random.seed(seed)

    def state(self) -> Any:
        return getattr(getattr(self.rng, "bit_generator", None), "state", None)

    def stream(self) -> Any:
        return self.rng

    def gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        return self(x, p), self.function.backward(grad)


class MLXFunction(ArrayAPIFunction):
    """`f(x, p, training)` of MLX, with or without a `key`, or a layer of `mlx.nn`."""

    takes = "a layer or a function f(x, p, training) of MLX"

    def __init__(self, function: Any, made_by: Make | None = None) -> None:
        super().__init__(function, made_by)
        self.has_backward = True
        self.is_layer = is_a(function, "mlx.nn", "Module")
        self.has_inference |= self.is_layer

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        return (
            "mlx.core" in sys.modules
            and namespace(candidate) is sys.modules["mlx.core"]
        )

    def seed(self, seed: int) -> None:
        self.rng = self.random.key(seed)
        if not self.own_stream:
            self.random.seed(seed)

    def state(self) -> Any:
        held = [self.rng] if self.own_stream else self.random.state
        return [np.array(key).tolist() for key in held]

    def stream(self) -> Any:
        self.rng, key = self.random.split(self.rng)
        return key

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        self._set(p)
        if self.is_layer:
            self.function.train(training)
        return super().__call__(x, p, training)

    def gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        (y,), (dx,) = self.xp.vjp(lambda x: self(x, p), [x], [grad])
        return y, dx

    def second_gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        def both(cotangent: Any) -> Any:
            (y,), (dx,) = self.xp.vjp(lambda x: self(x, p), [x], [cotangent])
            return dx, y

        (_, y), (second,) = self.xp.vjp(both, [grad], [grad, self.xp.zeros_like(grad)])
        return y, second
