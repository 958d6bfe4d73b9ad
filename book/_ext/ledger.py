"""The page "What this book claims", made in every build from the outputs of the chapters.

Each claim gets an id where it stands; the directive `claims` makes a table of each chapter's.
"""

import html
import re
from itertools import groupby
from operator import itemgetter
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

PAGE = "book/claims"
CLAIM = re.compile(  # as companion.claims writes it
    r'<div class="claim">✓ (.*) <span class="claim-figures">'
    r"\(measured (.*); ((?:at most|at least|between|exactly) .*)\)</span></div>"
)
NUMBER = re.compile(r"\d*\.?\d*e?-\d[\w.]*")  # with a hyphen, where a line would break
TABLE = """
<table class="table ledger">
<caption>{} claims</caption>
<thead>
<tr><th scope="col">Claim</th><th scope="col">Measured</th><th scope="col">Bound</th></tr>
</thead>
{}
</table>
"""
GROUP = '<tr><th scope="rowgroup" colspan="3"><a href="{}#{}">{}</a></th></tr>'
ROW = '<tr><th scope="row"><a href="{}#{}">{}</a></th><td>{}</td><td>{}</td></tr>'


def read_last(app: Sphinx, env: BuildEnvironment, names: list[str]) -> None:
    """Put the page behind all others, so that their claims are known when it is read."""
    names.sort(key=lambda name: name == PAGE)


def collect(app: Sphinx, page: nodes.document) -> None:
    """Give each claim of a page its id; keep its section, its sentence and figures, as HTML."""
    claims = app.env.metadata[app.env.docname]["claims"] = []
    for node in page.findall(nodes.raw):
        text = NUMBER.sub(r'<span class="unbroken">\g<0></span>', node.astext())
        if claim := CLAIM.fullmatch(text.strip()):
            anchor = f"claim-{len(claims) + 1}"
            claims.append((section_of(node), (anchor, *claim.groups())))
            node[:] = [nodes.Text(claim[0].replace(">", f' id="{anchor}">', 1))]


def section_of(node: nodes.Node) -> tuple[str, str]:
    """The id and the title of the innermost section with a title that a node stands in."""
    while not (isinstance(node, nodes.section) and isinstance(node[0], nodes.title)):
        node = node.parent
    return node["ids"][0], html.escape(node[0].astext())


class Claims(SphinxDirective):
    """How many claims there are, and a section with a table for each chapter."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        in_order = self.env.collect_relations()
        claims = {name: self.env.metadata[name].get("claims", []) for name in in_order}
        chapters = [self.chapter(name, rows) for name, rows in claims.items() if rows]
        total = sum(map(len, claims.values()))
        count = nodes.strong("", f"{total} claims on {len(chapters)} pages.")
        return [nodes.paragraph("", "", count), *chapters]

    def chapter(self, name: str, claims: list[tuple[Any, Any]]) -> nodes.section:
        address = self.env.app.builder.get_relative_uri(self.env.docname, name)
        title = self.env.titles[name].astext()
        link = nodes.reference("", title, refuri=address, internal=True)
        groups = [
            "\n".join(
                ["<tbody>", GROUP.format(address, *section)]
                + [ROW.format(address, *claim) for _, claim in rows]
                + ["</tbody>"]
            )
            for section, rows in groupby(claims, key=itemgetter(0))
        ]
        text = TABLE.format(len(claims), "\n".join(groups))
        table = nodes.raw("", text, format="html")
        heading = nodes.title("", "", link)
        return nodes.section("", heading, table, ids=[nodes.make_id(name)])


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("env-before-read-docs", read_last)
    app.connect("doctree-read", collect)
    app.add_directive("claims", Claims)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
