"""The codes of the audit: none changes, each has a page, and what a page shows is so."""

import json
import re
import warnings
from pathlib import Path

import audit_codes
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from conftest import build_alone
from dropouts import checked
from torch import nn
from torch.nn import functional as F

from companion.audit import (
    AuditReport,
    Check,
    audit_model,
    codes,
    estimator,
    layer,
    misuses,
)

REGISTERED = [*layer.CHECKS, *misuses.MISUSES, *estimator.CHECKS]
NAMES = {check.code: check.name for check in REGISTERED}
PROGRAMS = {code: page for code, page in codes.pages().items() if page.wrong}
OF_LAYERS = [code for code in PROGRAMS if code < "DR3"]
OF_MODELS = [code for code in PROGRAMS if code > "DR3"]


def run(program):
    """What a program of a page defines, where NumPy and PyTorch are at hand."""
    space = {"__name__": "page", "np": np, "torch": torch, "nn": nn, "F": F}
    exec(program, space)
    return space


@pytest.mark.parametrize("code", OF_LAYERS)
def test_of_a_layer_the_wrong_program_fails_its_check_and_the_right_one_passes(code):
    wrong, right = run(PROGRAMS[code].wrong), run(PROGRAMS[code].right)
    found = [
        checked(space["dropout"], NAMES[code], shape=(64, 256))
        for space in (wrong, right)
    ]
    assert code in [check.code for check in found[0].failures]
    assert found[1].passed, found[1]


@pytest.mark.parametrize("code", OF_MODELS)
def test_of_a_model_the_wrong_program_fails_its_check_and_the_right_one_passes(code):
    found = []
    for program in (PROGRAMS[code].wrong, PROGRAMS[code].right):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's own, of what is wrong
            model = run(program)["Model"]()
        found.append(audit_model(model, torch.ones(4, 8)))
    wrong, right = (
        [check.code for check in report.checks if check.verdict in ("fail", "note")]
        for report in found
    )
    assert code in wrong
    assert code not in right


STAY = """
DR101 what is dropped
DR102 drop rate
DR103 survivors' scale
DR104 mean kept
DR105 inference
DR106 units independent
DR107 samples independent
DR108 fresh mask every call
DR109 backward
DR110 double backward
DR111 p = 0
DR112 input untouched
DR113 the same in every condition
DR114 NaN and inf dropped
DR201 p = 1
DR202 bad p refused
DR203 dtype and layout
DR204 seedable
DR205 global state left alone
DR206 empty and 0-d input
DR207 half precision
DR301 dropout active in eval()
DR302 dropout on the output
DR303 dropout right before BatchNorm
DR304 dropout twice in a row
DR305 channel dropout on other shapes
DR306 p = 0 or p = 1
DR307 dropout stuck in one mode
DR308 RNN dropout with one layer
DR309 masks that repeat
DR310 random numbers set back
DR311 one mask for the batch
DR312 one mode changes the other
DR313 other masks when recomputed
DR314 statistics move in eval()
DR315 mode not put back
DR316 answers depend on the batch
DR401 trains
DR402 backward
DR403 drop rate
DR404 survivors' scale
DR405 samples independent
DR406 fresh mask every call
DR407 inference
DR408 p = 0
DR409 p = 1
DR410 bad p refused
DR411 dtype and layout
DR412 seedable
DR413 global state left alone
"""


def test_codes_stay_and_each_has_a_page():
    golden = dict(line.split(" ", 1) for line in STAY.strip().splitlines())
    assert golden == NAMES
    assert codes.pages().keys() == golden.keys()
    assert len(NAMES) == len(REGISTERED)
    for page in codes.pages().values():
        assert page.why
        assert page.mend
        assert bool(page.wrong) == bool(page.right)


def test_a_page_shows_what_changes_and_the_lines_around_it():
    diff = codes.pages()["DR105"].diff()
    assert diff.splitlines() == [
        " def dropout(x, p, training):",
        "-    return F.dropout(x, p)",
        "+    return F.dropout(x, p, training)",
    ]
    for code, page in PROGRAMS.items():
        assert "\n-" in page.diff(), code


