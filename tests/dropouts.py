"""Dropouts to audit: right ones, and mutants with one thing wrong in each."""

from functools import cache, partial

import numpy as np
import torch

import companion.nn
from companion import inverted, standard
from companion.audit import AuditReport, audit
from companion.audit.adapters import adapters_of
from companion.audit.adapters.calls import made
from companion.audit.layer import CHECKS
from companion.audit.runner import run_checks
from companion.audit.subject import Subject

SMALL = (16, 32)  # enough where chance plays no part
audit_once = cache(audit)  # the same audit of the same candidate is made once


def adapt(candidate, p):
    """Return the likeliest adapter of a candidate, as it is or made for a p."""
    if not isinstance(candidate, type):
        return next(adapters_of(candidate))
    make = partial(made, candidate, arguments={})
    return next(adapters_of(make(p), make))


def checked(candidate, *names, p=0.5, shape=SMALL, seed=0, kind=None):
    """Audit a candidate with some of the checks, after the first."""
    adapter = adapt(candidate, p)
    subject = Subject(adapter, p, shape, seed, alpha=1e-6, kind=kind)
    chosen = [c for i, c in enumerate(CHECKS) if i == 0 or c.name in names]
    assert len(chosen) > len(set(names) - {CHECKS[0].name})
    return AuditReport(adapter.name, run_checks(chosen, subject))


def verdict(report, name):
    (found,) = [check for check in report.checks if check.name == name]
    return found


def right(x, p, training, rng):
    """Inverted dropout as short as it gets; the mutants change one thing each."""
    if not 0 <= p <= 1:
        raise ValueError(p)
    if not training or p == 0:
        return x.copy()
    return kept(x, rng.random(x.shape) >= p, p)


def kept(x, mask, p):
    scale = 1 / (1 - p) if p < 1 else 0
    return np.where(mask, x * x.dtype.type(scale), x.dtype.type(0))


def masked(draw):
    """`right`, with the mask from draw(shape, p, rng)."""

    def mutant(x, p, training, rng):
        if not training or p in (0, 1):
            return right(x, p, training, rng)
        return kept(x, np.broadcast_to(draw(x.shape, p, rng), x.shape), right_p(p))

    return mutant


def right_p(p):
    if not 0 <= p <= 1:
        raise ValueError(p)
    return p


def scaled(scale):
    def mutant(x, p, training, rng):
        y = right(x, p, training, rng)
        return y * x.dtype.type(scale(p) * (1 - p)) if training and 0 < p < 1 else y

    return mutant


def at_inference(change):
    return lambda x, p, training, rng: (
        right(x, p, True, rng) if training else change(x, p, rng)
    )


def bare(inference):
    def mutant(x, p, training, rng):
        return scaled(lambda p: 1)(x, p, True, rng) if training else inference(x, p)

    return mutant


