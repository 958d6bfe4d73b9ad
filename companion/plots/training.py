"""Curves, pairs of runs and their differences."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from companion.plots.style import (
    BLACK,
    DROPPED,
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


@drawn
def gradient_errors(errors: Mapping[str, float], bound: float) -> Figure:
    """Draw relative gradient errors as bars on a logarithmic axis, with the bound to pass.

    Parameters
    ----------
    errors : mapping of str to float
        Label and relative error, greater than 0.
    bound : float
        Largest error that passes.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = gradient_errors({"right": 1e-9, "wrong": 0.5}, bound=1e-6)
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 0.42 * len(errors) + 0.9))
    values = np.array(list(errors.values()))
    colours = [GREY if value <= bound else PURPLE for value in values]
    labels = [fill(label, 21) for label in errors]
    ax.barh(labels, values, left=0, color=colours, height=0.6)
    ax.axvline(bound, color=GREY, linestyle="--", linewidth=1)
    ax.set_title("passes up to the dashed line", color=GREY)
    ax.set(
        xscale="log",
        xlabel="relative error of the gradient",
        xlim=(values.min() / 10, None),
    )
    ax.set_ylim(len(errors) - 0.4, -0.6)
    return figure


@drawn
def stored_curves(runs: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Draw train and validation loss over the epochs from stored means and spreads.

    Parameters
    ----------
    runs : mapping of str to mapping of str to sequence of float
        Label, and ``"train_loss"``, ``"train_spread"``, ``"val_loss"`` and ``"val_spread"``
        after each epoch.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> run = {"train_loss": [1, 0.1], "val_loss": [1, 0.5]}
    >>> run |= {"train_spread": [0.1, 0.01], "val_spread": [0.1, 0.1]}
    >>> figure = stored_curves({"p = 0": run})
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3))
    for label, run, colour in coloured(runs):
        for ax, part, line in zip(axes, ("train", "val"), ("--", "-"), strict=True):
            loss, spread = (
                np.array(run[f"{part}_loss"]),
                np.array(run[f"{part}_spread"]),
            )
            style = {"color": colour, "label": label, "linestyle": line}
            draw_spread(ax, np.arange(1, len(loss) + 1), loss, spread, **style)
    # A band may reach down to nothing, which would leave the lines no room.
    lowest = min(min(run["train_loss"]) for run in runs.values())
    axes[0].set(yscale="log", xlabel="epoch", title="training loss (nats)")
    axes[0].set_ylim(bottom=lowest / 1.5)
    axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_formatter(NullFormatter())
    top = 2.5 * max(run["val_loss"][-1] for run in runs.values())
    axes[1].set(xlabel="epoch", title="validation loss (nats)", ylim=(0, top))
    labels = axes[1].get_legend_handles_labels()
    figure.legend(*labels, loc="outside upper center", ncols=3)
    return figure


@drawn
def pairing(without: npt.ArrayLike, with_dropout: npt.ArrayLike, label: str) -> Figure:
    """Draw the same runs as two groups, and as pairs.

    Parameters
    ----------
    without, with_dropout : array_like, shape (n_pairs,)
        The figure of merit of each pair.
    label : str
        What it is, with its unit.

    Returns
    -------
    matplotlib.figure.Figure
        On the left a dot a run, with the mean of each group and one standard error either way; on
        the right a line a pair, with the means.

    Examples
    --------
    >>> figure = pairing([0.2, 0.3], [0.1, 0.3], "held-out loss (nats)")
    """
    without, with_dropout = np.asarray(without), np.asarray(with_dropout)
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.9), sharey=True)
    for ax, joined in zip(axes, (False, True), strict=True):
        _pairs(ax, without, with_dropout, joined)
        ax.set_title("as pairs" if joined else "as two groups")
        ax.set_xticklabels(["without", "with"])
    axes[0].set_ylabel(label)
    return figure


def _pairs(
    ax: Axes, without: npt.NDArray, with_dropout: npt.NDArray, joined: bool
) -> None:
    """Two columns of runs and their means; the partners joined, or standard errors drawn."""
    if joined:
        for pair in zip(without, with_dropout, strict=True):
            ax.plot([0, 1], pair, color=GREY, alpha=0.6, linewidth=1)
    for place, runs, colour in ((0, without, WITHOUT), (1, with_dropout, WITH)):
        # Spread over the width of the column, so that equal values are seen apart.
        places = place + (0 if joined else np.linspace(-0.15, 0.15, len(runs)))
        places = np.broadcast_to(places, len(runs))
        ax.plot(places, runs, "o", color=colour, alpha=0.5, markersize=4)
        error = 0 if joined else runs.std(ddof=1) / np.sqrt(len(runs))
        beside = place + (0.3 if place else -0.3)
        ax.errorbar(
            beside, runs.mean(), yerr=error or None, fmt="s", color=colour, markersize=6
        )
    ax.set(xticks=[0, 1], xticklabels=["without dropout", "with dropout"])
    ax.set_xlim(-0.5, 1.5)


