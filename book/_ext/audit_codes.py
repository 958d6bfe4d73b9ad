"""The page of the audit's codes, and links to it from every report and table of checks.

The page is written in each build, in place of `{audit-codes}`: names and questions from where the
checks are registered, texts from companion/audit/codes.toml, and what each found in the world from
reproduce/audit_world/results.json.
"""

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from companion.audit import codes, estimator, layer, misuses
from companion.audit.formats import markdown

PAGE = "book/audit_codes"
MARK = "{audit-codes}"
SHOWN = 5  # of what failed a check, before the rest is counted
WORLD = Path(__file__).parents[2] / "reproduce" / "audit_world" / "results.json"
CELL = re.compile(r"<td>(DR\d+)</td>")
GROUPS: tuple[tuple[str, Sequence[Any]], ...] = (
    ("A layer or function: the core", [c for c in layer.CHECKS if not c.edge]),
    ("A layer or function: the edges", [c for c in layer.CHECKS if c.edge]),
    ("A whole model", misuses.MISUSES),
    ("A multilayer perceptron of scikit-learn", estimator.CHECKS),
)


def write(app: Sphinx, name: str, source: list[str]) -> None:
    """Put the texts of all codes into the page."""
    if MARK in source[0]:
        text = "\n\n".join(sections(in_the_world()))
        source[0] = source[0].replace(MARK, text)


def sections(found: dict[str, list[str]]) -> Iterator[str]:
    for title, checks in GROUPS:
        yield f"## {title}"
        for check in sorted(checks, key=lambda check: check.code):
            page = codes.pages()[check.code]
            yield f"({check.code.lower()})=\n### {check.code}: {check.name}"
            yield f"**Asked:** {check.meaning}"
            yield f"**Why it matters.** {page.why}"
            yield f"**How to mend it.** {page.mend}"
            if page.wrong:
                yield f"```diff\n{page.diff()}\n```"
            if lines := found.get(check.code):
                yield "**Found in the world:**\n\n" + "\n".join(lines)


def in_the_world() -> dict[str, list[str]]:
    """Return for each code a list of what failed it, as stored, defects alone."""
    stored = json.loads(WORLD.read_text())["runs"] if WORLD.exists() else []
    found: dict[str, list[str]] = {}
    for case in stored:
        failed = [*case.get("core", []), *case.get("edges", [])]
        if failed and case["verdict"] == case["expected"] and not case["definition"]:
            name = f"{case['package']} {case['version']}, `{case['name']}`"
            line = f"- {name}: {markdown(case['measured'])}"
            found.setdefault(failed[0], []).append(line)
    return {code: shortened(lines) for code, lines in found.items()}


def shortened(lines: list[str]) -> list[str]:
    more = len(lines) - SHOWN
    return lines if more <= 0 else [*lines[:SHOWN], f"- and {more} more"]


def link(app: Sphinx, page: nodes.document, name: str) -> None:
    """Let each code in the table of a report lead to its text."""
    if app.builder.format != "html":
        return
    place = app.builder.get_relative_uri(name, PAGE)
    for table in page.findall(nodes.raw):
        if 'class="audit"' in table.astext():
            linked = CELL.sub(partial(anchor, place), table.astext())
            table[:] = [nodes.Text(linked)]


def anchor(place: str, cell: re.Match[str]) -> str:
    code = cell[1]
    return f'<td><a href="{place}#{code.lower()}">{code}</a></td>'


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", write)
    app.connect("doctree-resolved", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
