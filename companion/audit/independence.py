"""Whether draws know nothing of each other: units, samples, calls."""

from math import sqrt

import numpy as np

from companion.audit import noise, weights
from companion.audit.adapters import Array
from companion.audit.chance import (
    correlation,
    mean_p,
    overlap_p,
    uneven_p,
    worst_pair,
)
from companion.audit.report import Verdict
from companion.audit.runner import Checks, NotApplicableError, Result, by_kind, not_for
from companion.audit.subject import PAIRED, Subject

from scipy import stats  # isort: skip

CHECKS = Checks()


@CHECKS.add(
    "units independent", "Whether one unit is kept says nothing about another.", "DR106"
)
@by_kind(noise=not_for("no unit is dropped"), weights=not_for("weights are dropped"))
def units_independent(s: Subject) -> Result:
    rows = s.rows()
    if rows.shape[1] < 2:
        raise NotApplicableError("one draw a sample")
    if s.in_blocks:
        raise NotApplicableError("neighbours go together, in blocks")
    if len(rows) < 2:
        raise NotApplicableError("there is only one to look at")
    chance, i, j = s.worst_units
    measured = _said_of_pair(rows, "units", i, j)
    bound = f"within ±{_limit(s, len(rows), min(PAIRED, rows.shape[1])):.3f}"
    if chance < s.level:
        why = "Units that go together are no test of each other: the noise has fewer directions."
        return Result("fail", measured, bound, why)
    if uneven_p(rows) < s.level:
        return _uneven_samples(rows)
    return Result("pass", measured, bound)


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
@by_kind(noise=noise.samples_independent, weights=weights.samples_independent)
def samples_independent(s: Subject) -> Result:
    if not s.has_batch or s.shape[0] < 2:
        raise NotApplicableError("the input has no batch axis")
    why = (
        "One mask for a whole batch: the noise of the gradient does not average out over the "
        "batch, and each step trains one thinned network."
    )
    if 0 in s.shared:
        axis = s.batch_axis
        other = f" If axis {axis} is not the batch but time, say batch_axis={1 - axis}."
        why += other if len(s.shape) > 2 and axis < 2 else ""
        return Result("fail", "one mask for the whole batch", "one a sample", why)
    masks = s.distinct(s.main())
    calls, samples = masks.shape[:2]
    if s.in_blocks or s.dependent:
        chance, measured = _samples_p(masks.reshape(calls, samples, -1))
        verdict: Verdict = "fail" if chance < s.level else "pass"
        return Result(verdict, measured, "0", why if verdict == "fail" else "")
    columns = np.moveaxis(masks.reshape(calls, samples, -1), 1, -1).reshape(-1, samples)
    compared = np.arange(min(samples, PAIRED))
    chance, measured = _worst_pair(columns, compared, "samples")
    bound = f"within ±{_limit(s, len(columns), len(compared)):.3f}"
    if chance < s.level:
        return Result("fail", measured, bound, why)
    return Result("pass", measured, bound)


def _samples_p(masks: Array) -> tuple[float, str]:
    """Judge samples whose units hang together: the products of two samples, call by call."""
    centred = masks - masks.mean(axis=(0, 1))
    size = masks.shape[0] * masks.shape[1]
    own = (centred**2).sum(axis=-1)
    bias = own.mean() / (size - 1)  # the mean that was taken off holds both of them
    pairs = masks.shape[1] * (masks.shape[1] - 1) / 2
    of_all = ((centred.sum(axis=1) ** 2).sum(axis=-1) - own.sum(axis=-1)) / 2
    neighbours = (centred[:, 1:] * centred[:, :-1]).sum(axis=(1, 2))
    together = of_all / pairs + bias, neighbours / (masks.shape[1] - 1) + bias
    chance = 2 * min(mean_p(products) for products in together)
    largest = max((values.mean() for values in together), key=abs)
    return min(1.0, chance), f"correlation {largest / own.mean():+.4f}"


def _worst_pair(masks: Array, columns: Array, name: str) -> tuple[float, str]:
    """Return the chance of the most dependent two of some columns, and what to say of them."""
    if min(len(masks), len(columns)) < 2:
        raise NotApplicableError("there is only one to look at")
    chance, *pair = worst_pair(masks[:, columns])
    i, j = (int(columns[k]) for k in pair)
    return chance, _said_of_pair(masks, name, i, j)


def _said_of_pair(masks: Array, name: str, i: int, j: int) -> str:
    largest = correlation(masks[:, i], masks[:, j])
    return f"largest correlation {largest:+.3f}, {name} {i} and {j}"


def _limit(s: Subject, n: int, m: int) -> float:
    """Return the correlation that the most unlucky of all pairs may about reach by chance."""
    return float(stats.norm.isf(s.level / (m * (m - 1)))) / sqrt(n)


@CHECKS.add("fresh mask every call", "The next call draws again.", "DR108")
@by_kind(noise=noise.fresh, weights=weights.fresh)
def fresh_mask(s: Subject) -> Result:
    why = "A mask that comes again and again makes one smaller network, and averages nothing."
    if s.repeats:
        return Result("fail", "the same mask in every call", "another", why)
    masks = s.distinct(s.main())
    if s.in_blocks or s.dependent:
        return _fresh_in_blocks(s, masks, why)
    calls = np.ascontiguousarray(masks.reshape(len(masks), -1).T)
    chance, of_two = _worst_pair(calls, np.arange(min(len(masks), PAIRED)), "calls")
    if chance < s.level:
        bound = f"within ±{_limit(s, len(calls), calls.shape[1]):.3f}"
        return Result("fail", of_two, bound, why)
    pairs = len(masks) // 2
    before, after = masks[: 2 * pairs : 2], masks[1 : 2 * pairs : 2]
    measured = f"correlation {correlation(before, after):+.4f}"
    bound = f"within ±{stats.norm.isf(s.level / 2) / sqrt(before.size):.4f}"
    failed = overlap_p(before, after) < s.level
    return Result("fail" if failed else "pass", measured, bound, why if failed else "")


def _fresh_in_blocks(s: Subject, masks: Array, why: str) -> Result:
    """Compare each sample with the same one a call later, by the products of their units."""
    rows = masks.reshape(len(masks), -1, masks[0, :1].size)
    centred = rows - rows.mean(axis=(0, 1))
    own = (centred**2).sum(axis=-1).mean()
    pairs = len(rows) // 2
    together = (centred[: 2 * pairs : 2] * centred[1 : 2 * pairs : 2]).sum(axis=-1)
    products = together.mean(axis=1) + own / (rows.shape[0] * rows.shape[1] - 1)
    measured = f"correlation {products.mean() / own:+.4f}"
    verdict: Verdict = "fail" if mean_p(products) < s.level else "pass"
    return Result(verdict, measured, "0", why if verdict == "fail" else "")