@drawn
def paired_differences(
    differences: Mapping[str, npt.ArrayLike],
    intervals: Mapping[str, tuple[float, float]],
    label: str,
) -> Figure:
    """Draw what one model gains over another on each split, and an interval for the mean.

    Parameters
    ----------
    differences : mapping of str to array_like, shape (n_splits,)
        Label of each row, and one difference a split.
    intervals : mapping of str to (float, float)
        Lower and upper end, for the same labels.
    label : str
        What the difference is of, with its unit.

    Returns
    -------
    matplotlib.figure.Figure
        The mean is a diamond, filled where the interval misses zero and hollow where it covers it.

    Examples
    --------
    >>> gained = {"digits": [0.1, -0.2, 0.3]}
    >>> figure = paired_differences(gained, {"digits": (-0.3, 0.4)}, "accuracy gained (points)")
    """
    rows = np.arange(len(differences))
    figure, ax = plt.subplots(figsize=(WIDTH, 0.6 * len(rows) + 0.6))
    for row, (name, gained) in enumerate(differences.items()):
        values, (low, high) = np.asarray(gained), intervals[name]
        ground_of_mark = "white" if low <= 0 <= high else BLACK
        # Spread over the height of the row, so that equal values are seen apart.
        heights = row + np.linspace(-0.2, 0.2, len(values))
        ax.plot(values, heights, ".", color=GREY, alpha=0.5, markersize=4)
        ax.plot([low, high], [row, row], color=BLACK, linewidth=2)
        ax.plot(
            *(values.mean(), row, "D"),
            color=BLACK,
            markerfacecolor=ground_of_mark,
            markersize=6,
        )
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # hides the line
    ax.set_yticks(rows - 0.42, list(differences), ha="left", bbox=ground)
    ax.tick_params(axis="y", length=0, pad=-4)
    ax.spines["left"].set_visible(False)
    ax.set(xlabel=label, ylim=(len(rows) - 0.6, -0.65))
    return figure


@drawn
def places(
    layers: Sequence[str],
    differences: Mapping[str, npt.ArrayLike],
    label: str,
    errors: float = 4,
) -> Figure:
    """Draw the layers of a network, and below each what dropout behind it changes.

    Parameters
    ----------
    layers : sequence of str
        Names of the layers, from input to output; the line breaks are yours.
    differences : mapping of str to array_like, shape (n_pairs,)
        For each layer what dropout is called there, and one difference a pair: with minus without.
    label : str
        What the difference is of, with its unit.
    errors : float
        Standard errors that the thick bar reaches to either side of the mean.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = places(["input", "output"], {"first": [0.1, 0.2], "last": [0, 0.1]}, "loss")
    """
    if len(layers) != len(differences):
        raise ValueError(
            f"there must be a row of differences for each layer; "
            f"got {len(differences)} and {len(layers)}"
        )
    figure, (top, ax) = plt.subplots(
        2, 1, figsize=(WIDTH, 3.6), height_ratios=(1, 3.2), sharex=True
    )
    box = {"boxstyle": "round,pad=0.35", "facecolor": PALE, "edgecolor": GREY}
    arrow = {"arrowstyle": "->", "color": GREY}
    for x, name in enumerate(layers):
        top.text(x, 0.6, name, ha="center", va="center", bbox=box, fontsize=9)
        if x:
            top.annotate("", (x - 0.34, 0.6), (x - 0.66, 0.6), arrowprops=arrow)
        top.annotate("", (x, -0.35), (x, 0.12), arrowprops=arrow | {"color": WITH})
    top.set(ylim=(-0.35, 1.1))
    top.axis("off")
    for x, values in enumerate(map(np.asarray, differences.values())):
        mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
        beside = x + np.linspace(-0.17, 0.17, len(values))
        ax.plot(beside, values, ".", color=GREY, alpha=0.5, markersize=4)
        reach = [mean - errors * error, mean + errors * error]
        ax.plot([x, x], reach, color=WITH, linewidth=3)
        ax.plot(x, mean, "D", color=WITH, markersize=6)
    ax.axhline(0, color=WITHOUT, linewidth=1)
    ax.set_xticks(range(len(layers)), list(differences))
    ax.tick_params(axis="x", length=0)
    ax.set(ylabel=label, xlim=(-0.5, len(layers) - 0.5))
    return figure


