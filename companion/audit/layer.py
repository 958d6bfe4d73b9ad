"""The checks of a dropout layer or function."""

from functools import cache, cached_property
from math import ceil, log, log1p, prod, sqrt
from typing import Any, NamedTuple

import numpy as np

from companion.audit.adapters import Adapter, Array, adapt
from companion.audit.chance import (
    correlation,
    overlap_p,
    two_sided,
    uneven_p,
    worst_pair,
)
from companion.audit.report import AuditReport, Verdict
from companion.audit.runner import (
    Checks,
    NotApplicableError,
    Result,
    run_checks,
    said,
)
from companion.audit.state import global_states
from companion.checks import check_inside, check_probability

from scipy import stats  # isort: skip

UNITS = 2**22  # looked at for each p and dtype, if CALLS suffice
CALLS = 256
ROUNDED = 2**-16  # how far off a rate may be, to which the scale is matched
PAIRED = 256  # units whose pairs are compared
STATISTICS = 32  # tests that chance could fail, at most: each gets this share of alpha

CHECKS = Checks()


class Draws(NamedTuple):
    """Of several calls on one input: what was kept, and what kept units were multiplied by."""

    masks: Array  # (calls, *shape)
    scale: float  # mean over the kept units
    spread: float  # the largest minus the smallest


class Subject:
    """An implementation with what was drawn from it, kept for the checks that share it."""

    def __init__(
        self,
        adapter: Adapter,
        p: float,
        shape: tuple[int, ...],
        seed: int,
        alpha: float,
    ) -> None:
        self.adapter, self.p, self.shape, self.seed = adapter, p, shape, seed
        self.level = alpha / STATISTICS
        self.draws, self.values = cache(self._draws), cache(self._values)
        self.has_batch = len(shape) > 1

    def input(
        self, dtype: str | None = None, shape: tuple[int, ...] | None = None
    ) -> Any:
        """Return an array of both signs and of about one size, no element of it 0."""
        rng = np.random.default_rng([self.seed, 1])  # not the stream of the masks
        shape = self.shape if shape is None else shape
        values = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
        return self.adapter.array(np.asarray(values), dtype or self.adapter.dtypes[0])

    def _values(self, dtype: str | None = None) -> Array:
        return self.adapter.values(self.input(dtype))

    def fresh(self, x: Any, p: float, seed: int = 0) -> Any:
        """Call in training, the stream of random numbers started anew."""
        self.adapter.seed(self.seed + seed)
        return self.adapter(x, p)

    def _draws(self, p: float, dtype: str) -> Draws:
        values = self.values(dtype)
        self.adapter.seed(self.seed)
        calls = min(CALLS, max(4, ceil(UNITS / prod(self.shape))))
        masks = np.empty((calls, *self.shape), dtype=bool)
        total, low, high = 0.0, np.inf, -np.inf
        for mask in masks:
            x = self.adapter.array(values, dtype)
            ratio = self.adapter.values(self.adapter(x, p)) / values
            mask[...] = ratio != 0
            total += ratio.sum()
            low = min(low, ratio.min(where=mask, initial=np.inf))
            high = max(high, ratio.max(where=mask, initial=-np.inf))
        scale = total / masks.sum() if masks.any() else np.nan
        return Draws(masks, scale, high - low)

    def main(self) -> Draws:
        return self.draws(self.p, self.adapter.dtypes[0])

    @cached_property
    def repeats(self) -> bool:
        """True if every call drops the same units."""
        masks = self.main().masks
        return bool((masks == masks[0]).all())

    @cached_property
    def shared(self) -> tuple[int, ...]:
        """Axes of the input along which every call makes one draw."""
        masks = self.main().masks
        return tuple(
            axis
            for axis, n in enumerate(self.shape)
            if n > 1 and (masks == masks.take([0], axis + 1)).all()
        )

    def distinct(self, draws: Draws) -> Array:
        """Return the draws themselves, each once: samples (or calls) by units by calls."""
        masks = draws.masks[: 1 if self.repeats else None]
        for axis in self.shared:
            masks = masks.take([0], axis + 1)
        return masks

    def rows(self) -> Array:
        """Return the distinct draws, one row a sample and call, one column a unit."""
        masks = self.distinct(self.main())
        return masks.reshape(
            -1, prod(masks.shape[2:]) if self.has_batch else masks.shape[1]
        )

    def inference(self, p: float, dtype: str | None = None) -> float:
        """Return what inference multiplies by, or should; NaN if that is not one number."""
        if not self.adapter.has_inference:
            bare = (
                abs(self.draws(p, self.adapter.dtypes[0]).scale - 1) <= self.tolerance()
            )
            return 1 - p if bare else 1.0
        y = self.adapter(self.input(dtype), p, training=False)
        ratio = self.adapter.values(y) / self.values(dtype)
        constant = np.ptp(ratio) <= self.tolerance(dtype)
        return float(np.median(ratio)) if constant else np.nan

    def tolerance(self, dtype: str | None = None) -> float:
        return 32 * _rounding(dtype or self.adapter.dtypes[0])

    @property
    def rates(self) -> list[float]:
        return sorted({self.p, 0.1, 0.5, 0.9}) if self.adapter.sets_p else [self.p]

    def settings(self) -> list[tuple[float, str]]:
        """Return every p, in the first dtype and in those of half precision."""
        first, *others = self.adapter.dtypes
        dtypes = [first, *(d for d in others if d.endswith("float16"))]
        return [(p, dtype) for dtype in dtypes for p in self.rates]


