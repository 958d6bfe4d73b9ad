"""Which tensors come from a dropout, with no weights in between."""

from dataclasses import dataclass
from typing import NamedTuple

from companion.audit import misuses as m


@dataclass
class Drop:
    """One dropout that ran, and whether anything with weights has read what it gave."""

    path: str
    read: bool = False


class Trail(NamedTuple):
    """A tensor comes from a dropout, with no weights since; direct: only its shape changed."""

    drop: Drop
    direct: bool


def after_dropout(
    trail: Trail | None, path: str, p: float, findings: m.Findings
) -> Trail | None:
    """Return the trail of what a dropout gives, whose input has the trail given."""
    if p == 0:
        return trail
    if trail and trail.direct:
        findings.add(m.TWICE, path, trail.drop.path)
    return Trail(Drop(path), direct=True)
