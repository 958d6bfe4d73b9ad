"""Dropouts that are wrong under a condition alone, and members of the family with one flaw."""

import numpy as np
import torch
from dropouts import kept, right
from torch import nn
from torch.nn import functional as F


def where(condition, otherwise):
    """`right`, but another function where the condition on (x, p, training) holds."""

    def mutant(x, p, training, rng):
        function = otherwise if condition(x, p, training) else right
        return function(x, p, training, rng)

    return mutant


def is_view(x, p, training):
    return training and 0 < p < 1 and x.ndim > 1 and not x.flags.c_contiguous


def drops_more(x, p, training, rng):
    return kept(x, rng.random(x.shape) >= p + 0.05, p)


def bare_mask(x, p, training, rng):
    return np.where(rng.random(x.shape) >= p, x, x.dtype.type(0))


def one_mask(x, p, training, rng):
    return kept(x, np.broadcast_to(rng.random((1, *x.shape[1:])) >= p, x.shape), p)


def doubled(x, p, training, rng):
    return x * 2


def unchanged(x, p, training, rng):
    return x.copy()


def samples(n):
    return lambda x, p, training: training and 0 < p < 1 and x.ndim > 1 and len(x) == n


class After:
    """What it does hangs on the calls before: `wrong` says of (call, last, now) when."""

    def __init__(self, wrong, otherwise):
        self.wrong, self.otherwise = wrong, otherwise
        self.__name__, self.calls, self.last = "after", 0, None

    def __call__(self, x, p, training, rng):
        now, last = (p, training), self.last
        self.calls, self.last = self.calls + 1, now
        odd = 0 < p < 1 and self.wrong(self.calls, last or now, now)
        return (self.otherwise if odd else right)(x, p, training, rng)


def old_masks(count):
    """Masks of so many calls, in turn."""
    masks = {}

    def mutant(x, p, training, rng):
        if not training or p in (0, 1):
            return right(x, p, training, rng)
        stored = masks.setdefault((x.shape, p), [])
        if len(stored) < count:
            stored.append(rng.random(x.shape) >= p)
            return kept(x, stored[-1], p)
        stored.append(stored.pop(0))
        return kept(x, stored[-1], p)

    return mutant


def at_places(change):
    """`right`, with the mask changed by `change(mask, x, p)`."""

    def mutant(x, p, training, rng):
        if not training or p in (0, 1):
            return right(x, p, training, rng)
        mask = rng.random(x.shape) >= p
        if mask.size and x.ndim > 1:
            change(mask, x, p)
        return kept(x, mask, p)

    return mutant


def first_unit(mask, x, p):
    mask[:, 0] = True


def last_unit(mask, x, p):
    mask[:, -1] = False


def first_sample(mask, x, p):
    mask[0] = True


def negative_units(mask, x, p):
    mask |= x < 0


def many_units(mask, x, p):
    mask.flat[65_536:] = True


def clipped(x, p, training, rng):
    return right(np.clip(x, -100, 100), p, training, rng)


def flushed(x, p, training, rng):
    return right(np.where(np.abs(x) < 0.01, x.dtype.type(0), x), p, training, rng)


def dtype_is(name):
    return lambda x, p, training: training and 0 < p < 1 and x.dtype == name


# PyTorch


def torch_right(x, p, training):
    if not 0 <= p <= 1:
        raise ValueError(p)
    if not training or p == 0:
        return x + 0
    keep = torch.rand(x.shape) >= p
    return torch.where(keep, x / (1 - p) if p < 1 else x, 0)


def more_with_gradients(x, p, training):
    if x.requires_grad and training and 0 < p < 1:
        return (
            F.dropout(x, min(1.0, p + 0.05), True) * (1 - min(1.0, p + 0.05)) / (1 - p)
        )
    return torch_right(x, p, training)


def none_without_gradients(x, p, training):
    return torch_right(x, p, training and torch.is_grad_enabled())


def rests_with_gradients_alone(x, p, training):
    return torch_right(x, p, training or (not torch.is_grad_enabled() and p < 1))


def hides(**numbers):
    def mutant(x, p, training):
        y = torch_right(x, p, training)
        return torch.nan_to_num(y, **numbers) if training and p else y

    return mutant


