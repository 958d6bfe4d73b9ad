"""Masks, and the networks that they leave."""

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from companion import inverted
from companion.network import MLP
from companion.plots.style import DROPPED, GREY, KEPT, PALE, WIDTH, drawn


@drawn
def dropped_layer(
    image: npt.ArrayLike, activations: npt.ArrayLike, mask: npt.NDArray[np.bool_]
) -> Figure:
    """Draw an image, the hidden layer it excites, and what one mask leaves of that layer.

    Parameters
    ----------
    image : array_like, shape (height, width)
        Pixels in [0, 1].
    activations : array_like, shape (n_units,)
    mask : numpy.ndarray of bool, shape (n_units,)
        True where kept.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = dropped_layer(np.eye(8), [1.0, 2.0, 0.5], np.array([True, False, True]))
    """
    activations, units = np.asarray(activations), np.arange(mask.size)
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.3), width_ratios=[1, 2.8])
    axes[0].imshow(image, cmap="gray_r", vmin=0, vmax=1)
    axes[0].set(xticks=[], yticks=[], title="input")
    axes[0].spines[:].set_visible(False)
    axes[1].bar(units, np.where(mask, activations, 0), color=KEPT, label="kept")
    axes[1].bar(
        units,
        np.where(mask, 0, activations),
        facecolor="white",
        edgecolor=DROPPED,
        hatch="////",
        label="switched off",
    )
    axes[1].set(xlabel="hidden unit", ylabel="activation")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


@drawn
def mask_grid(
    masks: Mapping[str, npt.NDArray[np.bool_]],
    *,
    row: str = "sample",
    column: str = "unit",
) -> Figure:
    """Draw masks side by side, filled where kept.

    Parameters
    ----------
    masks : mapping of str to numpy.ndarray of bool, shape (n_rows, n_columns)
        Title and mask of each panel.
    row, column : str
        What a row and a column stand for.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = mask_grid({"a mask a sample": np.eye(4, dtype=bool)})
    """
    height, width = next(iter(masks.values())).shape
    columns = min(len(masks), 2 if width > height else 4)
    rows = -(-len(masks) // columns)
    room = WIDTH / columns * height / width + 0.6  # inches: never too low for the width
    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, room * rows), layout="compressed", squeeze=False
    )
    for ax, (title, mask) in zip(axes.flat[: len(masks)], masks.items(), strict=True):
        _cells(ax, mask)
        ax.set_title(title)
    for ax in axes[-1]:
        ax.set_xlabel(column)
    for ax in axes[:, 0]:
        ax.set_ylabel(row)
    for ax in axes.flat[len(masks) :]:
        ax.axis("off")
    return figure


def _cells(ax: Axes, mask: npt.NDArray[np.bool_]) -> None:
    colours = ListedColormap([PALE, KEPT])
    ax.pcolormesh(mask, cmap=colours, vmin=0, vmax=1, edgecolors="white", linewidth=0.6)
    ax.set(xticks=[], yticks=[], aspect="equal")
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)


@drawn
def feature_maps(rows: Mapping[str, npt.ArrayLike]) -> Figure:
    """Draw feature maps: one row for each title, one column for each channel.

    Parameters
    ----------
    rows : mapping of str to array_like, shape (n_channels, height, width)
        All rows share one colour scale: from 0, or symmetric about it if values are negative.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = feature_maps({"before": np.ones((2, 4, 4)), "after": np.zeros((2, 4, 4))})
    """
    maps = {title: np.asarray(row) for title, row in rows.items()}
    channels = len(next(iter(maps.values())))
    limit = max(np.abs(row).max() for row in maps.values())
    signed = any(row.min() < 0 for row in maps.values())
    cmap, lowest = ("PuOr", -limit) if signed else ("magma_r", 0)
    figure, axes = plt.subplots(
        len(maps),
        channels,
        figsize=(WIDTH, WIDTH / channels * len(maps) + 1.1),
        layout="compressed",
        squeeze=False,
    )
    for line, (title, row) in zip(axes, maps.items(), strict=True):
        line[0].set_ylabel(title)
        for ax, channel in zip(line, row, strict=True):
            picture = ax.imshow(channel, cmap=cmap, vmin=lowest, vmax=limit)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=True, color=GREY)
    for number, ax in enumerate(axes[0]):
        ax.set_title(number)
    figure.suptitle("channel", fontsize=10)
    figure.colorbar(
        picture, ax=axes, label="activation", location="bottom", shrink=0.6, aspect=30
    )
    return figure


