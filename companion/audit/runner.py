"""Name checks, and make them one by one, whatever the implementation does."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from companion.audit.report import Check, Verdict
from companion.audit.state import undisturbed

TIME_LIMIT = 60.0  # seconds for one check, which takes two where nothing else runs


class Result(NamedTuple):
    """What a check found; its name and meaning are added for the report."""

    verdict: Verdict
    measured: str
    bound: str = ""
    consequence: str = ""


Function = TypeVar("Function", bound=Callable[[Any], Result])


class NamedCheck(NamedTuple):
    """A check, with what the report calls it and what it asks."""

    name: str
    meaning: str
    function: Callable[[Any], Result]
    code: str = ""
    edge: bool = False


class Checks(list[NamedCheck]):
    """Checks in the order in which they are made and reported.

    Examples
    --------
    >>> CHECKS = Checks()
    >>> @CHECKS.add("positive", "The number is greater than 0.", "DR999")
    ... def positive(number):
    ...     return Result("pass" if number > 0 else "fail", str(number), "> 0")
    >>> [check.verdict for check in run_checks(CHECKS, -1.0)]
    ['fail']
    """

    def add(
        self, name: str, meaning: str, code: str, *, edge: bool = False
    ) -> Callable[[Function], Function]:
        """Return a decorator that registers a function of the subject as the next check."""

        def register(function: Function) -> Function:
            self.append(NamedCheck(name, meaning, function, code, edge))
            return function

        return register


class NotApplicableError(Exception):
    """The check has nothing to look at; says why."""


def run_checks(checks: Sequence[NamedCheck], subject: Any) -> tuple[Check, ...]:
    """Make the checks in a thread of their own, which is left behind if one never ends.

    If the first one fails, the others have nothing to look at.
    """
    done: list[Check] = []
    progress = threading.Semaphore(0)

    def work() -> None:
        with np.errstate(all="ignore"):
            for check in checks:
                usable = not done or done[0].verdict != "fail"
                done.append(_made(check, subject, usable))
                progress.release()

    with undisturbed():
        threading.Thread(target=work, daemon=True).start()
        for check in checks:
            if not progress.acquire(timeout=TIME_LIMIT):
                late = f"no answer within {TIME_LIMIT:g} s"
                why = "The checks after this one were not made."
                return (*done, _check(check, Result("fail", late, "", why)))
    return tuple(done)


def _check(check: NamedCheck, result: Result) -> Check:
    return Check(check.name, check.meaning, *result, check.code, check.edge)


def _made(check: NamedCheck, subject: Any, usable: bool) -> Check:
    if not usable:
        return _check(check, Result("not applicable", "the first check says why"))
    try:
        return _check(check, check.function(subject))
    except NotApplicableError as reason:
        return _check(check, Result("not applicable", str(reason)))
    except BaseException as error:
        why = "An error where a result is expected."
        return _check(check, Result("fail", said(error), "", why))


def said(error: BaseException) -> str:
    """Return the kind of error and the start of what it says, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:100]}"
