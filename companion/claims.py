"""A claim in a chapter: its sentence, the measured value, and the bound it must keep."""

import html
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

_MISSING: Any = object()  # None is a value that may be claimed


def claim(
    sentence: str,
    measured: Any,
    *,
    at_most: Any = _MISSING,
    at_least: Any = _MISSING,
    between: Any = _MISSING,
    equals: Any = _MISSING,
) -> None:
    """Check a sentence against its measured value, and show that it was checked.

    Parameters
    ----------
    sentence : str
        What is claimed, in words.
    measured : number, or anything comparable for `equals`
        The value that decides. NaN fails every claim.
    at_most, at_least : float
        Inclusive bound.
    between : tuple of float
        Inclusive lower and upper bound.
    equals : object
        The exact value; for floats prefer a bound.

    Raises
    ------
    AssertionError
        If the bound is broken; it quotes the sentence, the value and the bound.
    TypeError
        If not exactly one bound is given, or `measured` is an array.

    Notes
    -----
    In a notebook a claim that holds shows one line with a check mark and the figures; elsewhere
    it prints the same line.

    Examples
    --------
    >>> claim("half of the units survive", 0.498, between=(0.49, 0.51))
    ✓ half of the units survive (measured 0.498; between 0.49 and 0.51)
    >>> claim("nothing leaks", float("nan"), at_most=1e-6)
    Traceback (most recent call last):
        ...
    AssertionError: nothing leaks (measured nan; at most 1e-06)
    """
    bounds = {
        "at_most": at_most,
        "at_least": at_least,
        "between": between,
        "equals": equals,
    }
    given = [name for name, bound in bounds.items() if bound is not _MISSING]
    if len(given) != 1:
        raise TypeError(
            "give exactly one of at_most, at_least, between and equals; "
            f"got {given or 'none'}"
        )
    if getattr(measured, "ndim", 0):
        raise TypeError(f"a claim is about one value; got an array of {measured.shape}")
    (kind,), bound = given, bounds[given[0]]
    if kind == "at_most":
        holds = measured <= bound
    elif kind == "at_least":
        holds = measured >= bound
    elif kind == "between":
        holds = bound[0] <= measured <= bound[1]
    else:
        holds = measured == bound and not _has_nan(measured)
    if not holds:
        raise AssertionError(f"{sentence} ({_figures(measured, kind, bound, repr)})")
    digits = 15 if kind == "equals" else 5
    _show(sentence, _figures(measured, kind, bound, partial(_short, digits=digits)))


def _has_nan(value: Any) -> bool:
    """Containers hold equal NaNs to be equal; a claim does not."""
    if isinstance(value, (list, tuple)):
        return any(_has_nan(item) for item in value)
    return bool(value != value)


def _figures(measured: Any, kind: str, bound: Any, write: Callable[[Any], str]) -> str:
    plain = [_plain(v) for v in (bound if kind == "between" else (bound,))]
    words = {"equals": "exactly"}.get(kind, kind.replace("_", " "))
    return (
        f"measured {write(_plain(measured))}; {words} {' and '.join(map(write, plain))}"
    )


def _plain(value: Any) -> Any:
    """A Python number for a NumPy one."""
    is_scalar = hasattr(value, "item") and getattr(value, "ndim", None) == 0
    return value.item() if is_scalar else value


def _short(value: Any, digits: int) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _show(sentence: str, figures: str) -> None:
    line = f"✓ {sentence} ({figures})"
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        print(line)
        return
    markup = (
        f'<div class="claim">✓ {html.escape(sentence)} '
        f'<span class="claim-figures">({html.escape(figures)})</span></div>'
    )
    ipython.display.display({"text/plain": line, "text/html": markup}, raw=True)
