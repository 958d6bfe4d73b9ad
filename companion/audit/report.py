"""What an audit found: check by check, for a terminal, a notebook and a program."""

import html
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["pass", "fail", "note", "not applicable"]
_SIGNS = {"pass": "✓", "fail": "✗", "note": "·", "not applicable": "-"}


@dataclass(frozen=True)
class Check:
    """One check of an audit.

    Attributes
    ----------
    name : str
        What was looked at, in a few words.
    meaning : str
        What is asked, in one sentence.
    verdict : {"pass", "fail", "note", "not applicable"}
        A note is something to know that is not wrong in itself.
    measured, bound : str
        The figure, and what it had to be.
    consequence : str
        What it means in plain words; empty if there is nothing to say.
    code : str
        Its short name, which stays the same from version to version.
    edge : bool
        True for a matter of the edges, such as p = 1 or a narrower dtype, and not of the core.
    """

    name: str
    meaning: str
    verdict: Verdict
    measured: str = ""
    bound: str = ""
    consequence: str = ""
    code: str = ""
    edge: bool = False


@dataclass(frozen=True, repr=False)
class AuditReport:
    """All checks of an audit. `str` gives a table, and so does a notebook.

    Attributes
    ----------
    subject : str
        What was audited.
    checks : tuple of Check
        In the order they were made; none if it could not run.
    obstacle : str
        Why the audit could not run, and the ways out; empty if it ran.
    """

    subject: str
    checks: tuple[Check, ...] = ()
    obstacle: str = ""

    @property
    def passed(self) -> bool | None:
        """True if no check failed; None if the audit could not run."""
        return None if self.obstacle else not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.verdict == "fail")

    @property
    def core(self) -> tuple[Check, ...]:
        """The checks that failed and are no matter of the edges."""
        return tuple(check for check in self.failures if not check.edge)

    @property
    def edges(self) -> tuple[Check, ...]:
        """The checks that failed and are a matter of the edges alone."""
        return tuple(check for check in self.failures if check.edge)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, ready for JSON."""
        checks = [asdict(check) for check in self.checks]
        return {"subject": self.subject, "passed": self.passed, "checks": checks}

    def __str__(self) -> str:
        """Return a table of plain text: one line a check, and what follows from it."""
        width = max((len(check.name) for check in self.checks), default=0)
        lines = [self.summary]
        for check in self.checks:
            sign, figures = _SIGNS[check.verdict], _figures(check)
            lines.append(f"{sign} {check.name:<{width}}  {figures}".rstrip())
            if check.verdict in ("fail", "note") and check.consequence:
                lines += textwrap.wrap(
                    check.consequence,
                    width=88,
                    initial_indent="    ",
                    subsequent_indent="    ",
                )
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(_row(check) for check in self.checks)
        head = _cells("th", ["check", "verdict", "measured", "bound", "what follows"])
        return (
            f'<table class="audit"><caption>{html.escape(self.summary)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )

    @property
    def summary(self) -> str:
        """The subject, and how many checks passed and failed."""
        counts = {v: sum(c.verdict == v for c in self.checks) for v in _SIGNS}
        said = [f"{counts['pass']} passed", f"{counts['fail']} failed"]
        if counts["note"]:
            said.append(f"{counts['note']} noted")
        if counts["not applicable"]:
            said.append(f"{counts['not applicable']} not applicable")
        return f"{self.subject}: {', '.join(said)}"


def _figures(check: Check) -> str:
    if check.measured and check.bound:
        return f"{check.measured} ({check.bound})"
    return check.measured or check.bound


def _row(check: Check) -> str:
    name = f'<th scope="row" title="{html.escape(check.meaning)}">{html.escape(check.name)}</th>'
    verdict = f"{_SIGNS[check.verdict]} {check.verdict}"
    follows = check.consequence if check.verdict in ("fail", "note") else ""
    return f"<tr>{name}{_cells('td', [verdict, check.measured, check.bound, follows])}</tr>"


def _cells(tag: str, texts: Sequence[str]) -> str:
    scope = ' scope="col"' if tag == "th" else ""
    return "".join(f"<{tag}{scope}>{html.escape(text)}</{tag}>" for text in texts)
