"""What a published book needs: an address where there is one, and nothing of it where not."""

import re
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup
from conftest import ROOT

ADDRESS = "https://someone.example/dropout/"


@pytest.fixture(scope="module")
def published(built, site):
    variables = {
        "BOOK_URL": ADDRESS.rstrip("/"),
        "GITHUB_REPOSITORY": "someone/dropout",
    }
    return built("published", after=site, **variables)


def page(site, name):
    return BeautifulSoup((site / name).read_text(), "html.parser")


def property_of(page, name):
    return page.find("meta", property=name)["content"]


def chapters():
    return re.findall(r"file: (book/\w+)", (ROOT / "_toc.yml").read_text())


def test_the_site_map_lists_every_page_that_is_read(published):
    urls = ElementTree.parse(published / "sitemap.xml").findall("{*}url/{*}loc")
    names = {url.text.removeprefix(ADDRESS) for url in urls}
    assert names == {f"{name}.html" for name in ["book/index", *chapters()]}


def test_a_shared_link_has_a_title_a_description_and_a_picture(published):
    for name in ["book/index", *chapters()]:
        shared = page(published, f"{name}.html")
        assert property_of(shared, "og:title") in shared.title.text
        assert property_of(shared, "og:site_name") == "Dropout, Checked"
        assert property_of(shared, "og:url") == f"{ADDRESS}{name}.html"
        assert len(property_of(shared, "og:description")) > 20, name
        picture = property_of(shared, "og:image")
        assert picture.startswith(ADDRESS)
        assert (published / picture.removeprefix(ADDRESS)).stat().st_size > 10_000


def test_a_lost_reader_finds_the_way_back_from_any_depth(published, site):
    for folder, prefix in [(published, "/dropout/"), (site, "/")]:
        lost = page(folder, "404.html")
        loaded = [link["href"] for link in lost.find_all("link", rel="stylesheet")]
        loaded += [script["src"] for script in lost.find_all("script", src=True)]
        links = [a["href"] for a in lost.select("nav a.internal, article a")]
        assert f"{prefix}search.html" in links
        assert f"{prefix}book/03_inverted_dropout.html" in links
        for address in [*loaded, *links]:
            assert address.startswith(prefix), address
            path = urlsplit(address).path.removeprefix(prefix)
            assert path == "#" or (folder / path).exists(), address


def test_buttons_lead_to_the_repository_only_where_there_is_one(published, site):
    named = (published / "book" / "03_inverted_dropout.html").read_text()
    assert 'href="https://github.com/someone/dropout"' in named
    assert (
        'href="https://mybinder.org/v2/gh/someone/dropout/main'
        '?urlpath=tree/book/03_inverted_dropout.ipynb"'
    ) in named
    for path in site.rglob("*.html"):
        text = path.read_text()
        assert "mybinder" not in text, path
        assert "github.com/someone" not in text, path
    assert not (site / "sitemap.xml").exists()


def test_the_site_has_an_icon(pages):
    for name, (path, page) in pages.items():
        if name not in ("index.html", "404.html"):
            icon = page.find("link", rel="icon")
            assert (path.parent / icon["href"]).read_text().startswith("<svg"), name


def test_the_whole_site_takes_at_most_25_megabytes(site):
    sizes = {path: path.stat().st_size for path in site.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= 25e6, sorted(sizes, key=sizes.get)[-20:]


def test_icons_on_the_pages_have_their_letter_in_the_font(pages, site):
    """The theme's fonts are cut down to the icons that are shown."""
    from fontTools.ttLib import TTFont

    webfonts = site / "_static" / "vendor" / "fontawesome" / "webfonts"
    font = TTFont(webfonts / "fa-solid-900.woff2")
    assert len(font.getBestCmap()) < 100
    sheet = (site / "_static" / "styles" / "pydata-sphinx-theme.css").read_text()
    shown = {
        name
        for _, page in pages.values()
        for icon in page.select(".fas, .fa-solid")
        for name in icon["class"]
        if name.startswith("fa-") and name not in ("fa-solid", "fa-lg")
    }
    assert {"fa-magnifying-glass", "fa-download", "fa-angle-right"} <= shown
    for name in shown:
        rule = re.search(rf'\.{name}:before[^{{]*\{{content:"(\\\w+|[^"\\])"\}}', sheet)
        assert rule, name
        letter = rule[1]
        code = int(letter[1:], 16) if letter.startswith("\\") else ord(letter)
        assert code in font.getBestCmap(), name


def test_every_public_name_is_in_the_reference(pages):
    import companion

    _, reference = pages["book/api.html"]
    rooms = {heading.contents[0] for heading in reference.select("article h2")}
    assert rooms == set(companion.__all__)
    for name in [
        "masks.bernoulli_mask",
        "nn.Dropout",
        "audit.audit_model",
        "claims.claim",
    ]:
        entry = reference.find(id=f"companion.{name}")
        assert entry, name
        assert entry.find_next("dd").find("p").text, name


def test_names_in_the_code_of_a_chapter_link_to_the_reference(pages):
    _, reference = pages["book/api.html"]
    for name in chapters():
        if not re.match(r"book/\d", name):
            continue
        _, chapter = pages[f"{name}.html"]
        links = {a["href"] for a in chapter.select("a.sphinx-codeautolink-a")}
        targets = {link.partition("#")[2] for link in links if "api.html#" in link}
        assert "companion.claims.claim" in targets, name
        assert len(targets) >= 3, (name, targets)
        assert all(reference.find(id=target) for target in targets), name


def test_on_the_page_that_is_printed_every_link_leads_to_its_own_place(built, site):
    path = built("one_page", "singlehtml", after=site) / "book" / "index.html"
    page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    links = [link["href"] for link in page.select("a[href]")]
    outside = [link for link in links if not link.startswith(("#", "http"))]
    assert outside == []
    places = {tag["id"] for tag in page.select("[id]")}
    inside = {link[1:] for link in links if link[0] == "#"} - {""}
    assert len(inside) > 400
    assert inside - places == set()
    claims = page.select(".ledger [scope=row] a:not(.stored-mark)")
    assert len(claims) == len(page.select(".claim"))
    for link in claims:
        (sentence,) = page.find_all(id=link["href"][1:])
        assert sentence.text.startswith(f"{link.text}✓measured")
    for link in page.select(".ledger [scope=rowgroup] a"):
        (section,) = page.find_all(id=link["href"][1:])
        title = section.find(re.compile("^h[1-6]$")).text.removesuffix("#")
        assert re.sub(r"^\d+\. ", "", title) == link.text
    cited = page.select(".bibtex-citation a")
    assert cited
    for link in cited:
        (source,) = page.find_all(id=link["href"][1:])
        # The theme shortens some addresses.
        told = [text.partition("URL:")[0] for text in (source.p.text, link["title"])]
        assert told[0].split()[:8] == told[1].split()[:8]
