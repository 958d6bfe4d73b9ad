"""Layers and functions of PyTorch."""

import copy
from contextlib import suppress
from numbers import Real
from typing import Any

from companion.audit.adapters.base import (
    Array,
    FrameworkAdapter,
    has_parameters,
    is_a,
    memory_order,
)

RATES = ("p", "rate", "drop_prob", "dropout")  # what layers call p


class _Torch(FrameworkAdapter):
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
        return memory_order(array.shape, array.stride())

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

    takes = "a layer of PyTorch"

    def __init__(self, module: Any, made_by: type | None = None) -> None:
        from companion.audit import tree

        super().__init__(module)
        self.module = copy.deepcopy(module)
        tree.part_from_original(tree.name_modules(self.module))
        self.p: float | None = None
        named = (a for a in RATES if isinstance(getattr(module, a, None), Real))
        self.attribute = next(named, None)
        self.generator = getattr(self.module, "generator", None)
        self.own_stream = self.generator is not None
        self.made_by = None if self.own_stream else made_by
        self.sets_p = self.attribute is not None or self.made_by is not None
        self.inplace = getattr(module, "inplace", False) is True

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        return is_a(candidate, "torch.nn", "Module")

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        self._set(p)
        return self.module.train(training)(x)

    def _set(self, p: float) -> None:
        if self.made_by is not None:  # what a layer computes from p is computed anew
            if self.p != p:
                self.module, self.p = self.made_by(p), p
            return
        if not 0 <= p <= 1:  # many a layer checks p when it is made, and not again
            with suppress(TypeError):
                type(self.module)(p)
        if self.attribute is not None and getattr(self.module, self.attribute) != p:
            setattr(self.module, self.attribute, p)


class TorchFunction(_Torch):
    """`f(x, p, training)` on tensors, with or without a `generator`."""

    takes = "a function f(x, p, training) of PyTorch"

    def __init__(self, function: Any, made_by: type | None = None) -> None:
        super().__init__(function)
        self.function = function
        self.own_stream = has_parameters(function, "generator")
        self.by_name = has_parameters(function, "training")
        self.kwargs = {}
        if self.own_stream:
            import torch

            self.kwargs["generator"] = self.generator = torch.Generator()

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        return callable(candidate)

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        if self.by_name:
            return self.function(x, p, training=training, **self.kwargs)
        return self.function(x, p, training, **self.kwargs)