class OddGradient(torch.autograd.Function):
    """Right, but for the gradient at one p, or of a sum."""

    @staticmethod
    def forward(ctx, x, p, when):
        ctx.keep, ctx.p, ctx.when = torch.rand(x.shape) >= p, p, when
        return torch.where(ctx.keep, x / (1 - p), 0) if p < 1 else torch.zeros_like(x)

    @staticmethod
    def backward(ctx, grad):
        scale = 1 / (1 - ctx.p) if ctx.p < 1 else 0
        odd = ctx.p == 0.1 if ctx.when == "0.1" else 0 in grad.stride()
        keep = torch.ones_like(ctx.keep) if odd and ctx.p < 1 else ctx.keep
        return torch.where(keep, grad * scale, 0), None, None


def odd_gradient(when):
    def mutant(x, p, training):
        if not 0 <= p <= 1:
            raise ValueError(p)
        return OddGradient.apply(x, p, when) if training and p else x + 0

    return mutant


# The family


def paths(x, p, training):
    """Paths at a rate that is a little too high."""
    if not training or p == 0:
        return x + 0
    q = min(1.0, p + 0.0015)
    keep = torch.rand(x.shape[0], *[1] * (x.ndim - 1)) >= q
    return torch.where(keep, x / max(1 - q, 1e-9), 0)


class Blocks(nn.Module):
    """DropBlock; a `times` of 1 is right, and one set of blocks for the batch is not."""

    def __init__(self, p=0.1, times=1.0, whole_batch=False):
        super().__init__()
        self.p, self.times, self.whole_batch = p, times, whole_batch

    def forward(self, x):
        if not self.training or self.p == 0:
            return x + 0
        if self.p == 1:
            return x * 0
        rate = min(0.99, self.p * self.times)
        n, c, h, w = x.shape
        seeds = torch.rand(1 if self.whole_batch else n, c, h + 2, w + 2)
        seeds = seeds < 1 - (1 - rate) ** (1 / 9)
        drop = F.max_pool2d(seeds.float(), 3, stride=1) > 0
        return torch.where(drop, 0, x / (1 - rate))


class Alpha(nn.Module):
    """Alpha dropout with its moments off, if it does not shift."""

    def __init__(self, p=0.5, shift=True):
        super().__init__()
        self.p, self.shift = p, shift

    def forward(self, x):
        if not self.training or self.p == 0:
            return x + 0
        low, keep = -1.7580993408473766, 1 - self.p
        a = (keep + low**2 * keep * self.p) ** -0.5
        b = -a * self.p * low if self.shift else 0.0
        return a * torch.where(torch.rand(x.shape) < keep, x, low) + b


class Gaussian(nn.Module):
    """Gaussian dropout: its mean, or whether samples have noise of their own, may be off."""

    def __init__(self, p=0.5, mean=1.0, whole_batch=False):
        super().__init__()
        self.p, self.mean, self.whole_batch = p, mean, whole_batch

    def forward(self, x):
        if not self.training or self.p in (0, 1):
            return x + 0
        shape = (1, *x.shape[1:]) if self.whole_batch else x.shape
        noise = torch.randn(shape, dtype=x.dtype)
        return x * (self.mean + (self.p / (1 - self.p)) ** 0.5 * noise)


class Connect(nn.Module):
    """DropConnect, as a linear layer; `flaw` is what is wrong with it."""

    def __init__(self, p=0.5, flaw=""):
        super().__init__()
        self.p, self.flaw = p, flaw
        self.weight = nn.Parameter(torch.randn(256, 64, dtype=torch.float64))
        self.mask = torch.rand(256, 64) >= p

    def forward(self, x):
        weight, active = self.weight, self.training or self.flaw == "at rest"
        if active and self.p:
            rate = 0.6 * self.p if self.flaw == "rate" else self.p
            keep = torch.rand(weight.shape) >= rate
            keep = self.mask if self.flaw == "for ever" else keep
            scale = 1.0 if self.flaw == "scale" else 1 / max(1e-9, 1 - self.p)
            weight = weight * keep * scale
        return x @ weight


