"""What is dropped, how often and by what scale; whether draws know nothing of each other."""

from math import sqrt
from typing import NamedTuple

import numpy as np

from companion.audit.adapters import Array
from companion.audit.chance import (
    correlation,
    overlap_p,
    two_sided,
    uneven_p,
    worst_pair,
)
from companion.audit.runner import Checks, NotApplicableError, Result
from companion.audit.subject import Subject, rounding

from scipy import stats  # isort: skip

ROUNDED = 2**-16  # how far off a rate may be, to which the scale is matched
PAIRED = 256  # units whose pairs are compared

CHECKS = Checks()


@CHECKS.add(
    "what is dropped",
    "Units are dropped, each on its own, or whole channels on purpose.",
    "DR101",
)
def what_is_dropped(s: Subject) -> Result:
    s.restart()
    if not s.is_selection(s.output(s.input(), s.p), s.input_values()):
        return _weights_dropped(s)
    axes = [axis for axis in s.shared if axis > 0 or not s.has_batch]
    if not axes:
        return Result("pass", "single units", "units")
    along = f"{'axes' if len(axes) > 1 else 'axis'} {', '.join(map(str, axes))}"
    why = (
        "Whole channels (or samples) are dropped. Right for feature maps and for recurrent "
        "layers, where it is meant; elsewhere the noise is coarser than it need be."
    )
    return Result("note", f"one draw along {along}", "units", why)


def _weights_dropped(s: Subject) -> Result:
    """Send units through one at a time: does a unit go as a whole, or only some weights of it?"""
    units = s.adapter.array(np.eye(s.shape[-1]), s.dtype)
    present = s.output(units, s.p, training=False) != 0
    s.restart()
    lost = (s.output(units, s.p) == 0) & present
    in_part = lost.any(axis=1) & (present & ~lost).any(axis=1)
    if not in_part.any():
        raise ValueError("the result is not the input with units dropped and one scale")
    why = (
        "A connection is dropped where a unit should be. That is DropConnect (Wan et al. 2013), "
        "another method with another test-time rule."
    )
    measured = f"weights: {in_part.mean():.0%} of the units lose some of their weights, not all"
    return Result("fail", measured, "units", why)


@CHECKS.add(
    "drop rate",
    "A unit is dropped with probability p, and every unit with the same.",
    "DR102",
)
def drop_rate(s: Subject) -> Result:
    for p, dtype in s.settings():
        rate = _rate(s, p, dtype)
        if rate.chance < s.level:
            measured = f"{rate.dropped:.4f} at p = {p}, {dtype}"
            why = f"p = {p} was asked for: results are those of another p."
            return Result("fail", measured, rate.bound, why)
    main = _rate(s, s.p, s.dtype)
    unit, dropped, chance = _most_uneven_unit(s)
    if chance < s.level:
        measured = f"{main.dropped:.4f}, but {dropped:.4f} for unit {unit}"
        why = (
            "Some units are dropped more often than others: look at where the random bits of "
            "each unit come from."
        )
        return Result("fail", measured, main.bound, why)
    return Result("pass", f"{main.dropped:.4f}", main.bound)


class _Rate(NamedTuple):
    dropped: float
    bound: str
    chance: float  # of a rate at least as far off


def _rate(s: Subject, p: float, dtype: str) -> _Rate:
    masks = s.distinct(s.draws(p, dtype))
    n, kept = masks.size, int(masks.sum())
    low, high = stats.binom.ppf([s.level / 2, 1 - s.level / 2], n, p) / n
    chance = two_sided(stats.binom(n, 1 - p), kept)
    return _Rate(1 - kept / n, f"{low:.4f} to {high:.4f}", chance)


def _most_uneven_unit(s: Subject) -> tuple[int, float, float]:
    """Return a unit, how often it was dropped, and the chance that any is as far off."""
    rows = s.rows()
    kept = rows.sum(axis=0)
    unit = int(np.argmax(np.abs(kept - kept.mean())))
    of_one = stats.hypergeom(rows.size, int(kept.sum()), len(rows))
    chance = two_sided(of_one, int(kept[unit])) * len(kept)
    return unit, 1 - kept[unit] / len(rows), chance


