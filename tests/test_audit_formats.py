"""A report in every format: what each reader needs is there, whatever the texts hold."""

import functools
import json
import re
import string
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt

from companion import inverted
from companion.audit import AuditReport, Check
from companion.audit.formats import (
    Place,
    place_of,
    to_github,
    to_json,
    to_junit,
    to_markdown,
    to_sarif,
)

ODD = 'a|b\n<i>&amp; *c* `d` "e", f: 100% $g$ \x1b[31m\ud800 ::error::'
CHECKS = (
    Check("right", "Is it?", "pass", "0.5", "0.5", "not said", "DR102"),
    Check("core", "Is it?", "fail", "0.4", "0.5", "It is another rate.", "DR103"),
    Check("edge", "Is it?", "fail", "NaN", "zeros", "It breaks.", "DR201", edge=True),
    Check("noted", "Is it?", "note", "draws", "", "It draws.", "DR111"),
    Check("none", "Is it?", "not applicable", "no gradient", code="DR109"),
)
REPORT = AuditReport("Layer", CHECKS)
BLOCKED = AuditReport("Layer", (), "called f(x)\nit took two\n\n    audit(g)")
STRANGE = AuditReport(ODD, (Check(ODD, ODD, "fail", ODD, ODD, ODD, "DR103"),))
PLACE = Place("src/a layer.py", 7)


# The report itself


def test_the_text_counts_core_and_edges_apart_and_gives_the_code_of_what_is_not_right():
    assert str(REPORT).splitlines() == [
        "Layer: 1 passed, 1 failed, 1 failed at the edges, 1 noted, 1 not applicable",
        "✓ right  0.5 (0.5)",
        "✗ core   0.4 (0.5)  DR103",
        "    It is another rate.",
        "! edge   NaN (zeros)  DR201",
        "    It breaks.",
        "· noted  draws  DR111",
        "    It draws.",
        "- none   no gradient",
    ]
    assert (REPORT.passed, REPORT.core, REPORT.edges) == (
        False,
        CHECKS[1:2],
        CHECKS[2:3],
    )


def test_what_could_not_run_has_neither_passed_nor_failed():
    assert str(BLOCKED).splitlines() == [
        "Layer: could not run",
        "    called f(x)",
        "    it took two",
        "",
        "        audit(g)",
    ]
    assert BLOCKED.passed is None
    assert json.loads(to_json(BLOCKED)) == {
        "subject": "Layer",
        "passed": None,
        "obstacle": BLOCKED.obstacle,
        "checks": [],
    }
    table = BeautifulSoup(BLOCKED._repr_html_(), "html.parser")
    assert table.caption.text == "Layer: could not run"
    assert table.pre.text == BLOCKED.obstacle


def test_data_and_table_tell_edge_and_code():
    told = json.loads(to_json(REPORT))["checks"]
    assert [(c["code"], c["edge"]) for c in told] == [(c.code, c.edge) for c in CHECKS]
    table = BeautifulSoup(REPORT._repr_html_(), "html.parser")
    rows = [
        [cell.text for cell in row.select("td")] for row in table.select("tbody tr")
    ]
    assert [row[:2] for row in rows] == [
        ["✓ pass", "DR102"],
        ["✗ fail", "DR103"],
        ["! fail (edge)", "DR201"],
        ["· note", "DR111"],
        ["- not applicable", "DR109"],
    ]
    assert [row[-1] for row in rows] == [
        *("", "It is another rate.", "It breaks.", "It draws.", ""),
    ]


# JUnit


def test_junit_has_a_case_for_each_check_and_counts_that_agree():
    suites = ET.fromstring(to_junit(REPORT, PLACE).encode())
    (suite,) = suites
    cases = suite.findall("testcase")
    assert (suites.tag, suite.tag, len(cases)) == ("testsuites", "testsuite", 5)
    for counted in (suites, suite):
        found = [counted.get(n) for n in ("tests", "failures", "errors", "skipped")]
        assert found == ["5", "2", "0", "1"]
    assert [case.get("name") for case in cases][1] == "DR103 core"
    assert {(c.get("classname"), c.get("file"), c.get("line")) for c in cases} == {
        ("Layer", "src/a layer.py", "7")
    }
    inside = [[(child.tag, child.get("type")) for child in case] for case in cases]
    assert inside == [
        [],
        [("failure", "core")],
        [("failure", "edge")],
        [("system-out", None)],
        [("skipped", None)],
    ]
    assert cases[1][0].get("message") == "0.4, where 0.5 was expected"
    assert "It is another rate." in cases[1][0].text
    assert cases[4][0].get("message") == "no gradient"


def test_in_junit_what_could_not_run_is_an_error():
    (suite,) = ET.fromstring(to_junit(BLOCKED).encode())
    assert (suite.get("tests"), suite.get("errors"), suite.get("failures")) == (
        *("1", "1", "0"),
    )
    error = suite.find("testcase/error")
    assert (error.get("message"), error.text) == ("called f(x)", BLOCKED.obstacle)


def test_junit_writes_out_what_xml_cannot_hold():
    text = to_junit(STRANGE)
    assert text.startswith("<?xml version='1.0' encoding='utf-8'?>")
    failure = ET.fromstring(text.encode()).find(".//failure")
    assert "\\x1b[31m\\ud800 ::error::" in failure.text
    assert "<i>&amp; *c*" in failure.text


# Markdown


def rendered(report):
    html = MarkdownIt("commonmark").enable("table").render(to_markdown(report))
    return BeautifulSoup(html, "html.parser")


