"""The built pages help their reader: terms, sources, figures and equations are linked."""

import re
from pathlib import Path
from urllib.parse import urldefrag

TOC = (Path(__file__).parents[1] / "_toc.yml").read_text()
IN_ORDER = [
    f"book/{name}.html" for name in re.findall(r"(?:file|root): book/(\w+)", TOC)
]
CHAPTERS = [name for name in IN_ORDER if re.match(r"book/(\d|a\d)", name)]
TERM = "a[href*='glossary.html#term-']"


def linked(pages):
    """Every place that a text links to, as file and id, with what the link says."""
    return {
        (Path(address).name or path.name, anchor, link.text)
        for path, page in pages.values()
        for link in page.select("article a[href*='#']:not(.headerlink)")
        for address, anchor in [urldefrag(link["href"])]
    }


def test_every_chapter_links_terms_to_the_glossary_and_none_twice(pages):
    assert len(CHAPTERS) == 16
    for name in CHAPTERS:
        links = pages[name][1].select(TERM)
        terms = [link["href"] for link in links]
        assert len(terms) >= 4, name
        assert len(set(terms)) == len(terms), (name, sorted(terms))
        for link in links:
            assert not link.find_parent(["h1", "h2", "h3", "figcaption"]), (name, link)


def test_a_link_to_the_glossary_shows_what_the_term_means(pages):
    _, glossary = pages["book/glossary.html"]
    for name in IN_ORDER:
        for link in pages[name][1].select(TERM):
            term = glossary.find("dt", id=urldefrag(link["href"])[1])
            meaning = term.find_next_sibling("dd").text
            meaning = re.sub(r" \[[^]]+, \d{4}\]", "", meaning)
            assert link["title"].split() == meaning.split(), (name, link["href"])


def test_the_glossary_is_in_alphabetical_order(pages):
    terms = [entry["id"] for entry in pages["book/glossary.html"][1].select("dt")]
    words = [term.removeprefix("term-").lower().split("-") for term in terms]
    assert len(words) > 30
    assert words == sorted(words)


def test_each_source_lists_the_pages_that_cite_it_and_leads_to_the_place(pages):
    cited = {}
    for name in IN_ORDER:
        for place in pages[name][1].select(".bibtex-citation"):
            for link in place.select("a[href^='bibliography.html#']"):
                source = urldefrag(link["href"])[1]
                file = name.removeprefix("book/")
                cited.setdefault(source, {}).setdefault(file, f"{file}#{place['id']}")
    _, bibliography = pages["book/bibliography.html"]
    sources = bibliography.select("div.citation")
    assert len(sources) >= 35
    for source in sources:
        links = source.select(".cited-in a")
        places = [*cited[source["id"]].values()]
        assert [link["href"] for link in links] == places, source.text
        for link in links:
            _, page = pages[f"book/{urldefrag(link['href'])[0]}"]
            assert link.text in page.h1.text


def test_every_figure_is_referred_to_by_its_number(pages):
    links, seen = linked(pages), 0
    for name in CHAPTERS:
        path, page = pages[name]
        for figure in page.select("figure:has(.caption-number)"):
            number = figure.select_one(".caption-number").text.strip()
            assert (path.name, figure["id"], number) in links, (name, number)
            seen += 1
    assert seen >= 29


def test_every_numbered_equation_is_referred_to(pages):
    links, seen = linked(pages), 0
    for name in CHAPTERS:
        path, page = pages[name]
        for number in page.select(".eqno"):
            target = (path.name, number.parent["id"], number.contents[0])
            assert target in links, (name, number.text)
            seen += 1
    assert seen >= 10


def test_a_line_does_not_begin_with_the_full_stop_behind_a_formula(pages):
    seen = 0
    for name, (_, page) in pages.items():
        for formula in page.select("article span.math"):
            behind = formula.next_sibling
            if isinstance(behind, str) and behind[0] in ".,;:?!)":
                assert "unbroken" in formula.parent.get("class", []), (
                    name,
                    formula.text,
                )
                seen += 1
    assert seen > 50