@CHECKS.add(
    "survivors' scale",
    "Kept units are multiplied by 1/(1-p), or by 1 if inference scales.",
    "DR103",
)
def survivors_scale(s: Subject) -> Result:
    for p in s.rates:
        name, wanted = _name_of_scale(s, p), _wanted_scale(s, p)
        if name != wanted:
            return _wrong_scale(s, p, name, wanted)
    measured = _wanted_scale(s, max(s.rates))
    bound = "1/(1-p), or none where inference scales"
    if measured == "none" and not s.adapter.has_inference:
        why = "Bare masks: right only if inference multiplies by 1-p. It could not be asked."
        return Result("note", measured, bound, why)
    return Result("pass", measured, bound)


def _name_of_scale(s: Subject, p: float) -> str:
    scale = s.draws(p, s.dtype).scale
    names = {p: "p", 1 - p: "1-p", 1 / p: "1/p", 1 / (1 - p): "1/(1-p)", 1.0: "none"}
    closest = min(names, key=lambda number: abs(number - scale))
    close = abs(scale / closest - 1) <= ROUNDED / (1 - p) + s.tolerance()
    return names[closest] if close and _is_one_scale(s, p) else "other"


def _is_one_scale(s: Subject, p: float) -> bool:
    draws = s.draws(p, s.dtype)
    return draws.spread <= s.tolerance() * draws.scale


def _wanted_scale(s: Subject, p: float) -> str:
    return "none" if s.scales_at_inference(p) else "1/(1-p)"


def _wrong_scale(s: Subject, p: float, name: str, wanted: str) -> Result:
    _, scale, spread = s.draws(p, s.dtype)
    spreads = f", and not one: they spread over {spread:.3g}"
    measured = (
        f"{name} ({scale:.4g} at p = {p}{'' if _is_one_scale(s, p) else spreads})"
    )
    at_inference = 1 - p if wanted == "none" else 1
    why = (
        "What the next layer sees in training and at inference differs by the factor "
        f"{scale * (1 - p) / at_inference:.3g} on average."
    )
    return Result("fail", measured, wanted, why)


@CHECKS.add(
    "mean kept",
    "The mean over masks is what inference gives, also in half precision.",
    "DR104",
)
def mean_kept(s: Subject) -> Result:
    means = [mean for setting in s.settings() if (mean := _mean(s, *setting))]
    if not means:
        raise NotApplicableError("inference gives no mean to compare with")
    worst = min(means, key=lambda mean: mean.chance)
    if worst.chance >= s.level:
        return Result("pass", worst.measured, worst.bound)
    if worst.steps <= 1:
        why = "The scale is rounded to the dtype: less than one rounding step, for every unit."
        return Result("note", worst.measured, worst.bound, why)
    why = (
        "Every layer behind sees inputs of another size at inference than in training."
    )
    return Result("fail", worst.measured, worst.bound, why)


class _Mean(NamedTuple):
    measured: str
    bound: str
    steps: float  # off by so many times the largest error of rounding
    chance: float  # of a mean at least as far off


def _mean(s: Subject, p: float, dtype: str) -> _Mean | None:
    """Compare the mean over masks with inference; None if the other checks have to say why not."""
    draws, factor = s.draws(p, dtype), s.inference_factor(p, dtype)
    masks = s.distinct(draws)
    if np.isnan(factor) or np.isnan(draws.scale):
        return None
    keep = factor / draws.scale  # the keep probability that keeps the mean
    chance = 0.0
    if 0 <= keep <= 1 + s.tolerance(dtype):
        chance = two_sided(stats.binom(masks.size, min(1.0, keep)), int(masks.sum()))
    mean = draws.scale * masks.mean() / factor
    away = stats.norm.isf(s.level / 2) * sqrt(p / (1 - p) / masks.size)
    measured = f"{mean:.4f} of it at p = {p}, {dtype}"
    return _Mean(measured, f"1 ± {away:.4f}", abs(mean - 1) / rounding(dtype), chance)


@CHECKS.add(
    "inference",
    "The identity, or the scale 1-p that goes with bare masks in training.",
    "DR105",
)
def inference(s: Subject) -> Result:
    if not s.adapter.has_inference:
        raise NotApplicableError("no inference mode to call")
    x, bound = s.input_values(), "x, or x(1-p) after bare masks"
    for p in s.rates:
        y, again = (s.output(s.input(), p, training=False) for _ in range(2))
        if not np.array_equal(y, again) or ((y == 0) & (x != 0)).any():
            why = "Predictions are noisy, and differ from call to call."
            return Result("fail", "still drops units", bound, why)
        if not np.array_equal(y, x) and not s.scales_at_inference(p):
            measured = f"x times {s.inference_factor(p):.4g} at p = {p}"
            why = "At inference the layer should only make up for what training did."
            return Result("fail", measured, bound, why)
    scales = s.scales_at_inference(max(s.rates))
    return Result("pass", "x(1-p)" if scales else "x", bound)


