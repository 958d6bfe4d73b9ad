"""The audit of a dropout layer or function: every check, in order."""

from typing import Any

from companion.audit.adapters import adapt
from companion.audit.behaviour import CHECKS as BEHAVIOUR
from companion.audit.report import AuditReport
from companion.audit.runner import Checks, run_checks
from companion.audit.statistics import CHECKS as STATISTICS
from companion.audit.subject import Subject
from companion.checks import check_inside, check_probability

CHECKS = Checks([*STATISTICS, *BEHAVIOUR])


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
