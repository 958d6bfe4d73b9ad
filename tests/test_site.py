"""The built pages, as files and in a browser: whole, at home on a phone, open to everyone."""

import re
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import nbformat
import pytest
import yaml
from browser import is_grave, opened, serve, transferred, violations
from playwright.sync_api import expect

ROOT = Path(__file__).parents[1]


def in_order(entry):
    """The pages below an entry of _toc.yml, as a reader walks through them."""
    own = [entry[key] for key in ("root", "file") if key in entry]
    below = [entry.get(key, []) for key in ("parts", "chapters", "sections")]
    return own + [name for items in below for item in items for name in in_order(item)]


TOC = [
    f"{name}.html" for name in in_order(yaml.safe_load((ROOT / "_toc.yml").read_text()))
]
CHAPTERS = [name for name in TOC if (ROOT / name).with_suffix(".ipynb").exists()]
PAGES = [*TOC, "404.html", "genindex.html", "search.html"]


def chapters(pages):
    return {name: pages[name][1] for name in CHAPTERS}


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

# The theme takes 300 ms of the page's own time to see what scrolls now.
WAIT = "() => new Promise(done => setTimeout(done, 400))"


def faults_of_a_page(browser, address):
    """All that is wrong with a page, unfolded: on a desk and on a phone, by day and by night."""
    found = []
    for width in (1280, 390):
        noise = []
        with opened(
            browser, address, noise, width=width, reduced_motion="reduce"
        ) as page:
            page.evaluate(UNFOLD)
            page.evaluate(WAIT)
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
        assert page.find("script", src=re.compile(r"/page\.js")), name


def test_the_page_of_claims_lists_every_claim_of_every_chapter_where_it_stands(pages):
    _, ledger = pages["book/claims.html"]
    sections = {
        section.h2.a["href"]: section for section in ledger.select("section section")
    }
    assert list(sections) == [name.removeprefix("book/") for name in CHAPTERS]
    total = 0
    for file, section in sections.items():
        stored = executed_claims(ROOT / "book" / file.replace(".html", ".ipynb"))
        assert stored, file
        assert section.caption.text == f"{len(stored)} claims"
        _, chapter = pages[f"book/{file}"]
        lines = []
        for row in section.select("tbody tr"):
            address, anchor = urldefrag(row.a["href"])
            assert address == file
            if heading := row.find("th", scope="rowgroup"):
                group = chapter.find("section", id=anchor)
                title = group.find(HEADING).text.removesuffix("#")
                assert re.sub(r"^\d+\. ", "", title) == heading.text, anchor
                continue
            name = anchor.removeprefix("sentence-")
            measured, bound = (cell.text for cell in row.select("td"))
            lines.append((name, f"(measured {measured}; {bound})"))
            (sentence,) = chapter.find_all(id=anchor)
            (check,) = chapter.find_all(id=f"check-{name}")
            words = sentence.text.removesuffix(
                sentence.select_one(".tick-figures").text
            )
            assert words.removesuffix("✓") == row.a.text
            assert check.text.startswith(f"✓ {row.a.text} {lines[-1][1]}")
            assert check.find_parent(is_section_with_heading) is group, (file, anchor)
            assert check.find_parent("details"), (file, anchor)
        assert lines == stored, file
        total += len(lines)
    assert f"{total} claims on {len(sections)} pages" in ledger.text


HEADING = re.compile("^h[1-6]$")


def is_section_with_heading(tag):
    return tag.name == "section" and tag.find(HEADING, recursive=False)


LINE = re.compile(
    r"✓ (\S+) (\(measured .*?; (?:at most|at least|between|exactly) .*?\))( stored: .*)?"
)


def executed_claims(path):
    """Names and figures of the claims of a notebook when it was executed."""
    lines = [
        output.get("data", {}).get("text/plain", "")
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
    ]
    return [LINE.fullmatch(line).groups()[:2] for line in lines if line.startswith("✓")]