def test_markdown_is_a_table_of_all_checks():
    page = rendered(REPORT)
    assert page.h3.text == REPORT.summary
    rows = [[cell.text for cell in row.select("td")] for row in page.select("tbody tr")]
    assert rows[1] == ["✗", "core", "0.4", "0.5", "It is another rate.", "DR103"]
    assert [row[0] for row in rows] == list("✓✗!·-")
    assert rows[0][4] == ""
    assert "! fails at the edges" in page.find_all("p")[-1].text
    assert "at the edges alone" not in to_markdown(AuditReport("f", CHECKS[:1]))


def test_markdown_shows_any_text_as_it_is():
    page = rendered(STRANGE)
    (row,) = page.select("tbody tr")
    shown = " ".join(ODD.split())
    assert [cell.text for cell in row.select("td")] == ["✗", *[shown] * 4, "DR103"]
    assert page.select("i, em, code") == []


@pytest.mark.parametrize("obstacle", [BLOCKED.obstacle, "a\n````\nb", "`"])
def test_in_markdown_an_obstacle_keeps_its_lines(obstacle):
    page = rendered(AuditReport("Layer", (), obstacle))
    assert page.pre.text == obstacle + "\n"


# SARIF


def test_sarif_has_what_the_schema_requires_and_code_scanning_reads():
    log = json.loads(to_sarif(REPORT, PLACE))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "companion.audit"
    assert [rule["id"] for rule in driver["rules"]] == [check.code for check in CHECKS]
    for rule in driver["rules"]:
        for part in ("shortDescription", "fullDescription", "help"):
            assert rule[part]["text"]
    assert run["invocations"] == [{"executionSuccessful": True}]
    found = [(result["ruleId"], result["level"]) for result in run["results"]]
    assert found == [("DR103", "error"), ("DR201", "warning"), ("DR111", "note")]
    for result in run["results"]:
        assert result["message"]["text"].startswith("Layer: ")
        (location,) = result["locations"]
        assert location["physicalLocation"] == {
            "artifactLocation": {"uri": "src/a%20layer.py"},
            "region": {"startLine": 7},
        }


def test_sarif_says_what_stood_in_the_way():
    (run,) = json.loads(to_sarif(BLOCKED))["runs"]
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False
    (notice,) = invocation["toolExecutionNotifications"]
    assert notice == {"level": "error", "message": {"text": BLOCKED.obstacle}}
    assert run["results"] == []


def test_sarif_without_a_place_names_the_subject_and_another_place_by_its_address():
    (run,) = json.loads(to_sarif(REPORT))["runs"]
    assert run["results"][0]["locations"] == [
        {"logicalLocations": [{"fullyQualifiedName": "Layer"}]}
    ]
    far = Place(str(Path("/far/a layer.py").absolute()), 1)
    (run,) = json.loads(to_sarif(REPORT, far))["runs"]
    address = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert address["uri"].startswith("file:///")
    assert address["uri"].endswith("/far/a%20layer.py")


# GitHub


def test_annotations_have_a_weight_and_a_place():
    assert to_github(REPORT, PLACE).splitlines() == [
        "::error file=src/a layer.py,line=7,title=Layer%3A core (DR103)::"
        "0.4, where 0.5 was expected%0AIt is another rate.",
        "::warning file=src/a layer.py,line=7,title=Layer%3A edge (DR201)::"
        "NaN, where zeros was expected%0AIt breaks.",
        "::notice file=src/a layer.py,line=7,title=Layer%3A noted (DR111)::"
        "draws%0AIt draws.",
        REPORT.summary,
    ]
    assert to_github(BLOCKED).splitlines() == [
        "::error title=Layer%3A could not run::called f(x)%0Ait took two%0A%0A    audit(g)",
        "Layer: could not run",
    ]


def test_no_text_ends_an_annotation_or_begins_another():
    lines = to_github(STRANGE, Place("a,b:c", 1)).splitlines()
    assert len(lines) == 2
    command, properties, message = re.fullmatch(
        r"::(\w+) (.*?)::(.*)", lines[0]
    ).groups()
    assert command == "error"
    named = dict(part.split("=", 1) for part in properties.split(","))
    assert named.keys() == {"file", "line", "title"}
    assert named["file"] == "a%2Cb%3Ac"
    assert message.startswith("a|b%0A<i>")
    assert "100%25 $g$" in message


# Where a candidate stands


class Callable:
    def __call__(self, x):
        return x


def decorated(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)

    return inner


@decorated
def under_a_decorator(x):
    return x


@pytest.mark.parametrize(
    ("candidate", "begins"),
    [
        (Callable, "class Callable"),
        (Callable(), "class Callable"),
        (Callable().__call__, "def __call__"),
        (under_a_decorator, "@decorated"),
        (functools.cache(under_a_decorator), "@decorated"),
        (functools.partial(functools.partial(under_a_decorator, 1), 2), "@decorated"),
    ],
)
def test_the_place_of_a_candidate_is_that_of_its_source(candidate, begins, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent)
    place = place_of(candidate)
    assert place.file == Path(__file__).name
    line = Path(__file__).read_text().splitlines()[place.line - 1]
    assert line.strip().startswith(begins)


def test_a_place_elsewhere_is_absolute_and_some_have_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place_of(string.capwords).file == str(Path(string.__file__).resolve())
    assert place_of(inverted.dropout).line > 1
    made = {}
    exec("def dropout(x): return x", made)
    for nowhere in (len, made["dropout"], 3, object(), functools.partial(len)):
        assert place_of(nowhere) is None
