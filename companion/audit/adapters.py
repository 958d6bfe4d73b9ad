"""How an audit speaks to an implementation: one short class for each kind.

For a kind that is not here, write a class with the methods of `Adapter` and audit an instance.
"""

import copy
import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Adapter:
    """What an audit asks of an implementation; the arrays are the implementation's own.

    Attributes
    ----------
    name : str
        For the head of the report.
    dtypes : tuple of str
        Floating dtypes to try; the first one carries the statistics, so the widest.
    has_inference, sets_p, has_backward : bool
        Whether there is an inference mode, another `p` can be set, and gradients can be taken.
    own_stream : bool
        Whether it draws from a generator it was given, and not from its framework's global one.
    inplace : bool
        Whether it was asked to write its result into the input.
    """

    name: str
    dtypes: tuple[str, ...] = ("float64", "float32", "float16")
    has_inference = sets_p = True
    has_backward = False
    own_stream = True
    inplace = False

    def array(self, values: Array, dtype: str) -> Any:
        """Return an array of the implementation's kind."""
        return values.astype(dtype)

    def values(self, array: Any) -> Array:
        """Return a copy of the values, in float64; raise TypeError for any other kind of array."""
        if not isinstance(array, np.ndarray | np.floating):
            raise TypeError(f"it returned {type(array).__name__}, not an array")
        return np.array(array, dtype=float)

    def dtype(self, array: Any) -> str:
        return str(array.dtype)

    def reversed(self, array: Any) -> Any:
        """Return a view with the axes in reverse order; None if there are no views."""
        return array.T

    def layout(self, array: Any) -> Any:
        """Return what should be the same for input and output: the order of axes in memory."""
        return _order(array.shape, array.strides)

    def seed(self, seed: int) -> None:
        """Start the stream of random numbers again."""
        raise NotImplementedError

    def state(self) -> Any:
        """Return the state of the stream, comparable with ``==``."""
        raise NotImplementedError

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        """Call the implementation."""
        raise NotImplementedError

    def gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        """Call it in training; return the result and the gradient of ``sum(result * grad)``."""
        raise NotImplementedError

    def second_gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        """Return the result, and d sum(grad * dx) / d grad, where dx is the gradient."""
        raise NotImplementedError


class NumPyFunction(Adapter):
    """`f(x, p, training, rng)` on NumPy arrays; `f.backward(grad)`, if it has one, goes back."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = _name_of(function)
        self.has_backward = hasattr(function, "backward")
        self.by_name = _keywords(function, "training", "rng")
        self.seed(0)

    def seed(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def state(self) -> Any:
        return self.rng.bit_generator.state

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        if self.by_name:
            return self.function(x, p, training=training, rng=self.rng)
        return self.function(x, p, training, self.rng)

    def gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        return self(x, p), self.function.backward(grad)  # type: ignore[attr-defined]


class _Torch(Adapter):
    """What PyTorch's modules and functions have in common."""

    dtypes = ("float64", "float32", "float16", "bfloat16")
    has_backward = True
    generator: Any = None

    def array(self, values: Array, dtype: str) -> Any:
        import torch

        return torch.tensor(values, dtype=getattr(torch, dtype))

    def values(self, array: Any) -> Array:
        import torch

        if not isinstance(array, torch.Tensor):
            raise TypeError(f"it returned {type(array).__name__}, not a tensor")
        return array.detach().double().numpy().copy()

    def dtype(self, array: Any) -> str:
        return str(array.dtype).removeprefix("torch.")

    def reversed(self, array: Any) -> Any:
        return array.permute(*range(array.ndim)[::-1])

    def layout(self, array: Any) -> Any:
        return _order(array.shape, array.stride())

    def seed(self, seed: int) -> None:
        import torch

        if self.generator is None:
            torch.manual_seed(seed)
        else:
            self.generator.manual_seed(seed)

    def state(self) -> Any:
        import torch

        generator = self.generator or torch.default_generator
        return generator.get_state().tolist()

    def gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        import torch

        x = x.clone().requires_grad_()
        y = self(x + 0, p)  # what is differentiated by must not be written to
        if not y.requires_grad:  # a constant, as p = 1 may be
            return y, torch.zeros_like(x)
        return y, torch.autograd.grad(y, x, grad)[0]

    def second_gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        import torch

        x, cotangent = x.clone().requires_grad_(), grad.clone().requires_grad_()
        y = self(x + 0, p)
        (first,) = torch.autograd.grad(y, x, cotangent, create_graph=True)
        return y, torch.autograd.grad(first, cotangent, grad)[0]


class TorchModule(_Torch):
    """A layer of PyTorch; a copy of it is audited, with its `p` set as each check needs it."""

    def __init__(
        self, module: Any, made_by: Callable[[float], Any] | None = None
    ) -> None:
        self.module, self.made_by = copy.deepcopy(module), made_by
        self.name = _name_of(module)
        self.attribute = next(
            (a for a in _RATES if isinstance(getattr(module, a, None), Real)), None
        )
        self.generator = getattr(self.module, "generator", None)
        if self.generator is not None:
            self.made_by = None
        self.sets_p = self.attribute is not None or self.made_by is not None
        self.p: float | None = None
        self.own_stream = self.generator is not None
        self.inplace = getattr(module, "inplace", False) is True

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        if self.made_by is not None:  # what a layer computes from p is computed anew
            if self.p != p:
                self.module, self.p = self.made_by(p), p
            return self.module.train(training)(x)
        if not 0 <= p <= 1:  # many a layer checks p when it is made, and not again
            with suppress(TypeError):
                type(self.module)(p)
        self.module.train(training)
        if self.attribute is not None and getattr(self.module, self.attribute) != p:
            setattr(self.module, self.attribute, p)
        return self.module(x)


