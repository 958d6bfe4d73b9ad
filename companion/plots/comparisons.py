"""What a method gains over another: over label noise, learning rates, sizes and p."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from companion.plots.style import (
    GREY,
    PALE,
    PURPLE,
    WIDTH,
    WITH,
    WITHOUT,
    coloured,
    draw_spread,
    drawn,
)


def _mean_and_error(values: npt.ArrayLike) -> tuple[npt.NDArray, npt.NDArray]:
    """Over the last axis: the mean, and the standard error of it."""
    values = np.asarray(values)
    spread = values.std(axis=-1, ddof=1)
    return values.mean(axis=-1), spread / np.sqrt(values.shape[-1])


@drawn
def gains(
    groups: Sequence[str],
    differences: Mapping[str, npt.ArrayLike],
    label: str,
    *,
    errors: float = 4,
) -> Figure:
    """Draw what several methods gain over one and the same other, group by group.

    Parameters
    ----------
    groups : sequence of str
        Names along the horizontal axis.
    differences : mapping of str to array_like, shape (n_groups, n_pairs)
        For each method its differences; a label that begins with "dropout" is drawn in the
        colour of dropout.
    label : str
        What the difference is of, with its unit.
    errors : float
        Standard errors that a bar reaches to either side of the mean.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = gains(["clean", "noisy"], {"dropout": [[0.1, 0.2], [1, 2]]}, "points")
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 3.3))
    offsets = (
        np.linspace(-0.26, 0.26, len(differences)) if len(differences) > 1 else [0]
    )
    looks = _looks([*differences])
    for (name, values), offset in zip(differences.items(), offsets, strict=True):
        mean, error = _mean_and_error(values)
        places = np.arange(len(groups)) + offset
        look: dict[str, Any] = {"linestyle": "", "markersize": 6} | looks[name]
        ax.errorbar(places, mean, errors * error, label=name, **look)
    ax.axhline(0, color=WITHOUT, linewidth=1, linestyle=":", zorder=0)
    ax.set_xticks(range(len(groups)), groups)
    ax.set(ylabel=label, xlim=(-0.5, len(groups) - 0.5))
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def _looks(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each method; those of a kind differ in their markers."""
    dropout: list[dict[str, Any]] = [{}, {"markerfacecolor": "white"}]
    other: list[dict[str, Any]] = [
        {"marker": "s", "color": PURPLE},
        {"marker": "D", "color": GREY},
        {"marker": "^", "color": PURPLE, "markerfacecolor": "white"},
    ]
    looks = {}
    for name in methods:
        left = dropout if name.startswith("dropout") else other
        if not left:
            raise ValueError(
                "there are looks for 2 kinds of dropout and 3 other methods; "
                f"got {list(methods)}"
            )
        looks[name] = {"marker": "o", "color": WITH} | left.pop(0)
    return looks


@drawn
def rate_curves(
    rates: npt.ArrayLike,
    panels: Mapping[str, Mapping[str, npt.ArrayLike]],
    label: str,
) -> Figure:
    """Draw a figure of merit against the learning rate, with a dot on each highest mean.

    The lowest tenth of the means may lie below the picture.

    Parameters
    ----------
    rates : array_like, shape (n_rates,)
    panels : mapping of str to mapping of str to array_like, shape (n_rates, n_runs)
        Title of each panel, and its lines, the first of which is that without dropout.
    label : str
        What is drawn, with its unit.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> lines = {"without": [[0.8, 0.9], [0.7, 0.8]], "with": [[0.7, 0.8], [0.9, 0.9]]}
    >>> figure = rate_curves([0.01, 0.1], {"clean labels": lines}, "accuracy")
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3), squeeze=False)
    for ax, (title, lines) in zip(axes[0], panels.items(), strict=True):
        for name, values, colour in coloured(lines):
            mean, error = _mean_and_error(values)
            draw_spread(ax, rates, mean, error, color=colour, label=name)
            best = mean.argmax()
            ax.plot(
                np.asarray(rates)[best], mean[best], "o", color=colour, markersize=7
            )
        # What trains far too slowly would leave the rest no room.
        means = np.concatenate(
            [np.asarray(values).mean(axis=-1) for values in lines.values()]
        )
        ax.set(xscale="log", xlabel="learning rate", title=title)
        ax.set_ylim(bottom=np.quantile(means, 0.1) - 0.3)
    axes[0, 0].set_ylabel(label)
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=2)
    return figure


@drawn
def gain_grid(
    rows: Mapping[str, Sequence[npt.ArrayLike]], columns: Sequence[str], xlabel: str
) -> Figure:
    """Draw a table of mean gains with their standard errors.

    A cell whose mean is at least 4 standard errors has the colour of what is better, dropout or no
    dropout.

    Parameters
    ----------
    rows : mapping of str to sequence of array_like, shape (n_pairs,)
        Label of each row, and the differences of each cell.
    columns : sequence of str
        Label of each column.
    xlabel : str
        What the columns are.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = gain_grid({"16 units": [[0.1, 0.2], [-1, -2]]}, ["100", "300"], "images")
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 0.75 * len(rows) + 0.9))
    for height, cells in enumerate(rows.values()):
        for place, (_, values) in enumerate(zip(columns, cells, strict=True)):
            mean, error = _mean_and_error(values)
            sure = abs(mean) >= 4 * error
            face = PALE if not sure else WITH if mean > 0 else WITHOUT
            shade = 0.35 if sure else 0.6
            corner = place - 0.48, height - 0.46
            cell = Rectangle(corner, 0.96, 0.92, facecolor=face, alpha=shade)
            ax.add_patch(cell)
            text = f"{mean:+.1f}\n± {error:.1f}".replace("-", "\N{MINUS SIGN}")
            ax.text(place, height, text, ha="center", va="center")
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel=xlabel, xlim=(-0.5, len(columns) - 0.5))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return figure


@drawn
def p_curves(
    p: npt.ArrayLike, panels: Mapping[str, npt.ArrayLike], label: str
) -> Figure:
    """Draw what each drop probability gains, a panel a setting, with the best one marked.

    Parameters
    ----------
    p : array_like, shape (n,)
    panels : mapping of str to array_like, shape (n, n_pairs)
        Title of each panel, and the differences at each `p`.
    label : str
        What the difference is of, with its unit.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = p_curves([0, 0.5], {"clean": [[0, 0], [1, 2]]}, "accuracy gained (points)")
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(WIDTH, 2.7), sharey=True, squeeze=False
    )
    p = np.asarray(p)
    for ax, (title, values) in zip(axes[0], panels.items(), strict=True):
        mean, error = _mean_and_error(values)
        ax.errorbar(p, mean, 4 * error, color=WITH, marker="o", markersize=4)
        ax.axhline(0, color=WITHOUT, linewidth=1, linestyle=":", zorder=0)
        ax.set(title=title, xlabel="p", xticks=[0, 0.5, 1])
    axes[0, 0].set_ylabel(label)
    return figure
