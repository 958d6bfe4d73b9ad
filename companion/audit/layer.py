"""The audit of a dropout layer or function: every check, in order."""

from collections.abc import Mapping, Sequence
from typing import Any

from companion.audit import runner
from companion.audit.behaviour import CHECKS as BEHAVIOUR
from companion.audit.conditions import CHECKS as CONDITIONS
from companion.audit.independence import CHECKS as INDEPENDENCE
from companion.audit.kinds import KINDS
from companion.audit.report import AuditReport
from companion.audit.runner import Checks, LateError, run_checks, silent, time_limit
from companion.audit.state import undisturbed
from companion.audit.statistics import CHECKS as STATISTICS
from companion.audit.trial import ObstacleError, prepare
from companion.checks import check_inside, check_option, check_probability

CHECKS = Checks(
    sorted(
        [*STATISTICS, *INDEPENDENCE, *BEHAVIOUR, *CONDITIONS],
        key=lambda check: check.code,
    )
)


def audit(
    candidate: Any,
    *,
    p: float | None = None,
    shape: Sequence[int] | None = None,
    batch_axis: int | None = 0,
    dtypes: Sequence[str] | None = None,
    arguments: Mapping[str, Any] | None = None,
    kind: str | None = None,
    skip: Mapping[str, str] | None = None,
    seed: int = 0,
    alpha: float = 1e-6,
) -> AuditReport:
    """Check an implementation of dropout: what it does, check by check.

    Parameters
    ----------
    candidate : callable, torch.nn.Module, class or Adapter
        One of: a function ``f(x, p, training, rng)`` on NumPy arrays, with an attribute
        ``backward(grad)`` if its gradient is to be checked; a layer of PyTorch, of which a copy
        is audited; a function ``f(x, p, training)`` of PyTorch or NumPy; a compiled PyTensor
        function of ``x``, of ``x, p`` or of ``x, p, training``; a layer of Keras, Flax or
        Equinox; a function of JAX. Parameters are told by their names, as ``drop_prob`` or
        ``deterministic``, and else by their order. A class is made with `p` first, or by its
        name. For anything else write two lines around it, or an `Adapter`.
    p : float, optional
        The drop probability (not the keep probability!) of the main sample, in (0, 1). The rate,
        the scale and the mean are looked at for 0.1, 0.5 and 0.9 as well, where p can be set.
        None: 0.5 where it can be set, else the rate that the layer was made with, by the names
        in use, or an estimate.
    shape : sequence of int, optional
        Shape of the input. None: ``(64, 256)``, and where that raises an error, shapes of three,
        four and five axes.
    batch_axis : int or None
        The axis of the samples; None if there is none.
    dtypes : sequence of str, optional
        The dtypes to try, the widest first. None: those of the framework, or of the weights.
    arguments : mapping, optional
        What a class is made with besides p, or a function is called with, by name.
    kind : str, optional
        What is meant to be dropped: "units", "channels", "tokens", "steps", "paths", "blocks",
        "weights", "noise" or "alpha"; anything else fails. None: whatever it is found to be is
        taken for what is meant, and said.
    skip : mapping of str to str, optional
        Codes of checks that are not to be made, each with the reason, which the report repeats.
    seed : int
        Decides the inputs and all masks.
    alpha : float
        The probability, at most, that any check fails a right implementation by chance.

    Returns
    -------
    AuditReport
        Whatever the candidate does, nothing is raised. If the first call raises an error, returns
        no array or another shape, the audit could not run: `passed` is None, and `obstacle` says
        what was called and what to change.

    Raises
    ------
    TypeError
        If `candidate` is none of the above.
    ValueError
        If `p` is not in (0, 1), `alpha` not in (0, 1), `shape` has an axis of no elements,
        `batch_axis` is no axis of it, `kind` is no kind or `skip` has a code of no check.

    See Also
    --------
    audit_estimator : the same for multilayer perceptrons of scikit-learn.
    audit_model : looks for misuse of dropout in a whole PyTorch model.

    Notes
    -----
    Rates and means are tested with exact binomial tails; dependence between units, samples and
    calls with exact hypergeometric ones (Fisher's test), of the worst of all pairs, times their
    number; the spread of the number of kept units with a scaled chi-square. Where units hang
    together, as in DropBlock, samples and calls are compared by Student's test of sums over
    samples, which asks no independence of units. Every such test has the level ``alpha / 64``,
    and there are no more than 64 (Bonferroni).

    The checks are made in the thread of the caller. In the main thread a check that takes longer
    than a minute fails, where the system has alarms (not on Windows); the command,
    ``python -m companion.audit``, can end what hangs anywhere.

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
    if p is not None:
        check_probability(p)
        check_inside(p, "p")
    check_inside(alpha, "alpha")
    if kind is not None:
        check_option(kind, KINDS, "kind")
    for code in skip or {}:
        check_option(code, [check.code for check in CHECKS], "skip")
    if shape is not None:
        shape = _checked_shape(shape, batch_axis)
    name = getattr(candidate, "__name__", None) or type(candidate).__name__
    subject = None
    try:
        with undisturbed(), silent(), time_limit(runner.TIME_LIMIT):
            subject = prepare(
                candidate, p, shape, batch_axis=batch_axis, dtypes=dtypes,
                arguments=arguments, kind=kind, seed=seed, alpha=alpha,
            )  # fmt: skip
        return AuditReport(subject.adapter.name, run_checks(CHECKS, subject, skip))
    except ObstacleError as obstacle:
        return AuditReport(name, obstacle=str(obstacle))
    except LateError:
        return AuditReport(
            name,
            obstacle=f"The first call gave no answer within {runner.TIME_LIMIT:g} s.",
        )
    finally:
        if subject is not None:
            subject.adapter.put_back()


def _checked_shape(shape: Sequence[int], batch_axis: int | None) -> tuple[int, ...]:
    if not shape or min(shape) < 1:
        raise ValueError(
            f"shape must have one axis or more, none of them empty; got {shape!r}"
        )
    if batch_axis is not None and not -len(shape) <= batch_axis < len(shape):
        raise ValueError(
            f"batch_axis must be an axis of shape {tuple(shape)}, or None; got {batch_axis!r}"
        )
    return tuple(shape)
