"""An audit in a process that can be ended, by the name of the candidate."""

import contextlib
import difflib
import importlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping
from functools import reduce
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from companion.audit.formats import Place, place_of
from companion.audit.report import AuditReport

LIMIT = 600.0  # seconds for all of an audit, which takes two where nothing is slow
OPTIONS = "Here: --shape 16,32,64 --batch-axis 1 --dtypes float32 --argument name=value"
Settings = Mapping[str, Any]  # arguments of the audit


def audit_apart(name: str, settings: Settings) -> tuple[AuditReport, Place | None]:
    """Audit in a process of its own, of which nothing is left afterwards."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_audit_for, args=(theirs, name, settings))
    process.start()
    theirs.close()
    try:
        return _answer(ours, process, name)
    finally:
        _end(process)


def _answer(
    answers: Connection, process: SpawnProcess, name: str
) -> tuple[AuditReport, Place | None]:
    end = time.monotonic() + LIMIT
    while not answers.poll(0.1):
        if time.monotonic() > end:
            told = f"no answer within {LIMIT:g} s: the audit was ended."
            told += "\nTry a smaller --shape, or look for a loop that never ends."
            return AuditReport(name, (), told), None
        if not process.is_alive() and not answers.poll():
            return _ended(name, process.exitcode), None
    try:
        return answers.recv()
    except EOFError:
        process.join(10)
        return _ended(name, process.exitcode), None


def _ended(name: str, code: int | None) -> AuditReport:
    how = f"exit status {code}"
    if code is not None and code < 0:
        how = signal.strsignal(-code) or f"signal {-code}"
    told = f"the process of the audit came to its end ({how}) before the audit did."
    told += "\nThe candidate, or a library below it, ends the process: call it once by itself."
    return AuditReport(name, (), told)


def _end(process: SpawnProcess) -> None:
    """End the process, and those that it started."""
    if process.pid and hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _audit_for(answers: Connection, name: str, settings: Settings) -> None:
    """Audit in this process; what the candidate prints goes to where errors go."""
    if hasattr(os, "setsid"):
        os.setsid()
    sys.stdout.flush()
    os.dup2(2, 1)
    answers.send(examined(name, settings))


def examined(name: str, settings: Settings) -> tuple[AuditReport, Place | None]:
    """Audit what has this name; whatever stands in the way is said in the report."""
    place = None
    try:
        candidate = _named(name)
        place = place_of(candidate)
        report = audited(candidate, settings)
        if report.obstacle:
            told = f"{report.obstacle}\n{OPTIONS}"
            report = AuditReport(report.subject, (), told)
        return report, place
    except _NoSuchError as error:
        return AuditReport(name, (), str(error)), place
    except BaseException as error:
        told = f"{type(error).__name__}: {error}" if str(error) else repr(error)
        return AuditReport(name, (), told), place


class _NoSuchError(Exception):
    """There is nothing of this name; says what to do."""


def _named(name: str) -> Any:
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise _NoSuchError(f"the name must be package.module:name; got {name!r}.")
    try:
        found = importlib.import_module(module)
    except BaseException as error:
        raise _NoSuchError(
            f"import {module} raised {type(error).__name__}: {error}\n"
            "Run the audit where Python finds the module, in the folder that holds it or with "
            "PYTHONPATH,\nand install what it imports into the same environment."
        ) from error
    try:
        return reduce(getattr, path.split("."), found)
    except AttributeError as error:
        like = difflib.get_close_matches(path, dir(found), cutoff=0.4)
        meant = f": {', '.join(like)}?" if like else "."
        raise _NoSuchError(
            f"{error}.\nName a function, a class or a layer of this module{meant}"
        ) from error


def audited(candidate: Any, settings: Settings) -> AuditReport:
    """Audit an estimator of scikit-learn as one, and anything else as a layer or function."""
    from companion.audit import audit, audit_estimator

    check = audit_estimator if hasattr(candidate, "get_params") else audit
    return check(candidate, **settings)
