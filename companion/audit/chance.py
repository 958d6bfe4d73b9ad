"""How likely chance alone gives what was seen: exact where it can be."""

from typing import Any

import numpy as np
import numpy.typing as npt

try:
    from scipy import stats
except ImportError as error:
    raise ImportError(
        "companion.audit needs SciPy: pip install 'dropout-companion[audit]'"
    ) from error

Array = npt.NDArray[Any]


def two_sided(distribution: Any, count: int) -> float:
    """Return the probability of a count at least as far out, on either side."""
    tails = distribution.cdf(count), distribution.sf(count - 1)
    return float(min(1.0, 2 * min(tails)))


def overlap_p(a: Array, b: Array) -> float:
    """Return how likely two masks overlap so much or so little, given what each keeps."""
    both = stats.hypergeom(a.size, int(a.sum()), int(b.sum()))
    return two_sided(both, int((a & b).sum()))


def correlation(a: Array, b: Array) -> float:
    spread = a.std() * b.std()
    return float(((a & b).mean() - a.mean() * b.mean()) / spread) if spread else 0.0


def worst_pair(columns: Array) -> tuple[float, int, int]:
    """Return p of the most dependent two columns, times the number of pairs, and which."""
    n, m = columns.shape
    counts = np.ascontiguousarray(columns, np.float32)
    mean = columns.mean(axis=0)
    spread = np.sqrt(np.outer(mean * (1 - mean), mean * (1 - mean)))
    with np.errstate(invalid="ignore", divide="ignore"):
        z = ((counts.T @ counts) / n - np.outer(mean, mean)) / spread
    z[np.tril_indices(m)] = 0
    i, j = np.unravel_index(np.argmax(np.nan_to_num(np.abs(z))), z.shape)
    p = overlap_p(columns[:, i], columns[:, j]) * m * (m - 1) / 2
    return min(1.0, p), int(i), int(j)


def uneven_p(rows: Array) -> float:
    """Return how likely the numbers kept of each row spread so much or so little."""
    n, m = rows.shape
    kept = rows.sum(axis=1)
    q = kept.mean() / m
    if n < 2 or m < 2 or not 0 < q < 1:
        return 1.0
    statistic = ((kept - kept.mean()) ** 2).sum() / (m * q * (1 - q))
    variance = 2 + (1 - 6 * q * (1 - q)) / (m * q * (1 - q))  # of one term
    scaled = stats.chi2((n - 1) * 2 / variance, scale=variance / 2)
    return float(min(1.0, 2 * min(scaled.cdf(statistic), scaled.sf(statistic))))


def mean_p(values: Array, expected: float = 0.0) -> float:
    """Return how likely independent numbers have a mean so far from the expected one (Student)."""
    n = len(values)
    if n < 2:
        return 1.0
    error = values.std(ddof=1) / np.sqrt(n)
    if not error:
        return 1.0 if values[0] == expected else 0.0
    return float(2 * stats.t.sf(abs(values.mean() - expected) / error, n - 1))