def _rounding(dtype: str) -> float:
    """Return the largest relative error of rounding to a dtype."""
    return (2.0**-7 if dtype == "bfloat16" else float(np.finfo(dtype).eps)) / 2


# Checks. Each takes a Subject and gives a Result.


@CHECKS.add(
    "what is dropped",
    "Units are dropped, each on its own, or whole channels on purpose.",
)
def what_is_dropped(s: Subject) -> Result:
    y = s.adapter.values(s.fresh(s.input(), s.p))
    if y.shape != s.shape or not _elementwise(s, y / s.values()):
        return _response(s)
    axes = [axis for axis in s.shared if axis > 0 or not s.has_batch]
    if not axes:
        return Result("pass", "single units", "units")
    return Result(
        "note",
        f"one draw along {'axes' if len(axes) > 1 else 'axis'} {', '.join(map(str, axes))}",
        "units",
        "Whole channels (or samples) are dropped. Right for feature maps and for recurrent "
        "layers, where it is meant; elsewhere the noise is coarser than it need be.",
    )


def _elementwise(s: Subject, ratio: Array) -> bool:
    kept = ratio[ratio != 0]
    return kept.size == 0 or float(np.ptp(kept)) <= s.tolerance() * float(
        np.abs(kept).max()
    )


def _response(s: Subject) -> Result:
    """Send units through one at a time: does a unit go as a whole, or only some weights of it?"""
    units = s.adapter.array(np.eye(s.shape[-1]), s.adapter.dtypes[0])
    whole = s.adapter.values(s.adapter(units, s.p, training=False))
    zero = (s.adapter.values(s.fresh(units, s.p)) == 0) & (whole != 0)
    some = zero.any(axis=1) & ~(zero | (whole == 0)).all(axis=1)
    if not some.any():
        raise ValueError("the result is not the input with units dropped and one scale")
    return Result(
        "fail",
        f"weights: {some.mean():.0%} of the units lose some of their weights, not all",
        "units",
        "A connection is dropped where a unit should be. That is DropConnect (Wan et al. 2013), "
        "another method with another test-time rule.",
    )


