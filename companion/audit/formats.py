"""A report as others read it: JSON, JUnit, Markdown, SARIF, and annotations of GitHub Actions."""

import functools
import inspect
import json
import re
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from companion import __version__
from companion.audit import codes
from companion.audit.report import AuditReport, Check, follows, sign

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL = re.compile(r"([\\`*_{}\[\]|~$#@])")


class Place(NamedTuple):
    """Where the source of a candidate stands: below the working directory a relative path."""

    file: str
    line: int


def place_of(candidate: Any) -> Place | None:
    """Return where a function or a class, or that of an instance, is written, if it is known.

    Examples
    --------
    >>> import string
    >>> place_of(string.capwords).file.endswith("string.py")
    True
    >>> place_of(len) is None
    True
    """
    while isinstance(candidate, functools.partial):
        candidate = candidate.func
    found = inspect.unwrap(candidate) if callable(candidate) else candidate
    if not (inspect.isroutine(found) or isinstance(found, type)):
        found = type(found)
    try:
        path = Path(inspect.getsourcefile(found) or "").resolve()
        line = inspect.getsourcelines(found)[1]
    except (TypeError, OSError):  # built in, or made by no file
        return None
    here = Path.cwd().resolve()
    below = path.is_relative_to(here)
    return Place(path.relative_to(here).as_posix() if below else str(path), line)


def to_text(report: AuditReport, place: Place | None = None) -> str:
    """Return the report as plain text."""
    return str(report)


def to_json(report: AuditReport, place: Place | None = None) -> str:
    """Return the report as JSON."""
    return json.dumps(report.to_dict(), indent=2)


def to_junit(report: AuditReport, place: Place | None = None) -> str:
    """Return the report as JUnit's XML: a test case for each check.

    A failure's type is "core" or "edge". A report that could not run is one test case with an
    error.
    """
    where = {"file": place.file, "line": str(place.line)} if place else {}
    suite = ET.Element("testsuite", name="companion.audit")
    if report.obstacle:
        title = {"classname": _xml(report.subject), "name": "could not run"}
        case = ET.SubElement(suite, "testcase", title | where)
        first = _xml(report.obstacle.splitlines()[0])
        ET.SubElement(case, "error", message=first).text = _xml(report.obstacle)
    for check in report.checks:
        name = _xml(f"{check.code} {check.name}".strip())
        title = {"classname": _xml(report.subject), "name": name}
        _outcome(ET.SubElement(suite, "testcase", title | where), check)
    kinds = {
        "tests": "testcase",
        "failures": "failure",
        "errors": "error",
        "skipped": "skipped",
    }
    counts = {name: str(len([*suite.iter(kind)])) for name, kind in kinds.items()}
    suite.attrib.update(counts)
    suites = ET.Element("testsuites", counts)
    suites.append(suite)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True)


def _outcome(case: ET.Element, check: Check) -> None:
    if check.verdict == "fail":
        kind = "edge" if check.edge else "core"
        failure = ET.SubElement(
            case, "failure", message=_xml(_figures(check)), type=kind
        )
        failure.text = _xml(_told(check))
    elif check.verdict == "not applicable":
        ET.SubElement(case, "skipped", message=_xml(check.measured))
    elif check.verdict == "note":
        ET.SubElement(case, "system-out").text = _xml(_told(check))


def to_markdown(report: AuditReport, place: Place | None = None) -> str:
    """Return the report as a table of Markdown, for a comment or the summary of a job."""
    lines = [f"### {markdown(report.summary)}", ""]
    if report.obstacle:
        fence = "`" * max(
            3, 1 + max(map(len, re.findall("`+", report.obstacle)), default=0)
        )
        return "\n".join([*lines, f"{fence}text", report.obstacle, fence])
    heads = ["", "check", "measured", "bound", "what follows", "code"]
    lines += [_cells(heads), _cells(["---"] * len(heads))]
    for check in report.checks:
        told = [check.name, check.measured, check.bound, follows(check), check.code]
        lines.append(_cells([sign(check), *map(markdown, told)]))
    if report.edges:
        lines += [
            "",
            "! fails at the edges alone: p = 1, a bad p, a dtype, an empty input.",
        ]
    return "\n".join(lines)


