"""What is asked where weights are dropped in place of units."""

import numpy as np

from companion.audit.adapters import Array
from companion.audit.chance import two_sided
from companion.audit.runner import NotApplicableError, Result
from companion.audit.subject import Subject

from scipy import stats  # isort: skip


def _drawn(s: Subject) -> tuple[Array, Array]:
    if s.weights is None:
        raise NotApplicableError("weights are dropped at inference as well")
    return s.weights


def drop_rate(s: Subject) -> Result:
    """Count the weights that are dropped."""
    kept, _ = _drawn(s)
    dropped, n = 1 - kept.mean(), kept.size
    if s.estimated:
        why = "p was not given and could not be read, so it was estimated from what is dropped."
        return Result("note", f"{dropped:.4f}", "", why)
    low, high = stats.binom.ppf([s.level / 2, 1 - s.level / 2], n, s.p) / n
    bound = f"{low:.4f} to {high:.4f}"
    if two_sided(stats.binom(n, 1 - s.p), int(kept.sum())) < s.level:
        why = f"p = {s.p:g} was asked for: results are those of another p."
        return Result("fail", f"{dropped:.4f} at p = {s.p:g}", bound, why)
    return Result("pass", f"{dropped:.4f}", bound)


def scale(s: Subject) -> Result:
    """Compare weights that are kept with those at inference."""
    _, ratios = _drawn(s)
    wanted = 1 / (1 - s.p)
    bound = f"{wanted:.4g} times those at inference"
    off = np.abs(ratios / wanted - 1).max(initial=0.0)
    measured = f"{ratios.mean():.4g} times"
    if off > 64 * s.tolerance() + 1e-3:
        why = (
            f"In training the sums that a layer makes are {ratios.mean() * (1 - s.p):.3g} "
            "times those of inference, on average."
        )
        return Result("fail", measured, bound, why)
    return Result("pass", measured, bound)


def mean(s: Subject) -> Result:
    """Leave it to rate and scale, which give the mean of a weight."""
    raise NotApplicableError("rate and scale of weights say it")


def inference(s: Subject) -> Result:
    """Ask whether two calls at rest give one result."""
    if not s.adapter.has_inference:
        raise NotApplicableError("no inference mode to call")
    one, other = (s.output(s.input(), s.p, training=False) for _ in range(2))
    if not np.array_equal(one, other):
        why = "Predictions are random. If that is meant, it is Monte Carlo dropout: say so."
        return Result("fail", "still drops weights", "all weights", why)
    return Result("pass", "all weights", "all weights")


def samples_independent(s: Subject) -> Result:
    """Say whether all samples of a batch see the same weights."""
    n = s.call_shape[-1]
    alike = s.adapter.array(np.ones((4, n)), s.dtype)
    s.restart()
    y = s.output(alike, s.p)
    if np.ptp(y, axis=0).max() <= 4 * s.tolerance() * np.abs(y).max():
        why = (
            "All samples of a batch see the same weights: usual, since a product with one matrix "
            "is fast, and noisier than a mask a sample."
        )
        return Result("note", "the same weights for the whole batch", "", why)
    return Result("pass", "weights of its own for each sample")


def fresh(s: Subject) -> Result:
    """Ask whether the next call drops other weights."""
    s.restart()
    one, other = (s.output(s.input(), s.p) for _ in range(2))
    if np.array_equal(one, other):
        why = "Weights dropped once and for ever make a smaller layer, and average nothing."
        return Result("fail", "the same weights in every call", "others", why)
    return Result("pass", "others")


def backward(s: Subject) -> Result:
    """Compare the gradient with central differences along one direction, with the same weights."""
    if not s.adapter.has_backward:
        raise NotApplicableError("no gradient to ask for")
    rng = np.random.default_rng(s.seed + 1)
    x, direction = s.input_values(), rng.normal(size=s.call_shape)
    s.restart()
    ones = s.adapter.array(rng.normal(size=s.output(s.input(), s.p).shape), s.dtype)
    s.restart()
    _, dx = s.adapter.gradient(s.input(), s.p, ones)
    step, ends = s.tolerance() ** 0.5, []
    for moved in (x + step * direction, x - step * direction):
        s.restart()
        y = s.output(s.adapter.array(moved, s.dtype), s.p)
        ends.append((y * s.adapter.values(ones)).sum())
    numeric = (ends[0] - ends[1]) / (2 * step)
    analytic = float((s.adapter.values(dx) * direction).sum())
    error = abs(analytic - numeric) / max(1e-30, abs(numeric))
    measured, bound = f"relative error {error:.2g}", 1e-2
    if error > bound:
        why = "Training follows a slope that is not the loss's."
        return Result("fail", measured, f"{bound:.0e}", why)
    return Result("pass", measured, f"{bound:.0e}")
