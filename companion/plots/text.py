"""A figure in words: what a notebook stores beside each picture, and a test compares."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import Collection, LineCollection, PathCollection, QuadMesh
from matplotlib.colors import to_hex, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from companion.plots import style

COLOURS = {"#ffffff": "white"} | {
    to_hex(getattr(style, name)): name.lower()
    for name in ("BLUE", "ORANGE", "GREEN", "PURPLE", "BLACK", "GREY", "PALE")
}


def describe(figure: Figure) -> str:
    """Return what a figure draws, in words: a line for each of its axes.

    Labels, colours and counts are the same on every machine. Measured values are left out, for
    their last digits are not. Once `companion.plots` is imported, IPython has this text for every
    figure, and a notebook stores it beside the picture.

    Parameters
    ----------
    figure : matplotlib.figure.Figure

    Returns
    -------
    str
        A line has its colour, its format as in ``plot(x, y, "--o")``, and of how many points it is.

    Examples
    --------
    >>> from companion.plots import mask_grid
    >>> print(describe(mask_grid({"one mask a sample": np.eye(4, dtype=bool)})))
    <Figure size 1176x1344 with 1 Axes>
      title "one mask a sample"; x "unit"; y "sample"; grid 4 by 4 with sum 4
    """
    around = "; ".join([*_texts(figure.texts), *_legends(figure.legends)])
    lines = [around] if around else []
    return "\n  ".join([repr(figure), *lines, *map(_panel, figure.axes)])


def describe_in_notebooks() -> None:
    """Let IPython, which alone looks for this method, have the text of every figure.

    Its own registry would not do: the inline backend clears what that has of figures.
    """

    def show(figure: Figure, printer: Any, cycle: bool) -> None:
        printer.text(describe(figure))

    Figure._repr_pretty_ = show  # type: ignore[attr-defined]


def _panel(ax: Axes) -> str:
    titles = [ax.get_title(loc=loc) for loc in ("left", "center", "right")]
    artists = [*ax.lines, *ax.patches, *ax.collections, *ax.images]
    legend = ax.get_legend()
    parts = [
        *_listed("title", map(_quoted, titles)),
        *_axis("x", ax.xaxis),
        *_axis("y", ax.yaxis),
        *_listed("", map(_look, artists), between="; "),
        *_texts(ax.texts),
        *_legends([legend] if legend else []),
    ]
    return "; ".join(parts) or "nothing"


def _listed(name: str, things: Iterable[str], between: str = ", ") -> list[str]:
    """A name and what it is of, with how often; nothing of nothing."""
    counts = Counter(filter(None, things))
    times = "\N{MULTIPLICATION SIGN}"
    each = [thing if n == 1 else f"{n} {times} {thing}" for thing, n in counts.items()]
    listed = between.join(each)
    return [f"{name} {listed}".strip()] if listed else []


def _quoted(words: str) -> str:
    return f'"{" ".join(words.split())}"' if words.strip() else ""


def _axis(name: str, axis: Axis) -> list[str]:
    """Its label and scale, and the words at its ticks: numbers there may depend on the data."""
    ticks = [tick.get_text() for tick in axis.get_ticklabels()]
    words = [words for words in ticks if re.search(r"[^\W\d_]", words.split("$")[0])]
    scale = "" if axis.get_scale() == "linear" else axis.get_scale()
    label = _quoted(axis.get_label_text())
    return _listed(name, [label, scale, *_listed("at", map(_quoted, words))])


def _texts(texts: Iterable[Text]) -> list[str]:
    """Words, and how many texts are of numbers, which may be measured."""
    return _listed("text", map(_text, texts))


def _text(text: Text) -> str:
    words = text.get_text()
    if getattr(text, "arrow_patch", None) and not words:
        return "arrow"
    number = (
        re.search(r"\d\.\d", words) or words.strip(" +-\N{MINUS SIGN}%").isdecimal()
    )
    return "number" if number else _quoted(words)


def _legends(legends: Iterable[Legend]) -> list[str]:
    labels = (text.get_text() for legend in legends for text in legend.get_texts())
    return _listed("legend", map(_quoted, labels))


def _look(artist: Artist) -> str:
    """What an artist is, in which colour, and of how many parts."""
    match artist:
        case Line2D():
            joined = artist.get_linestyle() != "None"
            colour = artist.get_color() if joined else artist.get_markeredgecolor()
            form = f"{artist.get_linestyle()}{artist.get_marker()}".replace("None", "")
            return f'{_colour(colour)} "{form}" of {np.size(artist.get_xdata())}'
        case Patch():
            kind = type(artist).__name__.lower()
            return f"{_colour(artist.get_facecolor())} {kind}"
        case LineCollection():
            count = len(artist.get_segments())
            return f"{_colour(artist.get_edgecolor())} bars of {count}"
        case PathCollection():
            return f"{_colour(artist.get_facecolor())} dots of {np.shape(artist.get_offsets())[0]}"
        case QuadMesh() | AxesImage():
            return _grid(np.asarray(artist.get_array()))
        case Collection():
            return f"{_colour(artist.get_facecolor())} area"
    return type(artist).__name__


def _grid(values: np.ndarray) -> str:
    size = " by ".join(map(str, values.shape))
    exact = values.dtype.kind in "biu"
    return f"grid {size}" + (f" with sum {values.sum()}" if exact else "")


def _colour(colours: Any) -> str:
    names = [to_hex(colour) for colour in to_rgba_array(colours)]
    return " or ".join(dict.fromkeys(COLOURS.get(name, name) for name in names))
