"""Gradients, the ends of p, dtypes, seeds: what an implementation does besides the statistics."""

from math import ceil, log, log1p
from typing import Any

import numpy as np

from companion.audit import weights
from companion.audit.adapters import Adapter, Array
from companion.audit.report import Verdict
from companion.audit.runner import (
    Checks,
    NotApplicableError,
    Result,
    by_kind,
    not_for,
    of_dropped_units,
    said,
)
from companion.audit.state import global_states
from companion.audit.subject import Subject

CHECKS = Checks()


@CHECKS.add(
    "backward",
    "The gradient passes the mask and the scale of the forward pass.",
    "DR109",
)
@by_kind(weights=weights.backward)
def backward(s: Subject) -> Result:
    if not s.adapter.has_backward:
        raise NotApplicableError("no gradient to ask for")
    bound, worst = _gradient_bound(s), 0.0
    for p in s.rates:
        for grad in (_cotangent(s), _spread_out(s)):
            s.restart()
            y, dx = map(s.adapter.values, s.adapter.gradient(s.input(), p, grad))
            error = _relative(dx, s.adapter.values(grad) * _slope(s, y, p))
            if not error <= bound:
                why = (
                    f"At p = {p:g} {((dx != 0) & (y == 0)).sum()} dropped units receive a "
                    f"gradient, {((dx == 0) & (y != 0)).sum()} kept ones do not: training "
                    "follows a slope that is not the loss's."
                )
                return Result(
                    "fail", f"relative error {error:.2g}", f"{bound:.0e}", why
                )
            worst = max(worst, error)
    return Result("pass", f"relative error {worst:.2g}", f"{bound:.0e}")


def _slope(s: Subject, y: Array, p: float) -> Array:
    """Return dy/dx: by central differences if the mask can be drawn again, else y/x."""
    x = s.input_values()
    s.restart()
    if not np.array_equal(s.output(s.input(), p), y):
        return y / x
    step, places, ends = s.tolerance() ** 0.5, [], []
    for moved in (x + step, x - step):
        place = s.adapter.array(moved, s.dtype)
        places.append(s.adapter.values(place))  # as the dtype rounds it
        s.restart()
        ends.append(s.output(place, p))
    return (ends[0] - ends[1]) / (places[0] - places[1])


def _spread_out(s: Subject) -> Any:
    """Return what a sum sends back: one number for all, in no memory of its own where it can be."""
    return s.adapter.expanded(s.input(), s.call_shape)


@CHECKS.add(
    "double backward",
    "The gradient can be differentiated again, as gradient penalties need.",
    "DR110",
)
@by_kind(weights=not_for("weights are dropped"))
def double_backward(s: Subject) -> Result:
    asked = type(s.adapter).second_gradient is not Adapter.second_gradient
    if not (s.adapter.has_backward and asked):
        raise NotApplicableError("no second gradient to ask for")
    grad = _cotangent(s)
    s.restart()
    results = s.adapter.second_gradient(s.input(), s.p, grad)
    y, second = map(s.adapter.values, results)
    error = _relative(second, s.adapter.values(grad) * _slope(s, y, s.p))
    bound = _gradient_bound(s)
    why = "Gradient penalties and Hessian products through this layer are wrong."
    verdict: Verdict = "pass" if error <= bound else "fail"
    return Result(verdict, f"relative error {error:.2g}", f"{bound:.0e}", why)


def _gradient_bound(s: Subject) -> float:
    return 1e-6 if s.tolerance() < 1e-10 else 1e-2


def _cotangent(s: Subject) -> Any:
    values = np.random.default_rng(s.seed + 1).normal(size=s.call_shape)
    return s.adapter.array(values, s.dtype)


def _relative(measured: Array, expected: Array) -> float:
    norm = np.linalg.norm(expected)
    return float(np.linalg.norm(measured - expected) / (norm or 1.0))


@CHECKS.add("p = 0", "The identity, exactly, and no random number is drawn.", "DR111")
def p_zero(s: Subject) -> Result:
    _needs_p(s)
    s.restart()
    bound = "x, and draws nothing"
    try:
        s.adapter(s.input(), 0.0)  # a layer that is made anew for this p is made now
    except (ValueError, AssertionError) as error:
        return Result("note", f"refused: {said(error)}", bound, REFUSED)
    before = s.adapter.state()
    y = s.output(s.input(), 0.0)
    drew = s.adapter.state() != before
    if not (_all_weights(s, y) if s.family.kind == "weights" else s.is_input(y)):
        why = "p = 0 should switch dropout off."
        return Result("fail", "changed the input", "x", why)
    if drew:
        why = "Results change with p = 0 put in: the random numbers that follow are others."
        return Result("note", "x, but draws", bound, why)
    return Result("pass", bound, bound)


