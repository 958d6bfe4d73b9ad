"""The book's promise, looked for in its text: every fact is checked, cited or derived beside it.

`python tests/promise.py book/01_masks.ipynb` prints what a chapter breaks and how long it is. The
rule is told in CONTRIBUTING.md, the exceptions stand in tests/exceptions.toml.
"""

import re
import sys
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import nbformat
from markdown_it.renderer import RendererHTML
from markdown_it.tree import SyntaxTreeNode
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

ROOT = Path(__file__).parents[1]
EXCEPTIONS = Path(__file__).with_name("exceptions.toml")
FOLDED = {"check", "hide-input", "hide-cell", "remove-cell"}

# What stands in a sentence for what is no word of it.
CHECK, SOURCE, MATH, CODE = "\ue000", "\ue001", "\ue002", "\ue003"
RELATION = re.compile(r"=|<|>|\\(le|ge|approx|propto|sim|lt|gt|ll|gg)\b|\\to\b")

LABEL = re.compile(
    r"\b(chapters?|sections?|appendix|part|axis|layers?|step|epoch|seed|row|column) \d+",
    re.I,
)
DIGITS = re.compile(r"(?<![\w.])(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?![\w-]*[A-Za-z])")
WORDS = re.compile(
    r"\b(half|halves|a third|thirds|a quarter|quarters|a fifth|fifths|a tenth|tenths|twice|"
    r"thrice|double[sd]?|triple[sd]?|per ?cent|hundreds?|thousands?|millions?|"
    r"more|less|fewer|faster|slower|better|worse|larger|smaller|higher|lower|greater|bigger|"
    r"longer|shorter|cheaper|stronger|weaker|easier|harder|most|least|best|worst|largest|"
    r"smallest|highest|lowest|fastest|slowest|never|always)\b",
    re.I,
)
HARMLESS = re.compile(r"\b(once more|no longer|more or less|the rest)\b", re.I)
IMPERATIVE = re.compile(
    r"(Do not )?(Add|Ask|Build|Call|Change|Check|Choose|Compare|Compute|Count|Derive|Divide|Do|"
    r"Draw|Find|Fit|Give|Guess|Imagine|Keep|Leave|Let|Look|Make|Measure|Multiply|Note|Pick|Plot|"
    r"Predict|Print|Put|Read|Remove|Repeat|Replace|Run|Say|See|Set|Show|Start|Suppose|Swap|Take|"
    r"Tell|Test|Think|Train|Try|Tune|Turn|Use|Write)\b"
)
SENTENCE = re.compile(
    r"(?<=[.!?])[\"\u201d\u2019)*_]*\s+(?=[\"\u201c\u2018(*_]*[A-Z0-9\ue000-\ue003])"
)
FENCE = re.compile(r"\{([\w:-]+)\}\s*(.*)")
CLAIM = re.compile(r'id="check-([^"]+)"')


@dataclass
class Block:
    """A paragraph, item, row or caption, with what stands beside it."""

    text: str
    beside: str = ""  # text whose sources and formulas hold for this block too
    shown: str = ""  # code and output next to it
    free: bool = False  # a goal, a choice of a quiz: it states nothing


@dataclass
class Chapter:
    path: Path
    blocks: list[Block] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    minutes_main: float = 0
    minutes: float = 0
    long_cells: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    visible: int = 0
    claiming: int = 0


@cache
def parser():
    extensions = {"amsmath", "colon_fence", "deflist", "dollarmath", "html_image"}
    return create_md_parser(MdParserConfig(enable_extensions=extensions), RendererHTML)


def tree(text):
    return SyntaxTreeNode(parser().parse(text))


def inline(node, links):
    """The words of an inline node, with marks for links, roles, formulas and code."""
    kind = node.type
    inside = "".join(inline(child, links) for child in node.children)
    if kind == "text":
        return node.content
    if kind in ("softbreak", "hardbreak"):
        return " "
    if kind == "code_inline":
        return CODE
    if kind in ("math_inline", "math_inline_double"):
        if RELATION.search(node.content):
            return MATH
        return CODE if re.search(r"[A-Za-z]", node.content) else node.content
    if kind == "myst_role":
        name, content = node.meta["name"], node.content
        if name == "term":
            words, _, term = content.partition(" <")
            links.append(f"term:{term.rstrip('>') or words}")
            return words
        return SOURCE
    if kind == "link":
        target = node.attrs["href"]
        links.append(target)
        if target.startswith("#check-"):
            return CHECK + inside
        return inside + SOURCE
    return inside


