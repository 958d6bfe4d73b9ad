"""Links that read well in a notebook as they are, and become more on a page.

`[(Srivastava et al., 2014)](https://jmlr.org/papers/v15/srivastava14a.html)` becomes a citation,
and `[Srivastava et al. (2014)](...)` one in the running text, if the bibliography has an entry of
that address. `[the figure](#fig-survivors)` becomes the figure's number.
"""

import re
from pathlib import Path
from typing import Any

from pybtex.database import parse_file
from sphinx.application import Sphinx

SOURCE = re.compile(r"\[([^\[\]]+)\]\((https?://[^\s\"\\)]+|#\w+)\)")
FIGURE = re.compile(r"\[[^\[\]]+\]\(#((?:fig|moving)-[\w-]+)\)")


def keys(app: Sphinx) -> dict[str, str]:
    """The key of each entry of the bibliography, by its address, or by "#key" if it has none."""
    found: dict[str, str] = {}
    for name in app.config.bibtex_bibfiles:
        for key, entry in parse_file(str(Path(app.srcdir, name))).entries.items():
            address = entry.fields.get("url", f"#{key}")
            if address in found:
                raise ValueError(
                    f"{key} and {found[address]} have one address: {address}"
                )
            found[address] = key
    return found


def enrich(app: Sphinx, name: str, source: list[str]) -> None:
    """Write roles for the links of a page before it is read."""
    known = keys(app)

    def cited(link: re.Match[str]) -> str:
        words, address = link.groups()
        if address not in known or not words.endswith(")"):
            return link[0]
        return f"{{cite:{'p' if words.startswith('(') else 't'}}}`{known[address]}`"

    source[0] = FIGURE.sub(r"{numref}`\1`", SOURCE.sub(cited, source[0]))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", enrich)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
