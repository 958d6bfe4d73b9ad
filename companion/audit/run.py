"""Make checks one by one, whatever the implementation does."""

import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from companion.audit.report import Check, Verdict

TIME_LIMIT = 60.0  # seconds for one check, which takes two where nothing else runs


class Result(NamedTuple):
    """What a check found; `Check` adds its name and meaning."""

    verdict: Verdict
    measured: str
    bound: str = ""
    consequence: str = ""


Checks = Sequence[Callable[[Any], Result]]


class NotApplicableError(Exception):
    """The check has nothing to look at; says why."""


def run(checks: Checks, subject: Any) -> tuple[Check, ...]:
    """Make the checks in a thread of their own, which is left behind if one never ends.

    If the first one fails, the others have nothing to look at.
    """
    done: list[Check] = []
    progress = threading.Semaphore(0)

    def work() -> None:
        with np.errstate(all="ignore"):
            for check in checks:
                usable = not done or done[0].verdict != "fail"
                done.append(_checked(check, subject, usable))
                progress.release()

    with _left_as_found():
        threading.Thread(target=work, daemon=True).start()
        for check in checks:
            if not progress.acquire(timeout=TIME_LIMIT):
                late = f"no answer within {TIME_LIMIT:g} s"
                why = "The checks after this one were not made."
                return (*done, Check(*_title(check), "fail", late, "", why))
    return tuple(done)


def _checked(check: Callable[[Any], Result], subject: Any, usable: bool) -> Check:
    title = _title(check)
    if not usable:
        return Check(*title, "not applicable", "the first check says why")
    try:
        return Check(*title, **check(subject)._asdict())
    except NotApplicableError as reason:
        return Check(*title, "not applicable", str(reason))
    except BaseException as error:
        why = "An error where a result is expected."
        return Check(*title, "fail", said(error), "", why)


def _title(check: Callable[[Any], Result]) -> tuple[str, str]:
    name, _, meaning = (check.__doc__ or "").partition(": ")
    return name, meaning


def said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:100]}"


@contextmanager
def _left_as_found() -> Iterator[None]:
    """Silence warnings; afterwards give everyone their random numbers back."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch = sys.modules.get("torch")
    state = torch.get_rng_state() if torch else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if torch:
            torch.set_rng_state(state)
