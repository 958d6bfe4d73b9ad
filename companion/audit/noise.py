"""What is asked of noise, and of alpha dropout, in place of the checks of dropped units."""

from math import sqrt

import numpy as np

from companion.audit.adapters import Array
from companion.audit.chance import mean_p
from companion.audit.kinds import alpha_line
from companion.audit.report import Verdict
from companion.audit.runner import NotApplicableError, Result
from companion.audit.subject import Subject

from scipy import stats  # isort: skip

CALLS = 64  # of which factors are kept


def _factors(s: Subject, p: float, dtype: str) -> Array:
    """Return what each unit was multiplied by: (calls, samples, units)."""
    x = s.input_values(dtype)
    s.restart()
    calls = min(CALLS, s.calls())
    drawn = [s.output(s.adapter.array(x, dtype), p) / x for _ in range(calls)]
    return np.array([s.batch_first(ratio).reshape(s.shape[0], -1) for ratio in drawn])


def _own(factors: Array) -> Array:
    """Return the factors that were drawn apart: one, if a sample or a batch has but one."""
    size = 1e-2 * np.abs(factors).max()
    if np.ptp(factors, axis=-1).max() <= size:
        factors = factors[..., :1]
    if np.ptp(factors, axis=1).max() <= size:
        factors = factors[:, :1]
    return factors


def mean(s: Subject) -> Result:
    """Judge the mean of the factors, at every p."""
    results = []
    for p in s.rates:
        means = _own(_factors(s, p, s.dtype)).mean(axis=-1).ravel()
        off, error = abs(means.mean() - 1), means.std(ddof=1) / sqrt(len(means))
        chance = mean_p(means, 1.0) if off > s.tolerance() / 8 else 1.0
        away = stats.norm.isf(s.level / 2) * error
        results.append(
            (
                chance,
                f"{means.mean():.4f} of it at p = {p:g}, {s.dtype}",
                f"1 ± {away:.4f}",
            )
        )
    chance, measured, bound = min(results)
    if chance >= s.level:
        return Result("pass", measured, bound)
    why = (
        "Every layer behind sees inputs of another size at inference than in training."
    )
    return Result("fail", measured, bound, why)


def spread(s: Subject) -> Result:
    """Compare the spread of the factors with that of a dropout of the same rate."""
    factors = _own(_factors(s, s.p, s.dtype))
    wanted = sqrt(s.p / (1 - s.p))
    measured = f"factors spread by {factors.std():.4g}"
    if abs(factors.std() / wanted - 1) < 6 * sqrt(2 / factors.size) + 0.01:
        return Result("pass", measured, f"{wanted:.4g}")
    why = (
        f"Gaussian dropout has the spread of a dropout of the same rate, {wanted:.4g} here "
        "(Srivastava et al. 2014). This noise has another one."
    )
    return Result("note", measured, f"{wanted:.4g}", why)


def samples_independent(s: Subject) -> Result:
    """Compare the factors of samples side by side."""
    if not s.has_batch or s.shape[0] < 2:
        raise NotApplicableError("the input has no batch axis")
    factors = _own(_factors(s, s.p, s.dtype))
    if factors.shape[1] == 1:
        why = (
            "One draw for a whole batch: the noise does not average out over the batch."
        )
        return Result("fail", "one draw for the whole batch", "one a sample", why)
    return _uncorrelated(s, factors[:, 1:], factors[:, :-1])


def fresh(s: Subject) -> Result:
    """Compare the factors of one call with those of the next."""
    factors = _own(_factors(s, s.p, s.dtype))
    if np.array_equal(factors[0], factors[1]):
        why = "Noise that comes again and again averages nothing."
        return Result("fail", "the same noise in every call", "another", why)
    pairs = len(factors) // 2
    return _uncorrelated(s, factors[: 2 * pairs : 2], factors[1 : 2 * pairs : 2])


def _uncorrelated(s: Subject, a: Array, b: Array) -> Result:
    products = (a - a.mean()) * (b - b.mean()) / (a.std() * b.std())
    together = products.mean(axis=-1).ravel()  # units may share a factor
    away = stats.norm.isf(s.level / 2) / sqrt(together.size)
    verdict: Verdict = "fail" if mean_p(together) < s.level else "pass"
    why = "Noise that comes again averages nothing." if verdict == "fail" else ""
    return Result(
        verdict, f"correlation {together.mean():+.4f}", f"within ±{away:.4f}", why
    )


# Alpha dropout


def _moments(s: Subject, p: float) -> tuple[float, float]:
    """Return mean and variance of what comes of standard normal units dropped with rate p."""
    s.restart()
    a, b, dropped = alpha_line(s.output(s.input(), p), s.input_values())
    mean = (1 - p) * b + p * dropped
    square = (1 - p) * (a**2 + b**2) + p * dropped**2
    return mean, square - mean**2


def alpha_mean(s: Subject) -> Result:
    """Ask whether a mean of 0 stays 0."""
    worst = max((_moments(s, p)[0] for p in s.rates), key=abs)
    verdict: Verdict = "pass" if abs(worst) <= _slack(s) else "fail"
    why = "Units of mean 0 no longer have it in training." if verdict == "fail" else ""
    return Result(
        verdict, f"{worst:+.4f} of units of mean 0", f"0 ± {_slack(s):.2g}", why
    )


def alpha_variance(s: Subject) -> Result:
    """Ask whether a variance of 1 stays 1."""
    worst = max((_moments(s, p)[1] for p in s.rates), key=lambda v: abs(v - 1))
    verdict: Verdict = "pass" if abs(worst - 1) <= _slack(s) else "fail"
    why = (
        "Units of variance 1 no longer have it in training."
        if verdict == "fail"
        else ""
    )
    return Result(verdict, f"variance {worst:.4f}", f"1 ± {_slack(s):.2g}", why)


def _slack(s: Subject) -> float:
    return max(1e-4, 16 * s.tolerance())
