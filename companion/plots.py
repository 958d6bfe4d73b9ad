"""Every figure the chapters draw: same size of type, colour-blind-safe, white ground."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from itertools import pairwise
from math import comb
from textwrap import fill
from typing import Any, ParamSpec

import numpy as np
import numpy.typing as npt

try:
    import matplotlib.pyplot as plt
    from cycler import cycler
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
except ImportError:
    raise ImportError(
        'companion.plots needs Matplotlib: pip install "dropout-companion[plots]"'
    ) from None

from companion import inverted
from companion.network import MLP, History

# Okabe and Ito, "Color Universal Design", 2008: told apart with any colour vision.
BLUE, ORANGE, GREEN, PURPLE, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#000000",
)
GREY, PALE = "#767676", "#E6E6E6"

WIDTH = 4.2  # inches; 10-point type is then 11 pixels high on a telephone
STYLE: dict[Any, Any] = {
    "figure.dpi": 280,  # three pixels to one of a telephone
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.wspace": 0.06,
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, PURPLE]),
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "lines.linewidth": 1.8,
}

Arguments = ParamSpec("Arguments")


def _drawn(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Draw in the house style, and leave no figure open for a notebook to show twice."""

    @wraps(draw)
    def styled(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        before = set(plt.get_fignums())
        try:
            with plt.rc_context(STYLE):
                return draw(*args, **kwargs)
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)

    return styled


@_drawn
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
    axes[1].bar(units, np.where(mask, activations, 0), color=BLUE, label="kept")
    axes[1].bar(
        units,
        np.where(mask, 0, activations),
        facecolor="white",
        edgecolor=ORANGE,
        hatch="////",
        label="switched off",
    )
    axes[1].set(xlabel="hidden unit", ylabel="activation")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


@_drawn
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
    for ax, (title, mask) in zip(axes.flat, masks.items(), strict=False):
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
    colours = ListedColormap([PALE, BLUE])
    ax.pcolormesh(mask, cmap=colours, vmin=0, vmax=1, edgecolors="white", linewidth=0.6)
    ax.set(xticks=[], yticks=[], aspect="equal")
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)


@_drawn
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


@_drawn
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
    ax.bar(values, measured, color=BLUE, alpha=0.75, label="measured")
    ax.plot(values, theory, "o", color=ORANGE, markersize=5, label="binomial")
    ax.set(xlabel=f"units kept, of {n}", ylabel="fraction of draws")
    ax.set_xlim(seen[0] - 1, seen[-1] + 1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="upper left")
    return figure


@_drawn
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
    for ax, mask in zip(axes.flat, masks, strict=False):
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
                {"facecolor": BLUE, "edgecolor": BLUE}
                if kept
                else {
                    "facecolor": "white",
                    "edgecolor": ORANGE,
                    "linestyle": (0, (2, 1)),
                }
            )
            ax.scatter(x, y, s=size, zorder=2, linewidth=1, **look)
    ax.set(
        xlim=(-0.3, 2.3), ylim=(-max(layer_sizes) / 2 - 0.1, max(layer_sizes) / 2 + 0.1)
    )


@_drawn
def masked_network(
    net: MLP, x: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_]
) -> Figure:
    """Draw what flows through a small network under one mask, and with dropout off.

    Parameters
    ----------
    net : companion.network.MLP
        One hidden layer of ReLUs, one output, inverted dropout.
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
    hidden = np.maximum(x @ net.weights[0] + net.biases[0], 0)
    modes = {
        "in training": (mask, inverted.dropout(hidden, net.p[0], mask=mask)),
        "at test time": (np.ones_like(mask), hidden),
    }
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.9))
    for ax, (title, (kept, units)) in zip(axes, modes.items(), strict=True):
        _network(ax, net.layer_sizes, kept, size=1000)
        output = units @ net.weights[1] + net.biases[1]
        for place, layer in enumerate((x, units, output)):
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


@_drawn
def preactivations(samples: Mapping[str, npt.ArrayLike]) -> Figure:
    """Draw the distribution of one layer's pre-activations under several treatments.

    Parameters
    ----------
    samples : mapping of str to array_like
        Label and values of each distribution; any shape.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = preactivations({"training": [0.0, 1.0], "test": [0.0, 2.0]})
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 2.8))
    pooled = np.concatenate([np.ravel(values) for values in samples.values()])
    low, high = np.quantile(pooled, [0.001, 0.999])
    bins = np.linspace(low, high, 80)
    for (label, values), line in zip(
        samples.items(), ("-", "--", ":", "-."), strict=False
    ):
        density, _ = np.histogram(np.ravel(values), bins, density=True)
        ax.plot((bins[1:] + bins[:-1]) / 2, density, line, label=label)
    ax.set(xlabel="pre-activation", ylabel="density", ylim=(0, None))
    ax.legend()
    return figure