def to_sarif(report: AuditReport, place: Place | None = None) -> str:
    """Return the report as SARIF 2.1.0, which code scanning reads: what failed, and what is noted.

    A failure of the core is an error, one at the edges a warning.
    """
    found = [check for check in report.checks if check.verdict in ("fail", "note")]
    driver = {
        "name": "companion.audit",
        "version": __version__,
        "rules": [
            _rule(check) for check in {c.code: c for c in report.checks}.values()
        ],
    }
    invocation: dict[str, Any] = {"executionSuccessful": not report.obstacle}
    if report.obstacle:
        notice = {"level": "error", "message": {"text": report.obstacle}}
        invocation["toolExecutionNotifications"] = [notice]
    results = [_result(check, report.subject, place) for check in found]
    run = {"tool": {"driver": driver}, "invocations": [invocation], "results": results}
    return json.dumps(
        {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2
    )


def _rule(check: Check) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "id": check.code,
        "name": check.name,
        "shortDescription": {"text": check.name},
        "fullDescription": {"text": check.meaning or check.name},
        "defaultConfiguration": {"level": "warning" if check.edge else "error"},
    }
    if page := codes.pages().get(check.code):
        rule["help"] = {"text": page.text(), "markdown": page.markdown()}
    return rule


def _result(check: Check, subject: str, place: Place | None) -> dict[str, Any]:
    location: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": subject}]}
    if place:
        path = Path(place.file)
        uri = path.as_uri() if path.is_absolute() else urllib.parse.quote(place.file)
        location["physicalLocation"] = {
            "artifactLocation": {"uri": uri},
            "region": {"startLine": place.line},
        }
    return {
        "ruleId": check.code,
        "level": _LEVELS[_weight(check)],
        "message": {"text": f"{subject}: {_told(check)}"},
        "locations": [location],
    }


def to_github(report: AuditReport, place: Place | None = None) -> str:
    """Return the report as annotations of GitHub Actions, and its summary below.

    A failure of the core is an error, one at the edges a warning.
    """
    where = {"file": place.file, "line": str(place.line)} if place else {}
    lines = []
    if report.obstacle:
        title = f"{report.subject}: could not run"
        lines.append(_command("error", where | {"title": title}, report.obstacle))
    for check in report.checks:
        if check.verdict in ("fail", "note"):
            title = f"{report.subject}: {check.name} ({check.code})"
            kind = {"note": "notice"}.get(level := _LEVELS[_weight(check)], level)
            said = "\n".join(filter(None, [_figures(check), check.consequence]))
            lines.append(_command(kind, where | {"title": title}, said))
    return "\n".join([*lines, " ".join(report.summary.split())])


def _command(kind: str, properties: dict[str, str], message: str) -> str:
    said = ",".join(
        f"{name}={_escape(value).replace(':', '%3A').replace(',', '%2C')}"
        for name, value in properties.items()
    )
    return f"::{kind} {said}::{_escape(message)}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


_LEVELS = {"core": "error", "edge": "warning", "note": "note"}


def _weight(check: Check) -> str:
    if check.verdict == "note":
        return "note"
    return "edge" if check.edge else "core"


def _figures(check: Check) -> str:
    expected = f", where {check.bound} was expected" if check.bound else ""
    return f"{check.measured or 'failed'}{expected}"


def _told(check: Check) -> str:
    """Return a check in one paragraph: its name, its figures, and what follows."""
    return f"{check.name}: {_figures(check)}. {follows(check)}".strip()


def _xml(text: str) -> str:
    """Return the text with what XML cannot hold written out."""
    return _NO_XML.sub(lambda found: ascii(found[0])[1:-1], text)


def markdown(text: str) -> str:
    """Return the text so that Markdown and HTML show it as it is, on one line."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return _SPECIAL.sub(r"\\\1", text)


def _cells(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"


FORMATS: dict[str, Callable[[AuditReport, Place | None], str]] = {
    "text": to_text,
    "json": to_json,
    "junit": to_junit,
    "markdown": to_markdown,
    "sarif": to_sarif,
    "github": to_github,
}
