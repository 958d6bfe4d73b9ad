"""Sixty wrong dropouts on NumPy arrays, with one thing wrong in each.

Forty-eight have a mistake in what dropout is, twelve one at its edges: p = 1, p out of range, a
narrower dtype, an empty input, the generator. 37 are the audit's own mutants, from
``tests/dropouts.py``; the others are made here.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).parents[2] / "tests"))
known: Any = import_module("dropouts")

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Forward = Callable[[Array, float, bool, Any], Array]
Draw = Callable[[Shape, float, Any], Array]


class Backward(Protocol):
    """What a candidate makes of a gradient."""

    def __call__(self, candidate: "Candidate", grad: Array) -> Array: ...


class Candidate:
    """A dropout f(x, p, training, rng) with the gradient of what it did, or a wrong one."""

    def __init__(self, forward: Forward, backward: Backward | None = None) -> None:
        self.forward, self.wrong_backward = forward, backward
        self.slopes: list[Array] = []
        self.p, self.rng = 0.0, np.random.default_rng(0)
        self.x = np.zeros(0)

    def __call__(self, x: Array, p: float, training: bool, rng: Any) -> Array:
        before = x.copy()
        y = self.forward(x, p, training, rng)
        if training:
            self.x, self.p, self.rng = before, p, rng
            with np.errstate(all="ignore"):
                same = y.shape == before.shape
                slope = y / before if same else np.ones_like(before)
            self.slopes = [*self.slopes[:1], *self.slopes[-1:], slope]
        return y

    def backward(self, grad: Array) -> Array:
        """Return the gradient at the input of the last call in training."""
        if self.wrong_backward is not None:
            return self.wrong_backward(self, grad)
        return grad * self.slopes[-1]

    @property
    def scale(self) -> float:
        return 1 / (1 - self.p) if self.p < 1 else 0.0


class Wrong(NamedTuple):
    """A wrong dropout: its name, the kind of its mistake, and how to make one."""

    name: str
    kind: str
    make: Callable[[], Candidate]
    edge: bool = False


def right() -> Candidate:
    """Return a right dropout, which keeps where a draw reaches p."""
    return Candidate(known.right)


def right_otherwise() -> Candidate:
    """Return a right dropout that draws whole numbers, not fractions."""
    return Candidate(
        known.masked(lambda s, p, r: r.integers(2**53, size=s) >= p * 2.0**53)
    )


# Which units, which samples, which call


def one_draw_a_sample(shape: Shape, p: float, rng: Any) -> Array:
    return rng.random((*shape[:1], *(1 for _ in shape[1:]))) >= p


def last_unit_stays(shape: Shape, p: float, rng: Any) -> Array:
    mask = np.asarray(rng.random(shape) >= p)
    if shape and mask.size:
        mask[..., -1] = True
    return mask


def first_65536(shape: Shape, p: float, rng: Any) -> Array:
    mask = np.asarray(rng.random(shape) >= p)
    mask.reshape(-1)[65536:] = True
    return mask


def complement_in_turn() -> Draw:
    last: dict[Shape, Array] = {}

    def draw(shape: Shape, p: float, rng: Any) -> Array:
        if shape in last and p == 0.5:
            return ~last.pop(shape)
        mask = np.asarray(rng.random(shape) >= p)
        last[shape] = mask
        return mask

    return draw


def calls_without(skips: Callable[[int], bool]) -> Candidate:
    calls = 0

    def forward(x: Array, p: float, training: bool, rng: Any) -> Array:
        nonlocal calls
        calls += training
        return known.right(x, p, training and not skips(calls), rng)

    return Candidate(forward)


# The input's values


def stays(spared: Callable[[Array], Array]) -> Forward:
    """Values that are never dropped; all others are."""

    def forward(x: Array, p: float, training: bool, rng: Any) -> Array:
        y = known.right(x, p, training, rng)
        if not training or p in (0, 1):
            return y
        return np.where(spared(x), x / x.dtype.type(1 - p), y).astype(x.dtype)

    return forward


def smallest_go(x: Array, p: float, training: bool, rng: Any) -> Array:
    if not training or p in (0, 1) or x.ndim == 0:
        return known.right(x, p, training, rng)
    ranks = np.abs(x).argsort(-1).argsort(-1)
    return known.kept(x, ranks >= round(p * x.shape[-1]), p)


def drawn_from_the_input(x: Array, p: float, training: bool, rng: Any) -> Array:
    seed = int.from_bytes(x.tobytes()[:64], "big")
    return known.right(x, p, training, np.random.default_rng(seed))


def leaks(x: Array, p: float, training: bool, rng: Any) -> Array:
    y = known.right(x, p, training, rng)
    if not training or p in (0, 1):
        return y
    return np.where(y == 0, x * x.dtype.type(1e-6), y)


def rate_in_tenths(x: Array, p: float, training: bool, rng: Any) -> Array:
    if not training or not 0 < p < 1:
        return known.right(x, p, training, rng)
    return known.kept(x, rng.random(x.shape) >= round(p, 1), p)


def none_left_at_1(x: Array, p: float, training: bool, rng: Any) -> Array:
    return np.zeros_like(x) if p == 1 else known.right(x, p, training, rng)


# Gradients


def redrawn(candidate: Candidate, grad: Array) -> Array:
    return grad * (candidate.rng.random(grad.shape) >= candidate.p) * candidate.scale


def passed_on(candidate: Candidate, grad: Array) -> Array:
    return grad if candidate.p < 1 else grad * 0


def passed_on_at_1(candidate: Candidate, grad: Array) -> Array:
    return grad * candidate.slopes[-1] if candidate.p < 1 else grad


def unscaled(candidate: Candidate, grad: Array) -> Array:
    return grad * (candidate.slopes[-1] != 0)


def scaled_twice(candidate: Candidate, grad: Array) -> Array:
    return grad * candidate.slopes[-1] * candidate.scale


def of_the_dropped(candidate: Candidate, grad: Array) -> Array:
    return grad * (candidate.slopes[-1] == 0) * candidate.scale


def as_ReLU(candidate: Candidate, grad: Array) -> Array:
    return grad * candidate.slopes[-1] * (candidate.x > 0)


def by_first_mask(candidate: Candidate, grad: Array) -> Array:
    first = candidate.slopes[0]
    return grad * (first if first.shape == grad.shape else candidate.slopes[-1])


def by_previous_mask(candidate: Candidate, grad: Array) -> Array:
    before = candidate.slopes[-2:][0]
    return grad * (before if before.shape == grad.shape else candidate.slopes[-1])


def by_first_row(candidate: Candidate, grad: Array) -> Array:
    slope = candidate.slopes[-1]
    return grad * (slope[:1] if slope.ndim > 1 else slope)


def mutant(name: str, kind: str, edge: bool = False) -> Wrong:
    """Return one of the audit's mutants that keep nothing from call to call."""
    return Wrong(name, kind, lambda: Candidate(known.MUTANTS[name][0]), edge)