@_drawn
def scalings(sums: Mapping[str, tuple[npt.ArrayLike, float]]) -> Figure:
    """Draw what a unit is given in training, and at test time, one row for each scaling.

    Parameters
    ----------
    sums : mapping of str to (array_like, float)
        Title of each row; the weighted sum under each mask; and the one with dropout off.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = scalings({"no scaling": ([0.0, 1.0, 2.0], 2.0)})
    """
    figure, axes = plt.subplots(
        len(sums),
        1,
        figsize=(WIDTH, 1.25 * len(sums) + 0.5),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    pooled = np.concatenate([np.ravel(training) for training, _ in sums.values()])
    bins = np.histogram_bin_edges(pooled, 60).tolist()
    for ax, (title, (training, test)) in zip(axes[:, 0], sums.items(), strict=True):
        training = np.asarray(training)
        share = np.full(training.shape, 1 / training.size)
        ax.hist(training, bins, weights=share, color=BLUE, label="training")
        ax.axvline(float(training.mean()), color=ORANGE, linewidth=4, label="its mean")
        ax.axvline(test, color=BLACK, linestyle="--", label="at test time")
        ax.set_title(title)
        ax.yaxis.set_major_locator(MaxNLocator(2))
    ax.set_xlabel("weighted sum of the hidden units")
    figure.supylabel("share of masks", fontsize="medium")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


@_drawn
def scale_sweep(
    factors: npt.ArrayLike,
    losses: npt.ArrayLike,
    errors: npt.ArrayLike,
    keep_prob: float,
) -> Figure:
    """Draw test loss and test error against the factor put on the units at test time.

    Parameters
    ----------
    factors : array_like, shape (n_factors,)
    losses : array_like, shape (n_networks, n_factors)
        Cross-entropy in nats.
    errors : array_like, shape (n_networks, n_factors)
        Fraction of the test set misclassified.
    keep_prob : float
        The factor that theory names, marked.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = scale_sweep([0.5, 1.0], [[0.1, 0.3]], [[0.03, 0.06]], keep_prob=0.5)
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.6))
    for ax, values, label in (
        (axes[0], losses, "test loss (nats)"),
        (axes[1], 100 * np.asarray(errors), "test error (%)"),
    ):
        _band(ax, factors, values, color=BLUE)
        ax.axvline(keep_prob, color=GREY, linestyle="--", linewidth=1)
        ax.set(xlabel="factor at test time", title=label, ylim=(0, None))
    axes[0].annotate(
        r" $1 - p$",
        (keep_prob, 0.96),
        xycoords=("data", "axes fraction"),
        va="top",
        color=GREY,
    )
    return figure


def _band(ax: Axes, x: npt.ArrayLike, runs: npt.ArrayLike, **style: Any) -> None:
    """Mean over runs with one standard deviation either way."""
    runs = np.asarray(runs)
    _spread(ax, x, runs.mean(axis=0), runs.std(axis=0), **style)


def _spread(
    ax: Axes, x: npt.ArrayLike, mean: npt.NDArray, spread: npt.NDArray, **style: Any
) -> None:
    ax.plot(x, mean, **style)
    shade = {key: value for key, value in style.items() if key == "color"}
    ax.fill_between(x, mean - spread, mean + spread, alpha=0.2, linewidth=0, **shade)


@_drawn
def thinned_predictions(
    probabilities: npt.ArrayLike, weights: npt.ArrayLike, lines: Mapping[str, float]
) -> Figure:
    """Draw what all thinned networks predict for one image, and where their averages lie.

    Parameters
    ----------
    probabilities : array_like, shape (n_masks,)
        Predicted probability of one class under each mask.
    weights : array_like, shape (n_masks,)
        Probability of each mask.
    lines : mapping of str to float
        Label and position of each average.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = thinned_predictions([0.2, 0.9], [0.5, 0.5], {"mean": 0.55})
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 3))
    ax.hist(
        probabilities,
        np.linspace(0, 1, 41).tolist(),
        weights=weights,
        color=PALE,
        edgecolor=GREY,
        lw=0.6,
        label="thinned networks",
    )
    for (label, value), colour, dash in zip(
        lines.items(), (BLUE, ORANGE, GREEN), ("-", "--", ":"), strict=False
    ):
        ax.axvline(value, color=colour, linestyle=dash, label=label)
    ax.set(
        xlabel="predicted probability of the true class",
        ylabel="probability of the masks",
    )
    figure.legend(loc="outside upper center", ncols=2)
    return figure