def blocks_of(node, links, before="", free=False):
    """The blocks below a node; `before` is the paragraph that leads to a list or a table."""
    found = []
    for child in node.children:
        kind = child.type
        if kind == "heading":
            before = ""
        elif kind in ("math_block", "math_block_label", "amsmath"):
            if found:
                found[-1].beside += MATH
            before += MATH
        elif kind == "paragraph":
            text = inline(child.children[0], links)
            found.append(
                Block(text, beside=before if MATH in before[-1:] else "", free=free)
            )
            before = text
        elif kind in ("bullet_list", "ordered_list"):
            goals = re.search(r"you (can|will be able to)\W*$", before.strip())
            for item in child.children:
                items = blocks_of(item, links, before, free or bool(goals))
                whole = before + " ".join(block.text for block in items)
                for block in items:
                    block.beside += whole
                found += items
        elif kind == "table":
            rows = [
                " | ".join(
                    inline(cell.children[0], links) if cell.children else ""
                    for cell in row.children
                )
                for part in child.children
                for row in part.children
            ]
            found += [Block(row, beside=before + row, free=free) for row in rows[1:]]
        elif kind == "dl":
            for part in child.children:
                if part.type == "dd":
                    found += blocks_of(part, links)
        elif kind in ("fence", "colon_fence"):
            found += directive(child, links)
        elif child.children:
            found += blocks_of(child, links, before, free)
    return found


def directive(node, links):
    """The blocks of a directive that has text inside."""
    match = FENCE.match(node.info.strip())
    name, title = match.groups() if match else ("", "")
    if name == "glossary":
        return blocks_of(tree(re.sub(r"(?m)^  (?=\S)", ": ", node.content)), links)
    if name not in ("admonition", "note", "tip", "warning", "exercise", "margin"):
        return []
    body = tree(re.sub(r"\A(:\w[\w-]*:.*\n)+", "", node.content))
    asked = []
    if name == "admonition":
        asked = [Block(inline(tree(title).children[0].children[0], links))]
    if re.search(r":class:.*\bquestion\b", node.content):
        return question(asked, body, links)
    return asked + blocks_of(body, links)


def question(asked, body, links):
    """A question of a quiz: what can be chosen states nothing, what is said on it does."""
    found = []
    for item in [item for child in body.children for item in child.children]:
        choice, *feedback = blocks_of(item, links)
        choice.free = True
        for block in feedback:
            block.beside = " ".join(other.text for other in feedback)
        found += [choice, *feedback]
    for block in asked:
        block.beside = " ".join(other.text for other in found)
    return asked + found


def output_of(cell):
    texts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        texts.append(
            output.get("text", "")
            or ("" if "image/png" in data else data.get("text/plain", ""))
        )
    return "\n".join(texts)


