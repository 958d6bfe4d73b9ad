"""What is dropped, how often and by what scale; the mean, and what inference does."""

from collections.abc import Iterator
from math import exp, sqrt
from typing import NamedTuple

import numpy as np

from companion.audit import noise, weights
from companion.audit.adapters import Array
from companion.audit.chance import (
    mean_p,
    two_sided,
)
from companion.audit.kinds import named_selection
from companion.audit.runner import (
    Checks,
    NotApplicableError,
    Result,
    by_kind,
    not_for,
    of_dropped_units,
)
from companion.audit.subject import Draws, Subject, rounding

from scipy import stats  # isort: skip

ROUNDED = 2**-16  # how far off a rate may be, to which the scale is matched
ESTIMATED = 0.05  # how far off an estimated rate may be, of a few numbers drawn
BLOCKS = 0.75  # of 1 - exp(-p), which DropBlock's formula drops far from the borders

CHECKS = Checks()
NOTHING = "Nothing it does in training is dropout: there is nothing else to look at."


@CHECKS.add(
    "what is dropped",
    "Units are dropped, each on its own, or something else on purpose.",
    "DR101",
)
def what_is_dropped(s: Subject) -> Result:
    kind, measured, _ = s.family
    if not kind:
        why = NOTHING
        if measured.startswith(("nothing", "everything")):
            why = f"p = {s.p:g} was asked for. {NOTHING}"
        return Result("fail", measured, "units", why)
    if kind == "selection":
        kind, measured = named_selection(s)
    wanted = {"tokens": "channels"}.get(s.kind or "", s.kind or "")
    if wanted and wanted != kind:
        why = f"Another method than the one that is meant: {MEANT[kind]}"
        return Result("fail", measured, wanted, why)
    if kind == "units" or wanted:
        return Result("pass", measured, wanted or "units")
    return Result("note", measured, "units", MEANT[kind])


MEANT = {
    "units": "each unit is dropped on its own.",
    "channels": "Whole channels are dropped. Right for feature maps, where it is meant; elsewhere "
    "the noise is coarser than it need be.",
    "steps": "A sequence loses the same units at every step. Right for recurrent layers, where it "
    "is meant (Gal and Ghahramani 2016).",
    "paths": "A sample goes as a whole. Right for stochastic depth, in a residual branch (Huang "
    "et al. 2016).",
    "blocks": "Neighbouring units go together: DropBlock (Ghiasi et al. 2018). What assumes units "
    "that know nothing of each other is not asked of it.",
    "weights": "A connection is dropped where dropout drops a unit. That is DropConnect (Wan et "
    "al. 2013), another method with another test-time rule.",
    "noise": "No unit is dropped: each is multiplied by a random number, as in Gaussian dropout "
    "(Srivastava et al. 2014, section 10).",
    "alpha": "Dropped units are set to a number, and the others moved, so that mean and variance "
    "stay: alpha dropout, for SELU (Klambauer et al. 2017).",
}


@CHECKS.add(
    "drop rate",
    "A unit is dropped with probability p, and every unit with the same.",
    "DR102",
)
@by_kind(noise=not_for("no unit is dropped"), weights=weights.drop_rate)
def drop_rate(s: Subject) -> Result:
    if s.estimated:
        measured = f"{_rate(s, s.p, s.dtype).dropped:.4f}"
        why = "p was not given and could not be read, so it was estimated from what is dropped."
        return Result("note", measured, "", why)
    wrong = _wrong_rate(s, s.settings())
    if wrong:
        return wrong
    main = _rate(s, s.p, s.dtype)
    if s.in_blocks or s.dependent:
        return Result("pass", f"{main.dropped:.4f}", main.bound)
    for name, counts, size in _tallies(s):
        place, dropped, chance = _most_uneven(counts, size)
        if chance < s.level:
            measured = f"{main.dropped:.4f}, but {dropped:.4f} for {name} {place}"
            why = (
                f"Some {name}s are dropped more often than others: look at where the random "
                f"bits of each {name} come from."
            )
            return Result("fail", measured, main.bound, why)
    return Result("pass", f"{main.dropped:.4f}", main.bound)


def _wrong_rate(s: Subject, settings: list[tuple[float, str]]) -> Result | None:
    for p, dtype in settings:
        rate = _rate(s, p, dtype)
        if rate.chance < s.level:
            measured = f"{rate.dropped:.4f} at p = {p:g}, {dtype}"
            why = f"p = {p:g} was asked for: results are those of another p."
            return Result("fail", measured, rate.bound, why)
    return None