@_drawn
def ensemble_sizes(
    sizes: npt.ArrayLike,
    errors: npt.ArrayLike,
    losses: npt.ArrayLike,
    scaled_error: float,
    scaled_loss: float,
) -> Figure:
    """Draw error and loss of an average over k thinned networks, against one scaled network.

    Parameters
    ----------
    sizes : array_like of int, shape (n_sizes,)
        The numbers k of masks averaged.
    errors, losses : array_like, shape (n_repeats, n_sizes)
        Fraction misclassified, and cross-entropy in nats.
    scaled_error, scaled_loss : float
        The same of the full network with scaled units.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = ensemble_sizes([1, 10], [[0.2, 0.1]], [[0.9, 0.4]], 0.1, 0.3)
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.7))
    for ax, runs, level, label in (
        (axes[0], 100 * np.asarray(errors), 100 * scaled_error, "test error (%)"),
        (axes[1], np.asarray(losses), scaled_loss, "test loss (nats)"),
    ):
        _band(ax, sizes, runs, color=BLUE, label="k masks")
        ax.axhline(level, color=ORANGE, linestyle="--", label="scaled")
        ax.set(xscale="log", xlabel="k, masks averaged", title=label, ylim=(0, None))
        ax.xaxis.set_major_formatter("{x:g}")
    axes[0].legend()
    return figure


@_drawn
def mean_and_variance(
    p: npt.ArrayLike, means: npt.ArrayLike, variances: npt.ArrayLike, x: float
) -> Figure:
    """Draw measured mean and variance of inverted dropout's output against theory.

    Parameters
    ----------
    p : array_like, shape (n_probabilities,)
        Drop probabilities.
    means, variances : array_like, shape (n_probabilities,)
        Measured over many draws of one unit.
    x : float
        The value of that unit.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = mean_and_variance([0.1, 0.5], [1.0, 1.0], [0.11, 1.0], x=1.0)
    """
    grid = np.linspace(0, np.max(p), 200)
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.5))
    axes[0].plot(grid, np.full_like(grid, x), color=ORANGE, label="theory")
    axes[0].plot(p, means, "o", color=BLUE, label="measured")
    axes[0].set(
        xlabel="drop probability p", title="mean of the output", ylim=(0, 2 * x)
    )
    axes[0].legend()
    axes[1].plot(grid, x**2 * grid / (1 - grid), color=ORANGE)
    axes[1].plot(p, variances, "o", color=BLUE)
    axes[1].set(xlabel="drop probability p", title="variance of the output")
    return figure


@_drawn
def running_moments(outputs: npt.ArrayLike, x: float, p: float) -> Figure:
    """Draw mean and variance of one unit's output, draw after draw, against theory.

    Parameters
    ----------
    outputs : array_like, shape (n_draws,)
        The outputs of inverted dropout, in the order they were drawn.
    x : float
        The value of the unit.
    p : float
        The drop probability, less than 1.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = running_moments([2.0, 0.0, 0.0, 2.0], x=1.0, p=0.5)
    """
    outputs = np.asarray(outputs)
    draws = np.arange(1, len(outputs) + 1)
    means = outputs.cumsum() / draws
    variances = (outputs**2).cumsum() / draws - means**2
    theory = x**2 * p / (1 - p)
    funnel = 2 * np.sqrt(theory / draws)
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.8))
    axes[0].fill_between(
        draws,
        *(x - funnel, x + funnel),
        color=ORANGE,
        alpha=0.2,
        linewidth=0,
        label="two standard errors",
    )
    for ax, seen, expected, name in (
        (axes[0], means, x, "mean"),
        (axes[1], variances, theory, "variance"),
    ):
        ax.axhline(expected, color=ORANGE, linestyle="--", label="theory")
        ax.plot(draws, seen, color=BLUE, linewidth=1.2, label="so far")
        ax.set(xscale="log", xlabel="draws", title=f"{name} of the output")
    axes[0].set_ylim(0, 2 * x)
    axes[1].set_ylim(0, None)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3
    )
    return figure


@_drawn
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
    colours = [BLUE if value <= bound else ORANGE for value in values]
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


@_drawn
def training_curves(
    runs: Mapping[str, Sequence[History]], *, held_out: str = "validation"
) -> Figure:
    """Draw train and validation loss over the epochs, mean and spread over the seeds.

    Parameters
    ----------
    runs : mapping of str to sequence of History
        Label, and one history a seed, all of one length.
    held_out : str
        What the chapter calls the set that the histories have as validation set.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = training_curves({"p = 0": [History([1, 0.1], [0, 1], [1, 0.5], [0, 1])]})
    """
    if not all(
        history.val_loss for histories in runs.values() for history in histories
    ):
        raise ValueError("a history has no validation loss: give fit a validation set")
    parts = "train_loss", "val_loss"
    curves: dict[str, list[tuple[npt.NDArray, npt.NDArray]]] = {}
    for label, histories in runs.items():
        losses = [[getattr(h, part) for h in histories] for part in parts]
        curves[label] = [(np.mean(v, axis=0), np.std(v, axis=0)) for v in losses]
    top = 2.5 * max(h.val_loss[-1] for run in runs.values() for h in run)
    return _losses(curves, top, held_out)


def _losses(
    curves: Mapping[str, Sequence[tuple[npt.NDArray, npt.NDArray]]],
    top: float,
    held_out: str = "validation",
) -> Figure:
    """Mean and spread of the training loss, and of the held-out loss up to `top`."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3))
    for (label, losses), colour in zip(
        curves.items(), (ORANGE, BLUE, GREEN), strict=False
    ):
        for ax, (mean, spread) in zip(axes, losses, strict=True):
            epochs = np.arange(1, len(mean) + 1)
            _spread(ax, epochs, mean, spread, color=colour, label=label)
    axes[0].set(yscale="log", xlabel="epoch", title="training loss (nats)")
    # A band may reach down to nothing, which would leave the lines no room.
    axes[0].set_ylim(bottom=min(mean.min() for (mean, _), _ in curves.values()) / 1.5)
    axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_formatter(NullFormatter())
    axes[1].set(xlabel="epoch", title=f"{held_out} loss (nats)", ylim=(0, top))
    figure.legend(
        *axes[1].get_legend_handles_labels(), loc="outside upper center", ncols=3
    )
    return figure