@CHECKS.add(
    "drop rate", "A unit is dropped with probability p, and every unit with the same."
)
def drop_rate(s: Subject) -> Result:
    for p, dtype in [*s.settings(), (s.p, s.adapter.dtypes[0])]:
        masks = s.distinct(s.draws(p, dtype))
        n, kept = masks.size, int(masks.sum())
        low, high = stats.binom.ppf([s.level / 2, 1 - s.level / 2], n, p) / n
        bound, dropped = f"{low:.4f} to {high:.4f}", f"{1 - kept / n:.4f}"
        if two_sided(stats.binom(n, 1 - p), kept) < s.level:
            why = f"p = {p} was asked for: results are those of another p."
            return Result("fail", f"{dropped} at p = {p}, {dtype}", bound, why)
    rows = s.rows()
    of_each = rows.sum(axis=0)
    unit = int(np.argmax(np.abs(of_each - of_each.mean())))
    one = stats.hypergeom(n, kept, len(rows))
    if two_sided(one, int(of_each[unit])) * len(of_each) < s.level:
        return Result(
            "fail",
            f"{dropped}, but {1 - of_each[unit] / len(rows):.4f} for unit {unit}",
            bound,
            "Some units are dropped more often than others: look at where the random bits of "
            "each unit come from.",
        )
    return Result("pass", dropped, bound)


@CHECKS.add(
    "survivors' scale",
    "Kept units are multiplied by 1/(1-p), or by 1 if inference scales.",
)
def scale(s: Subject) -> Result:
    for p in s.rates:
        found, inverse = s.draws(p, s.adapter.dtypes[0]), 1 / (1 - p)
        names = {p: "p", 1 - p: "1-p", 1 / p: "1/p", inverse: "1/(1-p)", 1.0: "none"}
        closest = min(names, key=lambda value: abs(value - found.scale))
        near = abs(found.scale / closest - 1) <= ROUNDED / (1 - p) + s.tolerance()
        even = found.spread <= s.tolerance() * found.scale
        said = names[closest] if near and even else "other"
        test_time = abs(s.inference(p) - (1 - p)) <= s.tolerance()
        if said != ("none" if test_time else "1/(1-p)"):
            spread = (
                "" if even else f", and not one: they spread over {found.spread:.3g}"
            )
            return Result(
                "fail",
                f"{said} ({found.scale:.4g} at p = {p}{spread})",
                "none" if test_time else "1/(1-p)",
                "What the next layer sees in training and at inference differs by the factor "
                f"{found.scale * (1 - p) / (1 - p if test_time else 1):.3g} on average.",
            )
    bound = "1/(1-p), or none where inference scales"
    if said == "none" and not s.adapter.has_inference:
        why = "Bare masks: right only if inference multiplies by 1-p. It could not be asked."
        return Result("note", said, bound, why)
    return Result("pass", said, bound)


@CHECKS.add(
    "mean kept", "The mean over masks is what inference gives, also in half precision."
)
def mean_kept(s: Subject) -> Result:
    worst = (1.0, np.nan, "", "")
    for p, dtype in s.settings():
        found, factor = s.draws(p, dtype), s.inference(p, dtype)
        masks = s.distinct(found)
        if np.isnan(factor) or np.isnan(found.scale):
            continue  # the check of inference, or of the rate, says so
        needed = factor / found.scale  # the keep probability that keeps the mean
        chance = 0.0
        if 0 <= needed <= 1 + s.tolerance(dtype):
            chance = two_sided(
                stats.binom(masks.size, min(1.0, needed)), int(masks.sum())
            )
        if not worst[2] or chance < worst[0]:
            away = stats.norm.isf(s.level / 2) * sqrt(p / (1 - p) / masks.size)
            mean = found.scale * masks.mean() / factor
            off = abs(mean - 1) / _rounding(dtype)
            worst = (
                chance,
                off,
                f"{mean:.4f} of it at p = {p}, {dtype}",
                f"1 ± {away:.4f}",
            )
    chance, off, measured, bound = worst
    if not measured:
        raise NotApplicableError("inference gives no mean to compare with")
    if chance >= s.level:
        return Result("pass", measured, bound)
    if off <= 1:
        why = "The scale is rounded to the dtype: less than one rounding step, for every unit."
        return Result("note", measured, bound, why)
    why = (
        "Every layer behind sees inputs of another size at inference than in training."
    )
    return Result("fail", measured, bound, why)