class _Rate(NamedTuple):
    dropped: float
    bound: str
    chance: float  # of a rate at least as far off


def _rate(s: Subject, p: float, dtype: str) -> _Rate:
    draws = s.many(p, dtype)
    masks = s.distinct(draws)
    n, kept = masks.size, int(masks.sum())
    if s.in_blocks or s.dependent:
        return _rate_of_rows(s, s.rows(draws).mean(axis=1), p)
    low, high = stats.binom.ppf([s.level / 2, 1 - s.level / 2], n, p) / n
    chance = two_sided(stats.binom(n, 1 - p), kept)
    return _Rate(1 - kept / n, f"{low:.4f} to {high:.4f}", chance)


def _rate_of_rows(s: Subject, kept: Array, p: float) -> _Rate:
    """Judge the rate by the shares of samples, which hold units that hang together.

    Blocks overlap, and are cut at the borders: what is dropped may be as little as a published
    formula makes of it, and not more than p.
    """
    least = BLOCKS * (1 - exp(-p)) if s.in_blocks else p
    dropped = 1 - kept.mean()
    nearest = min(max(dropped, least), p)
    bound = f"{least:.4f} to {p:g}" if s.in_blocks else f"{p:g}"
    return _Rate(float(dropped), bound, mean_p(1 - kept, nearest))


def _tallies(s: Subject) -> Iterator[tuple[str, Array, int]]:
    """Yield how many draws are kept of every unit, sample and call, and of how many."""
    masks = s.distinct(s.main())
    rows = s.rows()
    yield "unit", rows.sum(axis=0), len(rows)
    if s.has_batch and masks.shape[1] > 1:
        by_sample = np.moveaxis(masks, 1, 0).reshape(masks.shape[1], -1)
        yield "sample", by_sample.sum(axis=1), by_sample.shape[1]
    by_call = masks.reshape(len(masks), -1)
    yield "call", by_call.sum(axis=1), by_call.shape[1]


def _most_uneven(kept: Array, n: int) -> tuple[int, float, float]:
    """Return a place, how often it was dropped, and the chance that any is as far off."""
    place = int(np.argmax(np.abs(kept - kept.mean())))
    of_one = stats.hypergeom(n * len(kept), int(kept.sum()), n)
    chance = two_sided(of_one, int(kept[place])) * len(kept)
    return place, 1 - kept[place] / n, chance


@CHECKS.add(
    "survivors' scale",
    "Kept units are multiplied by 1/(1-p), or by 1 if inference scales.",
    "DR103",
)
@by_kind(noise=noise.spread, alpha=noise.alpha_variance, weights=weights.scale)
def survivors_scale(s: Subject) -> Result:
    bound = "1/(1-p), or none where inference scales"
    if all(_by_share(s, p) for p in s.rates):
        why = (
            "The scale is one over the share that is really kept, so every mean is kept exactly, "
            "and the scale changes from call to call."
        )
        return Result("note", "one over the share kept", bound, why)
    for p in s.rates:
        name, wanted = _name_of_scale(s, p), _wanted_scale(s, p)
        if name != wanted:
            return _wrong_scale(s, p, name, wanted)
    measured = _wanted_scale(s, max(s.rates))
    if measured == "none" and not s.adapter.has_inference:
        why = "Bare masks: right only if inference multiplies by 1-p. It could not be asked."
        return Result("note", measured, bound, why)
    return Result("pass", measured, bound)


def _by_share(s: Subject, p: float) -> bool:
    return s.scales_by_share(s.many(p, s.dtype))


def _name_of_scale(s: Subject, p: float) -> str:
    scale = s.many(p, s.dtype).scale
    names = {p: "p", 1 - p: "1-p", 1 / p: "1/p", 1.0: "none", 1 / (1 - p): "1/(1-p)"}
    slack = s.tolerance() + (ESTIMATED if s.estimated else ROUNDED / (1 - p))
    close = [name for number, name in names.items() if abs(scale / number - 1) <= slack]
    return close[-1] if close and _is_one_scale(s, p) else "other"


def _is_one_scale(s: Subject, p: float) -> bool:
    draws = s.many(p, s.dtype)
    return draws.spread <= s.tolerance() * abs(draws.scale)


def _wanted_scale(s: Subject, p: float) -> str:
    return "none" if s.scales_at_inference(p) else "1/(1-p)"


