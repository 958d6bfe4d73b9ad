"""The house style of all figures: size of type, colours that can be told apart, white ground."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

# Okabe and Ito, "Color Universal Design", 2008: told apart with any colour vision.
BLUE, ORANGE, GREEN, PURPLE, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#A1528A",
    "#000000",
)
GREY, PALE = "#767676", "#E6E6E6"

# One colour means one thing in all figures: what a mask keeps and drops; runs without dropout and
# with it. A dashed line is of the data a network was trained on, a solid one of others.
KEPT, DROPPED = BLUE, ORANGE
WITHOUT, WITH = BLACK, GREEN

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
Value = TypeVar("Value")


def drawn(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
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


def coloured(
    lines: Mapping[str, Value],
    colours: Sequence[str] = (WITHOUT, WITH, PURPLE, BLUE, ORANGE),
) -> Iterator[tuple[str, Value, str]]:
    """Each label with its value and its colour; the first stands for no dropout by default."""
    if len(lines) > len(colours):
        raise ValueError(
            f"there are colours for {len(colours)} lines; got {len(lines)}: {list(lines)}"
        )
    own = colours[: len(lines)]
    for (label, value), colour in zip(lines.items(), own, strict=True):
        yield label, value, colour


def band(ax: Axes, x: npt.ArrayLike, runs: npt.ArrayLike, **style: Any) -> None:
    """Mean over runs with one standard deviation either way."""
    runs = np.asarray(runs)
    draw_spread(ax, x, runs.mean(axis=0), runs.std(axis=0), **style)


def draw_spread(
    ax: Axes, x: npt.ArrayLike, mean: npt.NDArray, spread: npt.NDArray, **style: Any
) -> None:
    ax.plot(x, mean, **style)
    shade = {key: value for key, value in style.items() if key == "color"}
    ax.fill_between(x, mean - spread, mean + spread, alpha=0.2, linewidth=0, **shade)


def box(ax: Axes, x: float, y: float, name: str, **style: Any) -> Text:
    look = {"boxstyle": "round,pad=0.4", "facecolor": "white"} | style
    return ax.text(x, y, name, ha="center", va="center", bbox=look, zorder=2)


def arrow(ax: Axes, start: Text, end: Text, **style: Any) -> None:
    """From the edge of one box to that of another; the boxes are drawn, and placed, first."""
    look: dict[str, Any] = {
        "arrowstyle": "-|>",
        "color": GREY,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    look |= {"patchA": start.get_bbox_patch(), "patchB": end.get_bbox_patch()} | style
    ax.annotate("", end.get_position(), start.get_position(), arrowprops=look, zorder=3)
