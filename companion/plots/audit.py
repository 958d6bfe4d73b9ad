"""How often an audit finds a mistake."""

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from companion.plots.style import BLUE, WIDTH, drawn


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
