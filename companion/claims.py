"""A claim in a chapter: its sentence, the measured value, and the bound it must keep."""

import html
import sys
from typing import Any


def claim(
    sentence: str,
    measured: Any,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    between: tuple[float, float] | None = None,
    equals: Any = None,
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
        If not exactly one bound is given.

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
    given = [name for name, bound in bounds.items() if bound is not None]
    if len(given) != 1:
        raise TypeError(
            f"give exactly one of at_most, at_least, between and equals; got {given or 'none'}"
        )
    if at_most is not None:
        holds, words = measured <= at_most, f"at most {_figure(at_most)}"
    elif at_least is not None:
        holds, words = measured >= at_least, f"at least {_figure(at_least)}"
    elif between is not None:
        low, high = between
        holds, words = (
            low <= measured <= high,
            f"between {_figure(low)} and {_figure(high)}",
        )
    else:
        holds, words = measured == equals, f"exactly {_figure(equals)}"
    figures = f"measured {_figure(measured)}; {words}"
    if not bool(holds):
        raise AssertionError(f"{sentence} ({figures})")
    _show(sentence, figures)


def _figure(value: Any) -> str:
    """Three or four digits of a float; anything else as it is."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
