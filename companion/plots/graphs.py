"""Graphs of computations, and networks that read sequences."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from companion.plots.style import (
    BLACK,
    GREY,
    PURPLE,
    WIDTH,
    WITH,
    WITHOUT,
    arrow,
    band,
    box,
    coloured,
    drawn,
)

OCHRE = "#8C6D1F"  # a fifth line, for blue and orange are what a mask keeps and drops


@drawn
def random_graph() -> Figure:
    """Draw the graph of a layer that draws, and the update that closes its loop.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = random_graph()
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 2.5))
    ax.set(xlim=(-0.7, 9.5), ylim=(-0.5, 3.2))
    ax.axis("off")
    nodes = {
        "rng": (0, 2, PURPLE),
        "uniform": (2.7, 2, GREY),
        "next_rng": (6, 2, PURPLE),
        "x": (0, 0, BLACK),
        "≥ p": (4.3, 1, GREY),
        "switch": (6.4, 0, GREY),
        "y": (9, 0, BLACK),
    }
    boxes = {
        name: box(ax, x, y, name, edgecolor=colour)
        for name, (x, y, colour) in nodes.items()
    }
    for start, end in (
        ("rng", "uniform"),
        ("uniform", "next_rng"),
        ("uniform", "≥ p"),
        ("≥ p", "switch"),
        ("x", "switch"),
        ("switch", "y"),
    ):
        arrow(ax, boxes[start], boxes[end])
    loop = {"linestyle": "--", "connectionstyle": "arc3,rad=0.35", "linewidth": 1.6}
    arrow(ax, boxes["next_rng"], boxes["rng"], color=PURPLE, **loop)
    ax.text(3, 3.2, "updates", color=PURPLE, ha="center", va="bottom")
    return figure


@drawn
def memory(
    update: Sequence[int], named: Mapping[str, npt.ArrayLike], chance: float
) -> Figure:
    """Draw how many symbols of long ago networks can name, as they are trained.

    Parameters
    ----------
    update : sequence of int, length n_measurements
        After how many updates they were measured.
    named : mapping of str to array_like, shape (n_measurements, n_networks)
        Label, and the share of symbols each network named. The first label is that of networks
        without dropout. Lines are means over the networks.
    chance : float
        The share that guessing gives.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> shares = [[0.25, 0.3], [0.9, 1.0]]
    >>> figure = memory([0, 50], {"none": shares, "units": shares}, chance=0.25)
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 3.4))
    markers = {WITHOUT: "o", WITH: "s", PURPLE: "^", GREY: "D", OCHRE: "v"}
    for label, shares, colour in coloured(named, [*markers]):
        mean = np.asarray(shares).mean(axis=1)
        look: dict[str, Any] = {"color": colour, "marker": markers[colour]}
        ax.plot(update, mean, markersize=4, label=label, **look)
    ax.axhline(chance, color=GREY, linewidth=1, linestyle=":", label="by guessing")
    ax.set(xlabel="updates", ylabel="share of symbols named", ylim=(0, 1.02))
    figure.legend(loc="outside upper center", ncols=2)
    return figure


@drawn
def language_models(panels: Mapping[str, Mapping[str, Sequence[Mapping]]]) -> Figure:
    """Draw bits a character over the updates, held out and on the training text.

    Parameters
    ----------
    panels : mapping of str to mapping of str to sequence of mapping
        Title of each panel; label of each line; and one run a seed, with equally long lists
        ``"update"``, ``"train"`` and ``"held_out"``. Lines are means over the seeds, bands one
        standard deviation.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> run = {"update": [100, 200], "train": [4.0, 3.0], "held_out": [4.2, 3.8]}
    >>> figure = language_models({"a text": {"none": [run, run]}})
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(WIDTH, 3.4), sharey=True, squeeze=False
    )
    for ax, (title, lines) in zip(axes[0], panels.items(), strict=True):
        for label, runs, colour in coloured(lines):
            at, held_out = runs[0]["update"], [run["held_out"] for run in runs]
            band(ax, at, held_out, color=colour, label=label)
            train = np.mean([run["train"] for run in runs], axis=0)
            ax.plot(at, train, "--", color=colour, linewidth=1.4)
        ax.set(title=title, xlabel="updates")
    axes[0, 0].set_ylabel("bits a character")
    ax.plot([], [], "--", color=GREY, label="training text")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


@drawn
def layer_in_two_modes() -> Figure:
    """Draw the flow through a hidden layer with dropout, in training and in evaluation mode.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = layer_in_two_modes()
    """
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 2.3))
    modes = {
        "train()": ("draw a mask: 0 or $h / (1 - p)$", WITH, "-"),
        "eval()": ("hand it on: $h$", WITHOUT, "--"),
    }
    for ax, (mode, (text, colour, line)) in zip(axes, modes.items(), strict=True):
        ax.set(xlim=(-0.8, 7.8), ylim=(-1, 1))
        ax.axis("off")
        ax.text(-0.8, 0.6, mode, va="bottom", family="monospace", color=colour)
        boxes = []
        for x, name in ((0, "Linear"), (2.2, "ReLU"), (4.5, "Dropout"), (7, "Linear")):
            own = {"edgecolor": colour, "linestyle": line}
            look = own if name == "Dropout" else {"edgecolor": GREY, "linestyle": "-"}
            boxes.append(box(ax, x, 0, name, **look))
        for start, end in pairwise(boxes):
            arrow(ax, start, end)
        ax.text(4.5, -0.55, text, ha="center", va="top", color=colour)
    return figure