@CHECKS.add(
    "inference", "The identity, or the scale 1-p that goes with bare masks in training."
)
def inference(s: Subject) -> Result:
    if not s.adapter.has_inference:
        raise NotApplicableError("no inference mode to call")
    bound = "x, or x(1-p) after bare masks"
    for p in s.rates:
        y, again = (
            s.adapter.values(s.adapter(s.input(), p, training=False)) for _ in range(2)
        )
        values = s.values()
        if not np.array_equal(y, again) or ((y == 0) & (values != 0)).any():
            return Result(
                "fail",
                "still drops units",
                bound,
                "Predictions are noisy, and differ from call to call.",
            )
        factor = s.inference(p)
        test_time = abs(factor - (1 - p)) <= s.tolerance()
        if not np.array_equal(y, values) and not test_time:
            return Result(
                "fail",
                f"x times {factor:.4g} at p = {p}",
                bound,
                "At inference the layer should only make up for what training did.",
            )
    return Result("pass", "x(1-p)" if test_time else "x", bound)


@CHECKS.add("units independent", "Whether one unit is kept says nothing about another.")
def units_independent(s: Subject) -> Result:
    rows = s.rows()
    m = rows.shape[1]
    if m < 2:
        raise NotApplicableError("one draw a sample")
    some = np.arange(m)
    if m > PAIRED:
        far = np.random.default_rng(s.seed).choice(m, PAIRED // 2, replace=False)
        some = np.union1d(np.arange(PAIRED // 2), far)
    chance, i, j = worst_pair(rows[:, some])
    i, j = int(some[i]), int(some[j])
    measured = f"largest correlation {correlation(rows[:, i], rows[:, j]):+.3f}, units {i} and {j}"
    bound = f"within ±{_limit(s, len(rows), len(some)):.3f}"
    if chance < s.level:
        why = "Units that go together are no test of each other: the noise has fewer directions."
        return Result("fail", measured, bound, why)
    if uneven_p(rows) < s.level:
        kept = rows.sum(axis=1)
        expected = sqrt(m * rows.mean() * (1 - rows.mean()))
        return Result(
            "fail",
            f"units kept a sample spread by {kept.std():.3g}",
            f"{expected:.3g}",
            "The number of kept units is not binomial: units are chosen together, not each "
            "on its own.",
        )
    return Result("pass", measured, bound)


@CHECKS.add("samples independent", "Every sample of a batch has a mask of its own.")
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
    columns = columns[:, :PAIRED]
    chance, i, j = worst_pair(columns)
    found = correlation(columns[:, i], columns[:, j])
    measured = f"largest correlation {found:+.3f}, samples {i} and {j}"
    bound = f"within ±{_limit(s, *columns.shape):.3f}"
    return (
        Result("fail", measured, bound, why)
        if chance < s.level
        else Result("pass", measured, bound)
    )


def _limit(s: Subject, n: int, m: int) -> float:
    """Return the correlation that the most unlucky of all pairs may about reach by chance."""
    return float(stats.norm.isf(s.level / (m * (m - 1)))) / sqrt(n)


@CHECKS.add("fresh mask every call", "The next call draws again.")
def fresh_mask(s: Subject) -> Result:
    why = "A mask that comes again and again makes one smaller network, and averages nothing."
    if s.repeats:
        return Result("fail", "the same mask in every call", "another", why)
    masks = s.distinct(s.main())
    before, after = masks[:-1:2], masks[1::2]
    n = len(after)
    before = before[:n]
    found = correlation(before, after)
    bound = f"within ±{stats.norm.isf(s.level / 2) / sqrt(before.size):.4f}"
    measured = f"correlation {found:+.4f}"
    if overlap_p(before, after) < s.level:
        return Result("fail", measured, bound, why)
    return Result("pass", measured, bound)


@CHECKS.add(
    "backward", "The gradient passes the mask and the scale of the forward pass."
)
def backward(s: Subject) -> Result:
    if not s.adapter.has_backward:
        raise NotApplicableError("no gradient to ask for")
    grad, dtype = _cotangent(s), s.adapter.dtypes[0]
    s.adapter.seed(s.seed)
    y, dx = map(s.adapter.values, s.adapter.gradient(s.input(), s.p, grad))
    g, step = s.adapter.values(grad), s.tolerance() ** 0.5
    slope = y / s.values()
    if np.array_equal(s.adapter.values(s.fresh(s.input(), s.p)), y):
        moved = [s.adapter.array(s.values() + d, dtype) for d in (step, -step)]
        places = [s.adapter.values(x) for x in moved]
        ends = [s.adapter.values(s.fresh(x, s.p)) for x in moved]
        slope = (ends[0] - ends[1]) / (places[0] - places[1])
    error = _relative(dx, g * slope)
    bound = 1e-6 if s.tolerance() < 1e-10 else 1e-2
    measured = f"relative error {error:.2g}"
    if not error <= bound:
        why = (
            f"{((dx != 0) & (y == 0)).sum()} dropped units receive a gradient, "
            f"{((dx == 0) & (y != 0)).sum()} kept ones do not: training follows a slope that is "
            "not the loss's."
        )
        return Result("fail", measured, f"{bound:.0e}", why)
    return Result("pass", measured, f"{bound:.0e}")


@CHECKS.add(
    "double backward",
    "The gradient can be differentiated again, as gradient penalties need.",
)
def double_backward(s: Subject) -> Result:
    if (
        not s.adapter.has_backward
        or type(s.adapter).second_gradient is Adapter.second_gradient
    ):
        raise NotApplicableError("no second gradient to ask for")
    x, grad = s.input(), _cotangent(s)
    s.adapter.seed(s.seed)
    y, second = map(s.adapter.values, s.adapter.second_gradient(x, s.p, grad))
    expected = s.adapter.values(grad) * y / s.values()
    error, bound = _relative(second, expected), 1e-6 if s.tolerance() < 1e-10 else 1e-2
    why = "Gradient penalties and Hessian products through this layer are wrong."
    verdict: Verdict = "pass" if error <= bound else "fail"
    return Result(verdict, f"relative error {error:.2g}", f"{bound:.0e}", why)


def _cotangent(s: Subject) -> Any:
    values = np.random.default_rng(s.seed + 1).normal(size=s.shape)
    return s.adapter.array(values, s.adapter.dtypes[0])


def _relative(found: Array, expected: Array) -> float:
    norm = np.linalg.norm(expected)
    return float(np.linalg.norm(found - expected) / (norm or 1.0))


@CHECKS.add("p = 0", "The identity, exactly, and no random number is drawn.")
def p_zero(s: Subject) -> Result:
    _needs_p(s)
    s.fresh(s.input(), 0.0)
    before = s.adapter.state()
    y = s.adapter(s.input(), 0.0)
    if not np.array_equal(s.adapter.values(y), s.values()):
        return Result(
            "fail", "changed the input", "x", "p = 0 should switch dropout off."
        )
    if s.adapter.state() != before:
        why = "Results change with p = 0 put in: the random numbers that follow are others."
        return Result("note", "x, but draws", "x, and draws nothing", why)
    return Result("pass", "x, and draws nothing", "x, and draws nothing")


@CHECKS.add("p = 1", "Zeros, and a finite gradient.")
def p_one(s: Subject) -> Result:
    _needs_p(s)
    why = "A sweep over p that ends at 1 fills the network with NaN."
    x = s.input()
    y = s.adapter.values(s.fresh(x, 1.0))
    if (y != 0).any():
        found = "NaN or inf" if not np.isfinite(y).all() else "kept some units"
        return Result("fail", found, "zeros", why)
    if s.adapter.has_backward:
        _, dx = s.adapter.gradient(x, 1.0, _cotangent(s))
        if (s.adapter.values(dx) != 0).any():
            return Result("fail", "zeros, gradient not 0", "zeros", why)
    return Result("pass", "zeros", "zeros")


@CHECKS.add("bad p refused", "A p outside [0, 1], or NaN, raises an error.")
def bad_p(s: Subject) -> Result:
    _needs_p(s)
    x, taken = s.input(), []
    for p in (-0.1, 1.5, float("nan")):
        try:
            s.fresh(x, p)
        except Exception:
            continue
        taken.append(str(p))
    if taken:
        why = "A slip such as 50 for 50 percent, or a keep probability gone wrong, goes unseen."
        return Result("fail", f"took {', '.join(taken)}", "an error", why)
    return Result("pass", "an error", "an error")


@CHECKS.add(
    "dtype and layout",
    "Both are kept, and an array that is not contiguous is read right.",
)
def dtype_and_layout(s: Subject) -> Result:
    for dtype in s.adapter.dtypes:
        for training in (True, False)[: 1 + s.adapter.has_inference]:
            found = s.adapter.dtype(s.adapter(s.input(dtype), s.p, training))
            if found != dtype:
                why = "A network in half precision goes on in another, slower or with an error."
                where = "training" if training else "inference"
                return Result(
                    "fail", f"{found} from {dtype} in {where}", "the same", why
                )
    x = s.adapter.reversed(s.input(shape=s.shape[::-1]))
    if x is None or not s.has_batch:
        return Result("pass", "kept", "kept")
    values = s.adapter.values(x)
    y = s.fresh(x, s.p)
    result = s.adapter.values(y)
    if result.shape != values.shape or not _elementwise(s, result / values):
        why = "Values end up at other places when the input is a transposed view."
        return Result("fail", "a transposed input is misread", "kept", why)
    if s.adapter.layout(y) != s.adapter.layout(x):
        why = "The next layer may have to copy the array first: slower, not wrong."
        return Result("note", "dtype kept, memory order not", "kept", why)
    return Result("pass", "kept", "kept")


@CHECKS.add("input untouched", "The caller's array holds what it held before.")
def input_untouched(s: Subject) -> Result:
    for training in (True, False)[: 1 + s.adapter.has_inference]:
        x = s.input()
        s.adapter(x, s.p, training)
        if not np.array_equal(s.adapter.values(x), s.values()):
            why = "Whoever uses the array afterwards, a residual connection say, gets the mask too."
            asked: Verdict = "note" if s.adapter.inplace else "fail"
            return Result(asked, "the input was written to", "untouched", why)
    return Result("pass", "untouched", "untouched")


@CHECKS.add("NaN and inf dropped", "A dropped unit is 0, whatever it held.")
def nan_and_inf(s: Subject) -> Result:
    units = s.distinct(s.main())[0].size
    calls = ceil(log(s.level) / (units * log1p(-s.p)))  # so many that some are dropped
    for value in (np.nan, np.inf):
        x = s.adapter.array(np.full(s.shape, value), s.adapter.dtypes[0])
        s.adapter.seed(s.seed)
        if not any(
            (s.adapter.values(s.adapter(x, s.p)) == 0).any() for _ in range(calls)
        ):
            why = (
                "0 times NaN is NaN: the mask is multiplied with. One bad unit then spoils a "
                "sample even when it is dropped."
            )
            return Result("note", f"a dropped {value} leaks", "0", why)
    return Result("pass", "0", "0")


@CHECKS.add("seedable", "One seed, one mask; another seed, another.")
def seedable(s: Subject) -> Result:
    alike = log(s.p**2 + (1 - s.p) ** 2) * s.distinct(s.main())[0].size
    calls = ceil(log(s.level) / alike)  # so many that two seeds do not agree by chance

    def drawn(seed: int) -> list[Array]:
        s.adapter.seed(s.seed + seed)
        return [s.adapter.values(s.adapter(s.input(), s.p)) for _ in range(calls)]

    first, again, other = drawn(1), drawn(1), drawn(2)
    if not np.array_equal(first, again):
        why = "No run can be repeated: the masks do not come from the generator it was given."
        return Result("fail", "one seed, two masks", "one seed, one mask", why)
    if np.array_equal(first, other):
        why = "The seed has no effect: every run drops the same units."
        return Result("fail", "two seeds, one mask", "another seed, another mask", why)
    return Result("pass", "repeatable", "repeatable")


@CHECKS.add("global state left alone", "Nobody else's random numbers change.")
def global_state(s: Subject) -> Result:
    x, before = s.input(), global_states()
    s.fresh(x, s.p)
    after = global_states()
    changed = [name for name in before if after[name] != before[name]]
    if not s.adapter.own_stream and changed == ["torch"]:
        raise NotApplicableError("it was given no generator, and draws from PyTorch's")
    if changed:
        why = "Other parts of a program get other random numbers because this one ran."
        return Result("fail", f"changed {', '.join(changed)}", "unchanged", why)
    return Result("pass", "unchanged", "unchanged")


@CHECKS.add(
    "empty and 0-d input",
    "An empty batch comes back empty, a single number as a number.",
)
def small_inputs(s: Subject) -> Result:
    empty = (0, *s.shape[1:])
    for training in (True, False)[: 1 + s.adapter.has_inference]:
        found = s.adapter.values(s.adapter(s.input(shape=empty), s.p, training)).shape
        if found != empty:
            why = "The last batch of a data set may be empty."
            return Result("fail", f"shape {found} from {empty}", "the same", why)
    try:
        shape = s.adapter.values(s.adapter(s.input(shape=()), s.p)).shape
    except Exception as error:
        why = "Only arrays with the axes it expects are taken."
        return Result("note", f"0-d input: {said(error)}", "the same", why)
    if shape != ():
        return Result(
            "note", f"shape {shape} from ()", "the same", "A number became an array."
        )
    return Result("pass", "the same", "the same")


def _needs_p(s: Subject) -> None:
    if not s.adapter.sets_p:
        raise NotApplicableError("p cannot be set")


def audit(
    candidate: Any,
    *,
    p: float = 0.5,
    shape: tuple[int, ...] = (64, 256),
    seed: int = 0,
    alpha: float = 1e-6,
) -> AuditReport:
    """Check an implementation of dropout: what it does, check by check.

    Parameters
    ----------
    candidate : callable, torch.nn.Module, class or Adapter
        One of: a function ``f(x, p, training, rng)`` on NumPy arrays, with an attribute
        ``backward(grad)`` if its gradient is to be checked; a layer of PyTorch, of which a copy
        is audited; a function ``f(x, p, training)`` of PyTorch, with or without a parameter
        `generator`; a compiled PyTensor function of ``x``, of ``x, p`` or of ``x, p, training``;
        a layer of Keras. A class is called with `p` first. For anything else write an `Adapter`.
    p : float
        The drop probability (not the keep probability!) of the main sample, in (0, 1). The rate,
        the scale and the mean are looked at for 0.1, 0.5 and 0.9 as well.
    shape : tuple of int
        Shape of the input: samples first, then units. A layer that drops channels needs
        ``(samples, channels, height, width)``.
    seed : int
        Decides the inputs and all masks.
    alpha : float
        The probability, at most, that any check fails a right implementation by chance.

    Returns
    -------
    AuditReport
        An implementation that raises, returns something else than an array, or takes longer
        than a minute for a check fails that check; nothing is raised.

    Raises
    ------
    TypeError
        If `candidate` is none of the above.
    ValueError
        If `p` is not in (0, 1), `alpha` not in (0, 1) or `shape` has an axis of no elements.

    See Also
    --------
    audit_estimator : the same for multilayer perceptrons of scikit-learn.
    audit_model : looks for misuse of dropout in a whole PyTorch model.

    Notes
    -----
    Rates and means are tested with exact binomial tails; dependence between units, samples and
    calls with exact hypergeometric ones (Fisher's test), of the worst of all pairs, times their
    number; the spread of the number of kept units with a scaled chi-square. Every such test has
    the level ``alpha / 32``, and there are no more than 32 (Bonferroni).

    The global states of `random`, `numpy.random` and PyTorch are put back afterwards.

    Examples
    --------
    >>> def dropout(x, p, training, rng):
    ...     return x * (rng.random(x.shape[1]) >= p) if training else x
    >>> report = audit(dropout)
    >>> report.passed
    False
    >>> [check.name for check in report.failures][:3]
    ["survivors' scale", 'mean kept', 'samples independent']
    """
    check_probability(p)
    check_inside(p, "p")
    check_inside(alpha, "alpha")
    if not shape or min(shape) < 1:
        raise ValueError(
            f"shape must have one axis or more, none of them empty; got {shape!r}"
        )
    adapter = adapt(candidate, p)
    subject = Subject(adapter, p, tuple(shape), seed, alpha)
    return AuditReport(adapter.name, run_checks(CHECKS, subject))