@drawn
def survivors(counts: npt.ArrayLike, n: int, p: float) -> Figure:
    """Draw how many of `n` units survived each draw, against the binomial distribution.

    Parameters
    ----------
    counts : array_like of int, shape (n_draws,)
        Units kept in each draw.
    n : int
        Units in the layer.
    p : float
        Drop probability.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = survivors([3, 5, 4, 4], n=8, p=0.5)
    """
    values = np.arange(n + 1)
    theory = [comb(n, int(k)) * (1 - p) ** k * p ** (n - k) for k in values]
    measured = np.bincount(np.asarray(counts), minlength=n + 1) / np.size(counts)
    seen = np.flatnonzero((measured > 0) | (np.array(theory) > 1e-4))
    figure, ax = plt.subplots(figsize=(WIDTH, 2.6))
    ax.bar(values, measured, color=KEPT, alpha=0.75, label="measured")
    look: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": GREY}
    ax.plot(values, theory, "o", markersize=5, label="binomial", **look)
    ax.set(xlabel=f"units kept, of {n}", ylabel="fraction of draws")
    ax.set_xlim(seen[0] - 1, seen[-1] + 1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="upper left")
    return figure


@drawn
def thinned_networks(
    layer_sizes: Sequence[int], masks: npt.NDArray[np.bool_]
) -> Figure:
    """Draw the thinned network that each mask of the hidden layer leaves.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of the input, the one hidden layer and the output.
    masks : numpy.ndarray of bool, shape (n_networks, n_hidden)
        True where kept.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = thinned_networks([2, 3, 1], np.array([[True, True, True], [True, False, True]]))
    """
    columns = min(len(masks), 4)
    rows = -(-len(masks) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, 0.95 * rows), squeeze=False
    )
    for ax in axes.flat:
        ax.axis("off")
    for ax, mask in zip(axes.flat[: len(masks)], masks, strict=True):
        _network(ax, layer_sizes, mask)
    return figure


def _network(
    ax: Axes, layer_sizes: Sequence[int], mask: npt.NDArray[np.bool_], size: float = 46
) -> None:
    layers = [
        [(x, i - (n - 1) / 2) for i in range(n)] for x, n in enumerate(layer_sizes)
    ]
    alive = [np.ones(layer_sizes[0], bool), mask, np.ones(layer_sizes[2], bool)]
    for left, right in ((0, 1), (1, 2)):
        for a, on_a in zip(layers[left], alive[left], strict=True):
            for b, on_b in zip(layers[right], alive[right], strict=True):
                if on_a and on_b:
                    ax.plot(
                        *zip(a, b, strict=True), color=GREY, linewidth=0.7, zorder=1
                    )
    for layer, on in zip(layers, alive, strict=True):
        for (x, y), kept in zip(layer, on, strict=True):
            look = (
                {"facecolor": KEPT, "edgecolor": KEPT}
                if kept
                else {
                    "facecolor": "white",
                    "edgecolor": DROPPED,
                    "linestyle": (0, (2, 1)),
                }
            )
            ax.scatter(x, y, s=size, zorder=2, linewidth=1, **look)
    ax.set(
        xlim=(-0.3, 2.3), ylim=(-max(layer_sizes) / 2 - 0.1, max(layer_sizes) / 2 + 0.1)
    )


@drawn
def masked_network(
    net: MLP, x: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_]
) -> Figure:
    """Draw what flows through a small network under one mask, and with dropout off.

    Parameters
    ----------
    net : companion.network.MLP
        One hidden layer and inverted dropout.
    x : numpy.ndarray, shape (n_inputs,)
    mask : numpy.ndarray of bool, shape (n_hidden,)
        True where kept.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> net = MLP([2, 3, 1], rng=0)
    >>> figure = masked_network(net, np.ones(2), np.array([True, False, True]))
    """
    (hidden,) = net.hidden(x[None])
    thinned = inverted.apply_mask(hidden, mask, net.p[0])
    output = net.logits(x[None], masks=[None, mask[None]])
    modes = {
        "in training": (mask, (x, *thinned, *output)),
        "at test time": (np.ones_like(mask), (x, *hidden, *net.logits(x[None]))),
    }
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.9))
    for ax, (title, (kept, layers)) in zip(axes, modes.items(), strict=True):
        _network(ax, net.layer_sizes, kept, size=1000)
        for place, layer in enumerate(layers):
            shown = kept if place == 1 else np.ones(len(layer), bool)
            for i in np.flatnonzero(shown):
                at = place, i - (len(layer) - 1) / 2
                value = f"{layer[i]:.2f}".replace("-", "\N{MINUS SIGN}")
                look: dict[str, Any] = {"color": "white", "fontsize": 9}
                ax.text(*at, value, ha="center", va="center_baseline", **look)
        ax.invert_yaxis()  # the first unit on top
        ax.set_title(title)
        ax.axis("off")
    return figure