def read(path):
    """A chapter, or a page of plain Markdown."""
    chapter = Chapter(path)
    if path.suffix == ".md":
        chapter.blocks = blocks_of(tree(path.read_text()), chapter.links)
        return chapter
    words = lines = printed = 0
    shown, waiting, exercises = "", [], False
    for cell in nbformat.read(path, as_version=4).cells:
        tags = set(cell.metadata.get("tags", []))
        if cell.cell_type == "markdown":
            for part in re.split(r"(?m)^(?=## )", cell.source):
                if re.match(r"## (Exercises|Quiz)", part) and not exercises:
                    exercises = True
                    chapter.minutes_main = words / 220 + lines / 30 + printed / 400
                words += len(re.sub(r"(?m)^(```|:::|:\w+:).*$", "", part).split())
            waiting = blocks_of(tree(cell.source), chapter.links)
            for block in waiting:
                block.shown += shown
            chapter.blocks += waiting
            continue
        source = [line for line in cell.source.splitlines() if line.strip()]
        checks = CLAIM.findall(str(cell.get("outputs", "")))
        chapter.checks += checks
        if checks and "check" not in tags:
            chapter.misplaced += checks
        shown = (
            cell.source
            + "\n"
            + output_of(cell)
            + "\n"
            + str(cell.metadata.get("mystnb", ""))
        )
        if not tags & FOLDED:
            if len(source) > 15:
                chapter.long_cells.append(f"{len(source)} lines: {source[0]}")
            lines += len(source)
            chapter.visible += len(source)
            chapter.claiming += len(re.findall(r"\bclaim\(", cell.source))
            printed += len(output_of(cell).split())
        for block in waiting:
            block.shown += shown
        caption = cell.metadata.get("mystnb", {}).get("figure", {}).get("caption")
        if caption:
            own = blocks_of(tree(caption), chapter.links)
            for block in own:
                block.shown = shown
                block.beside = " ".join(other.text for other in waiting[-2:])
            chapter.blocks += own
    chapter.minutes = words / 220 + lines / 30 + printed / 400
    chapter.minutes_main = chapter.minutes_main or chapter.minutes
    return chapter


def offenders(chapter, exceptions=()):
    """The sentences that state a number or a comparison, and show no reason to believe it."""
    for block in chapter.blocks:
        if block.free:
            continue
        around = block.text + block.beside
        if SOURCE in around or MATH in around:
            continue
        for sentence in SENTENCE.split(block.text.strip()):
            if CHECK in sentence or sentence.rstrip('*_"”)').endswith("?"):
                continue
            if IMPERATIVE.match(sentence.lstrip('*_"“(')):
                continue
            plain = HARMLESS.sub("", LABEL.sub("", sentence))
            numbers = DIGITS.findall(plain)
            if WORDS.search(plain) or any(not told(n, block.shown) for n in numbers):
                readable = re.sub("[\ue000-\ue003]", "·", sentence)
                if not any(exception in readable for exception in exceptions):
                    yield readable


def told(number, shown):
    """Whether a number stands in the code or output beside it, however it is written there."""
    plain = number.replace(",", "")
    return any(
        re.search(rf"(?<![\d.]){re.escape(form)}(?!\d)", shown)
        for form in {number, plain, plain.removeprefix("0"), f"{int(float(plain)):_}"}
    )


def exceptions_of(path):
    listed = tomllib.loads(EXCEPTIONS.read_text()) if EXCEPTIONS.exists() else {}
    return [entry["sentence"] for entry in listed.get(path.stem, [])]


def checked(chapter):
    """The names of the checks that its sentences lead to."""
    links = [link for link in chapter.links if link.startswith("#check-")]
    return [link.removeprefix("#check-") for link in links]


def twice(names):
    return sorted({name for name in names if names.count(name) > 1})


def problems(chapter):
    """What a chapter breaks, by kind."""
    terms = [link for link in chapter.links if link.startswith("term:")]
    few = [f"only {len(set(terms))}"] if len(set(terms)) < 4 else []
    return {
        "cells over 15 lines": chapter.long_cells,
        "checks outside of check cells": chapter.misplaced,
        "checks without a sentence": sorted({*chapter.checks} - {*checked(chapter)}),
        "sentences without a check": sorted({*checked(chapter)} - {*chapter.checks}),
        "checks that stand twice": twice(chapter.checks),
        "sentences of a check that stand twice": twice(checked(chapter)),
        "terms that are linked twice": twice(terms),
        "terms, of which a chapter links four": few,
        "sentences that break the rule": list(
            offenders(chapter, exceptions_of(chapter.path))
        ),
    }


def main():
    for path in map(Path, sys.argv[1:]):
        chapter = read(path)
        print(
            f"# {path.name}: main part {chapter.minutes_main:.1f} min, "
            f"all {chapter.minutes:.1f} min; visible lines {chapter.visible}, "
            f"with a claim {chapter.claiming}; checks {len(chapter.checks)}"
        )
        for title, found in problems(chapter).items():
            if found:
                print(f"## {title}: {len(found)}")
                print("\n".join(f"  - {line}" for line in found))


if __name__ == "__main__":
    main()
