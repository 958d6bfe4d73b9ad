"""Sentences that are checked: a link to a check becomes a sentence with a mark, its check is folded
behind "✓ 4 checks", and the page "What this book claims" lists them all, made in every build.

In a chapter the sentence is a link, `[Half of the units survive](#check-half)`, and the check is
`claim("half", ...)` in a cell with the tag `check`. Each has exactly one of the other.
"""

import html
import re
from itertools import groupby
from operator import itemgetter
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.logging import getLogger
from sphinx.writers.html5 import HTML5Translator

PAGE = "book/claims"
PREFIX = "check-"
CLAIM = re.compile(  # as companion.claims writes it
    r'<div class="claim" id="check-(?P<name>[^"]*)">✓ .* <span class="claim-figures">'
    r"\(measured (?P<measured>.*); (?P<bound>(?:at most|at least|between|exactly) .*)\)</span>"
    r'(?: <span class="claim-stored">stored: (?P<stored>.*)</span>)?</div>'
)
NUMBER = re.compile(r"\d*\.?\d*e?-\d[\w.]*")  # with a hyphen, where a line would break
LINE = (
    '<div class="claim" id="check-{name}"><a href="#sentence-{name}">✓</a> {sentence} '
    '<span class="claim-figures">(measured {measured}; {bound})</span>{note}</div>'
)
NOTE = ' <span class="claim-figures">Stored result of {}.</span>'
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
ROW = (
    '<tr><th scope="row"><a href="{page}#sentence-{name}">{sentence}</a>{mark}</th>'
    "<td>{measured}</td><td>{bound}</td></tr>"
)
MARK = ' <a class="stored-mark" href="#{}">stored</a>'
STORED = '<p class="claim-figures" id="{}">Stored result of {}.</p>'

warn = getLogger(__name__).warning


class Checked(nodes.inline):
    """A sentence with a check: its words, a mark that leads there, and what was measured."""


def begin(self: HTML5Translator, node: Checked) -> None:
    self.body.append(
        '<span class="checked" id="sentence-{name}" tabindex="-1">'.format_map(node)
    )


def end(self: HTML5Translator, node: Checked) -> None:
    figures = "measured {measured}; {bound}".format_map(node)
    if node["stored"]:
        figures += "; a stored result"
    self.body.append(
        f'<a class="tick" href="#check-{node["name"]}" aria-label="Check: {figures}">✓</a>'
        f'<span class="tick-figures" aria-hidden="true">{figures}</span></span>'
    )


def read_last(app: Sphinx, env: BuildEnvironment, names: list[str]) -> None:
    """Put the page behind all others, so that their claims are known when it is read."""
    names.sort(key=lambda name: name == PAGE)


def connect(app: Sphinx, page: nodes.document) -> None:
    """Mark each sentence with what its check measured, and fold the checks below it."""
    name = app.env.docname
    outputs = [
        (node, match)
        for node in page.findall(nodes.raw)
        if (match := CLAIM.fullmatch(node.astext().strip()))
    ]
    found = {match["name"]: match.groupdict("") for _, match in outputs}
    sentences = {}
    for link in list(page.findall(pending_xref)):
        if not link["reftarget"].startswith(PREFIX):
            continue
        check = link["reftarget"].removeprefix(PREFIX)
        if check not in found:
            warn("a sentence names a check that is not there: %s", check, location=link)
        elif check in sentences:
            warn("two sentences name one check: %s", check, location=link)
        else:
            words = (
                link.children[0].children
                if isinstance(link.children[0], nodes.inline)
                else link.children
            )
            sentences[check] = "".join(map(as_html, words))
            link.replace_self(Checked("", "", *words, **found[check]))
    claims = app.env.metadata[name]["claims"] = []
    for node, match in outputs:
        claim = match.groupdict("")
        if claim["name"] not in sentences:
            warn("a check has no sentence: %s", claim["name"], location=name)
        claim["sentence"] = sentences.get(claim["name"], claim["name"])
        for part in ("measured", "bound"):
            claim[part] = NUMBER.sub(
                r'<span class="unbroken">\g<0></span>', claim[part]
            )
        claims.append((section_of(node), claim))
        note = NOTE.format(claim["stored"]) if claim["stored"] else ""
        node[:] = [nodes.Text(LINE.format_map(claim | {"note": note}))]
    for cell in page.findall(nodes.container):
        if "tag_check" in cell["classes"]:
            fold(cell)
    if name == PAGE:  # its formulas stand in HTML, where Sphinx does not look for any
        app.env.get_domain("math").data["has_equations"][name] = True