def repeated(axis, times):
    """Neighbours along an axis share a draw."""

    def draw(shape, p, rng):
        if len(shape) < 2 or not shape[axis]:
            return rng.random(shape) >= p
        fewer = list(shape)
        fewer[axis] = -(-fewer[axis] // times)
        return (rng.random(fewer) >= p).repeat(times, axis)[: shape[0], : shape[1]]

    return draw


def far_pairs(shape, p, rng):
    """Units 0 and 128 share a draw, 1 and 129, and so on."""
    if len(shape) < 2:
        return plain(shape, p, rng)
    return np.tile(plain((shape[0], -(-shape[1] // 2)), p, rng), 2)[:, : shape[1]]


def same_for_ever(shape, p, rng):
    return plain(shape, p, np.random.default_rng(0))


def exactly(shape, p, rng):
    """The same number of units of every sample."""
    ranks = rng.random(shape).argsort(-1).argsort(-1) if shape else np.ones(())
    return ranks >= round(p * shape[-1]) if shape else ranks > p


def slightly_correlated(shape, p, rng):
    mask = rng.random(shape) >= p
    if len(shape) > 1:
        copied = rng.random(shape) < 0.1
        mask = np.where(copied, np.roll(mask, 1, axis=1), mask)
    return mask


def biased_bits(shape, p, rng):
    """Every fourth unit at another rate, the mean of all as it should be."""
    rates = np.full(shape, p)
    if len(shape) > 1:
        rates[..., ::4] += 0.03
        rates[..., 1::4] -= 0.03
    return rng.random(shape) >= rates


def once(function):
    cache = {}

    def draw(shape, p, rng):
        return cache.setdefault((shape, p), function(shape, p, rng))

    return draw


def plain(shape, p, rng):
    return rng.random(shape) >= p


def global_draw(shape, p, rng):
    return np.random.random(shape) >= p  # noqa: NPY002


def also_global(shape, p, rng):
    np.random.random()  # noqa: NPY002
    return plain(shape, p, rng)


def whole_row(shape, p, rng):
    return rng.random((1, *shape[1:])) >= p if shape else rng.random() >= p


def unrefused(x, p, training, rng):
    if not training or p == 0:
        return x.copy()
    return kept(x, rng.random(x.shape) >= p, p if p != 1 else 0)


def takes_nan(x, p, training, rng):
    return right(x, 0.5 if np.isnan(p) else p, training, rng)


def divides(x, p, training, rng):
    if not 0 <= p <= 1:
        raise ValueError(p)
    mask = rng.random(x.shape) >= p
    return x * mask / x.dtype.type(1 - p) if training and p else x.copy()


def upcast(x, p, training, rng):
    return right(x, p, training, rng).astype(np.float64)


def in_place(x, p, training, rng):
    x[...] = right(x, p, training, rng)
    return x


def by_memory(x, p, training, rng):
    return right(x.ravel("K").reshape(x.shape), p, training, rng)


def pads_empty(x, p, training, rng):
    y = right(x, p, training, rng)
    return y if y.size else np.zeros((1, *x.shape[1:]), x.dtype)


def no_empty(x, p, training, rng):
    x.max()
    return right(x, p, training, rng)


def gaussian(x, p, training, rng):
    return x * rng.normal(1, 0.5, x.shape) if training else x


def drop_at_zero(x, p, training, rng):
    return right(x, max(p, 0.01) if p >= 0 else p, training, rng)


def noisy_inference(x, p, rng):
    return x * (1 + 1e-3 * rng.normal(size=x.shape)).astype(x.dtype)


def jittery(x, p, training, rng):
    """One scale a call, right on average."""
    y = right(x, p, training, rng)
    return y * x.dtype.type(rng.choice([0.9, 1.1])) if training and 0 < p < 1 else y


def twice(function):
    """Each mask serves two calls."""
    last = {}

    def draw(shape, p, rng):
        if (shape, p) in last:
            return last.pop((shape, p))
        return last.setdefault((shape, p), function(shape, p, rng))

    return draw


def too_much_in_half(x, p, training):
    """2% too much in bfloat16, more than its rounding."""
    y = torch.nn.functional.dropout(x, p, training)
    return y * 1.02 if training and 0 < p < 1 and x.dtype == torch.bfloat16 else y


class Redrawn(torch.autograd.Function):
    """A backward pass of another kind than the forward pass."""

    @staticmethod
    def forward(ctx, x, p, how):
        ctx.mask = torch.rand(x.shape) >= p
        ctx.p, ctx.how = p, how
        return torch.where(ctx.mask, x / (1 - p), 0) if p < 1 else torch.zeros_like(x)

    @staticmethod
    def backward(ctx, grad):
        mask, scale = ctx.mask, 1 / (1 - ctx.p) if ctx.p < 1 else 0
        if ctx.how == "redrawn":
            mask = torch.rand(grad.shape) >= ctx.p
        elif ctx.how == "unscaled":
            scale = 1
        elif (ctx.how == "straight through" and ctx.p < 1) or (
            ctx.how == "gradient at 1" and ctx.p == 1
        ):
            return grad, None, None
        elif ctx.how == "once":
            return (torch.where(mask, grad * scale, 0)).detach(), None, None
        return torch.where(mask, grad * scale, 0), None, None


def torch_mutant(how):
    def function(x, p, training):
        return Redrawn.apply(x, right_p(p), how) if training and p else x

    return function


def coarse(x, p, training):
    """Draws in the input's own dtype."""
    if not training or not p:
        return x
    mask = torch.rand(x.shape, dtype=x.dtype) >= right_p(p)
    return torch.where(mask, x / (1 - p), 0) if p < 1 else torch.zeros_like(x)


class DropConnect(torch.nn.Linear):
    def __init__(self, p=0.5):
        super().__init__(256, 256, dtype=torch.float64)
        self.p = p

    def forward(self, x):
        weight = torch.nn.functional.dropout(self.weight, self.p, self.training)
        return torch.nn.functional.linear(x, weight)


# Each mutant, and the check that has to fail for it.
MUTANTS = {
    "no scale": (scaled(lambda p: 1), "survivors' scale"),
    "1/p": (scaled(lambda p: 1 / p), "survivors' scale"),
    "1-p": (scaled(lambda p: 1 - p), "survivors' scale"),
    "1% too much": (scaled(lambda p: 1.01 / (1 - p)), "survivors' scale"),
    "jitter": (jittery, "survivors' scale"),
    "too much in half": (too_much_in_half, "half precision"),
    "rounded scale": (scaled(lambda p: round(1 / (1 - p), 1)), "survivors' scale"),
    "p is kept": (masked(lambda s, p, r: r.random(s) < p), "drop rate"),
    "0.52 for 0.5": (masked(lambda s, p, r: r.random(s) >= p + 0.02), "drop rate"),
    "always 0.5": (masked(lambda s, p, r: r.random(s) >= 0.5), "drop rate"),
    "8 bits": (masked(lambda s, p, r: r.integers(256, size=s) >= int(p * 256)), "drop rate"),
    "biased bits": (masked(biased_bits), "drop rate"),
    "pairs of units": (masked(repeated(1, 2)), "units independent"),
    "far pairs": (masked(far_pairs), "units independent"),
    "slightly correlated": (masked(slightly_correlated), "units independent"),
    "exactly half": (masked(exactly), "units independent"),
    "one mask a batch": (masked(whole_row), "samples independent"),
    "pairs of samples": (masked(repeated(0, 2)), "samples independent"),
    "one mask for ever": (masked(same_for_ever), "fresh mask every call"),
    "cached mask": (masked(once(plain)), "fresh mask every call"),
    "every mask twice": (masked(twice(plain)), "fresh mask every call"),
    "noise at inference": (at_inference(noisy_inference), "inference"),
    "drops at inference": (lambda x, p, training, rng: right(x, p, True, rng), "inference"),
    "times p at inference": (bare(lambda x, p: x * x.dtype.type(p)), "inference"),
    "scales twice": (at_inference(lambda x, p, rng: x * x.dtype.type(1 - p)), "survivors' scale"),
    "redrawn": (torch_mutant("redrawn"), "backward"),
    "unscaled": (torch_mutant("unscaled"), "backward"),
    "straight through": (torch_mutant("straight through"), "backward"),
    "once": (torch_mutant("once"), "double backward"),
    "coarse": (coarse, "half precision"),
    "drops at 0": (drop_at_zero, "p = 0"),
    "divides by 0": (divides, "p = 1"),
    "gradient at 1": (torch_mutant("gradient at 1"), "p = 1"),
    "takes any p": (unrefused, "bad p refused"),
    "takes NaN": (takes_nan, "bad p refused"),
    "takes 1.5": (lambda x, p, t, rng: right(x, min(p, 1), t, rng), "bad p refused"),
    "upcast": (upcast, "dtype and layout"),
    "by memory": (by_memory, "the same in every condition"),
    "in place": (in_place, "input untouched"),
    "global draw": (masked(global_draw), "seedable"),
    "also global": (masked(also_global), "global state left alone"),
    "no empty": (no_empty, "empty and 0-d input"),
    "pads empty": (pads_empty, "empty and 0-d input"),
    "gaussian": (gaussian, "what is dropped"),
    "weights": (DropConnect, "what is dropped"),
}  # fmt: skip


LAYERS = [  # those that do nothing but drop
    named
    for name in companion.nn.__all__
    if isinstance(named := getattr(companion.nn, name), type)
    and issubclass(named, torch.nn.modules.dropout._DropoutNd)
]
RIGHT = {
    "right": right,
    "companion.inverted": inverted.dropout,
    "companion.standard": standard.dropout,
    **{f"companion.nn.{layer.__name__}": layer for layer in LAYERS},
    "companion.nn.functional": companion.nn.functional.dropout,
    "torch.nn": torch.nn.Dropout,
    "torch.nn.functional": torch.nn.functional.dropout,
    "torch": torch.dropout,
    "torch's right": torch_mutant(""),
}
SHAPES: dict[str, tuple[int, ...]] = {  # of those that need more axes than two
    "companion.nn.Dropout1d": (64, 64, 2),
    "companion.nn.Dropout2d": (64, 64, 2, 2),
    "companion.nn.Dropout3d": (64, 64, 2, 2, 2),
}
