"""Links to sources and figures: plain in a notebook, citations and numbers on a page."""

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from conftest import build_alone
from pybtex.database import parse_file

ROOT = Path(__file__).parents[1]
ENTRIES = parse_file(str(ROOT / "book" / "references.bib")).entries
PAGES = sorted([*(ROOT / "book").glob("*.ipynb"), *(ROOT / "book").glob("*.md")])
BIB = """
@misc{one, author = {Smith, Ann}, title = {T}, year = {2001}, url = {https://a.org/1}}
@misc{two, author = {Lee, Bo}, title = {U}, year = {2002}}
"""
TEXT = """
# Page

```{figure} a.png
:name: fig-a
A picture.
```

Shown [(Smith, 2001)](https://a.org/1), by [Smith (2001)](https://a.org/1) ([Lee (2002)](#two)).
See [the code](https://a.org/1), [another](https://a.org/2) and [the picture](#fig-a).

```{bibliography}
```
"""


def build(folder, bib):
    (folder / "conf.py").write_text(
        "extensions = ['myst_parser', 'sphinxcontrib.bibtex', 'links']\n"
        "bibtex_bibfiles = ['a.bib']\nbibtex_reference_style = 'author_year'\nnumfig = True\n"
    )
    (folder / "a.bib").write_text(bib)
    (folder / "a.png").write_bytes(
        (ROOT / "book" / "_static" / "logo.png").read_bytes()
    )
    (folder / "index.md").write_text(TEXT)
    return build_alone(folder)


def test_a_link_to_a_source_is_a_citation_and_one_to_a_figure_its_number(tmp_path):
    done = build(tmp_path, BIB)
    assert done.returncode == 0, done.stderr
    page = BeautifulSoup((tmp_path / "out" / "index.html").read_text(), "html.parser")
    text = " ".join(paragraph.text for paragraph in page.select("section > p"))
    assert "Shown [Smith, 2001], by Smith [2001] (Lee [2002])." in text
    assert "See the code, another and Fig. 1." in text
    outside = [a["href"] for a in page.select("section > p a.external")]
    assert outside == ["https://a.org/1", "https://a.org/2"]


def test_two_entries_of_one_address_stop_the_build(tmp_path):
    done = build(tmp_path, BIB + BIB.replace("{one", "{three").replace("{two", "{four"))
    assert done.returncode != 0
    assert "have one address: https://a.org/1" in done.stderr


def links_of(path):
    """Words and address of each link of the text of a page."""
    text = path.read_text()
    return re.findall(r"\[([^\[\]]+)\]\((https?://[^\s\"\\)]+|#\w+)\)", text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_citation_reads_in_a_notebook_as_on_the_page(path):
    known = {
        entry.fields.get("url", f"#{key}"): entry for key, entry in ENTRIES.items()
    }
    for words, address in links_of(path):
        entry = known.get(address)
        if entry and words.endswith(")"):
            first = entry.persons["author"][0]
            name = re.sub(r"[{}]", "", " ".join(first.prelast_names + first.last_names))
            assert name.split()[0] in words, (words, address)
            assert entry.fields.get("year", "") in words, (words, address)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_nothing_is_written_that_jupyterlab_shows_raw(path):
    text = path.read_text()
    assert not re.findall(r"\{(?:cite:\w+|numref|doc|question)\}", text)
