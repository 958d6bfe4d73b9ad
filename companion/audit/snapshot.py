"""All that a model holds, and how to put it back."""

import copy
import functools
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Generators = list[Any]  # each of one of the KINDS
KINDS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
CONTAINERS = (dict, list, set, deque)
FIXED = (str, bytes, int, float, complex, type, types.ModuleType, torch.dtype)
FEW = 8  # with fewer units, two values are no sign of a mask


def reached(root: Any) -> Iterator[Any]:
    """Yield everything that a model holds: in attributes, containers and closures."""
    seen, queue = {id(root)}, [root]
    for value in queue:  # which grows
        yield value
        with suppress(Exception):  # what refuses to be looked at
            for part in _parts(value):
                fixed = part is None or isinstance(part, FIXED)
                if not fixed and id(part) not in seen:
                    seen.add(id(part))
                    queue.append(part)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, tuple | list | set | frozenset | deque):
        return [*value]
    if isinstance(value, types.FunctionType):
        held = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        return held + [cell.cell_contents for cell in _filled(value)]
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, (Tensor, np.ndarray, *KINDS)):
        return []
    return [vars(value)] if _is_plain(value) else []


def _filled(function: types.FunctionType) -> list[types.CellType]:
    filled = []
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # empty
            filled.append((cell, cell.cell_contents)[0])
    return filled


def _is_plain(value: Any) -> bool:
    """Whether its attributes are the model's matter; a logger or a thread is everybody's."""
    room = type(value).__module__.partition(".")[0]
    own = room not in sys.stdlib_module_names or room in ("__main__", "types")
    own = own or isinstance(value, nn.Module)  # even if its class says it is nobody's
    return own and isinstance(getattr(value, "__dict__", None), dict)


class Snapshot:
    """What a model held, to be put back after a pass that changed it."""

    def __init__(self, model: nn.Module) -> None:
        self.generators: Generators = []
        self.modules: list[nn.Module] = []
        self._buffers: list[tuple[nn.Module, str, Tensor, Tensor]] = []
        self._undo: list[Callable[[], object]] = []
        self._undo_tensor: dict[int, Callable[[], object]] = {}
        self._alive = [*reached(model)]  # so that an id stays theirs
        for value in self._alive:
            with suppress(Exception):  # what cannot be read cannot be put back
                self._take(value)

    def put_back(self) -> None:
        """Put everything back."""
        for undo in [*self._undo, *self._undo_tensor.values()]:
            with suppress(Exception):
                undo()

    def put_back_statistics(self) -> None:
        """Put parameters and buffers back, but for a buffer that has become a mask."""
        for module, name, was, _ in self._buffers:
            if not _is_mask(module._buffers.get(name)):
                module._buffers[name] = was
                self._undo_tensor[id(was)]()
        for module in self.modules:
            for parameter in module._parameters.values():
                if undo := self._undo_tensor.get(id(parameter)):
                    undo()

    def moved(self) -> list[tuple[nn.Module, str]]:
        """Return the buffers whose values are not what they were."""
        return [
            (module, name)
            for module, name, _, values in self._buffers
            if (now := module._buffers.get(name)) is not None and not _same(now, values)
        ]

    def _take(self, value: Any) -> None:
        if isinstance(value, KINDS):
            self.generators.append(value)
            self._undo.append(_state_of(value))
        elif isinstance(value, Tensor):
            self._undo_tensor[id(value)] = _values_of(value)
        elif isinstance(value, np.ndarray):
            self._undo.append(functools.partial(np.copyto, value, value.copy()))
        elif isinstance(value, types.FunctionType):
            for cell in _filled(value):
                content = cell.cell_contents
                self._undo.append(
                    functools.partial(setattr, cell, "cell_contents", content)
                )
        elif isinstance(value, CONTAINERS):
            self._undo.append(_items_of(value))
        if isinstance(value, nn.Module):
            self.modules.append(value)
            for name, buffer in value._buffers.items():
                if buffer is not None:
                    self._buffers.append((value, name, buffer, buffer.detach().clone()))
            if isinstance(value, torch.jit.ScriptModule):
                self._undo.append(functools.partial(value.train, value.training))


def _state_of(generator: Any) -> Callable[[], object]:
    if isinstance(generator, torch.Generator):
        return functools.partial(generator.set_state, generator.get_state())
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        return functools.partial(setattr, bits, "state", bits.state)
    if isinstance(generator, np.random.RandomState):
        return functools.partial(generator.set_state, generator.get_state())
    return functools.partial(generator.setstate, generator.getstate())


def _items_of(container: Any) -> Callable[[], object]:
    items = copy.copy(container)

    def undo() -> None:
        container.clear()
        getattr(
            container, "extend" if isinstance(container, list | deque) else "update"
        )(items)

    return undo


def _values_of(x: Tensor) -> Callable[[], object]:
    memory, values = (
        x.data,
        x.data.clone(),
    )  # `data`: a backward pass that waits is not told
    wanted, grad = x.requires_grad, x.grad if x.is_leaf else None
    gradient = None if grad is None else grad.data.clone()

    def undo() -> None:
        if x.data_ptr() != memory.data_ptr() or x.shape != memory.shape:
            x.data = memory
        if not _same(memory, values):
            memory.copy_(values)
        if x.is_leaf:
            x.requires_grad_(wanted)
            x.grad = grad
            if grad is not None and gradient is not None:
                grad.data.copy_(gradient)

    return undo


def _same(x: Tensor, y: Tensor) -> bool:
    return x.shape == y.shape and (x.is_meta or torch.equal(x, y))


def _is_mask(x: Tensor | None) -> bool:
    """Whether a tensor is made of zeros and one other value."""
    if x is None or x.is_meta or x.numel() < FEW:
        return False
    values = x.unique()
    return len(values) == 2 and bool((values == 0).any())