@_drawn
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
    curves = {
        label: [
            (np.array(run[f"{part}_loss"]), np.array(run[f"{part}_spread"]))
            for part in ("train", "val")
        ]
        for label, run in runs.items()
    }
    return _losses(curves, 2.5 * max(run["val_loss"][-1] for run in runs.values()))


@_drawn
def paired_seeds(
    without: npt.ArrayLike, with_dropout: npt.ArrayLike, label: str
) -> Figure:
    """Draw one line a seed, from the network without dropout to the one with it.

    Parameters
    ----------
    without, with_dropout : array_like, shape (n_seeds,)
        The figure of merit of each pair.
    label : str
        What it is, with its unit.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = paired_seeds([0.2, 0.3], [0.1, 0.3], "validation loss (nats)")
    """
    without, with_dropout = np.asarray(without), np.asarray(with_dropout)
    figure, ax = plt.subplots(figsize=(WIDTH, 2.8))
    for a, b in zip(without, with_dropout, strict=True):
        ax.plot(
            [0, 1],
            [a, b],
            "o-",
            color=BLUE if b < a else ORANGE,
            alpha=0.6,
            markersize=4,
        )
    ax.plot(
        [0, 1],
        [without.mean(), with_dropout.mean()],
        "ks-",
        linewidth=2.5,
        label="mean",
    )
    ax.set(xticks=[0, 1], xticklabels=["without dropout", "with dropout"], ylabel=label)
    ax.set_xlim(-0.4, 1.4)
    ax.legend()
    return figure