CONDITIONAL = {
    "more in a view": (where(is_view, drops_more), "the same in every condition"),
    "bare in a view": (where(is_view, bare_mask), "the same in every condition"),
    "none in a view": (where(is_view, unchanged), "the same in every condition"),
    "one mask for 61": (where(samples(61), one_mask), "the same in every condition"),
    "none for one": (where(samples(1), unchanged), "the same in every condition"),
    "more for three": (where(samples(3), drops_more), "the same in every condition"),
    "rests on views": (
        where(lambda x, p, t: not t and not x.flags.c_contiguous, doubled),
        "the same in every condition",
    ),
    "clipped": (clipped, "the same in every condition"),
    "flushed": (flushed, "the same in every condition"),
    "single in half": (where(dtype_is("float16"), one_mask), "the same in every condition"),
    "more in float32": (where(dtype_is("float32"), drops_more), "drop rate"),
    "more with gradients": (more_with_gradients, "the same in every condition"),
    "none without gradients": (none_without_gradients, "the same in every condition"),
    "active without gradients": (rests_with_gradients_alone, "the same in every condition"),
    "none after inference": (
        After(lambda n, last, now: now[1] and not last[1], unchanged),
        "the same in every condition",
    ),
    "drops after training": (
        After(lambda n, last, now: last[1] and not now[1] and now[0] == last[0], bare_mask),
        "the same in every condition",
    ),
    "another p comes late": (
        After(lambda n, last, now: now[1] and last[0] != now[0], drops_more),
        "the same in every condition",
    ),
    "every seventh call": (
        After(lambda n, last, now: now[1] and n % 7 == 0, unchanged),
        "drop rate",
    ),
    "ten masks in turn": (old_masks(10), "fresh mask every call"),
    "first unit kept": (at_places(first_unit), "drop rate"),
    "last unit dropped": (at_places(last_unit), "drop rate"),
    "first sample kept": (at_places(first_sample), "drop rate"),
    "negative units kept": (at_places(negative_units), "drop rate"),
    "only 65,536 units": (at_places(many_units), "the same in every condition"),
    "p to a tenth": (
        lambda x, p, training, rng: right(x, round(p, 1), training, rng),
        "the same in every condition",
    ),
    "hides NaN": (hides(nan=0.0), "NaN and inf dropped"),
    "hides inf": (hides(nan=float("nan"), posinf=9.0), "NaN and inf dropped"),
    "gradient at 0.1": (odd_gradient("0.1"), "backward"),
    "gradient of a sum": (odd_gradient("sum"), "backward"),
    "zero at rest at 1": (
        lambda x, p, training, rng: x * 0 if p == 1 else right(x, p, training, rng),
        "p = 1",
    ),
}  # fmt: skip

# Members of the family with one flaw: what to audit, how, and which check fails.
FAMILY = {
    "first call of all": (
        After(lambda n, last, now: n == 1, unchanged), {}, "the same in every condition",
    ),
    "paths a little more": (paths, {"p": 0.1}, "drop rate"),
    "twice as many blocks": (Blocks(times=2), {"shape": (8, 16, 14, 14)}, "drop rate"),
    "blocks for a batch": (
        Blocks(whole_batch=True), {"shape": (8, 16, 14, 14)}, "samples independent",
    ),
    "alpha unshifted": (Alpha(shift=False), {}, "mean kept"),
    "noise of mean 1.1": (Gaussian(mean=1.1), {}, "mean kept"),
    "noise of a batch": (Gaussian(whole_batch=True), {}, "samples independent"),
    "weights too few": (Connect(flaw="rate"), {}, "drop rate"),
    "weights unscaled": (Connect(flaw="scale"), {}, "survivors' scale"),
    "weights at rest": (Connect(flaw="at rest"), {}, "inference"),
    "weights for ever": (Connect(flaw="for ever"), {}, "fresh mask every call"),
    "nothing": (lambda x, p, training: x + 0, {}, "what is dropped"),
    "everything": (lambda x, p, training: x * (not training), {}, "what is dropped"),
}  # fmt: skip
RIGHT_FAMILY = {
    "blocks": (Blocks, {"shape": (8, 16, 14, 14)}),
    "alpha": (Alpha, {}),
    "Gaussian": (Gaussian, {}),
    "weights": (Connect, {}),
    "torch's alpha": (nn.AlphaDropout, {}),
    "torch's feature alpha": (nn.FeatureAlphaDropout, {"shape": (8, 16, 10)}),
}