def test_the_words_of_a_check_stand_in_one_fold_named_after_their_number(pages):
    for name, page in chapters(pages).items():
        for fold in page.select("div.tag_check > details"):
            count = len(fold.select(".claim"))
            title = f"✓ {count} check{'s' * (count != 1)}"
            assert {part.text for part in fold.summary.select("p")} == {title}, name
            assert not fold.summary.get("aria-label")
        assert not page.select(".claim:not(details .claim)"), name


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_what_was_measured_shows_at_the_sentence_and_the_mark_leads_to_the_check(
    visit, scripts
):
    page = visit(CHAPTERS[0], width=390, java_script_enabled=scripts)
    sentence = page.locator("article .checked:not(.solution *, details *)").first
    figures = sentence.locator(".tick-figures")
    expect(figures).to_be_hidden()
    sentence.hover()
    expect(figures).to_be_visible()
    page.mouse.move(0, 0)
    expect(figures).to_be_hidden()
    sentence.click(position={"x": 4, "y": 6})
    page.mouse.move(0, 0)
    expect(figures).to_be_visible()
    assert figures.evaluate("node => node.getBoundingClientRect().right") <= 390
    mark = sentence.get_by_role("link", name=f"Check: {figures.inner_text()}")
    mark.focus()
    expect(figures).to_be_visible()
    check = page.locator(mark.get_attribute("href"))
    expect(check).to_be_hidden()
    mark.press("Enter")
    expect(check).to_be_in_viewport()


def test_print_shows_sentences_and_bounds_and_not_the_code_of_checks(visit):
    page = visit(CHAPTERS[0])
    page.emulate_media(media="print")
    sentence = page.locator("article .checked:not(.solution *, details *)").first
    expect(sentence.locator(".tick-figures")).to_be_visible()
    assert page.locator(".tag_check").filter(visible=True).count() == 0


def test_no_number_of_a_claim_breaks_at_its_hyphen(pages):
    seen = 0
    for cell in pages["book/claims.html"][1].select("td"):
        kept = "".join(span.text for span in cell.select(".unbroken"))
        hyphens = len(re.findall(r"-\d", cell.text))
        assert len(re.findall(r"-\d", kept)) == hyphens, cell.text
        seen += hyphens
    assert seen > 10


def test_tables_of_claims_say_what_their_cells_are(pages):
    for table in pages["book/claims.html"][1].select("table"):
        columns = [cell.text for cell in table.select("thead th[scope=col]")]
        assert columns == ["Claim", "Measured", "Bound"]
        for group in table.select("tbody"):
            heading, *rows = group.select("tr")
            assert heading.find("th", scope="rowgroup")
            assert rows
            assert all(row.find("th", scope="row") for row in rows)


@pytest.fixture
def visit(browser, address):
    """Open pages of the site by name; they are closed after the test, and may not complain."""
    noise = []
    with ExitStack() as stack:

        def visit(name, **options):
            page = opened(browser, f"{address}/{name}", noise, **options)
            return stack.enter_context(page)

        yield visit
        errors = [line for line in noise if line.startswith(("console", "page error"))]
        assert errors == []


def test_walking_on_visits_every_page_in_order(pages):
    walked = ["book/index.html"]
    while link := pages[walked[-1]][1].select_one("a.right-next"):
        walked.append(f"book/{link['href']}")
        back = pages[walked[-1]][1].select_one("a.left-prev")
        assert f"book/{back['href']}" == walked[-2]
    assert walked == TOC