def fold(cell: nodes.container) -> None:
    count = sum('class="claim"' in node.astext() for node in cell.findall(nodes.raw))
    title = f"✓ {count} check{'s' * (count != 1)}"
    cell.attributes |= {"hide_mode": "all", "prompt_show": title, "prompt_hide": title}


def as_html(node: nodes.Node) -> str:
    """The words of a sentence, with its formulas and its code, and without its links."""
    inside = "".join(map(as_html, node.children))
    match node:
        case nodes.math():
            formula = html.escape(node.astext())
            return rf'<span class="math notranslate nohighlight">\({formula}\)</span>'
        case nodes.literal():
            return f'<code class="docutils literal notranslate">{inside}</code>'
        case nodes.emphasis():
            return f"<em>{inside}</em>"
        case nodes.Text():
            return html.escape(node.astext())
    return inside


def section_of(node: nodes.Node) -> tuple[str, str]:
    """The id and the title of the innermost section with a title that a node stands in."""
    while not (isinstance(node, nodes.section) and isinstance(node[0], nodes.title)):
        node = node.parent
    return node["ids"][0], html.escape(node[0].astext())


def unique(app: Sphinx, env: BuildEnvironment) -> None:
    """No two checks of the book have one name, which an address and the printed book rely on."""
    places: dict[str, str] = {}
    for page in env.found_docs:
        for _, claim in env.metadata[page].get("claims", []):
            other = places.setdefault(claim["name"], page)
            if (
                other != page
                or sum(
                    c["name"] == claim["name"] for _, c in env.metadata[page]["claims"]
                )
                > 1
            ):
                warn("a name of a check stands twice: %s", claim["name"], location=page)


class Claims(SphinxDirective):
    """How many claims there are, and a section with a table for each chapter."""

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        in_order = self.env.collect_relations()
        claims = {name: self.env.metadata[name].get("claims", []) for name in in_order}
        chapters = [self.chapter(name, rows) for name, rows in claims.items() if rows]
        total = sum(map(len, claims.values()))
        stored = sum(
            bool(claim["stored"]) for rows in claims.values() for _, claim in rows
        )
        count = nodes.strong(
            "",
            f"{total} claims on {len(chapters)} pages, {stored} of them of stored results.",
        )
        return [nodes.paragraph("", "", count), *chapters]

    def chapter(self, name: str, claims: list[tuple[Any, Any]]) -> nodes.section:
        address = self.env.app.builder.get_relative_uri(self.env.docname, name)
        title = self.env.titles[name].astext()
        link = nodes.reference("", title, refuri=address, internal=True)
        known = dict.fromkeys(claim["stored"] for _, claim in claims if claim["stored"])
        ids = {
            stored: f"stored-{nodes.make_id(name)}-{i}"
            for i, stored in enumerate(known)
        }
        groups = [
            "\n".join(
                ["<tbody>", GROUP.format(address, *section)]
                + [
                    ROW.format_map(
                        claim
                        | {
                            "page": address,
                            "mark": MARK.format(ids[claim["stored"]])
                            if claim["stored"]
                            else "",
                        }
                    )
                    for _, claim in rows
                ]
                + ["</tbody>"]
            )
            for section, rows in groupby(claims, key=itemgetter(0))
        ]
        text = TABLE.format(len(claims), "\n".join(groups))
        text += "\n".join(
            STORED.format(anchor, stored) for stored, anchor in ids.items()
        )
        table = nodes.raw("", text, format="html")
        heading = nodes.title("", "", link)
        return nodes.section("", heading, table, ids=[nodes.make_id(name)])


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(Checked, html=(begin, end))
    app.connect("env-before-read-docs", read_last)
    app.connect("doctree-read", connect)
    app.connect("env-check-consistency", unique)
    app.add_directive("claims", Claims)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
