"""What an audit found: check by check, for a terminal, a notebook and a program."""

import html
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["pass", "fail", "note", "not applicable"]
_SIGNS = {"pass": "✓", "fail": "✗", "note": "·", "not applicable": "-"}
_AT_THE_EDGES = "!"
_INDENT = "    "


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

    @property
    def summary(self) -> str:
        """The subject, and how many checks passed and failed, on one line."""
        if self.obstacle:
            return f"{self.subject}: could not run"
        verdicts = Counter(check.verdict for check in self.checks)
        counts = {
            "failed at the edges": len(self.edges),
            "noted": verdicts["note"],
            "not applicable": verdicts["not applicable"],
        }
        said = [f"{verdicts['pass']} passed", f"{len(self.core)} failed"]
        said += [f"{count} {what}" for what, count in counts.items() if count]
        return f"{self.subject}: {', '.join(said)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, ready for JSON."""
        return {
            "subject": self.subject,
            "passed": self.passed,
            "obstacle": self.obstacle,
            "checks": [asdict(check) for check in self.checks],
        }

    def __str__(self) -> str:
        """Return a table of plain text: one line a check, and what follows from it."""
        if self.obstacle:
            return "\n".join([self.summary, textwrap.indent(self.obstacle, _INDENT)])
        width = max((len(check.name) for check in self.checks), default=0)
        lines = [self.summary]
        for check in self.checks:
            name = f"{check.name:<{width}}"
            lines.append(f"{sign(check)} {name}  {_figures(check)}".rstrip())
            lines += textwrap.wrap(
                follows(check), 88, initial_indent=_INDENT, subsequent_indent=_INDENT
            )
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        caption = f"<caption>{html.escape(self.summary)}</caption>"
        if self.obstacle:
            said = f"<tbody><tr><td><pre>{html.escape(self.obstacle)}</pre></td></tr></tbody>"
            return f'<table class="audit">{caption}{said}</table>'
        rows = "".join(_row(check) for check in self.checks)
        heads = ["check", "verdict", "code", "measured", "bound", "what follows"]
        return (
            f'<table class="audit">{caption}<thead><tr>{_cells("th", heads)}</tr></thead>'
            f"<tbody>{rows}</tbody></table>"
        )


def sign(check: Check) -> str:
    """Return the character of a verdict; a failure at the edges has one of its own."""
    at_the_edges = check.verdict == "fail" and check.edge
    return _AT_THE_EDGES if at_the_edges else _SIGNS[check.verdict]


def follows(check: Check) -> str:
    """Return what a failure or a note means; nothing for other verdicts."""
    return check.consequence if check.verdict in ("fail", "note") else ""


def _figures(check: Check) -> str:
    figures = check.measured or check.bound
    if check.measured and check.bound:
        figures += f" ({check.bound})"
    shown = check.code and check.verdict in ("fail", "note")
    return f"{figures}  {check.code}" if shown else figures


def _row(check: Check) -> str:
    name = f'<th scope="row" title="{html.escape(check.meaning)}">{html.escape(check.name)}</th>'
    edge = " (edge)" if sign(check) == _AT_THE_EDGES else ""
    verdict = f"{sign(check)} {check.verdict}{edge}"
    cells = [verdict, check.code, check.measured, check.bound, follows(check)]
    return f"<tr>{name}{_cells('td', cells)}</tr>"


def _cells(tag: str, texts: Sequence[str]) -> str:
    scope = ' scope="col"' if tag == "th" else ""
    return "".join(f"<{tag}{scope}>{html.escape(text)}</{tag}>" for text in texts)