def _all_weights(s: Subject, y: Array) -> bool:
    rested = s.output(s.input(), 0.0, False) if s.adapter.has_inference else y
    return np.array_equal(y, rested)


REFUSED = "An error that says so is as good as a result; a sweep over p has to stop before it."


@CHECKS.add("p = 1", "Zeros, and a finite gradient.", "DR201", edge=True)
@by_kind(
    noise=not_for("noise has no p of 1"),
    alpha=not_for("the variance cannot be kept at p = 1"),
    weights=not_for("weights are dropped"),
)
def p_one(s: Subject) -> Result:
    _needs_p(s)
    why = "A sweep over p that ends at 1 fills the network with NaN."
    s.restart()
    try:
        y = s.output(s.input(), 1.0)
    except (ValueError, AssertionError) as error:
        return Result("note", f"refused: {said(error)}", "zeros", REFUSED)
    if (y != 0).any():
        measured = "kept some units" if np.isfinite(y).all() else "NaN or inf"
        return Result("fail", measured, "zeros", why)
    if s.adapter.has_backward:
        _, dx = s.adapter.gradient(s.input(), 1.0, _cotangent(s))
        if (s.adapter.values(dx) != 0).any():
            return Result("fail", "zeros, gradient not 0", "zeros", why)
    return _rests_at_one(s)


def _rests_at_one(s: Subject) -> Result:
    """Inference at p = 1 is the identity, or 0 where it scales by 1-p."""
    if s.adapter.has_inference:
        y = s.output(s.input(), 1.0, training=False)
        scales = s.scales_at_inference(max(s.rates))
        if y.any() if scales else not s.is_input(y):
            why = "At inference dropout is off, whatever p is."
            return Result("fail", "zeros in training, another result at rest", "x", why)
    return Result("pass", "zeros", "zeros")


@CHECKS.add(
    "bad p refused", "A p outside [0, 1], or NaN, raises an error.", "DR202", edge=True
)
def bad_p(s: Subject) -> Result:
    _needs_p(s)
    taken = [str(p) for p in (-0.1, 1.5, float("nan")) if _takes(s, p)]
    if taken:
        why = "A slip such as 50 for 50 percent, or a keep probability gone wrong, goes unseen."
        return Result("fail", f"took {', '.join(taken)}", "an error", why)
    return Result("pass", "an error", "an error")


def _takes(s: Subject, p: float) -> bool:
    try:
        s.restart()  # which a layer with the p before may refuse
        s.adapter(s.input(), p)
    except Exception:
        return False
    return True


def _needs_p(s: Subject) -> None:
    if not s.adapter.sets_p:
        raise NotApplicableError("p cannot be set")


@CHECKS.add(
    "dtype and layout",
    "Both are kept.",
    "DR203",
    edge=True,
)
def dtype_and_layout(s: Subject) -> Result:
    for dtype in s.dtypes:
        for training in s.modes:
            returned = s.adapter.dtype(s.adapter(s.input(dtype), s.p, training))
            if returned != dtype:
                where = "training" if training else "inference"
                measured = f"{returned} from {dtype} in {where}"
                why = "The next layer gets another dtype than its own: slower, or an error."
                return Result("fail", measured, "the same", why)
    x = s.adapter.reversed(s.input(shape=s.call_shape[::-1]))
    if x is None or not s.has_batch:
        return Result("pass", "kept", "kept")
    y = s.adapter(x, s.p)
    if y.shape == x.shape and s.adapter.layout(y) != s.adapter.layout(x):
        why = "The next layer may have to copy the array first: slower, not wrong."
        return Result("note", "dtype kept, memory order not", "kept", why)
    return Result("pass", "kept", "kept")


@CHECKS.add("input untouched", "The caller's array holds what it held before.", "DR112")
def input_untouched(s: Subject) -> Result:
    for training in s.modes:
        x = s.input()
        s.adapter(x, s.p, training)
        if not np.array_equal(s.adapter.values(x), s.input_values()):
            why = "Whoever uses the array afterwards, a residual connection say, gets the mask too."
            verdict: Verdict = "note" if s.adapter.inplace else "fail"
            return Result(verdict, "the input was written to", "untouched", why)
    return Result("pass", "untouched", "untouched")


