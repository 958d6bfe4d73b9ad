"""Reading aids, made in every build: a link to the glossary shows what the term means, and an
entry of the bibliography says where it is cited.
"""

from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

GLOSSARY = "book/glossary"


def meanings(env: BuildEnvironment) -> dict[str, str]:
    """The meaning of each term of the glossary, by the id of its entry."""
    entries = env.get_doctree(GLOSSARY).findall(nodes.definition_list_item)
    return {
        anchor: without_sources(meaning)
        for *terms, meaning in entries
        for term in terms
        for anchor in term["ids"]
    }


def without_sources(meaning: nodes.Element) -> str:
    """The words of a meaning; a tooltip has no room for who said it first."""
    words = meaning.deepcopy()
    for link in list(words.findall(pending_xref)):
        if link["refdomain"] == "cite":
            link.parent.remove(link)
    return " ".join(words.astext().split()).replace(" .", ".").replace(" ;", ";")


def explain(app: Sphinx, page: nodes.document, name: str) -> None:
    """Give each link to the glossary its tooltip, and a class to draw it by."""
    means = meanings(app.env)
    for word in page.findall(nodes.inline):
        if "std-term" in word["classes"]:
            link = word.parent
            anchor = link.get("refid") or link["refuri"].rpartition("#")[2]
            link["reftitle"] = means[anchor]
            link["classes"].append("term")


def places(env: BuildEnvironment) -> dict[str, dict[str, str]]:
    """The id of the first citation of each source in each page that cites it."""
    first: dict[str, dict[str, str]] = {}
    for citation in env.domaindata["cite"]["citation_refs"]:
        for target in citation.targets:
            pages = first.setdefault(target.key, {})
            pages.setdefault(citation.docname, citation.citation_ref_id)
    return first


def cite_back(app: Sphinx, page: nodes.document, name: str) -> None:
    """Under each entry of the bibliography, link the pages that cite it."""
    citations = app.env.domaindata["cite"]["citations"]
    keys = {citation.citation_id: citation.key for citation in citations}
    cited = places(app.env)
    for entry in page.findall(nodes.citation):
        if not (key := keys.get(entry["ids"][0])):  # a footnote of a docstring
            continue
        anchors = cited[key]
        line = nodes.paragraph("", "Cited in: ", classes=["cited-in"])
        for source in filter(anchors.get, app.env.collect_relations()):
            address = app.builder.get_relative_uri(name, source)
            title = app.env.titles[source].astext()
            if len(line) > 1:
                line += nodes.Text("; ")
            line += nodes.reference(
                "", title, refuri=f"{address}#{anchors[source]}", internal=True
            )
        entry += line


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", explain)
    app.connect("doctree-resolved", cite_back)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
