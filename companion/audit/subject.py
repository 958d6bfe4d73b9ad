"""An implementation under audit, with what was drawn from it for the checks to share."""

from functools import cache, cached_property
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np

from companion.audit.adapters import Adapter, Array

UNITS = 2**22  # looked at for each p and dtype, if CALLS suffice
CALLS = 256
TESTS = 32  # that chance could fail, at most: each gets this share of alpha


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
        self.level = alpha / TESTS
        self.dtype = adapter.dtypes[0]  # the one that carries the statistics
        self.has_batch = len(shape) > 1
        self.draws, self.input_values = cache(self._draws), cache(self._input_values)

    # What goes in, and what comes out

    def input(
        self, dtype: str | None = None, shape: tuple[int, ...] | None = None
    ) -> Any:
        """Return an array of both signs and of about one size, no element of it 0."""
        rng = np.random.default_rng([self.seed, 1])  # not the stream of the masks
        shape = self.shape if shape is None else shape
        values = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
        return self.adapter.array(np.asarray(values), dtype or self.dtype)

    def _input_values(self, dtype: str | None = None) -> Array:
        return self.adapter.values(self.input(dtype))

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

    def is_selection(self, y: Array, x: Array) -> bool:
        """Return True if y is x with units dropped and the others times one number."""
        if y.shape != x.shape:
            return False
        ratio = y / x
        kept = ratio[ratio != 0]
        return kept.size == 0 or bool(
            np.ptp(kept) <= self.tolerance() * np.abs(kept).max()
        )

    # What is drawn

    def _draws(self, p: float, dtype: str) -> Draws:
        values = self.input_values(dtype)
        self.restart()
        calls = min(CALLS, max(4, ceil(UNITS / prod(self.shape))))
        masks = np.empty((calls, *self.shape), dtype=bool)
        total, low, high = 0.0, np.inf, -np.inf
        for mask in masks:
            ratio = self.output(self.adapter.array(values, dtype), p) / values
            mask[...] = ratio != 0
            kept = ratio[mask]
            total += ratio.sum()
            low = min(low, kept.min(initial=np.inf))
            high = max(high, kept.max(initial=-np.inf))
        scale = total / masks.sum() if masks.any() else np.nan
        return Draws(masks, scale, high - low)

    def main(self) -> Draws:
        """Return the draws with the p that was asked for."""
        return self.draws(self.p, self.dtype)

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
        """Return the distinct draws, a row for each sample and call, a column for each unit."""
        masks = self.distinct(self.main())
        return masks.reshape(
            -1, prod(masks.shape[2:]) if self.has_batch else masks.shape[1]
        )

    # What inference does

    def inference_factor(self, p: float, dtype: str | None = None) -> float:
        """Return what inference multiplies by, or should; NaN if that is not one number."""
        if not self.adapter.has_inference:
            bare = abs(self.draws(p, self.dtype).scale - 1) <= self.tolerance()
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
        """Return every p, in the first dtype and in those of half precision."""
        halves = [d for d in self.adapter.dtypes[1:] if d.endswith("float16")]
        return [(p, dtype) for dtype in (self.dtype, *halves) for p in self.rates]

    def tolerance(self, dtype: str | None = None) -> float:
        """Return the relative error that rounding may add up to."""
        return 32 * rounding(dtype or self.dtype)


def rounding(dtype: str) -> float:
    """Return the largest relative error of rounding to a dtype."""
    return (2.0**-7 if dtype == "bfloat16" else float(np.finfo(dtype).eps)) / 2