class TorchFunction(_Torch):
    """`f(x, p, training)` on tensors, with or without a `generator`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = _name_of(function)
        self.own_stream = _keywords(function, "generator")
        self.by_name = _keywords(function, "training")
        self.kwargs = {}
        if self.own_stream:
            import torch

            self.kwargs["generator"] = self.generator = torch.Generator()

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        if self.by_name:
            return self.function(x, p, training=training, **self.kwargs)
        return self.function(x, p, training, **self.kwargs)


class PyTensorFunction(Adapter):
    """A compiled function of `x`, of `x` and `p`, or of `x`, `p` and a training flag."""

    def __init__(self, function: Any) -> None:
        from pytensor.tensor.random.type import RandomGeneratorType

        self.function, self.name = function, "compiled PyTensor function"
        inputs = [i.variable.type for i in function.maker.inputs if not i.implicit]
        self.dtypes = (inputs[0].dtype,)
        self.sets_p, self.has_inference = len(inputs) > 1, len(inputs) > 2
        self.streams = [
            shared
            for shared in function.get_shared()
            if isinstance(shared.type, RandomGeneratorType)
        ]

    def seed(self, seed: int) -> None:
        children = np.random.SeedSequence(seed).spawn(len(self.streams))
        for stream, child in zip(self.streams, children, strict=True):
            stream.set_value(np.random.default_rng(child))

    def state(self) -> Any:
        return [stream.get_value().bit_generator.state for stream in self.streams]

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        return self.function(*[x, p, training][: 1 + self.sets_p + self.has_inference])


class KerasLayer(Adapter):
    """A layer called with `training=`; made anew, from its configuration, for each seed and p."""

    dtypes = ("float32",)

    def __init__(self, layer: Any) -> None:
        self.name, self.kind, self.config = (
            _name_of(layer),
            type(layer),
            layer.get_config(),
        )
        self.sets_p = "rate" in self.config
        self.seed(0)

    def values(self, array: Any) -> Array:
        return np.array(
            array.detach() if hasattr(array, "detach") else array, dtype=float
        )

    def dtype(self, array: Any) -> str:
        return str(array.dtype).rpartition(".")[2]

    def reversed(self, array: Any) -> Any:
        return None

    def seed(self, seed: int) -> None:
        self.config["seed"] = seed
        self.layer = self.kind.from_config(self.config)

    def state(self) -> Any:
        generator = getattr(self.layer, "seed_generator", None)  # none with a rate of 0
        return (
            None if generator is None else self.values(generator.state.value).tolist()
        )

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        if self.sets_p and self.config["rate"] != p:
            self.config["rate"] = p
            self.layer = self.kind.from_config(self.config)
        return self.layer(x, training=training)


_RATES = ("p", "rate", "drop_prob", "dropout")


def adapt(candidate: Any, p: float) -> Adapter:
    """Return the adapter for a candidate; a class is made into a layer with `p` first."""
    made_by = candidate if isinstance(candidate, type) else None
    if made_by is not None:
        candidate = made_by(p)
    if isinstance(candidate, Adapter):
        return candidate
    if _is_a(candidate, "keras", "Layer"):  # with Keras on PyTorch a Module as well
        return KerasLayer(candidate)
    if _is_a(candidate, "torch.nn", "Module"):
        return TorchModule(candidate, made_by)
    if _is_a(candidate, "pytensor.compile.executor", "Function"):
        return PyTensorFunction(candidate)
    if not callable(candidate):
        raise TypeError(
            "candidate must be a function f(x, p, training, rng) on NumPy arrays, a layer or a "
            "function f(x, p, training) of PyTorch, a compiled PyTensor function, a Keras layer "
            f"or a companion.audit.Adapter; got {candidate!r}"
        )
    if _keywords(candidate, "rng") or _required(candidate) == 4:
        return NumPyFunction(candidate)
    return TorchFunction(candidate)


def _order(shape: Any, strides: Any) -> list[int]:
    """Return the axes from the fastest to the slowest, less those of one element."""
    long = [axis for axis, n in enumerate(shape) if n > 1]
    return sorted(long, key=lambda axis: abs(strides[axis]))


def _is_a(candidate: Any, module: str, name: str) -> bool:
    """Without importing a framework that is not there already."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(candidate, getattr(loaded, name))


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # builtins do not tell
        return {}


def _keywords(function: Any, *names: str) -> bool:
    return set(names) <= set(_parameters(function))


def _required(function: Any) -> int:
    needed = [p for p in _parameters(function).values() if p.default is p.empty]
    return len(
        [p for p in needed if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    )


def _name_of(candidate: Any) -> str:
    return getattr(candidate, "__name__", None) or type(candidate).__name__
