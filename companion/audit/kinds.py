"""What does it drop? Units, channels, paths, blocks, weights; or is it noise, or nothing?"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from companion.audit.adapters import Array

if TYPE_CHECKING:
    from companion.audit.subject import Subject

KINDS = (
    "units", "channels", "tokens", "steps", "paths", "blocks", "weights", "noise", "alpha",
)  # fmt: skip
FIRST_CALLS = 256  # after which what was never seen is said not to happen
SOME = 1024  # units, of which the number that comes most often is sought
WEIGHT_CALLS = 16
NEIGHBOURS = 0.2  # correlation of units side by side that are parts of blocks


class Family(NamedTuple):
    """What is dropped.

    Attributes
    ----------
    kind : str
        One of `KINDS`; "selection" for those that drop units of some shape, before it is known
        which; empty for what is no dropout.
    measured : str
        What was seen, in words.
    factors : callable
        From a result and an input to what each unit was multiplied by, 0 where it was dropped.
    """

    kind: str
    measured: str
    factors: Callable[[Array, Array], Array]


def quotient(y: Array, x: Array) -> Array:
    return y / x


def find_family(s: "Subject") -> Family:
    """Return what an implementation drops, from what it does to one input in a few calls."""
    x, outputs = s.input_values(), _first_outputs(s)
    if outputs[0].shape != x.shape:
        return _weights(s) or Family("", "the shape is another", quotient)
    if not any(y.any() for y in outputs):
        return Family("", "everything: all that comes back is 0", quotient)
    ratios = np.array([y / x for y in outputs])
    if np.ptp(ratios) <= s.tolerance() * np.abs(ratios).max():
        times = "" if abs(ratios.flat[0] - 1) <= s.tolerance() else ", times one number"
        said = f"nothing: every unit comes back{times}"
        return Family("", said, quotient)
    if not ratios.all() and all(s.is_selection(y, x) for y in outputs):
        return Family("selection", "", quotient)
    few = outputs[:8]
    return _alpha(s, x, few) or _weights(s) or _noise(s, x, few, ratios)


def _first_outputs(s: "Subject") -> list[Array]:
    """Return results until both kinds of units were seen, or something else that is random."""
    s.restart()
    outputs: list[Array] = []
    zeros = others = moves = False
    while len(outputs) < FIRST_CALLS:
        y = s.output(s.input(), s.p)
        zeros, others = zeros or bool((y == 0).any()), others or bool(y.any())
        moves = moves or (bool(outputs) and not np.array_equal(y, outputs[0]))
        outputs.append(y)
        if (zeros and others and len(outputs) > 3) or (moves and len(outputs) > 7):
            break
    return outputs


# Alpha dropout


def _alpha(s: "Subject", x: Array, outputs: list[Array]) -> Family | None:
    """Dropped units become one number, which is not 0, and kept ones a line of what they held."""
    y = np.array(outputs).ravel()
    if not np.isfinite(y).all():
        return None
    x = np.tile(x.ravel(), len(outputs))
    values, counts = np.unique(y, return_counts=True)
    common = values[counts.argmax()]
    kept = y != common
    if counts.max() < max(4, 0.2 * s.p * y.size) or kept.sum() < 4:
        return None
    a, b = np.polyfit(x[kept], y[kept], 1)
    if np.abs(a * x[kept] + b - y[kept]).max() > 4 * s.tolerance() * np.abs(y).max():
        return None
    said = f"to {common:.4g}, and the others to {a:.4g} x {b:+.4g}"
    return Family("alpha", f"single units or channels, set {said}", alpha_factors)


def alpha_line(y: Array, x: Array) -> tuple[float, float, float]:
    """Return slope and offset of the kept units, and what dropped units are set to."""
    common = _commonest(y)
    kept = y != common
    if kept.sum() < 2:
        return 0.0, 0.0, common
    low, high = (np.flatnonzero(kept)[f(x[kept])] for f in (np.argmin, np.argmax))
    a = (y.flat[high] - y.flat[low]) / (x.flat[high] - x.flat[low])
    return float(a), float(y.flat[high] - a * x.flat[high]), common


def _commonest(y: Array) -> float:
    values, counts = np.unique(y.flat[:SOME], return_counts=True)
    if counts.max() == 1 and y.size > SOME:
        values, counts = np.unique(y, return_counts=True)
    return float(values[counts.argmax()])


def alpha_factors(y: Array, x: Array) -> Array:
    """Return the slope where a unit is kept."""
    a, _, common = alpha_line(y, x)
    return np.where(y == common, 0.0, a)


# Weights


def _weights(s: "Subject") -> Family | None:
    """Send units through one at a time: does one go as a whole, or only some weights of it?"""
    try:
        lost, present = weights_lost(s)
    except Exception:
        return None
    in_part = lost.any(axis=1) & (present & ~lost).any(axis=1)
    if not in_part.any():
        return None
    said = f"weights: {in_part.mean():.0%} of the units lose some of their weights, not all"
    return Family("weights", said, quotient)


def weights_lost(s: "Subject") -> tuple[Array, Array]:
    """Return which weights one call dropped and which there are: (units, outputs)."""
    before, after = weights_seen(s)
    return (after == 0) & (before != 0), before != 0


def weights_seen(s: "Subject", stream: int = 0) -> tuple[Array, Array]:
    """Return the weights at inference and in one call of training, from one unit at a time."""
    n = s.call_shape[-1]
    units, nothing = np.eye(n), np.zeros((n, n))

    def seen(training: bool) -> Array:
        bias = s.output(s.adapter.array(nothing, s.dtype), s.p, training)
        s.restart(2 * stream + training)  # at rest with other numbers, if it draws any
        y = s.output(s.adapter.array(units, s.dtype), s.p, training)
        weights = y - bias
        limit = 4 * s.tolerance() * max(1e-30, np.abs(y).max())
        return np.where(np.abs(weights) <= limit, 0.0, weights)

    return seen(False), seen(True)


def weights_drawn(s: "Subject") -> tuple[Array, Array] | None:
    """Return which weights each call kept, and what they were multiplied by.

    None if the weights at inference are not the same in every call.
    """
    kept, ratios = [], []
    first = weights_seen(s)[0]
    for call in range(WEIGHT_CALLS):
        before, after = weights_seen(s, call)
        if not np.array_equal(before, first):
            return None
        there = before != 0
        kept.append(after[there] != 0)
        ratios.append((after[there] / before[there])[kept[-1]])
    return np.array(kept), np.concatenate(ratios)


# Noise


def _noise(s: "Subject", x: Array, outputs: list[Array], ratios: Array) -> Family:
    """Each unit is multiplied by a random number, which does not hang on what it holds."""
    zeros = (ratios == 0).mean()
    dropped = "no unit is 0" if not zeros else f"{zeros:.1%} of the units are 0"
    seen = f"{dropped}, ratios from {ratios.min():.4g} to {ratios.max():.4g}"
    s.restart()
    again = s.output(s.adapter.array(2 * x, s.dtype), s.p)
    repeated = np.array_equal(outputs[0] != 0, again != 0)
    error = np.abs(again - 2 * outputs[0]).max()
    scales = error <= 8 * s.tolerance() * np.abs(again).max()
    moves = any(not np.array_equal(y, outputs[0]) for y in outputs[1:])
    if (
        moves
        and (scales or not repeated or _draws_anew(s))
        and np.isfinite(ratios).all()
    ):
        return Family("noise", f"noise: {seen}", quotient)
    said = "the result is not the input with units dropped and one scale"
    return Family("", f"{said}: {seen}", quotient)


def _draws_anew(s: "Subject") -> bool:
    """Return True if one seed does not give one result."""

    def once() -> Array:
        s.restart()
        return s.output(s.input(), s.p)

    return not np.array_equal(once(), once())


# Selections


def named_selection(s: "Subject") -> tuple[str, str]:
    """Return the kind of what is dropped, by the axes that share a draw, and words for it."""
    axes = [axis for axis in s.shared if axis > 0 or not s.has_batch]
    if not axes:
        return (
            ("blocks", "blocks of neighbouring units")
            if in_blocks(s)
            else ("units", "single units")
        )
    own = [
        axis for axis, n in enumerate(s.shape) if n > 1 and axis not in axes and axis
    ]
    shown = (
        [axis if axis > s.batch_axis else axis - 1 for axis in axes]
        if s.has_batch
        else axes
    )
    draw = f"one draw along {'axes' if len(axes) > 1 else 'axis'} {', '.join(map(str, shown))}"
    if not own:
        return "paths", f"paths, each sample as a whole: {draw}"
    if len(s.shape) == 3 and axes == [1]:
        return "steps", f"the same units at every step: {draw}"
    if len(s.shape) == 3 and axes == [2]:
        return "channels", f"whole channels (or tokens): {draw}"
    return "channels", f"whole channels: {draw}"


def in_blocks(s: "Subject") -> bool:
    """Return True if neighbours along the last two axes go together, and units far apart do not."""
    if len(s.shape) < 3 or any(axis > 0 for axis in s.shared):
        return False
    masks = s.main().masks.astype(float)
    axes = [-1, -2] if len(s.shape) > 3 else [-1]
    near = [_beside(masks, axis, 1) for axis in axes]
    far = [_beside(masks, axis, s.shape[axis] // 2) for axis in axes]
    return min(near) > NEIGHBOURS and max(far) < min(near) / 2


def _beside(masks: Array, axis: int, distance: int) -> float:
    """Return the correlation of units that far apart along an axis."""
    if masks.shape[axis] <= distance or not masks.std():
        return 0.0
    centred = masks - masks.mean()
    n = masks.shape[axis]
    a = centred.take(range(n - distance), axis)
    b = centred.take(range(distance, n), axis)
    return float((a * b).mean() / centred.var())