@CHECKS.add(
    "NaN and inf dropped",
    "A dropped unit is 0, whatever it held, and a kept NaN stays one.",
    "DR114",
)
@of_dropped_units
def nan_and_inf(s: Subject) -> Result:
    units = s.distinct(s.main())[0].size
    calls = ceil(log(s.level) / (units * log1p(-s.p)))  # so many that some are dropped
    calls = max(calls, ceil(log(s.level) / (units * log(s.p))))  # and some kept
    leaks = ""
    for value in (np.nan, np.inf):
        bad = np.full(s.call_shape, value)
        s.restart()
        outputs = [s.output(s.adapter.array(bad, s.dtype), s.p) for _ in range(calls)]
        x = s.adapter.array(bad, s.dtype)
        same = np.isnan if np.isnan(value) else _not_finite
        rested = [s.output(x, s.p, training=False)] if s.adapter.has_inference else []
        if not any(same(y).any() for y in outputs) or not all(
            same(y).all() for y in rested
        ):
            why = "A network that has diverged looks healthy: nobody sees what went wrong."
            return Result("fail", f"a kept {value} is hidden", "0, or what it was", why)
        if not leaks and not any((y == 0).any() for y in outputs):
            leaks = f"a dropped {value} leaks"
    if leaks:
        why = (
            "0 times NaN is NaN: the mask is multiplied with. One bad unit then spoils a "
            "sample even when it is dropped."
        )
        return Result("note", leaks, "0", why)
    return Result("pass", "0", "0")


def _not_finite(y: Array) -> Array:
    return ~np.isfinite(y)


@CHECKS.add(
    "seedable", "One seed, one mask; another seed, another.", "DR204", edge=True
)
def seedable(s: Subject) -> Result:
    calls = 2
    if s.family.kind in ("selection", "alpha"):
        alike = log(s.p**2 + (1 - s.p) ** 2) * s.distinct(s.main())[0].size
        calls = ceil(
            log(s.level) / alike
        )  # so many that two seeds do not agree by chance

    def outputs(stream: int) -> list[Array]:
        s.restart(stream)
        return [s.output(s.input(), s.p) for _ in range(calls)]

    first, again, other = outputs(1), outputs(1), outputs(2)
    if not np.array_equal(first, again):
        why = "No run can be repeated: the masks do not come from the generator it was given."
        return Result("fail", "one seed, two masks", "one seed, one mask", why)
    if np.array_equal(first, other):
        why = "The seed has no effect: every run drops the same units."
        return Result("fail", "two seeds, one mask", "another seed, another mask", why)
    return Result("pass", "repeatable", "repeatable")


@CHECKS.add(
    "global state left alone",
    "Nobody else's random numbers change.",
    "DR205",
    edge=True,
)
def global_state(s: Subject) -> Result:
    x, before = s.input(), global_states()
    s.restart()
    s.adapter(x, s.p)
    after = global_states()
    changed = [name for name in before if after[name] != before[name]]
    if not s.adapter.own_stream and changed in (["torch"], ["numpy.random"]):
        raise NotApplicableError(
            "it was given no generator, and draws from the global one"
        )
    if changed:
        why = "Other parts of a program get other random numbers because this one ran."
        return Result("fail", f"changed {', '.join(changed)}", "unchanged", why)
    return Result("pass", "unchanged", "unchanged")


@CHECKS.add(
    "empty and 0-d input",
    "An empty batch comes back empty, a single number as a number.",
    "DR206",
    edge=True,
)
def small_inputs(s: Subject) -> Result:
    empty = tuple(0 if a == s.batch_axis else n for a, n in enumerate(s.call_shape))
    for training in s.modes:
        shape = s.output(s.input(shape=empty), s.p, training).shape
        if s.family.kind == "weights":
            shape = (*shape[:-1], empty[-1])
        if shape != empty:
            why = "The last batch of a data set may be empty."
            return Result("fail", f"shape {shape} from {empty}", "the same", why)
    try:
        shape = s.output(s.input(shape=()), s.p).shape
    except Exception as error:
        why = "Only arrays with the axes it expects are taken."
        return Result("note", f"0-d input: {said(error)}", "the same", why)
    if shape != ():
        why = "A number became an array."
        return Result("note", f"shape {shape} from ()", "the same", why)
    return Result("pass", "the same", "the same")
