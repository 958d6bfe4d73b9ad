"""Figures that move: the pages that have one get a script, its style and the numbers it needs.

Such a figure is a still picture whose name begins with "moving-". book/_static/moving.js puts
a picture with controls in its place. The numbers stand in the page, so that it opens from a
folder as well: there a script may load none.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

PREFIX = "moving-"
RESULTS = Path(__file__).parents[2] / "reproduce" / "moving_figures.json"


def add(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Add to this page alone what its moving figures need."""
    figures = doctree.findall(nodes.figure) if doctree else ()
    ids = [name for figure in figures for name in figure["ids"]]
    if names := [name[len(PREFIX) :] for name in ids if name.startswith(PREFIX)]:
        app.add_css_file("moving.css")
        app.add_js_file("moving.js", loading_method="defer")
        data = json.dumps(numbers(names), separators=(",", ":")).replace("<", "\\u003c")
        app.add_js_file(None, body=data, type="application/json", id="moving-data")


def numbers(names: Sequence[str]) -> dict[str, Any]:
    """For each figure its settings, and the runs it draws."""
    stored = json.loads(RESULTS.read_text())
    return {
        name: stored["settings"][name]
        | {"runs": [run for run in stored["runs"] if run["figure"] == name]}
        for name in names
    }


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