@_drawn
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
        "rng": (0, 2, BLUE),
        "uniform": (2.7, 2, GREY),
        "next_rng": (6, 2, BLUE),
        "x": (0, 0, BLUE),
        "≥ p": (4.3, 1, GREY),
        "switch": (6.4, 0, GREY),
        "y": (9, 0, BLUE),
    }
    boxes = {
        name: _box(ax, x, y, name, edgecolor=colour)
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
        _arrow(ax, boxes[start], boxes[end])
    loop = {"linestyle": "--", "connectionstyle": "arc3,rad=0.35", "linewidth": 1.6}
    _arrow(ax, boxes["next_rng"], boxes["rng"], color=ORANGE, **loop)
    ax.text(3, 3.2, "updates", color=ORANGE, ha="center", va="bottom")
    return figure


def _box(ax: Axes, x: float, y: float, name: str, **style: Any) -> Text:
    look = {"boxstyle": "round,pad=0.4", "facecolor": "white"} | style
    return ax.text(x, y, name, ha="center", va="center", bbox=look, zorder=2)


def _arrow(ax: Axes, start: Text, end: Text, **style: Any) -> None:
    """From the edge of one box to that of another; the boxes are drawn, and placed, first."""
    look: dict[str, Any] = {
        "arrowstyle": "-|>",
        "color": GREY,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    look |= {"patchA": start.get_bbox_patch(), "patchB": end.get_bbox_patch()} | style
    ax.annotate("", end.get_position(), start.get_position(), arrowprops=look, zorder=3)


@_drawn
def memory(survived: Mapping[str, npt.ArrayLike], expected: npt.ArrayLike) -> Figure:
    """Draw what share of the units has never been dropped, step after step.

    Parameters
    ----------
    survived : mapping of str to array_like, shape (steps,)
        Label, and the share after each step.
    expected : array_like, shape (steps,)
        The share that theory gives for a fresh mask at every step.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = memory({"one mask": [0.5, 0.5], "a mask a step": [0.5, 0.3]}, [0.5, 0.25])
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 2.8))
    steps = np.arange(1, len(np.asarray(expected)) + 1)
    for (label, shares), colour in zip(
        survived.items(), (BLUE, ORANGE, GREEN), strict=False
    ):
        ax.plot(steps, shares, "o", color=colour, markersize=4, label=label)
    ax.plot(steps, expected, color=GREY, linewidth=1, label="$(1 - p)^t$", zorder=0)
    ax.set(xlabel="step t", ylabel="share of units never dropped", ylim=(0, 1))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()
    return figure


@_drawn
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
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.4), squeeze=False)
    for ax, (title, lines) in zip(axes[0], panels.items(), strict=True):
        for (label, runs), (colour, dashes) in zip(
            lines.items(), ((ORANGE, "-"), (GREEN, "-"), (BLUE, "--")), strict=False
        ):
            at, held_out = runs[0]["update"], [run["held_out"] for run in runs]
            _band(ax, at, held_out, color=colour, linestyle=dashes, label=label)
            train = np.mean([run["train"] for run in runs], axis=0)
            ax.plot(at, train, ":", color=colour, linewidth=1.4)
        ax.set(title=title, xlabel="updates")
    axes[0, 0].set_ylabel("bits a character")
    ax.plot([], [], ":", color=GREY, label="training text")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


@_drawn
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
        "train()": ("draw a mask: 0 or $h / (1 - p)$", ORANGE, "-"),
        "eval()": ("hand it on: $h$", BLUE, "--"),
    }
    for ax, (mode, (text, colour, line)) in zip(axes, modes.items(), strict=True):
        ax.set(xlim=(-0.8, 7.8), ylim=(-1, 1))
        ax.axis("off")
        ax.text(-0.8, 0.6, mode, va="bottom", family="monospace", color=colour)
        boxes = []
        for x, name in ((0, "Linear"), (2.2, "ReLU"), (4.5, "Dropout"), (7, "Linear")):
            own = {"edgecolor": colour, "linestyle": line}
            look = own if name == "Dropout" else {"edgecolor": GREY, "linestyle": "-"}
            boxes.append(_box(ax, x, 0, name, **look))
        for start, end in pairwise(boxes):
            _arrow(ax, start, end)
        ax.text(4.5, -0.55, text, ha="center", va="top", color=colour)
    return figure


@_drawn
def repeated_predictions(runs: Mapping[str, npt.ArrayLike], label: str) -> Figure:
    """Draw what a network answers about the same samples, asked again and again.

    Parameters
    ----------
    runs : mapping of str to array_like, shape (n_repeats, n_samples)
        Title of each panel, and one number an answer.
    label : str
        What the number is, with its unit.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = repeated_predictions({"on": [[0.9, 0.2], [0.8, 0.6]]}, "probability")
    """
    figure, axes = plt.subplots(
        1, len(runs), figsize=(WIDTH, 3), sharey=True, squeeze=False
    )
    for ax, (title, answers), colour in zip(
        axes[0], runs.items(), (ORANGE, BLUE, GREEN), strict=False
    ):
        repeats = np.asarray(answers)
        places = np.broadcast_to(np.arange(1, repeats.shape[1] + 1), repeats.shape)
        ax.plot(places.ravel(), repeats.ravel(), "_", color=colour, alpha=0.5)
        ax.set(title=title, xlabel="sample", ylim=(-0.03, 1.03))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylabel(label)
    return figure


@_drawn
def variance_shift(
    p: npt.ArrayLike, ratios: Mapping[str, npt.ArrayLike], expected: npt.ArrayLike
) -> Figure:
    """Draw the variance at test time over the one that batch normalisation has stored.

    Parameters
    ----------
    p : array_like, shape (n,)
        Drop probabilities.
    ratios : mapping of str to array_like, shape (n_seeds, n)
        Label, and the ratio of each network at each `p`.
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
    for (label, runs), colour in zip(
        ratios.items(), (ORANGE, BLUE, GREEN), strict=False
    ):
        for run in np.asarray(runs):
            ax.plot(p, run, "o", color=colour, markersize=5, alpha=0.7, label=label)
            label = "_nolegend_"
    ax.plot(p, expected, color=GREY, linewidth=1.2, label="expected", zorder=0)
    ax.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
    ax.set(xlabel="drop probability p", ylim=(0, 1.15))
    ax.set_ylabel("variance at test time\n/ stored variance")
    ax.legend()
    return figure


@_drawn
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

    Examples
    --------
    >>> gained = {"digits": [0.1, -0.2, 0.3]}
    >>> figure = paired_differences(gained, {"digits": (-0.3, 0.4)}, "accuracy gained (points)")
    """
    rows = np.arange(len(differences))
    figure, ax = plt.subplots(figsize=(WIDTH, 0.6 * len(rows) + 0.6))
    for row, (name, gained) in enumerate(differences.items()):
        values, (low, high) = np.asarray(gained), intervals[name]
        colour = BLUE if low <= 0 <= high else ORANGE
        # Spread over the height of the row, so that equal values are seen apart.
        heights = row + np.linspace(-0.2, 0.2, len(values))
        ax.plot(values, heights, ".", color=GREY, alpha=0.5, markersize=4)
        ax.plot([low, high], [row, row], color=colour, linewidth=3)
        ax.plot(values.mean(), row, "D", color=colour, markersize=6)
    ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # hides the line
    ax.set_yticks(rows - 0.42, list(differences), ha="left", bbox=ground)
    ax.tick_params(axis="y", length=0, pad=-4)
    ax.spines["left"].set_visible(False)
    ax.set(xlabel=label, ylim=(len(rows) - 0.6, -0.65))
    return figure


@_drawn
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
