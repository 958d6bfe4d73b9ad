"""Passes of a model, each from a seed, and what is seen of them."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from companion.audit import tree
from companion.audit.compare import Call, tensors_of
from companion.audit.hooked import Hooked
from companion.audit.snapshot import Generators, Snapshot
from companion.audit.state import global_states

KINDS = ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout")
DROPS = {*KINDS, *(f"{x}_" for x in KINDS), "dropout1d", "dropout2d", "dropout3d"}
NUMBERS = set(
    """rand rand_like randn randn_like uniform_ normal normal_ exponential_ cauchy_
    log_normal_ geometric_ random_ randint randint_like randperm""".split()  # noqa: SIM905
)
DRAWS = DROPS | NUMBERS | {"native_dropout", "bernoulli", "bernoulli_", "multinomial"}


class Draw(NamedTuple):
    """One call to a function that draws random numbers, and what it gave."""

    path: str
    name: str
    values: Tensor
    bits: float  # how much there was to choose
    named: bool  # by a key of companion.nn


@dataclass(eq=False)
class Record:
    """What was seen of one pass, and of the backward pass after it."""

    root: Call
    draws: list[Draw] = field(default_factory=list)
    again: list[Call] = field(default_factory=list)  # what a backward pass calls
    drawn_again: list[Draw] = field(default_factory=list)
    states: dict[str, Any] = field(default_factory=dict)  # of generators, at the end
    moved: list[tuple[nn.Module, str]] = field(default_factory=list)  # buffers
    modes: dict[nn.Module, bool] = field(default_factory=dict)
    drew: bool = False
    error: Exception | None = None  # of the backward pass


class Watch(Hooked):
    """Record the calls of modules and the random numbers that are drawn."""

    def __init__(
        self, names: tree.Names, *, states: bool = False, arguments: bool = False
    ) -> None:
        super().__init__()
        self.names, self.states, self.arguments = names, states, arguments
        self.backward = False
        self.kept = WeakTensorKeyDictionary()  # what comes out mostly goes in somewhere
        self.begin()

    def begin(self) -> None:
        """Forget what was seen."""
        self.stack = [Call(tree.ROOT, None, False)]
        self.draws: list[Draw] = []

    def _enter(self, module: nn.Module, args: Any) -> None:
        path = self.names.get(module, self.stack[-1].path)
        call = Call(path, module, module.training)
        call.inputs, call.begins = self.copies(args), self._states()
        if self.arguments:
            call.arguments = own(args), {}
        self.stack.append(call)

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        call = self.stack.pop()
        call.inputs += self.copies(kwargs)
        call.outputs, call.ends = self.copies(output), self._states()
        if self.arguments:
            call.arguments = call.arguments[0], own(kwargs)
        self.stack[-1].calls.append(call)

    def copies(self, value: Any) -> list[Tensor]:
        """Return copies of the tensors in it, each made once."""
        try:
            return [self._copy(x) for x in tensors_of(value)]
        except Exception:  # what cannot be read is not compared
            return []

    def _copy(self, x: Tensor) -> Tensor:
        version = None if x.is_inference() else x._version
        was, copied = self.kept.get(x, (None, None))
        if copied is None or version is None or was != version:
            copied = x.detach().clone()
            self.kept[x] = version, copied
        return copied

    def _states(self) -> dict[str, Any]:
        return global_states() if self.states else {}

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        # A backward pass may draw as well; with gradients on, it computes again.
        if name in DRAWS and not (self.backward and not torch.is_grad_enabled()):
            self.draws.append(self._draw(name, args, kwargs, result))
        return result

    def _draw(self, name: str, args: tuple, kwargs: Any, result: Any) -> Draw:
        values = [
            x.flatten().double() for x in self.copies(result) if not x.is_complex()
        ]
        drawn = torch.cat([*values, torch.empty(0)])
        bits = _bits(name, drawn, self.copies((args, kwargs)))
        named = kwargs.get("key") is not None
        return Draw(self.stack[-1].path, name, drawn, bits, named)


def own(value: Any) -> Any:
    """Return it with copies of its tensors."""
    return tree_map_only(Tensor, lambda x: x.detach().clone(), value)


def _bits(name: str, drawn: Tensor, inputs: list[Tensor]) -> float:
    """Return about how many bits of chance there are in what a function drew."""
    if drawn.is_meta or not drawn.numel():
        return 0.0
    if name in NUMBERS:
        return 20.0 * drawn.numel()
    if name in DROPS and inputs and inputs[0].numel() == drawn.numel():
        drawn = drawn[inputs[0].flatten() != 0]
    share = (drawn != 0).double().mean().item() if drawn.numel() else 0.0
    return -drawn.numel() * float(np.log2(share**2 + (1 - share) ** 2))


class Passes:
    """Run a model in either mode, from the state in which it was given or from where it is."""

    def __init__(self, model: nn.Module, names: tree.Names, example: Any) -> None:
        self.model, self.names, self.example = model, names, example
        self.snapshot = Snapshot(model)
        self.gradients = False

    def traced(self, trace: Any, training: bool) -> None:
        """Have a trace watch a pass; with gradients only if the model does not run without."""
        try:
            self._traced(trace, training)
        except Exception as error:
            self.gradients = not self.gradients
            try:
                self._traced(trace, training)
            except Exception:
                self.gradients = not self.gradients
                raise error from None

    def _traced(self, trace: Any, training: bool) -> None:
        self.snapshot.put_back()
        tree.switch(self.model, training)
        seed_all(0, self.snapshot.generators)
        with torch.set_grad_enabled(self.gradients):
            trace.run(self.model, training, self.example)

    def rest(self, seed: int = 0, **options: Any) -> Record:
        """Run in eval()."""
        return self.run(False, seed, **options)

    def train(self, seed: int | None = 1, **options: Any) -> Record:
        """Run in train()."""
        return self.run(True, seed, **options)

    def run(
        self,
        training: bool,
        seed: int | None,
        *,
        example: Any = None,
        fresh: bool = True,
        again: bool = False,
        backward: bool = False,
        **watched: bool,
    ) -> Record:
        """Run once.

        fresh: from the state in which the model was given. again: without a call to eval() or
        train(). seed None: random numbers go on. backward: follow with a backward pass.
        watched: what else to keep of each call, see `Watch`.
        """
        if fresh:
            self.snapshot.put_back()
        if not again:
            tree.switch(self.model, training)
        if seed is not None:
            seed_all(seed, self.snapshot.generators)
        before, modes = states_of(self.snapshot.generators), _modes(self.names)
        watch = Watch(self.names, **watched)
        args, kwargs = arguments(self.example if example is None else example)
        with torch.set_grad_enabled(backward or self.gradients), watch:
            output = self.model(*args, **kwargs)
            record = Record(watch.stack[0], watch.draws)
            record.root.outputs = watch.copies(output)
            if backward:
                _go_back(output, watch, record)
        record.states = states_of(self.snapshot.generators)
        record.drew = record.states != before
        record.moved = self.snapshot.moved()
        now = _modes(self.names)
        record.modes = {m: now[m] for m in modes if now[m] is not modes[m]}
        return record


def _go_back(output: Any, watch: Watch, record: Record) -> None:
    """Run a backward pass, and keep what it calls."""
    leaves = (x for x in tree_leaves(output) if isinstance(x, Tensor))
    given = tuple(x for x in leaves if x.requires_grad)
    ones = tuple(map(torch.ones_like, given))
    watch.begin()
    watch.backward = True
    try:
        # What torch.autograd.backward calls; that itself would not be watched.
        run = torch.autograd.Variable._execution_engine.run_backward
        run(given, ones, False, False, (), allow_unreachable=True, accumulate_grad=True)
    except Exception as error:
        record.error = error
    record.again, record.drawn_again = watch.stack[0].calls, watch.draws


def _modes(names: tree.Names) -> dict[nn.Module, bool]:
    return {module: module.training for module in names}


def states_of(generators: Generators) -> dict[str, Any]:
    """Return the states of the generators that nobody owns, and of those given."""
    states = global_states()
    for i, generator in enumerate(generators):
        if isinstance(generator, torch.Generator):
            states[f"own {i}"] = generator.get_state().tolist()
        elif isinstance(generator, np.random.Generator):
            states[f"own {i}"] = repr(generator.bit_generator.state)
        elif isinstance(generator, np.random.RandomState):
            states[f"own {i}"] = repr(generator.get_state(legacy=False))
        else:
            states[f"own {i}"] = generator.getstate()
    return states


def seed_all(seed: int, generators: Generators) -> None:
    """Seed the generators that nobody owns, and those given."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # it would be told to seed when it starts
        torch.cuda.manual_seed_all(seed)
    for i, generator in enumerate(generators, 1):
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed + 1000 * i)
        elif isinstance(generator, np.random.Generator):
            bits = generator.bit_generator
            bits.state = type(bits)(seed + 1000 * i).state
        else:
            generator.seed(seed + 1000 * i)


def arguments(example: Any) -> tuple[tuple, dict[str, Any]]:
    """Return what to call a model with, in copies that it may write to."""
    example = own(example)
    if isinstance(example, Mapping):
        return (), dict(example)
    return (example if type(example) is tuple else (example,)), {}
