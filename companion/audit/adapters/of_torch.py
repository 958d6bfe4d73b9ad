"""Layers and functions of PyTorch."""

from contextlib import AbstractContextManager, suppress
from typing import Any

from companion.audit.adapters.base import (
    Array,
    FrameworkAdapter,
    Make,
    is_a,
    memory_order,
)
from companion.audit.adapters.calls import can_set, copied, named_rate, told
from companion.audit.adapters.of_numpy import Function


class OnTorch(FrameworkAdapter):
    """What PyTorch's modules and functions have in common."""

    dtypes: tuple[str, ...] = ("float64", "float32", "float16", "bfloat16")
    has_backward = True
    generator: Any = None

    def array(self, values: Array, dtype: str) -> Any:
        import torch

        return torch.tensor(values, dtype=getattr(torch, dtype))

    def values(self, array: Any) -> Array:
        import torch

        if not isinstance(array, torch.Tensor):
            raise TypeError(f"it returned {type(array).__name__}, not a tensor")
        return array.detach().double().cpu().numpy().copy()

    def dtype(self, array: Any) -> str:
        return str(array.dtype).removeprefix("torch.")

    def reversed(self, array: Any) -> Any:
        return array.permute(*range(array.ndim)[::-1])

    def layout(self, array: Any) -> Any:
        return memory_order(array.shape, array.stride())

    def strided(self, values: Array, dtype: str) -> Any:
        return self.array(values.repeat(2, axis=-1), dtype)[..., ::2]

    def expanded(self, like: Any, shape: tuple[int, ...]) -> Any:
        import torch

        return torch.ones((), dtype=like.dtype).expand(shape)

    def without_gradients(self) -> AbstractContextManager:
        import torch

        return torch.no_grad()

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


class TorchModule(OnTorch):
    """A layer of PyTorch; a copy of it is audited, with its `p` set as each check needs it."""

    takes = "a layer of PyTorch"
    signature = "layer(x)"

    def __init__(self, module: Any, made_by: Make | None = None) -> None:
        super().__init__(module)
        bound = any("forward" in vars(m) for m in module.modules())  # to the original
        self.module, self.was_training = module, module.training
        if not bound:
            self.module = copied(module)
        if self.module is not module:
            _part_generators(self.module)
        self.p: float | None = None
        self.holders = self._holders()
        self.generator = getattr(self.module, "generator", None)
        self.own_stream = self.generator is not None
        self.made_by = None if self.own_stream else made_by
        self.sets_p = bool(self.holders) or self.made_by is not None
        self.inplace = getattr(module, "inplace", False) is True
        kept = [x.dtype for x in module.parameters() if x.dtype.is_floating_point]
        if kept:
            self.dtypes = (str(kept[0]).removeprefix("torch."),)

    def _holders(self) -> list[tuple[Any, str]]:
        """Return who holds the rate: the layer itself, or all layers in it, if they agree."""
        inner = [(m, name) for m in self.module.modules() if (name := named_rate(m))]
        own = [(m, name) for m, name in inner if m is self.module]
        found = own or inner
        rates = {told(name, float(getattr(m, name))) for m, name in found}
        if len(rates) != 1:
            return []
        self.rate = rates.pop()
        return found if all(can_set(m, name) for m, name in found) else []

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        return is_a(candidate, "torch.nn", "Module")

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        self._set(p)
        if training:
            self.module.train()
        else:
            self.module.eval()  # a layer may have one of its own
        return self.module(x)

    def _set(self, p: float) -> None:
        if self.made_by is not None:  # what a layer computes from p is computed anew
            if self.p != p:
                self.module, self.p = self.made_by(p), p
            return
        if not 0 <= p <= 1:  # many a layer checks p when it is made, and not again
            with suppress(TypeError):
                type(self.module)(p)
        for holder, name in self.holders:
            if getattr(holder, name) != told(name, p):
                setattr(holder, name, told(name, p))

    def put_back(self) -> None:
        """Give a layer that could not be copied its rate and its mode again."""
        for holder, name in self.holders:
            setattr(holder, name, told(name, self.rate or 0.0))
        self.module.train(self.was_training)


def _part_generators(module: Any) -> None:
    """Give a copy generators of its own: layers of companion.nn share theirs with their copies."""
    import torch

    own: dict[Any, Any] = {}
    for part in module.modules():
        for key, value in vars(part).items():
            if isinstance(value, torch.Generator):
                own.setdefault(value, value.clone_state())
                vars(part)[key] = own[value]


class TorchFunction(OnTorch, Function):
    """`f(x, p, training)` on tensors, with or without a `generator`."""

    takes = "a function f(x, p, training) of PyTorch"

    def __init__(self, function: Any, made_by: Make | None = None) -> None:
        super().__init__(function, made_by)
        self.own_stream = self.call.stream == "generator"
        if self.own_stream:
            import torch

            self.generator = torch.Generator()

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        return callable(candidate)

    def stream(self) -> Any:
        return self.generator
