"""The built HTML: opens without a network, and every picture says what it shows."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urldefrag

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Every page of the book by name, built from the stored outputs, without executing them."""
    folder = tmp_path_factory.mktemp("site")
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = "off"
    local = config["sphinx"]["local_extensions"]
    config["sphinx"]["local_extensions"] = {n: str(ROOT / local[n]) for n in local}
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    program = Path(sys.executable).with_name("jupyter-book")
    command = [str(program), "build", str(ROOT), "-q", "-W", "-n"]
    command += [
        "--keep-going",
        "--config",
        str(folder / "_config.yml"),
        "--toc",
        "_toc.yml",
    ]
    command += ["--path-output", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    html = folder / "_build" / "html"
    return {
        path.relative_to(html).as_posix(): (
            path,
            BeautifulSoup(path.read_text(), "html.parser"),
        )
        for path in html.rglob("*.html")
        if "_static" not in path.parts
    }


def chapters(pages):
    return {
        name: page for name, (_, page) in pages.items() if name.startswith("book/0")
    }


def test_the_book_has_all_its_pages(pages):
    names = ["01_masks", "02_scaling_at_test_time", "02_symbolic_graph"]
    names += ["02_through_time", "03_inverted_dropout"]
    names += ["04_pytorch", "04_where_it_goes", "05_scikit_learn", "06_audit"]
    names += ["index", "claims", "glossary", "bibliography"]
    assert {f"book/{name}.html" for name in names} <= pages.keys()


def test_nothing_is_loaded_from_another_host(pages):
    loaded = {
        "script": "src",
        "link": "href",
        "img": "src",
        "iframe": "src",
        "source": "src",
    }
    for name, (_, page) in pages.items():
        for tag, attribute in loaded.items():
            for element in page.find_all(tag):
                address = element.get(attribute) or ""
                assert not address.startswith(("http:", "https:", "//")), (
                    name,
                    str(element)[:200],
                )
        for script in page.find_all("script", src=False):
            assert "https://" not in script.text, (name, script.text[:200])


def test_style_sheets_load_nothing_from_another_host(pages):
    path, _ = pages["book/index.html"]
    sheets = [*(path.parents[1] / "_static").rglob("*.css")]
    assert sheets
    for sheet in sheets:
        text = (
            sheet.read_text(encoding="utf-8")
            .replace(" ", "")
            .replace('"', "")
            .replace("'", "")
        )
        assert "url(http" not in text, sheet
        assert "url(//" not in text, sheet
        assert "@importhttp" not in text, sheet


def test_everything_a_page_loads_or_links_to_is_there(pages):
    attributes = {"script": "src", "link": "href", "img": "src", "a": "href"}
    for name, (path, page) in pages.items():
        for tag, attribute in attributes.items():
            for element in page.find_all(tag):
                address, _ = urldefrag(element.get(attribute) or "")
                address = address.partition("?")[0]
                if address and ":" not in address:
                    assert (path.parent / address).resolve().exists(), (name, address)


def test_formulas_are_set_by_a_local_mathjax(pages):
    for name, page in chapters(pages).items():
        sources = [script.get("src", "") for script in page.find_all("script")]
        assert any(
            source.endswith("_static/mathjax/tex-chtml.js") for source in sources
        ), name


def test_every_picture_has_a_text_that_says_what_it_shows(pages):
    shown = 0
    for name, (_, page) in pages.items():
        for picture in page.find_all("img"):
            alt = picture.get("alt", "")
            assert len(alt) > 60, (name, str(picture)[:200])
            assert "/" not in alt, (name, alt)
            assert ".png" not in alt, (name, alt)
            shown += 1
    assert shown >= 12
    drawing = pages["book/index.html"][1].find("svg", class_="path-picture")
    assert len(drawing.find("desc").text) > 60


def test_every_picture_of_a_chapter_is_a_figure_with_a_numbered_caption(pages):
    for name, page in chapters(pages).items():
        pictures = page.find_all("img")
        assert pictures, name
        for picture in pictures:
            figure = picture.find_parent("figure")
            assert figure, (name, str(picture)[:200])
            assert figure.find("span", class_="caption-number"), (
                name,
                str(figure)[:200],
            )


def test_every_citation_leads_to_the_bibliography(pages):
    _, bibliography = pages["book/bibliography.html"]
    for name, page in chapters(pages).items():
        cited = [
            a["href"]
            for span in page.select(".bibtex-citation")
            for a in span.find_all("a")
        ]
        cited += [a["href"] for a in page.select("a[href^='bibliography.html#']")]
        assert cited, name
        for address in cited:
            assert bibliography.find(id=urldefrag(address)[1]), (name, address)


def test_solutions_are_folded_until_asked_for(pages):
    for name, page in chapters(pages).items():
        solutions = page.select("div.solution")
        assert len(solutions) >= 2, name
        assert all("dropdown" in solution["class"] for solution in solutions), name
        assert page.find("script", src=re.compile(r"/unfold\.js")), name


def test_the_page_of_claims_lists_every_claim_of_every_chapter_where_it_stands(pages):
    _, ledger = pages["book/claims.html"]
    sections = {
        section.h2.a["href"]: section for section in ledger.select("section section")
    }
    in_order = re.findall(r"file: book/(\d\w+)", (ROOT / "_toc.yml").read_text())
    assert list(sections) == [f"{name}.html" for name in in_order]
    total = 0
    for file, section in sections.items():
        stored = executed_claims(ROOT / "book" / file.replace(".html", ".ipynb"))
        assert stored, file
        assert section.caption.text == f"{len(stored)} claims"
        _, chapter = pages[f"book/{file}"]
        lines, anchors = [], []
        for row in section.select("tbody tr"):
            sentence, measured, bound = (cell.text for cell in row.select("th, td"))
            lines.append(f"✓ {sentence} (measured {measured}; {bound})")
            address, anchor = urldefrag(row.a["href"])
            assert address == file
            anchors.append(anchor)
            targets = chapter.find_all(id=anchor)
            assert [target.text for target in targets] == lines[-1:], (file, anchor)
        assert lines == stored, file
        assert anchors == [claim["id"] for claim in chapter.select(".claim")], file
        total += len(lines)
    assert f"{total} claims in {len(sections)} chapters." in ledger.text


def executed_claims(path):
    """The lines that the claims of a notebook put out when it was executed."""
    lines = [
        output.get("data", {}).get("text/plain", "")
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
    ]
    return [line for line in lines if line.startswith("✓")]


def test_tables_of_claims_say_what_their_cells_are(pages):
    for table in pages["book/claims.html"][1].select("table"):
        columns = [cell.text for cell in table.select("thead th[scope=col]")]
        assert columns == ["Claim", "Measured", "Bound"]
        assert all(row.find("th", scope="row") for row in table.select("tbody tr"))
