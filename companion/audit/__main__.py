"""Audit an implementation by its name: python -m companion.audit package.module:name."""

import argparse
import ast
import os
import signal
import sys
from typing import Any

from companion.audit import codes
from companion.audit.formats import FORMATS, to_markdown
from companion.audit.process import Settings, audit_apart
from companion.audit.report import AuditReport

EPILOG = """
exit status:
  0  passed
  1  a check of the core failed
  2  could not run: the report says why, and what to do
  3  only checks of the edges failed: p = 1, a bad p, a dtype, a seed, an empty input
"""


def main(arguments: list[str] | None = None) -> int:
    """Print or write the report; return the exit status."""
    given = _parser().parse_args(arguments)
    if page := codes.pages().get(given.name):
        print(page.text())
        return 0
    report, place = audit_apart(given.name, _settings(given))
    said = FORMATS[given.format](report, place)
    try:
        if given.format == "github" and (file := os.environ.get("GITHUB_STEP_SUMMARY")):
            _write(file, "a", to_markdown(report) + "\n\n")
        if given.output:
            _write(given.output, "w", said + "\n")
            said = str(report)
    except OSError as error:
        print(f"{said}\nthe report could not be written: {error}")
        return 2
    print(said)
    return status(report)


def _write(file: str, mode: str, text: str) -> None:
    with open(file, mode, encoding="utf-8", errors="backslashreplace") as opened:
        opened.write(text)


def status(report: AuditReport) -> int:
    """Return the exit status that says how an audit went."""
    if report.obstacle:
        return 2
    return 1 if report.core else 3 if report.edges else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m companion.audit",
        description="Is this dropout right?",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "name",
        help="what to audit: package.module:name; or a code, to read of it: DR103",
    )
    add("--p", type=float, help="drop probability (default 0.5, or the layer's own)")
    add("--shape", type=_numbers, help="shape of the input: 4,8,6,6")
    add("--batch-axis", type=int, help="the axis of the samples (default 0)")
    add("--dtypes", type=_words, help="dtypes of the input: float32,float16")
    add("--kind", help="what is meant to be dropped: units, channels, steps, ...")
    add(
        "--argument",
        type=_argument,
        action="append",
        metavar="NAME=VALUE",
        help="what the class is made with, or the function called with; may be repeated",
    )
    add(
        "--skip",
        type=_pair,
        action="append",
        metavar="CODE=REASON",
        help="a check not to make, and why: DR202=documented; may be repeated",
    )
    add(
        "--format", choices=FORMATS, default="text", help="of the report (default text)"
    )
    add(
        "--json",
        action="store_const",
        const="json",
        dest="format",
        help="--format json",
    )
    add("--output", metavar="FILE", help="write the report there, and print it as text")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value.strip()):
        raise argparse.ArgumentTypeError(f"must have both sides of =; got {text!r}")
    return name, value


def _argument(text: str) -> tuple[str, Any]:
    name, value = _pair(text)
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        raise argparse.ArgumentTypeError(
            f"the value must be a literal of Python, a string in quotes; got {text!r}"
        ) from None


def _settings(given: argparse.Namespace) -> Settings:
    """Return what was given for the audit itself, and leave the rest to it."""
    settings = {
        "p": given.p,
        "shape": given.shape,
        "batch_axis": given.batch_axis,
        "dtypes": given.dtypes,
        "kind": given.kind,
        "arguments": given.argument and dict(given.argument),
        "skip": given.skip and dict(given.skip),
    }
    return {name: value for name, value in settings.items() if value is not None}


def _stop(*_: Any) -> None:
    sys.exit(143)  # by way of what ends the audit


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    for stream in (sys.stdout, sys.stderr):  # signs beyond ASCII, whatever the locale
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore
    sys.exit(main())