def _wrong_scale(s: Subject, p: float, name: str, wanted: str) -> Result:
    draws = s.many(p, s.dtype)
    scale, spread = draws.scale, draws.spread
    spreads = f", and not one: they spread over {spread:.3g}"
    measured = (
        f"{name} ({scale:.4g} at p = {p:g}{'' if _is_one_scale(s, p) else spreads})"
    )
    at_inference = 1 - p if wanted == "none" else 1
    why = (
        "What the next layer sees in training and at inference differs by the factor "
        f"{scale * (1 - p) / at_inference:.3g} on average."
    )
    return Result("fail", measured, wanted, why)


@CHECKS.add(
    "mean kept",
    "The mean over masks is what inference gives.",
    "DR104",
)
@by_kind(noise=noise.mean, alpha=noise.alpha_mean, weights=weights.mean)
def mean_kept(s: Subject) -> Result:
    return _mean_of(s, s.settings())


def _mean_of(s: Subject, settings: list[tuple[float, str]]) -> Result:
    """Judge the mean that is farthest off."""
    means = [mean for setting in settings if (mean := _mean(s, *setting))]
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
    draws, factor = s.many(p, dtype), s.inference_factor(p, dtype)
    masks = s.distinct(draws)
    if np.isnan(factor) or np.isnan(draws.scale) or not factor:
        return None
    mean, chance = draws.mean / factor, _chance_of_mean(s, draws, factor, dtype)
    away = stats.norm.isf(s.level / 2) * sqrt(p / (1 - p) / masks.size)
    measured = f"{mean:.4f} of it at p = {p:g}, {dtype}"
    return _Mean(measured, f"1 ± {away:.4f}", abs(mean - 1) / rounding(dtype), chance)


def _chance_of_mean(s: Subject, draws: Draws, factor: float, dtype: str) -> float:
    """Return how likely the mean is so far off, given the scale: that of the share kept."""
    if s.scales_by_share(draws, dtype):
        return 1.0
    keep = factor / draws.scale  # the keep probability that keeps the mean
    if not 0 <= keep <= 1 + s.tolerance(dtype):
        return 0.0
    masks = s.distinct(draws)
    if s.in_blocks or s.dependent:
        return mean_p(s.rows(draws).mean(axis=1), min(1.0, keep))
    return two_sided(stats.binom(masks.size, min(1.0, keep)), int(masks.sum()))


@CHECKS.add(
    "half precision",
    "Rate and mean are right in float16 and bfloat16 as well.",
    "DR207",
    edge=True,
)
@of_dropped_units
def half_precision(s: Subject) -> Result:
    settings = s.half_settings()
    if not settings or settings[0][1] == s.dtype:
        raise NotApplicableError("no dtype of half precision beside another")
    wrong = None if s.estimated else _wrong_rate(s, settings)
    return wrong or _mean_of(s, settings)


@CHECKS.add(
    "inference",
    "The identity, or the scale 1-p that goes with bare masks in training.",
    "DR105",
)
@by_kind(weights=weights.inference)
def inference(s: Subject) -> Result:
    if not s.adapter.has_inference:
        raise NotApplicableError("no inference mode to call")
    x, bound = s.input_values(), "x, or x(1-p) after bare masks"
    for p in s.rates:
        y, again = (s.output(s.input(), p, training=False) for _ in range(2))
        if ((y == 0) & (x != 0)).any():
            return _drops_at_rest(s, np.array_equal(y, again), bound)
        if not np.array_equal(y, again):
            why = "Predictions are noisy, and differ from call to call."
            return Result("fail", "random numbers at inference", bound, why)
        if not s.is_input(y) and not s.scales_at_inference(p):
            factor = s.inference_factor(p)
            times = "another result" if np.isnan(factor) else f"x times {factor:.4g}"
            measured = f"{times} at p = {p:g}"
            why = "At inference the layer should only make up for what training did."
            return Result("fail", measured, bound, why)
    scales = s.scales_at_inference(max(s.rates))
    return Result("pass", "x(1-p)" if scales else "x", bound)


def _drops_at_rest(s: Subject, alike: bool, bound: str) -> Result:
    why = (
        "Predictions are random. If that is meant, it is Monte Carlo dropout (Gal and Ghahramani "
        "2016): say so where it is used, and average over many calls."
    )
    again = ", the same ones in the next call" if alike else ""
    return Result("fail", f"still drops units{again}", bound, why)
