"""The same dropout in every condition: memory, gradients, what came before, batches, values."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np

from companion.audit.adapters import Array
from companion.audit.chance import mean_p, two_sided
from companion.audit.runner import (
    Checks,
    NotApplicableError,
    Result,
    of_dropped_units,
)
from companion.audit.subject import Subject

from scipy import stats  # isort: skip

UNITS = 2**15  # looked at in each condition, if CALLS suffice
CALLS = 32
OTHERS = (1, 3, 61)  # samples of other batches
LARGE = 2**17  # units of a large one
ODD = 0.365  # a p between those that are easily told

Call = Callable[[], Any]  # makes the input of a call


class Condition(NamedTuple):
    """What is special, and how the implementation is called: x -> y, both as values."""

    name: str
    x: Array
    call: Callable[[], Array]
    p: float
    dtype: str


CHECKS = Checks()


@CHECKS.add(
    "the same in every condition",
    "Views, gradients on or off, other calls before, other batches and values change nothing.",
    "DR113",
)
@of_dropped_units
def same_in_every_condition(s: Subject) -> Result:
    if not s.has_batch:
        raise NotApplicableError("the input has no batch axis")
    if s.repeats:
        raise NotApplicableError("every call drops the same units")
    seen = ["the first call"]
    wrong = _first_call(s)
    if wrong:
        return Result("fail", f"the first call: {wrong}", "no difference", ELSEWHERE)
    for condition in _conditions(s):
        wrong = _departs(s, condition)
        if wrong:
            measured = f"{condition.name}: {wrong}"
            return Result("fail", measured, "no difference", ELSEWHERE)
        seen.append(condition.name)
    return Result("pass", f"no difference in {len(seen)} conditions", "no difference")


ELSEWHERE = (
    "It is another dropout there than in the calls that the other checks look at."
)


def _first_call(s: Subject) -> str:
    """Return what is wrong with the first call of all, which came before the checks."""
    if s.first is None:
        return ""
    x, y, asked = s.first
    p = asked if s.adapter.sets_p else s.p
    once = Condition("the first call", x, lambda: y, p, s.dtype)
    return _departs(s, once, calls=1)


def _scale(s: Subject, p: float) -> float:
    """Return what kept units are to be multiplied by at a p."""
    scale = s.main().scale
    return scale if p == s.p or abs(scale - 1) <= s.tolerance() else 1 / (1 - p)


def _departs(s: Subject, condition: Condition, calls: int | None = None) -> str:
    """Return what is different in a condition; nothing if nothing is."""
    name, x, call, p, dtype = condition
    rest = name.startswith("at rest")
    masks: list[Array] = []
    usual = 2 if rest else int(np.clip(UNITS // x.size, 4, CALLS))
    for _ in range(calls or usual):
        y = call()
        if rest:
            if not _rests(s, y, x, p, dtype):
                return "not what inference gives elsewhere"
            continue
        if not s.is_selection(y, x, dtype):
            return "the result is not the input with units dropped and one scale"
        masks.append(y != 0)
        if masks[-1].any() and not s.scales_by_share(s.main()):
            there, scale = (y[masks[-1]] / x[masks[-1]]).mean(), _scale(s, p)
            if abs(there / scale - 1) > 4 * s.tolerance(dtype) + 2.0**-14:
                return f"kept units times {there:.4g}, elsewhere {scale:.4g}"
    return "" if rest else _wrong_masks(s, np.array(masks), p)


def _rests(s: Subject, y: Array, x: Array, p: float, dtype: str) -> bool:
    factor = s.inference_factor(p)
    close = np.abs(y - factor * x) <= 4 * s.tolerance(dtype) * np.abs(x)
    return y.shape == x.shape and bool(close.all())


def _wrong_masks(s: Subject, masks: Array, p: float) -> str:
    """Return what is wrong with the masks of a condition: their rate, or that they repeat."""
    masks = np.array([s.batch_first(mask) for mask in masks])
    for axis in s.shared:
        masks = masks.take([0], axis + 1)
    dropped, n = 1 - masks.mean(), masks.size
    level = s.level / 32  # of one condition
    if s.in_blocks or s.dependent:
        rows = masks.reshape(masks.shape[0] * masks.shape[1], -1).mean(axis=1)
        wanted = s.main().masks.mean()
        chance = mean_p(rows, wanted) if len(rows) > 63 and p == s.p else 1.0
    else:
        keep = s.main().masks.mean() if s.estimated else 1 - p
        chance = two_sided(stats.binom(n, keep), int(masks.sum()))
    if chance < level:
        return f"{dropped:.4f} dropped at p = {p:g}"
    alike = n / len(masks) * np.log(p**2 + (1 - p) ** 2)  # chance that two calls agree
    if alike < np.log(level) and any(map(np.array_equal, masks, masks[1:])):
        return "the same mask again"
    if alike / max(1, masks.shape[1]) < np.log(level) and _twins(s, masks):
        return "one mask for two samples"
    return ""


def _twins(s: Subject, masks: Array) -> bool:
    """Return True if two samples side by side lose the same units."""
    alone = masks.shape[1] < 2 or 0 in s.shared
    return not alone and any(
        np.array_equal(one, other) for mask in masks for one, other in pairwise(mask)
    )


# The conditions


def _conditions(s: Subject) -> Iterator[Condition]:
    for training in s.modes:
        rest = "" if training else "at rest, "
        for name, make in _inputs(s):
            x = make()
            if x is not None:
                values = s.adapter.values(x)
                dtype = name if name in s.dtypes else s.dtype
                call = _caller(s, make, training)
                yield Condition(rest + name, values, call, s.p, dtype)
        yield from _modes(s, rest, training)
    yield from _after(s)


def _caller(
    s: Subject, make: Call, training: bool, p: float | None = None
) -> Callable[[], Array]:
    s.restart(7)
    return lambda: s.output(make(), s.p if p is None else p, training)


def _inputs(s: Subject) -> Iterator[tuple[str, Call]]:
    """Yield inputs of other layouts, batches, values and dtypes."""
    a, shape, batch = s.adapter, s.call_shape, s.batch_axis
    if len(set(s.shared) & {0}) == 0:
        yield "a transposed input", lambda: a.reversed(s.input(shape=shape[::-1]))
    yield "every other element of an array", lambda: a.strided(s.numbers(), s.dtype)
    large = max(2, LARGE // (prod(shape) // shape[batch]))
    for n in (*OTHERS, large):
        other = tuple(n if axis == batch else m for axis, m in enumerate(shape))
        yield f"a batch of {n}", partial(s.input, shape=other)
    for size in (1e-3, 1e3):
        larger = partial(a.array, size * s.numbers(), s.dtype)
        yield f"values {size:g} times as large", larger
    for dtype in s.dtypes[1:]:
        yield dtype, partial(s.input, dtype)


def _modes(s: Subject, rest: str, training: bool) -> Iterator[Condition]:
    x, a = s.input_values(), s.adapter

    def without() -> Array:
        with a.without_gradients():
            return s.output(s.input(), s.p, training)

    def recorded() -> Array:
        y, _ = a.gradient(s.input(), s.p, a.array(np.ones(s.call_shape), s.dtype))
        return a.values(y)

    yield Condition(f"{rest}without gradients", x, without, s.p, s.dtype)
    if training and a.has_backward:
        yield Condition("with gradients", x, recorded, s.p, s.dtype)


def _after(s: Subject) -> Iterator[Condition]:
    """Yield calls that come after others."""
    x = s.input_values()

    def after(
        p: float, training: bool, shape: tuple[int, ...] | None = None
    ) -> Callable[[], Array]:
        def call() -> Array:
            s.adapter(s.input(shape=shape), p, training)
            return s.output(s.input(), s.p)

        return call

    if s.adapter.has_inference:
        yield Condition("after inference", x, after(s.p, False), s.p, s.dtype)
        rested = after(s.p, True)

        def at_rest() -> Array:
            rested()
            return s.output(s.input(), s.p, training=False)

        yield Condition("at rest, after training", x, at_rest, s.p, s.dtype)
    if s.adapter.sets_p:
        other = 0.9 if s.p != 0.9 else 0.1
        before = after(other, True)
        yield Condition(f"after p = {other:g}", x, before, s.p, s.dtype)
        for p in (other, ODD):
            call = _caller(s, s.input, True, p)
            yield Condition(f"p = {p:g} after p = {s.p:g}", x, call, p, s.dtype)
