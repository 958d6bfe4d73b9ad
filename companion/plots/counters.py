"""What a counter-based generator does: one round, how far a bit spreads, bits against a bound."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from companion.plots.style import (
    BLACK,
    DROPPED,
    KEPT,
    PALE,
    PURPLE,
    WIDTH,
    arrow,
    box,
    drawn,
)

GROUND = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}


@drawn
def philox_round() -> Figure:
    """Draw what one round of Philox does to the four words of a counter.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = philox_round()
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 3.6))
    ax.set(xlim=(-0.75, 6.75), ylim=(-0.3, 4.3))
    ax.axis("off")
    before, after = ([box(ax, 2 * i, y, f"word {i}") for i in range(4)] for y in (4, 0))
    for i, j, colour in ((0, 2, BLACK), (2, 0, PURPLE)):
        times = box(ax, 2 * i, 3, "\N{MULTIPLICATION SIGN}", edgecolor=colour)
        xor = box(ax, 2 * j, 1.8, "XOR key")
        halves = (xor, "high", 0.3), (after[j + 1], "low", 0.75)
        for end, half, share in halves:
            arrow(ax, times, end, color=colour)
            (x, y), (to_x, to_y) = times.get_position(), end.get_position()
            at = x + share * (to_x - x), y + share * (to_y - y)
            ax.text(*at, half, ha="center", va="center", color=colour, bbox=GROUND)
        arrow(ax, before[i], times, color=colour)
        arrow(ax, before[j + 1], xor)
        arrow(ax, xor, after[j])
    return figure


@drawn
def avalanche(shares: npt.NDArray[np.float64], allowed: float) -> Figure:
    """Draw how often an output bit flips if an input bit does, for each number of rounds.

    Parameters
    ----------
    shares : numpy.ndarray, shape (n_rounds, n_inputs, n_outputs)
        For one round, two, and so on: how often each output bit flips with each input bit.
    allowed : float
        How far from a half chance alone may bring a share.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = avalanche(np.full((7, 128, 128), 0.5), allowed=0.05)
    """
    rounds = np.arange(1, len(shares) + 1)
    pairs = shares.reshape(len(shares), -1)
    figure, ax = plt.subplots(figsize=(WIDTH, 2.9))
    ax.axhspan(0.5 - allowed, 0.5 + allowed, color=PALE, label="chance")
    ax.vlines(
        rounds, pairs.min(1), pairs.max(1), color=PURPLE, label="lowest to highest pair"
    )
    for ends in (pairs.min(1), pairs.max(1)):
        ax.plot(rounds, ends, "_", color=PURPLE, markersize=9)
    ax.plot(rounds, pairs.mean(1), "o", color=BLACK, label="mean over all pairs")
    ax.set(xlabel="rounds", ylabel="flips of an output bit", ylim=(-0.03, 1.03))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside upper center", ncols=2)
    return figure


@drawn
def bits_and_bound(halves: npt.NDArray[np.uint16], threshold: int) -> Figure:
    """Draw the random bits of some units, as numbers, and the bound below which a unit is dropped.

    Parameters
    ----------
    halves : numpy.ndarray of uint16, shape (n_units,)
    threshold : int
        From 0 to 2**16.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = bits_and_bound(np.array([100, 60_000], np.uint16), threshold=32_768)
    """
    units, kept = np.arange(halves.size), halves >= threshold
    figure, ax = plt.subplots(figsize=(WIDTH, 2.6))
    ax.bar(units[kept], halves[kept], color=KEPT, label="kept")
    look: dict[str, Any] = {"facecolor": "white", "edgecolor": DROPPED, "hatch": "////"}
    ax.bar(units[~kept], halves[~kept], label="dropped", **look)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.axhline(threshold, color=BLACK, linewidth=1, linestyle="--", label="bound")
    ax.set(
        xlabel="position of the unit",
        ylabel="its 16 bits, as a number",
        ylim=(0, 2**16),
    )
    figure.legend(loc="outside upper center", ncols=3)
    return figure
