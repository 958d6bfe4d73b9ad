"""What a scale does to a layer, and what thinned networks predict."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from companion.plots.style import (
    GREY,
    PALE,
    PURPLE,
    WIDTH,
    WITH,
    WITHOUT,
    band,
    coloured,
    drawn,
)


@drawn
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
    for label, values, colour in coloured(samples):
        density, _ = np.histogram(np.ravel(values), bins, density=True)
        ax.plot((bins[1:] + bins[:-1]) / 2, density, color=colour, label=label)
    ax.set(xlabel="pre-activation", ylabel="density", ylim=(0, None))
    ax.legend()
    return figure


@drawn
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
        ax.hist(training, bins, weights=share, color=WITH, label="training")
        ax.axvline(float(training.mean()), color=PURPLE, linewidth=4, label="its mean")
        ax.axvline(test, color=WITHOUT, linestyle="--", label="at test time")
        ax.set_title(title)
        ax.yaxis.set_major_locator(MaxNLocator(2))
    ax.set_xlabel("weighted sum of the hidden units")
    figure.supylabel("share of masks", fontsize="medium")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


@drawn
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
        band(ax, factors, values, color=WITHOUT)
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


@drawn
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
    for label, value, colour in coloured(lines):
        ax.axvline(value, color=colour, label=label)
    ax.set(
        xlabel="predicted probability of the true class",
        ylabel="probability of the masks",
    )
    figure.legend(loc="outside upper center", ncols=2)
    return figure


@drawn
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
        band(ax, sizes, runs, color=WITH, label="k masks")
        ax.axhline(level, color=WITHOUT, label="scaled")
        ax.set(xscale="log", xlabel="k, masks averaged", title=label, ylim=(0, None))
        ax.xaxis.set_major_formatter("{x:g}")
    axes[0].legend()
    return figure


@drawn
def reliability(
    predictions: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], least: int = 30
) -> Figure:
    """Draw how often a network is right when it is so sure, against how sure it is.

    The confidence in an answer is the probability that the network gives it. A point stands for
    the predictions whose confidence lies within a tenth, and its area for their number.

    Parameters
    ----------
    predictions : mapping of str to (array_like, array_like)
        Label of each line; the confidence of each prediction; and whether it is right. The first
        line has the colour of no dropout, the second that of dropout.
    least : int
        A tenth with fewer predictions has no point.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> lines = {"sure of itself": ([0.95, 0.92, 0.45], [True, False, False])}
    >>> figure = reliability(lines, least=1)
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 3.4))
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, label="as sure as right")
    for label, (confidence, correct), colour in coloured(predictions):
        confidence, correct = np.ravel(confidence), np.ravel(correct)
        tenth = np.minimum((10 * confidence).astype(int), 9)
        counts = np.bincount(tenth, minlength=10)
        shown = np.flatnonzero(counts >= least)
        sure = np.bincount(tenth, confidence, minlength=10)[shown] / counts[shown]
        right = np.bincount(tenth, correct, minlength=10)[shown] / counts[shown]
        area = 10 + 150 * counts[shown] / counts.sum()
        ax.plot(sure, right, color=colour, linewidth=1.2, label=label)
        ax.scatter(sure, right, area, color=colour, zorder=3)
    ax.set(
        xlabel="confidence: probability of the answer given",
        ylabel="share of right answers",
        xlim=(0, 1.04),
        ylim=(0, 1.04),
        aspect="equal",
    )
    figure.legend(loc="outside upper center", ncols=2)
    return figure


@drawn
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
    axes[0].plot(grid, np.full_like(grid, x), color=GREY, label="theory")
    axes[0].plot(p, means, "o", color=WITH, label="measured")
    axes[0].set(
        xlabel="drop probability p", title="mean of the output", ylim=(0, 2 * x)
    )
    axes[0].legend()
    axes[1].plot(grid, x**2 * grid / (1 - grid), color=GREY)
    axes[1].plot(p, variances, "o", color=WITH)
    axes[1].set(xlabel="drop probability p", title="variance of the output")
    return figure


@drawn
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
        color=GREY,
        alpha=0.2,
        linewidth=0,
        label="two standard errors",
    )
    for ax, seen, expected, name in (
        (axes[0], means, x, "mean"),
        (axes[1], variances, theory, "variance"),
    ):
        ax.axhline(expected, color=GREY, linestyle="--", label="theory")
        ax.plot(draws, seen, color=WITH, linewidth=1.2, label="so far")
        ax.set(xscale="log", xlabel="draws", title=f"{name} of the output")
    axes[0].set_ylim(0, 2 * x)
    axes[1].set_ylim(0, None)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3
    )
    return figure
