"""Name checks, and make them one by one, whatever the implementation does."""

import contextlib
import io
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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


def not_for(reason: str) -> Callable[[Any], Result]:
    """Return a check that has nothing to look at."""

    def check(subject: Any) -> Result:
        raise NotApplicableError(reason)

    return check


def by_kind(
    **instead: Callable[[Any], Result],
) -> Callable[[Callable[[Any], Result]], Callable[[Any], Result]]:
    """Return a decorator: for a kind of dropout named here, another function is the check."""

    def choose(usual: Callable[[Any], Result]) -> Callable[[Any], Result]:
        def check(subject: Any) -> Result:
            return instead.get(subject.family.kind, usual)(subject)

        return check

    return choose


of_dropped_units = by_kind(
    noise=not_for("no unit is dropped"),
    alpha=not_for("a dropped unit is no 0"),
    weights=not_for("weights are dropped"),
)


class LateError(BaseException):
    """The time is up; no candidate that catches every Exception catches this one."""


def run_checks(
    checks: Sequence[NamedCheck], subject: Any, skip: Mapping[str, str] | None = None
) -> tuple[Check, ...]:
    """Make the checks, but for the codes in `skip`, which say why.

    If the first one fails, the others have nothing to look at. After one that takes too long the
    others are not made.
    """
    done: list[Check] = []
    with undisturbed(), silent():
        for check in checks:
            if check.code in (skip or {}):
                reason = f"switched off: {(skip or {})[check.code]}"
                done.append(_check(check, Result("not applicable", reason)))
                continue
            usable = not done or done[0].verdict != "fail"
            try:
                with time_limit(TIME_LIMIT):
                    done.append(_made(check, subject, usable))
            except LateError:
                late = f"no answer within {TIME_LIMIT:g} s"
                why = "The checks after this one were not made."
                done.append(_check(check, Result("fail", late, "", why)))
                break
    return tuple(done)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep what a candidate prints out of the report, and what NumPy warns of."""
    with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
        yield


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise LateError when the time is up; in the main thread alone, and where there are alarms."""
    in_main = threading.current_thread() is threading.main_thread()
    if not (in_main and hasattr(signal, "setitimer")):
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise LateError

    before = signal.signal(signal.SIGALRM, ring)
    remaining, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, remaining)
        signal.signal(signal.SIGALRM, before)


def _check(check: NamedCheck, result: Result) -> Check:
    return Check(check.name, check.meaning, *result, check.code, check.edge)


def _made(check: NamedCheck, subject: Any, usable: bool) -> Check:
    if not usable:
        return _check(check, Result("not applicable", "the first check says why"))
    try:
        return _check(check, check.function(subject))
    except NotApplicableError as reason:
        return _check(check, Result("not applicable", str(reason)))
    except (KeyboardInterrupt, LateError):
        raise
    except BaseException as error:
        why = "An error where a result is expected."
        return _check(check, Result("fail", said(error), "", why))


def said(error: BaseException) -> str:
    """Return the kind of error and the start of what it says, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:100]}"