def masked(name: str, kind: str, make: Callable[[], Draw]) -> Wrong:
    return Wrong(name, kind, lambda: Candidate(known.masked(make())))


def wrong(name: str, kind: str, forward: Forward, edge: bool = False) -> Wrong:
    return Wrong(name, kind, lambda: Candidate(forward), edge)


def gradient(name: str, backward: Backward, edge: bool = False) -> Wrong:
    return Wrong(name, "gradient", lambda: Candidate(known.right, backward), edge)


WRONG = [
    mutant("no scale", "scale"),
    mutant("1/p", "scale"),
    mutant("1-p", "scale"),
    mutant("1% too much", "scale"),
    mutant("jitter", "scale"),
    mutant("rounded scale", "scale"),
    mutant("scales twice", "scale"),
    mutant("p is kept", "rate"),
    mutant("0.52 for 0.5", "rate"),
    mutant("always 0.5", "rate"),
    mutant("8 bits", "rate"),
    mutant("biased bits", "rate"),
    mutant("drops at 0", "rate"),
    wrong("p rounded to a tenth", "rate", rate_in_tenths),
    masked("last unit stays", "rate", lambda: last_unit_stays),
    masked("only the first 65,536", "rate", lambda: first_65536),
    mutant("pairs of units", "units depend"),
    mutant("far pairs", "units depend"),
    mutant("slightly correlated", "units depend"),
    mutant("exactly half", "units depend"),
    masked("one draw a sample", "units depend", lambda: one_draw_a_sample),
    mutant("one mask a batch", "shared mask"),
    mutant("pairs of samples", "shared mask"),
    mutant("one mask for ever", "repeated mask"),
    masked("cached mask", "repeated mask", lambda: known.once(known.plain)),
    masked("every mask twice", "repeated mask", lambda: known.twice(known.plain)),
    masked("complement in turn", "repeated mask", complement_in_turn),
    wrong("same input, same mask", "repeated mask", drawn_from_the_input),
    mutant("noise at inference", "mode"),
    mutant("drops at inference", "mode"),
    mutant("times p at inference", "mode"),
    Wrong("first call drops nothing", "mode", lambda: calls_without(lambda n: n == 1)),
    Wrong("tenth call drops nothing", "mode", lambda: calls_without(lambda n: n % 10 == 0)),
    wrong("large values stay", "values", stays(lambda x: np.abs(x) > 2)),
    wrong("negative values stay", "values", stays(lambda x: x < 0)),
    wrong("the smallest go", "values", smallest_go),
    mutant("gaussian", "what is dropped"),
    wrong("a millionth is left", "what is dropped", leaks),
    mutant("in place", "input changed"),
    gradient("redrawn", redrawn),
    gradient("unscaled", unscaled),
    gradient("straight through", passed_on),
    gradient("gradient scaled twice", scaled_twice),
    gradient("gradient of the dropped", of_the_dropped),
    gradient("gradient as of ReLU", as_ReLU),
    gradient("gradient by the first mask", by_first_mask),
    gradient("gradient by the previous mask", by_previous_mask),
    gradient("gradient by the first row", by_first_row),
    gradient("gradient at 1", passed_on_at_1, edge=True),
    mutant("divides by 0", "p = 1", edge=True),
    wrong("zeros at inference at p = 1", "p = 1", none_left_at_1, edge=True),
    mutant("takes any p", "p refused", edge=True),
    mutant("takes NaN", "p refused", edge=True),
    mutant("takes 1.5", "p refused", edge=True),
    mutant("upcast", "dtype", edge=True),
    mutant("by memory", "layout", edge=True),
    mutant("global draw", "generator", edge=True),
    mutant("also global", "generator", edge=True),
    mutant("no empty", "empty input", edge=True),
    mutant("pads empty", "empty input", edge=True),
]  # fmt: skip
