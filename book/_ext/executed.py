"""The build stops if it served a notebook's stored outputs, or ran it in no time at all.

A page with old outputs looks like a page with new ones. Only a build that executes is looked at.
"""

from typing import Any

from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

SHORTEST = 0.3  # seconds; it takes a kernel longer to start and to import NumPy

warn = getLogger(__name__).warning


def fault(run: dict[str, Any] | None) -> str:
    """What is wrong with a run of a notebook, as MyST-NB records it; empty if nothing is."""
    if run is None:
        return "was not executed"
    if run["method"] == "cache":
        return "came from a cache"
    if run["runtime"] < SHORTEST:
        return f"was executed in no time: {run['runtime']:.2f} s"
    return ""


def check_executed(app: Sphinx, env: Any) -> None:
    """Look at what MyST-NB added to the environment, which Sphinx's type does not know."""
    if app.config.nb_execution_mode == "off":
        return
    for page in sorted(env.found_docs):
        is_notebook = env.doc2path(page).endswith(".ipynb")
        if is_notebook and (wrong := fault(env.nb_metadata[page].get("exec_data"))):
            warn("a notebook %s", wrong, location=page)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("env-check-consistency", check_executed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