@drawn
def two_joints() -> Figure:
    """Draw where masks enter the forward and the backward pass of scikit-learn's perceptron.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = two_joints()
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 2.1))
    box: dict[str, Any] = {"boxstyle": "round", "facecolor": "white"}
    small = box | {"boxstyle": "round,pad=0.15", "edgecolor": "none"}
    joint = {"boxstyle": "circle", "facecolor": DROPPED, "edgecolor": DROPPED}
    middle: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 3}
    arrow: dict[str, Any] = {"arrowstyle": "-|>", "color": BLACK}
    for place, name in enumerate(("x", "$h_1$", "$h_2$", "out")):
        ax.text(place, 1, name, bbox=box, **middle)
        if place:
            ax.text(place, 0, f"$\\delta_{place}$", bbox=box, **middle)
            ax.annotate("", (place - 0.17, 1), (place - 0.83, 1), arrowprops=arrow)
    for place in (1, 2):
        ax.annotate("", (place + 0.17, 0), (place + 0.83, 0), arrowprops=arrow)
        ax.annotate(
            *("", (place + 0.62, 0.12), (place, 0.84)),
            arrowprops=arrow | {"color": GREY, "linestyle": "--"},
        )
        ax.text(place + 0.32, 0.5, "slope", color=GREY, bbox=small, **middle)
        for number, height in (("1", 1), ("2", 0)):
            x = place + (0.45 if height else 0.37)
            ax.text(x, height, number, color="white", bbox=joint, **middle)
    ax.text(-0.2, 1.38, "forward", color=GREY)
    ax.text(3.2, -0.48, "backward", color=GREY, ha="right")
    ax.set(xlim=(-0.25, 3.25), ylim=(-0.5, 1.55))
    ax.axis("off")
    return figure


@drawn
def variance_shift(
    p: npt.ArrayLike, ratios: Mapping[str, npt.ArrayLike], expected: npt.ArrayLike
) -> Figure:
    """Draw the variance at test time over the one that batch normalisation has stored.

    Parameters
    ----------
    p : array_like, shape (n,)
        Drop probabilities.
    ratios : mapping of str to array_like, shape (n_seeds, n)
        One or two labels, and the ratio of each network at each `p`.
    expected : array_like, shape (n,)
        What theory gives for the first label.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = variance_shift([0, 0.5], {"before": [[1, 0.5], [1, 0.4]]}, [1, 0.5])
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 2.7))
    for label, runs, colour in coloured(ratios, (WITH, PURPLE)):
        for run in np.asarray(runs):
            ax.plot(p, run, "o", color=colour, markersize=5, alpha=0.7, label=label)
            label = "_nolegend_"
    ax.plot(p, expected, color=GREY, linewidth=1.2, label="expected", zorder=0)
    ax.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
    ax.set(xlabel="drop probability p", ylim=(0, 1.15))
    ax.set_ylabel("variance at test time\n/ stored variance")
    ax.legend()
    return figure


@drawn
def repeated_predictions(runs: Mapping[str, npt.ArrayLike], label: str) -> Figure:
    """Draw what a network answers about the same samples, asked again and again.

    Parameters
    ----------
    runs : mapping of str to array_like, shape (n_repeats, n_samples)
        Title of each panel, dropout off before dropout on, and one number an answer.
    label : str
        What the number is, with its unit.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> answers = {"eval()": [[0.9, 0.7]], "train()": [[0.9, 0.2], [0.8, 0.6]]}
    >>> figure = repeated_predictions(answers, "probability")
    """
    figure, axes = plt.subplots(
        1, len(runs), figsize=(WIDTH, 3), sharey=True, squeeze=False
    )
    for ax, (title, answers, colour) in zip(axes[0], coloured(runs), strict=True):
        repeats = np.asarray(answers)
        places = np.broadcast_to(np.arange(1, repeats.shape[1] + 1), repeats.shape)
        ax.plot(places.ravel(), repeats.ravel(), "_", color=colour, alpha=0.5)
        ax.set(title=title, xlabel="sample", ylim=(-0.03, 1.03))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylabel(label)
    return figure