def test_search_by_keyboard_finds_a_chapter(visit):
    page = visit("book/01_masks.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("inverted")
    page.keyboard.press("Enter")
    follow_the_chapter_among_the_results(page)


def test_the_search_button_opens_the_search(visit):
    page = visit("book/01_masks.html", width=390)
    button = page.get_by_role("button", name="Search").and_(page.locator(":visible"))
    button.press("Enter")
    page.get_by_role("searchbox", name="Search this book").fill("inverted")
    page.keyboard.press("Enter")
    follow_the_chapter_among_the_results(page)


def test_an_address_with_a_question_finds_a_chapter(visit):
    page = visit("search.html?q=inverted", reduced_motion="reduce")
    expect(page.locator("#search-results .context").first).to_be_visible()
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        assert told(violations(page)) == []
    shown = page.locator("#search-results li", has_text="factor that has to be")
    expect(shown.first).not_to_contain_text(".ipynb")
    follow_the_chapter_among_the_results(page)


def follow_the_chapter_among_the_results(page):
    page.locator("#search-results").get_by_role(
        "link", name="Inverted dropout"
    ).first.click()
    page.wait_for_url("**/book/03_inverted_dropout.html")
    assert "Inverted dropout" in page.locator("h1").first.inner_text()


def test_a_solution_unfolds_by_mouse_and_by_keyboard(visit):
    page = visit("book/01_masks.html")
    solution = page.locator("div.solution").first
    content = solution.locator(".section, section, p:not(.admonition-title)").first
    button = solution.get_by_role("button", name="Toggle hidden content")
    expect(content).to_be_hidden()
    for toggle in (
        lambda: solution.locator(":scope > .admonition-title").click(),
        lambda: button.press("Enter"),
        lambda: button.press("Space"),
    ):
        before = button.get_attribute("aria-expanded")
        toggle()
        after = {"true": "false", "false": "true"}[before]
        expect(button).to_have_attribute("aria-expanded", after)
        expect(content).to_be_visible(visible=after == "true")


def test_the_button_of_a_solution_shows_that_the_keyboard_is_there(visit):
    page = visit("book/01_masks.html")
    title = page.locator("div.solution .admonition-title").first
    before = title.screenshot()
    title.locator("button").focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert title.screenshot() != before


def test_a_link_into_a_folded_solution_unfolds_it(visit, pages):
    _, soup = pages["book/01_masks.html"]
    claim = soup.select("div.solution .checked")[-1]["id"]
    options = {"color_scheme": "dark", "reduced_motion": "reduce"}
    page = visit(f"book/01_masks.html#{claim}", **options)
    expect(page.locator(f"#{claim}")).to_be_visible()
    expect(page.locator(f"#{claim}")).to_be_in_viewport()
    assert told(violations(page, only=["color-contrast"])) == []
    other = soup.select_one("div.solution .checked")["id"]
    expect(page.locator(f"#{other}")).to_be_hidden()
    page.evaluate("anchor => { location.hash = anchor; }", other)
    expect(page.locator(f"#{other}")).to_be_visible()
    expect(page.locator(f"#{other}")).to_be_in_viewport()


def test_code_that_scrolls_in_an_unfolded_solution_is_reached_by_keyboard(visit):
    page = visit("book/05_pytorch.html", width=390)
    for button in page.locator(".toggle-button").all():
        button.click()
    page.evaluate(WAIT)
    scrolling = page.locator("div.solution pre").evaluate_all(
        "all => all.filter(pre => pre.scrollWidth > pre.clientWidth).map(pre => pre.tabIndex)"
    )
    assert scrolling
    assert set(scrolling) == {0}


@pytest.mark.parametrize(
    ("name", "scripts"), [(CHAPTERS[0], True), *((name, False) for name in CHAPTERS)]
)
def test_a_chapter_offers_its_notebook(visit, name, scripts):
    page = visit(name, java_script_enabled=scripts)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download this notebook").press("Enter")
    path = (ROOT / name).with_suffix(".ipynb")
    assert download.value.suggested_filename == path.name
    assert download.value.path().read_bytes() == path.read_bytes()


HIDDEN = """nodes => nodes
  .filter(node => node.textContent.trim() || node.tagName === "IMG")
  .filter(node => !node.closest("script, style, svg, .headerlink"))
  .filter(node => !node.closest(".feedback")) // to an answer that is not chosen yet
  .filter(node => !node.closest("details:not([open]) > :not(summary), .tick-figures"))
  .filter(node => !node.closest("summary > .expanded")) // what it says when it is open
  .filter(node => !node.checkVisibility({ opacityProperty: true, visibilityProperty: true })
    || node.getBoundingClientRect().height === 0)
  .map(node => node.outerHTML.slice(0, 200))"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_without_scripts_a_chapter_is_read_on_a_phone(visit, theme):
    options = {"java_script_enabled": False, "color_scheme": theme}
    page = visit("book/01_masks.html", width=390, **options)
    # The colours of the theme, those of code among them, hang on this attribute.
    assert page.locator("html").get_attribute("data-theme") == "light"
    hidden = page.locator("article.bd-article *").evaluate_all(HIDDEN)
    assert hidden == []
    assert page.locator("dialog:visible").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_theme_follows_the_system_until_it_is_switched(visit, system):
    other = {"light": "dark", "dark": "light"}[system]
    page = visit("book/index.html", color_scheme=system)
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", system)
    button = page.get_by_role("button", name="Color mode")
    while root.get_attribute("data-theme") == system:
        button.press("Enter")
    page.goto(page.url.replace("index", "glossary"), wait_until="commit")
    expect(root).to_have_attribute("data-theme", other)
    expect(page.get_by_role("heading", name="Glossary")).to_be_visible()
    expect(root).to_have_attribute("data-theme", other)


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_weighs_at_most_a_megabyte(visit, name):
    sizes = transferred(visit(name))
    total = sum(sizes.values())
    largest = sorted(((size, path) for path, size in sizes.items()), reverse=True)[:8]
    lines = [f"{size:>9,} {urlsplit(path).path}" for size, path in largest]
    message = "\n".join([f"{name}: {total:,} bytes, the largest", *lines])
    assert total <= 1_000_000, message
