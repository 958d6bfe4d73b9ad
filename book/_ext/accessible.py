"""Repairs to the HTML of the theme, above all for those who read by ear or with the keyboard."""

import re
from typing import Any

from sphinx.application import Sphinx

HASHED = re.compile(r"\[R[0-9a-f]+-(\d+)\]")
CLOSED = re.compile(r'(<span class="math[^>]*>[^<]*</span>[.,;:?!)]+)')
FOLDED = re.compile(r">([^<]*)</a><details([^>]*)><summary>")


def repair(
    app: Sphinx, pagename: str, template: str, context: dict, doctree: Any
) -> None:
    # ARIA 1.3 drops this role for that of any list's items.
    body = context.get("body", "").replace('role="doc-biblioentry"', 'role="listitem"')
    # Inside of Markdown, numpydoc leaves its own labels of references, [R1a2b3c4d5e6f-1].
    body = HASHED.sub(r"[\1]", body)
    # What is folded has a title of its own, which a reader by ear should hear.
    body = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    context["body"] = CLOSED.sub(r'<span class="unbroken">\1</span>', body)

    make = context["generate_toctree_html"]

    def named(*args: Any, **options: Any) -> str:
        """The table of contents, each button that unfolds a part of it named after the part."""
        label = r'>\1</a><details\2><summary aria-label="Sections of \1">'
        return FOLDED.sub(label, str(make(*args, **options)))

    context["generate_toctree_html"] = named


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", repair, priority=900)  # behind the theme's own
    return {"parallel_read_safe": True, "parallel_write_safe": True}
