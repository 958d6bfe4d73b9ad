"""One implementation of dropout in a public package, and what is true of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Literal

Verdict = Literal["pass", "fail", "edge", "could not run"]
Figures = dict[str, Any]
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One implementation: how to audit it, and what is true without the audit.

    Attributes
    ----------
    package : str
        The distribution, as pip knows it.
    name : str
        The class or function, with what it was given, if that matters.
    make : callable
        Returns the candidate. What it needs of the package is imported here.
    expected : {"pass", "fail", "edge", "could not run"}
        The verdict that is right by reading and by `truth`, whatever the audit says.
    truth : callable
        Measures the same without the audit, and returns a few figures.
    lines : str
        The shortest program that prints what is wrong, or that nothing is.
    confirmed : str
        What the source says, with file and line.
    options : mapping or callable
        More arguments of the audit, or a function that makes them.
    definition : str
        Why a failure is a matter of definition; empty if it is none.
    tool : {"audit", "audit_model", "audit_estimator"}
        The function of `companion.audit` that takes the candidate.
    files : tuple of str
        Files to run by themselves, since their package cannot be imported here:
        ``"timm/layers/drop.py"``. `make`, `truth` and `lines` then import them as usual.
    missing : tuple of str
        Modules those files import in vain; each is a stub.
    """

    package: str
    name: str
    make: Callable[[], Any]
    expected: Verdict
    truth: Callable[[], Figures]
    lines: str
    confirmed: str
    options: Options | Callable[[], Options] = field(default_factory=dict)
    definition: str = ""
    tool: str = "audit"
    files: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The version that is installed."""
        return metadata.version(self.package).split("+")[0]

    def __str__(self) -> str:
        return f"{self.package} {self.name}"