@CHECKS.add(
    "units independent", "Whether one unit is kept says nothing about another.", "DR106"
)
def units_independent(s: Subject) -> Result:
    rows = s.rows()
    if rows.shape[1] < 2:
        raise NotApplicableError("one draw a sample")
    units = _units_to_pair(s, rows.shape[1])
    chance, measured = _worst_pair(rows, units, "units")
    bound = f"within ±{_limit(s, len(rows), len(units)):.3f}"
    if chance < s.level:
        why = "Units that go together are no test of each other: the noise has fewer directions."
        return Result("fail", measured, bound, why)
    if uneven_p(rows) < s.level:
        return _uneven_samples(rows)
    return Result("pass", measured, bound)


def _units_to_pair(s: Subject, count: int) -> Array:
    """Return all units, or of many the first and some far ones."""
    if count <= PAIRED:
        return np.arange(count)
    rng = np.random.default_rng(s.seed)
    far = rng.choice(count, PAIRED // 2, replace=False)
    return np.union1d(np.arange(PAIRED // 2), far)


def _uneven_samples(rows: Array) -> Result:
    rate = rows.mean()
    expected = sqrt(rows.shape[1] * rate * (1 - rate))
    measured = f"units kept a sample spread by {rows.sum(axis=1).std():.3g}"
    why = (
        "The number of kept units is not binomial: units are chosen together, not each "
        "on its own."
    )
    return Result("fail", measured, f"{expected:.3g}", why)


@CHECKS.add(
    "samples independent", "Every sample of a batch has a mask of its own.", "DR107"
)
def samples_independent(s: Subject) -> Result:
    if not s.has_batch or s.shape[0] < 2:
        raise NotApplicableError("the input has no batch axis")
    why = (
        "One mask for a whole batch: the noise of the gradient does not average out over the "
        "batch, and each step trains one thinned network."
    )
    if 0 in s.shared:
        return Result("fail", "one mask for the whole batch", "one a sample", why)
    masks = s.distinct(s.main())
    calls, samples = masks.shape[:2]
    columns = np.moveaxis(masks.reshape(calls, samples, -1), 1, -1).reshape(-1, samples)
    compared = np.arange(min(samples, PAIRED))
    chance, measured = _worst_pair(columns, compared, "samples")
    bound = f"within ±{_limit(s, len(columns), len(compared)):.3f}"
    if chance < s.level:
        return Result("fail", measured, bound, why)
    return Result("pass", measured, bound)


def _worst_pair(masks: Array, columns: Array, name: str) -> tuple[float, str]:
    """Return the chance of the most dependent two of some columns, and what to say of them."""
    if min(len(masks), len(columns)) < 2:
        raise NotApplicableError("there is only one to look at")
    chance, *pair = worst_pair(masks[:, columns])
    i, j = (int(columns[k]) for k in pair)
    largest = correlation(masks[:, i], masks[:, j])
    return chance, f"largest correlation {largest:+.3f}, {name} {i} and {j}"


def _limit(s: Subject, n: int, m: int) -> float:
    """Return the correlation that the most unlucky of all pairs may about reach by chance."""
    return float(stats.norm.isf(s.level / (m * (m - 1)))) / sqrt(n)


@CHECKS.add("fresh mask every call", "The next call draws again.", "DR108")
def fresh_mask(s: Subject) -> Result:
    why = "A mask that comes again and again makes one smaller network, and averages nothing."
    if s.repeats:
        return Result("fail", "the same mask in every call", "another", why)
    masks = s.distinct(s.main())
    pairs = len(masks) // 2
    before, after = masks[: 2 * pairs : 2], masks[1 : 2 * pairs : 2]
    measured = f"correlation {correlation(before, after):+.4f}"
    bound = f"within ±{stats.norm.isf(s.level / 2) / sqrt(before.size):.4f}"
    if overlap_p(before, after) < s.level:
        return Result("fail", measured, bound, why)
    return Result("pass", measured, bound)
