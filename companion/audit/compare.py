"""Where two passes of a model part: the first submodule that gives another answer."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

ROUNDING = {torch.float64: 1e-10, torch.float16: 2e-2, torch.bfloat16: 2e-2}
SCALE = 1e-3  # how far the scales of two kept units may be apart
DEEP = 4  # objects in objects


@dataclass(eq=False)
class Call:
    """One call of a module: what went in, what came out, and which calls it made."""

    path: str
    module: Any
    training: bool
    arguments: tuple[tuple, dict[str, Any]] = ((), {})
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    calls: list["Call"] = field(default_factory=list)
    begins: dict[str, Any] = field(default_factory=dict)  # states of generators
    ends: dict[str, Any] = field(default_factory=dict)

    def all(self) -> Iterator["Call"]:
        """Yield the calls within, each before the one that made it, and this one."""
        for call in self.calls:
            yield from call.all()
        yield self


def tensors_of(value: Any, depth: int = DEEP) -> list[Tensor]:
    """Return the tensors in whatever a module takes or gives; numbers and arrays are some."""
    found: list[Tensor] = []
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            found += _strided(leaf)
        elif isinstance(leaf, np.ndarray | np.number | float | int):
            if np.asarray(leaf).dtype.kind in "biufc":
                found.append(torch.as_tensor(np.asarray(leaf)))
        elif isinstance(leaf, Mapping):
            found += tensors_of([*leaf.values()], depth)
        elif depth and _holds(leaf):
            found += tensors_of([*vars(leaf).values()], depth - 1)
    return found


def _holds(value: Any) -> bool:
    opaque = isinstance(value, torch.nn.Module | type)
    return not opaque and isinstance(getattr(value, "__dict__", None), dict)


def _strided(x: Tensor) -> list[Tensor]:
    if x.is_nested:
        return [part for piece in x.unbind() for part in _strided(piece)]
    if x.is_quantized:
        return [x.dequantize()]
    return [x if x.layout == torch.strided else x.to_dense()]


def differ(xs: list[Tensor], ys: list[Tensor], rounding: float = 0.0) -> bool:
    """Whether two lists of tensors are different by more than rounding explains."""
    if len(xs) != len(ys):
        return True
    return any(_differ(x, y, rounding) for x, y in zip(xs, ys, strict=True))


def _differ(x: Tensor, y: Tensor, rounding: float) -> bool:
    if x.shape != y.shape or x.dtype != y.dtype:
        return True
    if x.is_meta or not x.numel() or torch.equal(x, y):
        return False
    if not (x.is_floating_point() or x.is_complex()):
        return True
    bound = rounding or ROUNDING.get(x.dtype, 1e-5)
    same = (x == y) | (x.isnan() & y.isnan())
    size = torch.where(x.isfinite(), x, 0).abs().max()
    return bool((~same & ~((x - y).abs() <= bound * size)).any())


def parting(a: Call, b: Call, early: bool = False) -> Call | None:
    """Return the innermost call of `a` that did not do in `b` what it did in `a`, or None.

    What went into both is taken to be the same. early: calls of `b` may have been left early.
    """
    for one, other in zip(a.calls, b.calls, strict=False):
        if one.path != other.path or not same_input(one, other, early):
            return a
        if place := parting(one, other, early):
            return place
    if early and not b.outputs:
        return None
    if len(a.calls) != len(b.calls) or differ(a.outputs, b.outputs):
        return a
    return None


def same_input(a: Call, b: Call, early: bool = False) -> bool:
    """Whether the same went into two calls; of one that was left, named arguments are not known."""
    given = len(b.inputs) if early and not b.outputs else len(a.inputs)
    return not differ(a.inputs[:given], b.inputs)


def split(a: Call, b: Call) -> tuple[list[Tensor], list[Tensor]]:
    """Return the first tensors in which two calls of one module, on the same input, differ."""
    for one, other in zip(a.calls, b.calls, strict=False):
        if one.path != other.path:
            return [], []
        for xs, ys in ((one.inputs, other.inputs), (one.outputs, other.outputs)):
            if differ(xs, ys):
                return xs, ys
    return a.outputs, b.outputs


def dropped(x: Tensor, y: Tensor) -> float:
    """Return the share of units that are zero in `y` alone; 0 if others are not scaled by one."""
    if x.shape != y.shape or not (x.is_floating_point() and y.is_floating_point()):
        return 0.0
    there = x != 0
    kept = there & (y != 0)
    ratio = y[kept] / x[kept]
    if (
        not ratio.numel()
        or not ((ratio - ratio[0]).abs() <= SCALE * ratio[0].abs()).all()
    ):
        return 0.0
    return 1 - (kept.sum() / there.sum()).item()


def axes_of(x: Tensor, rows: int) -> Iterable[int]:
    """Return the axes of `x` that are as long as a batch, along which nothing changes."""
    for axis, size in enumerate(x.shape):
        first = x.narrow(axis, 0, 1) if size else x
        if size == rows and not differ([x], [first.expand_as(x)]):
            yield axis
