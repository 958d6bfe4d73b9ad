"""What audits found, and how often an audit finds a mistake."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from companion.plots.style import BLACK, BLUE, GREY, PALE, WIDTH, drawn


@drawn
def detection(
    excesses: npt.ArrayLike, caught: npt.ArrayLike, audits: npt.ArrayLike
) -> Figure:
    """Draw how often a mistake is found, against its size, with two standard errors.

    Parameters
    ----------
    excesses : array_like, shape (n_sizes,)
        By how much the drop probability is too high.
    caught, audits : array_like of int, shape (n_sizes,)
        How many audits failed, and how many there were.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = detection([0, 0.001, 0.002], [0, 20, 40], [1000, 40, 40])
    """
    audits = np.asarray(audits)
    share = np.asarray(caught) / audits
    errors = 2 * np.sqrt(share * (1 - share) / audits)
    figure, ax = plt.subplots(figsize=(WIDTH, 2.6))
    ax.errorbar(excesses, 100 * share, 100 * errors, fmt="o-", color=BLUE, capsize=3)
    ax.set(xlabel="drop probability too high by", ylabel="audits that fail (%)")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_ylim(-4, 104)
    return figure


LOOKS = {  # sign, its colour, and the colour of its cell
    "pass": ("✓", GREY, PALE),
    "fail": ("✗", "white", BLACK),
    "note": ("•", BLACK, PALE),
    "not applicable": ("", GREY, "white"),
}


@drawn
def verdicts(reports: Mapping[str, Mapping[str, str]]) -> Figure:
    """Draw the verdicts of several audits: a column for each audit, a row for each check.

    Parameters
    ----------
    reports : mapping of str to mapping of str to str
        Title of each column, and its verdict for each check: "pass", "fail", "note" or
        "not applicable". A check that a report lacks is not applicable. The rows follow the
        longest report.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    KeyError
        If a verdict is none of the four.

    Examples
    --------
    >>> figure = verdicts({"mine": {"drop rate": "pass", "p = 1": "fail"}})
    """
    longest_first = sorted(reports.values(), key=len, reverse=True)
    checks = list(dict.fromkeys(name for found in longest_first for name in found))
    figure, ax = plt.subplots(figsize=(WIDTH, 0.24 * len(checks) + 0.6))
    for column, found in enumerate(reports.values()):
        for row, check in enumerate(checks):
            sign, ink, ground = LOOKS[found.get(check, "not applicable")]
            ax.barh(row, 0.94, 0.9, left=column - 0.47, color=ground)
            ax.text(column, row, sign, color=ink, ha="center", va="center", fontsize=9)
    ax.set_xticks(range(len(reports)), list(reports))
    ax.set_yticks(range(len(checks)), checks)
    ax.set(xlim=(-0.5, len(reports) - 0.5), ylim=(len(checks) - 0.5, -0.5))
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return figure


SHADES = {  # colour and ink of a part of a bar, in the order of the parts
    "passes": (PALE, BLACK),
    "only edges": (GREY, "white"),
    "fails by definition": (BLUE, "white"),
    "fails": (BLACK, "white"),
    "could not run": ("white", BLACK),
}


@drawn
def tallies(groups: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draw how many audits came to which verdict: a bar for each group, a part for each verdict.

    Parameters
    ----------
    groups : mapping of str to mapping of str to int
        Title of each bar, and how many there are of "passes", "only edges", "fails by
        definition", "fails" and "could not run". What is not there counts 0.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    KeyError
        If a verdict is none of the five.

    Examples
    --------
    >>> figure = tallies({"layers": {"passes": 3, "fails": 1}})
    """
    for verdict in {name for counts in groups.values() for name in counts}:
        SHADES[verdict]
    figure, ax = plt.subplots(figsize=(WIDTH, 0.5 * len(groups) + 1.1))
    starts = dict.fromkeys(groups, 0)
    for verdict, (colour, ink) in SHADES.items():
        counts = [group.get(verdict, 0) for group in groups.values()]
        bars = ax.barh(
            list(groups), counts, left=list(starts.values()), color=colour,
            edgecolor=BLACK, linewidth=0.6, label=verdict,
        )  # fmt: skip
        shown = [str(n) if n else "" for n in counts]
        ax.bar_label(bars, shown, label_type="center", color=ink, fontsize=9)
        starts = {
            name: starts[name] + n for name, n in zip(groups, counts, strict=True)
        }
    ax.invert_yaxis()
    ax.set(xlabel="implementations")
    ax.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=3, fontsize=9)
    return figure
