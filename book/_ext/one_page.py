"""All chapters on one page, which `make pdf` prints: each link leads to its own place.

The same id stands in many chapters ("exercises", "claim-1"), and Sphinx drops from a link the
chapter that it leads to.
"""

import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.builders.singlehtml import SingleFileHTMLBuilder

START = re.compile(r'(?=<span id="document-([^"]+)">)')
ID = re.compile(r' id="([^"]+)"')
LINK = re.compile(r' (id|href)="(#?)(?:document-([^"#]+)#)?([^"#]+)"')


class OnePage(SingleFileHTMLBuilder):
    """Sphinx's builder of one page, but for its links."""

    def fix_refuris(self, tree: nodes.Node) -> None:
        """Leave links as #document-NAME#ID."""

    def finish(self) -> None:
        super().finish()
        page = Path(self.get_outfilename(self.config.root_doc))
        page.write_text(told_apart(page.read_text(), self.config.root_doc))


def told_apart(page: str, root: str) -> str:
    """The page with the name of its document before each id that several of them have."""
    first, *rest = START.split(page)
    parts = [(root, first), *zip(rest[::2], rest[1::2], strict=True)]
    own = {name: set(ID.findall(part)) for name, part in parts}
    found = Counter(place for places in own.values() for place in places)

    def rename(link: re.Match[str], here: str) -> str:
        attribute, sign, document, place = link.groups()
        if found[place] > 1 and (document or place in own[here]):
            place = f"{document or here}.{place}"
        return f' {attribute}="{sign}{place}"'

    return "".join(LINK.sub(partial(rename, here=name), part) for name, part in parts)


def borrow(app: Sphinx) -> None:
    """Let the page be written as the others are: Sphinx forgets that once an extension has said
    how its own node is written here.
    """
    handlers = app.registry.translation_handlers
    if own := handlers.get(OnePage.name):
        handlers[OnePage.name] = handlers["html"] | own


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", borrow)
    app.add_builder(OnePage, override=True)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
