"""The check behind a sentence of a chapter: its name, what was measured, the bound it keeps."""

import html
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

__all__ = ["Stored", "claim", "stored"]

_MISSING: Any = object()  # None is a value that may be claimed


@dataclass(frozen=True)
class Stored:
    """Results of an experiment that ran before the chapter did, and where they come from.

    Parameters
    ----------
    what : str
        What was run, in a few words.
    date : str
        When, as year-month-day.
    minutes : float
        How long its runs took, one after the other.
    versions : dict of str to str
        Of Python and of each package that matters.
    settings : dict
    runs : list of dict
        One run each, with the key that names it.

    Examples
    --------
    >>> print(Stored("two networks", "2026-11-28", 3.2, {"numpy": "2.4.6"}, {}, [{}, {}]))
    two networks: 2 runs, 3 minutes, on 2026-11-28, with numpy 2.4.6
    """

    what: str
    date: str
    minutes: float
    versions: dict[str, str]
    settings: dict[str, Any]
    runs: list[dict[str, Any]]

    def __str__(self) -> str:
        versions = ", ".join(map(" ".join, self.versions.items()))
        time = f"{self.minutes:.0f} minutes" if self.minutes >= 1.5 else "a minute"
        return f"{self.what}: {len(self.runs)} runs, {time}, on {self.date}, with {versions}"


def stored(path: str | PathLike[str]) -> Stored:
    """Read the results that a program of ``reproduce/`` wrote.

    Parameters
    ----------
    path : str or path-like
        A JSON file with the fields of `Stored` and, maybe, others.

    Returns
    -------
    Stored

    Raises
    ------
    KeyError
        If a field is missing.

    Examples
    --------
    >>> import tempfile
    >>> fields = {"what": "a toy", "date": "2026-11-28", "minutes": 1, "versions": {}}
    >>> with tempfile.NamedTemporaryFile("w+", suffix=".json") as file:
    ...     json.dump(fields | {"settings": {"p": 0.5}, "runs": []}, file)
    ...     file.flush()
    ...     stored(file.name).settings
    {'p': 0.5}
    """
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    return Stored(**{name: content[name] for name in Stored.__dataclass_fields__})


def claim(
    name: str,
    measured: Any,
    *,
    at_most: Any = _MISSING,
    at_least: Any = _MISSING,
    between: Any = _MISSING,
    equals: Any = _MISSING,
    stored: object = None,
) -> None:
    """Check a sentence of the text against its measured value, and show that it was checked.

    Parameters
    ----------
    name : str
        Of the check: the sentence in the text is a link to it, ``[Half survive](#check-name)``.
    measured : number, or anything comparable for `equals`
        The value that decides. NaN fails every claim.
    at_most, at_least : float
        Inclusive bound.
    between : tuple of float
        Inclusive lower and upper bound.
    equals : object
        The exact value; for floats prefer a bound.
    stored : Stored, optional
        Where the measured value comes from, if not from this run.

    Raises
    ------
    AssertionError
        If the bound is broken; it quotes the name, the value and the bound.
    TypeError
        If not exactly one bound is given, or `measured` is an array.

    Notes
    -----
    In a notebook a claim that holds shows one line with a check mark and the figures, to which
    the sentence leads; elsewhere it prints the same line.

    Examples
    --------
    >>> claim("half-survive", 0.498, between=(0.49, 0.51))
    ✓ half-survive (measured 0.498; between 0.49 and 0.51)
    >>> claim("nothing-leaks", float("nan"), at_most=1e-6)
    Traceback (most recent call last):
        ...
    AssertionError: nothing-leaks (measured nan; at most 1e-06)
    """
    bounds = {
        "at_most": at_most,
        "at_least": at_least,
        "between": between,
        "equals": equals,
    }
    given = [kind for kind, bound in bounds.items() if bound is not _MISSING]
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
        raise AssertionError(f"{name} ({_figures(measured, kind, bound, repr)})")
    digits = 15 if kind == "equals" else 5
    figures = _figures(measured, kind, bound, partial(_short, digits=digits))
    _show(name, figures, "" if stored is None else str(stored))


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


def _show(name: str, figures: str, stored: str) -> None:
    line = f"✓ {name} ({figures})" + (f" stored: {stored}" if stored else "")
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        print(line)
        return
    name, figures, stored = map(html.escape, (name, figures, stored))
    markup = (
        f'<div class="claim" id="check-{name}">✓ {name} '
        f'<span class="claim-figures">({figures})</span>'
        + (f' <span class="claim-stored">stored: {stored}</span>' if stored else "")
        + "</div>"
    )
    ipython.display.display({"text/plain": line, "text/html": markup}, raw=True)
