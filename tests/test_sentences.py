"""Sentences and their checks: joined on the page, and the build stops if one has no other."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from conftest import build_alone

ROOT = Path(__file__).parents[1]
CLAIM = (
    '<div class="claim" id="check-{0}">✓ {0} <span class="claim-figures">(measured -0.5; '
    "at most 1)</span>{1}</div>\n\n"
)
STORED = ' <span class="claim-stored">stored: a toy: 2 runs &amp; more</span>'
PAGE = "# A page\n\n## First\n\nSo [half of $n$ `units` *are* kept](#check-half).\n\n{}"


def build(folder, pages, builder="html"):
    """Some pages with claims, and the page that lists them, by Sphinx."""
    (folder / "conf.py").write_text(
        "extensions = ['myst_parser', 'checks']\n"
        "myst_enable_extensions = ['dollarmath']\nroot_doc = 'book/index'\n"
    )
    (folder / "book").mkdir()
    listed = "\n".join(sorted(pages))
    index = f"# Book\n\n```{{toctree}}\n{listed}\nclaims\n```\n"
    claims = "# What this book claims\n\n```{claims}\n```\n"
    for name, text in {"index": index, "claims": claims, **pages}.items():
        (folder / "book" / f"{name}.md").write_text(text)
    return build_alone(folder, builder)


def read(folder, name):
    text = (folder / "out" / "book" / f"{name}.html").read_text()
    return BeautifulSoup(text, "html.parser")


def test_a_sentence_and_its_check_lead_to_each_other(tmp_path):
    done = build(tmp_path, {"a": PAGE.format(CLAIM.format("half", ""))})
    assert done.returncode == 0, done.stderr
    page = read(tmp_path, "a")
    sentence = page.find(id="sentence-half")
    assert sentence.text.startswith(r"half of \(n\) units are kept")
    assert sentence.select_one("code").text == "units"
    mark = sentence.select_one("a.tick")
    assert mark["href"] == "#check-half"
    assert mark["aria-label"] == "Check: measured -0.5; at most 1"
    assert sentence.select_one(".tick-figures").text == "measured -0.5; at most 1"
    check = page.find(id="check-half")
    assert check.a["href"] == "#sentence-half"
    words = "✓ half of \\(n\\) units are kept (measured -0.5; at most 1)"
    assert check.text == words
    assert check.select_one("em").text == "are"


def test_the_list_takes_the_sentence_from_the_text(tmp_path):
    text = PAGE.format(CLAIM.format("half", STORED)) + "[Other](#check-other)\n\n"
    assert build(tmp_path, {"a": text + CLAIM.format("other", "")}).returncode == 0
    page = read(tmp_path, "claims")
    assert "2 claims on 1 pages, 1 of them of stored results." in page.text
    first, second = page.select("tbody tr:has(td)")
    assert first.a["href"] == "a.html#sentence-half"
    assert first.a.text == r"half of \(n\) units are kept"
    assert [cell.text for cell in first.select("td")] == ["-0.5", "at most 1"]
    place = first.select_one("a.stored-mark")["href"].removeprefix("#")
    assert page.find(id=place).text == "Stored result of a toy: 2 runs & more."
    assert second.a.text == "Other"
    assert not second.select("a.stored-mark")
    assert page.find("script", src=True, id="MathJax-script") or "mathjax" in str(page)


def test_a_stored_result_is_marked_where_it_stands(tmp_path):
    build(tmp_path, {"a": PAGE.format(CLAIM.format("half", STORED))})
    page = read(tmp_path, "a")
    assert page.select_one(".tick-figures").text.endswith("; a stored result")
    told = "Stored result of a toy: 2 runs & more."
    assert page.find(id="check-half").text.endswith(told)


GOOD = PAGE.format(CLAIM.format("half", ""))
AGAIN = "Or [a half](#check-half).\n"


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ({"a": PAGE.format("")}, "a sentence names a check that is not there: half"),
        (
            {"a": GOOD + CLAIM.format("other", "")},
            "a check has no sentence: other",
        ),
        ({"a": GOOD + AGAIN}, "two sentences name one check: half"),
        ({"a": GOOD + CLAIM.format("half", "")}, "stands twice: half"),
        ({"a": GOOD, "b": GOOD}, "stands twice: half"),
    ],
    ids=["no check", "no sentence", "two sentences", "twice", "on two pages"],
)
def test_what_is_not_one_to_one_stops_the_build(tmp_path, pages, said):
    done = build(tmp_path, pages)
    assert done.returncode != 0
    assert said in done.stderr


def test_a_sentence_can_be_read_without_html(tmp_path):
    assert build(tmp_path, {"a": GOOD}, "text").returncode == 0
    text = (tmp_path / "out" / "book" / "a.txt").read_text()
    assert 'So half of n "units" *are* kept.' in text
