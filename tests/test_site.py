"""The built pages, as files and in a browser: whole, at home on a phone, open to everyone."""

import re
from pathlib import Path
from urllib.parse import urldefrag

import nbformat
import pytest
import yaml
from browser import is_grave, opened, serve, violations

ROOT = Path(__file__).parents[1]


def in_order(entry):
    """The pages below an entry of _toc.yml, as a reader walks through them."""
    own = [entry[key] for key in ("root", "file") if key in entry]
    below = [entry.get(key, []) for key in ("parts", "chapters", "sections")]
    return own + [name for items in below for item in items for name in in_order(item)]


TOC = [
    f"{name}.html" for name in in_order(yaml.safe_load((ROOT / "_toc.yml").read_text()))
]
PAGES = [*TOC, "404.html", "genindex.html", "search.html"]


def chapters(pages):
    return {
        name: page for name, (_, page) in pages.items() if name.startswith("book/0")
    }


def test_every_page_is_looked_at(pages):
    assert pages.keys() == {*PAGES, "index.html"}


def test_the_root_leads_to_the_first_page(pages):
    (refresh,) = pages["index.html"][1].select("meta[http-equiv=Refresh]")
    assert refresh["content"] == "0; url=book/index.html"


TINY = """<!DOCTYPE html>
<html lang="en" data-theme="light">
<head>
<title>A page</title>
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<style>
html[data-theme="dark"] { background: #111; color: #eee }
html[data-theme="dark"] .faint-at-night { color: #444 }
</style>
<script>
matchMedia("(prefers-color-scheme: dark)").onchange = ({ matches }) => {
  document.documentElement.dataset.theme = matches ? "dark" : "light";
};
</script>
</head>
<body><main><h1>A page</h1>BROKEN</main></body>
</html>
"""
LOOK = """async () => {
  const faults = [];
  const show = node => node.outerHTML.slice(0, 200);
  for (let y = 0; y < document.body.scrollHeight; y += innerHeight) scrollTo(0, y);
  for (const image of document.images) {
    image.loading = "eager";
    await image.decode().catch(() => {});
    if (!image.naturalWidth) faults.push(`image not loaded: ${show(image)}`);
    if (!image.alt.trim()) faults.push(`image without a text: ${show(image)}`);
  }
  for (const math of document.querySelectorAll(".math"))
    if (!math.querySelector("mjx-container")) faults.push(`formula not set: ${show(math)}`);
  for (const error of document.querySelectorAll("mjx-merror, [data-mjx-error]"))
    faults.push(`formula with an error: ${show(error.closest(".math") ?? error)}`);
  const width = document.documentElement.scrollWidth;
  if (width > innerWidth) {
    const wide = [...document.body.querySelectorAll("*")]
      .filter(node => node.getBoundingClientRect().right > innerWidth);
    faults.push(`scrolls sideways, ${width} wide: ${wide.slice(-3).map(show).join("\\n")}`);
  }
  return faults;
}"""
UNFOLD = """() => {
  for (const button of document.querySelectorAll(".toggle-button-hidden")) button.click();
  for (const details of document.querySelectorAll("details")) details.open = true;
}"""


def faults_of_a_page(browser, address):
    """All that is wrong with a page, unfolded: on a desk and on a phone, by day and by night."""
    found = []
    for width in (1280, 390):
        noise = []
        with opened(
            browser, address, noise, width=width, reduced_motion="reduce"
        ) as page:
            page.evaluate(UNFOLD)
            faults = page.evaluate(LOOK)
            # Contrast takes most of axe's time and hardly depends on the width.
            rest = ["color-contrast"] if width == 390 else []
            faults += told(violations(page, without=rest))
            page.emulate_media(color_scheme="dark")
            page.wait_for_selector("html[data-theme=dark]")
            if width == 1280:
                contrast = told(violations(page, only=["color-contrast"]))
                faults += [f"dark: {fault}" for fault in contrast]
            found += [f"{width} px: {fault}" for fault in noise + faults]
    return found


def told(violations):
    return [
        f"{violation['id']} ({violation['impact']}): {node['html'][:200]}\n"
        f"    {node['target']} {node['failureSummary']}"
        for violation in filter(is_grave, violations)
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_fault_in_a_browser(browser, address, name):
    faults = faults_of_a_page(browser, f"{address}/{name}")
    assert not faults, "\n".join([name, *faults])


BROKEN = {
    "console error: alas": "<script>console.error('alas')</script>",
    "console warning: hm": "<script>console.warn('hm')</script>",
    "page error: nothing is not defined": "<script>nothing.there</script>",
    "image not loaded": "<img src='none.png' alt='A picture'>",
    "404: http://127.0.0.1": "<img src='none.png' alt='A picture'>",
    "image without a text": "<img src='data:,'>",
    "another host: https://example.org/x.js": "<script src='https://example.org/x.js'></script>",
    "request failed: http://example.org/x": "<img src='http://example.org/x' alt='A picture'>",
    "formula not set": "<p class='math'>x^2</p>",
    "formula with an error": "<p class='math'><mjx-container><mjx-merror>",
    "390 px: scrolls sideways": "<div style='width: 600px'>wide</div>",
    "label (critical)": "<input>",
    "1280 px: color-contrast": "<p style='color: #999'>faint</p>",
    "dark: color-contrast": "<p class='faint-at-night'>faint</p>",
}


@pytest.mark.parametrize("broken", [{}, BROKEN], ids=["whole", "broken"])
def test_every_fault_of_a_page_is_found_and_no_other(browser, tmp_path, broken):
    (tmp_path / "page.html").write_text(
        TINY.replace("BROKEN", "".join(broken.values()))
    )
    with serve(tmp_path) as address:
        found = faults_of_a_page(browser, f"{address}/page.html")
    assert [fault for fault in broken if fault not in "\n".join(found)] == [], found
    assert broken or not found


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


def test_everything_a_page_loads_or_links_to_is_there(pages, site):
    attributes = {"script": "src", "link": "href", "img": "src", "a": "href"}
    for name, (path, page) in pages.items():
        for tag, attribute in attributes.items():
            for element in page.find_all(tag):
                address, _ = urldefrag(element.get(attribute) or "")
                address = address.partition("?")[0]
                if address and ":" not in address:
                    start = site if address.startswith("/") else path.parent
                    assert (start / address.lstrip("/")).exists(), (name, address)


def test_formulas_are_set_by_a_local_mathjax(pages):
    for name, page in chapters(pages).items():
        sources = [script.get("src", "") for script in page.find_all("script")]
        assert any("_static/mathjax/startup.js" in source for source in sources), name


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
        pictures = page.select("article img")
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
