"""Every page keeps the book's promise, and every chapter its length."""

import re
import tomllib
from collections import Counter

import nbformat
import pytest
from promise import EXCEPTIONS, ROOT, checked, exceptions_of, offenders, read

CHAPTERS = sorted((ROOT / "book").glob("*.ipynb"))
PAGES = [
    *CHAPTERS,
    *(ROOT / "book" / f"{name}.md" for name in ("index", "glossary", "questions")),
]


def names(paths):
    return [path.stem for path in paths]


@pytest.fixture(scope="module")
def chapters():
    return {path.stem: read(path) for path in PAGES}


@pytest.mark.parametrize("name", names(PAGES))
def test_every_fact_is_checked_cited_or_derived_beside_it(chapters, name):
    chapter = chapters[name]
    assert list(offenders(chapter, exceptions_of(chapter.path))) == []


def test_exceptions_are_few_needed_and_have_a_reason(chapters):
    listed = tomllib.loads(EXCEPTIONS.read_text())
    assert listed.keys() <= chapters.keys()
    assert sum(map(len, listed.values())) <= 20
    for name, entries in listed.items():
        found = list(offenders(chapters[name]))
        for entry in entries:
            assert any(entry["sentence"] in sentence for sentence in found), entry
            assert len(entry["reason"]) > 20, entry


@pytest.mark.parametrize("name", names(CHAPTERS))
def test_a_chapter_is_a_lesson_of_at_most_fifteen_minutes(chapters, name):
    assert 4 <= chapters[name].minutes_main <= 15


def test_the_main_path_takes_at_most_two_hours(chapters):
    path = [
        chapters[name].minutes_main for name in names(CHAPTERS) if "01" <= name < "09"
    ]
    assert len(path) == 8
    assert sum(path) <= 120


@pytest.mark.parametrize("name", names(CHAPTERS))
def test_checks_stand_in_cells_of_their_own_and_stories_are_short(chapters, name):
    chapter = chapters[name]
    assert chapter.long_cells == []
    assert chapter.misplaced == []
    assert chapter.claiming <= 0.02 * chapter.visible


@pytest.mark.parametrize("path", CHAPTERS, ids=names(CHAPTERS))
def test_what_is_folded_on_the_page_is_hidden_in_jupyterlab_too(path):
    cells = nbformat.read(path, as_version=4).cells
    folded = [
        c for c in cells if {"check", "hide-input"} & {*c.metadata.get("tags", [])}
    ]
    assert folded
    for cell in folded:
        assert cell.metadata["jupyter"]["source_hidden"], cell.source
    for cell in folded:
        assert "check" not in cell.metadata["tags"] or "claim(" in cell.source


def test_each_check_has_one_sentence_and_each_sentence_one_check(chapters):
    checks = Counter(name for chapter in chapters.values() for name in chapter.checks)
    links = Counter(name for chapter in chapters.values() for name in checked(chapter))
    assert set(checks.values()) == {1}
    assert checks == links
    for chapter in chapters.values():
        own = {
            link.removeprefix("#check-") for link in chapter.links if "#check-" in link
        }
        assert own == set(chapter.checks), chapter.path


@pytest.mark.parametrize("path", CHAPTERS, ids=names(CHAPTERS))
def test_no_exception_that_a_cell_waits_for_may_fail_to_come(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            tries = len(re.findall(r"(?m)^\s*try:", cell.source))
            assert len(re.findall(r"(?m)^\s*else:\s*\n\s*raise ", cell.source)) >= tries


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("Half of the units are dropped.", 1),
        ("It is never slow.", 1),
        ("The loss falls by 0.03.", 1),
        ("This takes 3 lines. Nothing else is needed.", 1),
        ("- One item.\n- A better item.", 1),
        ("| a | b |\n|---|---|\n| x | 3 |\n", 1),
        (
            ":::{admonition} Guess first: how many?\n:class: dropdown\n\nTwice as many.\n:::",
            1,
        ),
        (
            ":::{admonition} Is it?\n:class: dropdown question\n\n- [ ] Never.\n\n  Always.\n:::",
            1,
        ),
        ("Units are dropped.", 0),
        ("[Half of the units are dropped](#check-half).", 0),
        ("Half are dropped [(Srivastava et al., 2014)](https://jmlr.org).", 0),
        ("Half are dropped. See [the figure](#fig-a).", 0),
        ("$n p = 16$, so half are dropped.", 0),
        ("Half are dropped:\n\n$$n p = 16$$", 0),
        ("Is half of it more?", 0),
        ("Draw 3 masks.", 0),
        ("By the end of it you can\n\n- do it better;\n- say 3 words.", 0),
        ("Chapter 3 has it, in `x[3]` and at $p$ of float16.", 0),
    ],
)
def test_a_fact_without_a_reason_is_found(tmp_path, text, broken):
    page = tmp_path / "page.md"
    page.write_text(text)
    assert len(list(offenders(read(page)))) == broken


@pytest.mark.parametrize(
    ("text", "broken"),
    [("A batch of 64 images.", 0), ("A batch of 65 images.", 1), ("64 is more.", 1)],
)
def test_a_number_that_the_code_beside_it_shows_needs_no_more(tmp_path, text, broken):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_markdown_cell(text),
        nbformat.v4.new_code_cell("batch = hidden[:64]"),
    ]
    nbformat.write(notebook, tmp_path / "page.ipynb")
    assert len(list(offenders(read(tmp_path / "page.ipynb")))) == broken