# The book


BOOK = Path(__file__).parents[1] / "book"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of the codes, and one with the tables of the reference and a report."""
    folder = tmp_path_factory.mktemp("codes")
    tables = re.findall(r"^\.\. registered::.*$", (BOOK / "api.md").read_text(), re.M)
    report = AuditReport("f", (Check("n", "m", "fail", code="DR103"),))
    conf = "extensions = ['myst_parser', 'registered', 'audit_codes']\nsmartquotes = False\n"
    conf += "import audit_codes\naudit_codes.PAGE = 'audit_codes'\n"
    index = "# Checks\n\n```{toctree}\naudit_codes\n```\n\n```{eval-rst}\n"
    index += "\n\n".join(tables) + "\n```\n\n" + report._repr_html_()
    text = re.sub(
        r"\(\d\d_\w+\.ipynb\)", "(index.md)", (BOOK / "audit_codes.md").read_text()
    )
    for name, written in (
        ("conf.py", conf),
        ("index.md", index),
        ("audit_codes.md", text),
    ):
        (folder / name).write_text(written)
    done = build_alone(folder)
    assert done.returncode == 0, done.stderr
    return {
        name: BeautifulSoup(
            (folder / "out" / f"{name}.html").read_text(), "html.parser"
        )
        for name in ("index", "audit_codes")
    }


def test_the_reference_lists_every_check_and_links_its_code(pages):
    rows = [row.select("td p") for row in pages["index"].select("table.docutils tr")]
    found = [[cell.text for cell in row] for row in rows if row]
    assert found == [[c.code, c.name, c.meaning] for c in REGISTERED]
    links = [row[0].a["href"] for row in rows if row]
    assert links == [f"audit_codes.html#{c.code.lower()}" for c in REGISTERED]


def test_a_report_links_its_codes(pages):
    (link,) = pages["index"].select("table.audit a")
    assert (link.text, link["href"]) == ("DR103", "audit_codes.html#dr103")


def test_every_code_has_a_section_with_its_texts(pages):
    for check in REGISTERED:
        (section,) = [
            found
            for found in pages["audit_codes"].select("section")
            if check.code.lower()
            in (
                found.get("id"),
                *(s["id"] for s in found.find_all("span", id=True, recursive=False)),
            )
        ]
        assert section.h3.text.startswith(f"{check.code}: {check.name}")
        text = " ".join(section.text.split())
        page = codes.pages()[check.code]
        for said in (check.meaning, "Why it matters.", "How to mend it."):
            assert said in text
        assert ("def " in text) == bool(page.wrong)


def case(name, failed, **more):
    """A stored result: a confirmed failure of these checks, if nothing else is said."""
    found = {"package": "p", "version": "1.0", "name": name, "measured": "a|b <i>"}
    found |= {"verdict": "fail", "expected": "fail", "definition": ""}
    return found | {"core": failed[:1], "edges": failed[1:]} | more


def test_what_failed_in_the_world_stands_under_the_first_check_it_fails(
    tmp_path, monkeypatch
):
    cases = [case(f"f{i}", ["DR103", "DR201"]) for i in range(7)]
    cases += [case("right", [], verdict="pass"), case("edge", [], edges=["DR201"])]
    cases += [case("alarm", ["DR101"], expected="pass")]
    cases += [case("meant", ["DR101"], definition="on purpose")]
    monkeypatch.setattr(audit_codes, "WORLD", tmp_path / "results.json")
    assert audit_codes.in_the_world() == {}
    (tmp_path / "results.json").write_text(json.dumps({"runs": cases}))
    lines = [f"- p 1.0, `f{i}`: a\\|b &lt;i>" for i in range(5)]
    assert audit_codes.in_the_world() == {
        "DR103": [*lines, "- and 2 more"],
        "DR201": ["- p 1.0, `edge`: a\\|b &lt;i>"],
    }
    text = "\n\n".join(audit_codes.sections(audit_codes.in_the_world()))
    assert "\n".join(lines) in text.partition("(dr103)=")[2].partition("(dr104)=")[0]
