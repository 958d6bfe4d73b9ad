"""An implementation under audit, with what was drawn from it for the checks to share."""

from collections.abc import Sequence
from contextlib import suppress
from functools import cache, cached_property
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np

from companion.audit import kinds
from companion.audit.adapters import Adapter, Array
from companion.audit.chance import uneven_p, worst_pair

UNITS = 2**22  # distinct draws looked at for each p and dtype, if CALLS suffice
CALLS = 256
PATIENCE = 6.0  # seconds for the calls of one p and dtype, of a slow layer
WIDE = 2**16  # units of one call, where few of them have a draw of their own
BY_SHARE = (
    1e-5  # what such a scale may be off, where a small number is added to a count
)
PAIRED = 256  # units whose pairs are compared
TESTS = 64  # that chance could fail, at most: each gets this share of alpha


class Draws(NamedTuple):
    """Of several calls on one input: what was kept, and what kept units were multiplied by."""

    masks: Array  # (calls, *shape), the batch first
    scale: float  # mean over the kept units
    spread: float  # the largest minus the smallest
    mean: float  # over all units, dropped ones too
    uneven: (
        float  # the most that a sample's scale is off one over its share that is kept
    )


class Subject:
    """An implementation with what was drawn from it, kept for the checks that share it."""

    def __init__(
        self,
        adapter: Adapter,
        p: float,
        shape: tuple[int, ...],
        seed: int,
        alpha: float,
        *,
        batch_axis: int | None = 0,
        kind: str | None = None,
        dtypes: Sequence[str] | None = None,
        seconds: float = 0.0,
        estimated: bool = False,
        first: tuple[Array, Array, float] | None = None,
    ) -> None:
        self.adapter, self.p, self.seed, self.kind = adapter, p, seed, kind
        self.call_shape = shape  # as the implementation gets it
        self.has_batch = batch_axis is not None and len(shape) > 1
        self.batch_axis = (batch_axis or 0) % len(shape)
        self.shape = self.batch_first(np.empty(shape, bool)).shape
        self.level = alpha / TESTS
        self.dtypes = tuple(dtypes or adapter.dtypes)
        self.dtype = self.dtypes[0]  # the one that carries the statistics
        self.seconds, self.estimated = seconds, estimated
        self.first = first  # input, result and p of the very first call
        self.draws, self.input_values = cache(self._draws), cache(self._input_values)
        self.returned = cache(self._returned)

    def batch_first(self, array: Array) -> Array:
        """Move the axis of the samples to the front."""
        return np.moveaxis(array, self.batch_axis if array.ndim else 0, 0)

    # What goes in, and what comes out

    def input(
        self, dtype: str | None = None, shape: tuple[int, ...] | None = None
    ) -> Any:
        """Return an array of both signs and of about one size, no element of it 0."""
        return self.adapter.array(self.numbers(shape), dtype or self.dtype)

    def numbers(self, shape: tuple[int, ...] | None = None) -> Array:
        """Return what `input` holds, before it is rounded to a dtype."""
        rng = np.random.default_rng([self.seed, 1])  # not the stream of the masks
        shape = self.call_shape if shape is None else shape
        signs = rng.choice([-1, 1], shape)
        return np.asarray(rng.uniform(0.5, 1.5, shape) * signs)

    def _input_values(
        self, dtype: str | None = None, shape: tuple[int, ...] | None = None
    ) -> Array:
        return self.adapter.values(self.input(dtype, shape))

    def restart(self, stream: int = 0) -> None:
        """Start the stream of random numbers anew, or another one."""
        self.adapter.seed(self.seed + stream)

    def output(self, x: Any, p: float, training: bool = True) -> Array:
        """Call the implementation; return the values of what comes back."""
        return self.adapter.values(self.adapter(x, p, training))

    @property
    def modes(self) -> tuple[bool, ...]:
        """What `training` may be."""
        return (True, False) if self.adapter.has_inference else (True,)

    # What is drawn

    @cached_property
    def family(self) -> kinds.Family:
        """What is dropped."""
        return kinds.find_family(self)

    @cached_property
    def weights(self) -> tuple[Array, Array] | None:
        """Which weights were kept, and what they were multiplied by, if weights are dropped."""
        return kinds.weights_drawn(self)

    @cached_property
    def in_blocks(self) -> bool:
        """True if neighbouring units are dropped together."""
        return self.family.kind == "selection" and kinds.in_blocks(self)

    @cached_property
    def dependent(self) -> bool:
        """True if units hang together in another way, so that their number says less."""
        rows = self.rows()
        if min(rows.shape) < 2:
            return False
        return min(uneven_p(rows), self.worst_units[0]) < self.level

    @cached_property
    def worst_units(self) -> tuple[float, int, int]:
        """The chance of the most dependent two units, and which they are."""
        rows = self.rows()
        units = units_to_pair(self, rows.shape[1])
        chance, i, j = worst_pair(rows[:, units])
        return chance, int(units[i]), int(units[j])

    def ratio(self, y: Array, x: Array) -> Array:
        """Return what each unit was multiplied by, the batch first; 0 where it was dropped."""
        return self.batch_first(self.family.factors(y, x))

    def is_selection(self, y: Array, x: Array, dtype: str | None = None) -> bool:
        """Return True if y is x with units dropped, and the others of a sample times one number."""
        if y.shape != x.shape:
            return False
        factors = self.batch_first(y / x)
        rows = (
            factors.reshape(len(factors), -1)
            if self.has_batch
            else factors.reshape(1, -1)
        )
        return bool((spreads(rows) <= self.tolerance(dtype)).all())

    def is_input(self, y: Array) -> bool:
        """Return True if y is the input, exactly, or as the dtype that comes back rounds it."""
        x = self.input_values()
        if set(self.returned(self.dtype)) == {self.dtype}:
            return np.array_equal(y, x)
        return y.shape == x.shape and bool((np.abs(y - x) <= self.tolerance()).all())

    def _draws(
        self, p: float, dtype: str, shape: tuple[int, ...] | None = None
    ) -> Draws:
        values = self.input_values(dtype, shape)
        self.restart()
        masks, low, high, total, uneven = [], np.inf, -np.inf, 0.0, 0.0
        for _ in range(self.calls(shape)):
            y = self.output(self.adapter.array(values, dtype), p)
            ratio = self.ratio(y, values)
            mask = ratio != 0
            masks.append(mask)
            kept = ratio[mask]
            total += ratio.sum()
            low = min(low, kept.min(initial=np.inf))
            high = max(high, kept.max(initial=-np.inf))
            uneven = max(uneven, self._uneven(ratio))
        count = sum(mask.sum() for mask in masks)
        scale = total / count if count else np.nan
        drawn = np.array(masks)
        return Draws(drawn, scale, high - low, total / drawn.size, uneven)

    def calls(self, shape: tuple[int, ...] | None = None) -> int:
        """Return how many calls are looked at: fewer of a slow layer."""
        wanted = min(CALLS, max(4, ceil(UNITS / prod(shape or self.call_shape))))
        if self.seconds * wanted <= PATIENCE:
            return wanted
        return max(4, 2 ** int(np.log2(PATIENCE / self.seconds)))

    def _uneven(self, ratio: Array) -> float:
        """Return how far the mean over a sample, or over the call, is from 1: the smaller one."""
        rows = ratio.reshape(len(ratio), -1).mean(axis=1) if self.has_batch else ratio
        some = rows[rows != 0]
        by_sample = np.abs(some - 1).max(initial=0.0)
        return float(min(by_sample, abs(ratio.mean() - 1) if ratio.any() else 0.0))

    def scales_by_share(self, draws: Draws, dtype: str | None = None) -> bool:
        """Return True if the scale is one over the share kept: the mean is exact in every call."""
        limit = self.tolerance(dtype)
        uneven = draws.spread > limit * abs(draws.scale)
        return uneven and draws.uneven <= limit + BY_SHARE

    def main(self) -> Draws:
        """Return the draws with the p that was asked for."""
        return self.draws(self.p, self.dtype)

    def many(self, p: float, dtype: str) -> Draws:
        """Return draws of which as many as can be are distinct."""
        wide = self.wide_shape
        return self.draws(p, dtype, wide) if wide else self.draws(p, dtype)

    @cached_property
    def wide_shape(self) -> tuple[int, ...] | None:
        """Another shape of input, in which more units have a draw of their own."""
        axes = [axis for axis in self.shared if axis or not self.has_batch]
        if not axes or not self.has_batch or 0 in self.shared:
            return None
        for length in (1, 2):
            wide = [length if axis in axes else n for axis, n in enumerate(self.shape)]
            wide[0] = max(1, WIDE // prod(wide[1:]))
            wide.insert(self.batch_axis, wide.pop(0))
            if prod(wide) > prod(self.call_shape) and self._takes(tuple(wide)):
                return tuple(wide)
        return None

    def _takes(self, shape: tuple[int, ...]) -> bool:
        try:
            y = self.output(self.input(shape=shape), self.p)
        except Exception:
            return False
        return self.is_selection(y, self.input_values(shape=shape))

    @cached_property
    def repeats(self) -> bool:
        """True if every call drops the same units."""
        masks = self.main().masks
        return bool((masks == masks[0]).all())

    @cached_property
    def shared(self) -> tuple[int, ...]:
        """Axes of the input, the batch first, along which every call makes one draw."""
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

    def rows(self, draws: Draws | None = None) -> Array:
        """Return the distinct draws, a row for each sample and call, a column for each unit."""
        masks = self.distinct(draws or self.main())
        return masks.reshape(
            -1, prod(masks.shape[2:]) if self.has_batch else masks.shape[1]
        )

    # What inference does

    def inference_factor(self, p: float, dtype: str | None = None) -> float:
        """Return what inference multiplies by, or should; NaN if that is not one number."""
        if not self.adapter.has_inference:
            bare = abs(self.many(p, self.dtype).scale - 1) <= self.tolerance()
            return 1 - p if bare else 1.0
        values = self.input_values(dtype)
        ratio = self.output(self.input(dtype), p, training=False) / values
        constant = np.ptp(ratio) <= self.tolerance(dtype)
        return float(np.median(ratio)) if constant else np.nan

    def scales_at_inference(self, p: float) -> bool:
        """Return True for the scale 1-p that goes with bare masks in training."""
        return abs(self.inference_factor(p) - (1 - p)) <= self.tolerance()

    # What is looked at, and how closely

    @property
    def rates(self) -> list[float]:
        """Every p that is tried, in order."""
        return sorted({self.p, 0.1, 0.5, 0.9}) if self.adapter.sets_p else [self.p]

    def settings(self) -> list[tuple[float, str]]:
        """Return every p in the first dtype, and the main p in others of full precision."""
        others = [d for d in self.dtypes[1:] if not d.endswith("float16")]
        every = [(p, self.dtype) for p in self.rates]
        return every + [(self.p, dtype) for dtype in others]

    def half_settings(self) -> list[tuple[float, str]]:
        """Return every p in every dtype of half precision."""
        halves = [d for d in self.dtypes if d.endswith("float16")]
        return [(p, dtype) for dtype in halves for p in self.rates]

    def _returned(self, dtype: str) -> tuple[str, ...]:
        """Return the dtypes that come back of one, in training and, if it can be, at rest."""
        found = [self.adapter.dtype(self.adapter(self.input(dtype), self.p))]
        if self.adapter.has_inference:
            with suppress(Exception):  # which the check of inference tells
                y = self.adapter(self.input(dtype), self.p, training=False)
                found.append(self.adapter.dtype(y))
        return tuple(found)

    def tolerance(self, dtype: str | None = None) -> float:
        """Return the relative error that rounding may add up to, in the dtypes that come back."""
        dtype = dtype or self.dtype
        return 32 * max(map(rounding, (dtype, *self.returned(dtype))))


def units_to_pair(s: Subject, count: int) -> Array:
    """Return all units, or of many the first and some far ones."""
    if count <= PAIRED:
        return np.arange(count)
    rng = np.random.default_rng(s.seed)
    far = rng.choice(count, PAIRED // 2, replace=False)
    return np.union1d(np.arange(PAIRED // 2), far)


def spreads(rows: Array) -> Array:
    """Return, of each row, how far numbers other than 0 spread, in relation to the largest."""
    size = np.abs(rows).max(axis=1, initial=0.0)
    low = np.where(rows == 0, np.inf, rows).min(axis=1, initial=np.inf)
    high = np.where(rows == 0, -np.inf, rows).max(axis=1, initial=-np.inf)
    return np.where(size > 0, (high - low) / np.where(size > 0, size, 1), 0.0)


def rounding(dtype: str) -> float:
    """Return the largest relative error of rounding to a dtype."""
    if dtype == "bfloat16":
        return 2.0**-8
    return float(np.finfo(dtype).eps) / 2
