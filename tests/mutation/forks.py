"""Jobs in forked copies of this process, a few at a time, each with a time limit."""

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

LATE = {"late": True}


def fork(work: Callable[[], Any], log: Path) -> tuple[int, int]:
    """Begin `work` in a copy of this process; return its number and a pipe for what it returns.

    Its output goes to `log`. What it writes in between by `say` comes first, line by line.
    """
    sys.stdout.flush()
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    status = 1
    try:
        os.close(read)
        os.setsid()  # so that its own children end with it
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        result = json.dumps(work()).encode()
        with open(write, "wb") as pipe:
            pipe.write(result)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def end(pid: int) -> None:
    """End a job and whatever it began."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def results(
    jobs: Iterable[tuple[Any, Callable[[int], Callable[[], Any]], float]],
    workers: int,
    logs: Path,
) -> Iterator[tuple[Any, Any, float]]:
    """Run jobs and yield each one's label, result and seconds, in the order they end.

    A job is a label, a function that prepares it for a worker's number and returns what to run
    there, and a time limit. The result is `LATE` past that limit, and None if it broke down.
    """
    jobs = iter(jobs)
    running: dict[int, tuple[Any, int, int, float, float, list[bytes]]] = {}
    free = list(range(workers))
    more = True
    try:
        while more or running:
            while more and free:
                try:
                    label, prepare, limit = next(jobs)
                except StopIteration:
                    more = False
                    break
                worker = free.pop()
                pid, pipe = fork(prepare(worker), logs / f"worker{worker}.log")
                os.set_blocking(pipe, False)
                now = time.monotonic()
                running[pid] = label, worker, pipe, now, now + limit, []
            for pid, (label, worker, pipe, began, limit, read) in list(running.items()):
                while piece := _read(pipe):
                    read.append(piece)
                late = time.monotonic() > limit
                done, _ = os.waitpid(
                    pid, 0 if late and end(pid) is None else os.WNOHANG
                )
                if not done:
                    continue
                while piece := _read(pipe):
                    read.append(piece)
                end(pid)  # what it left running
                os.close(pipe)
                del running[pid]
                free.append(worker)
                result = LATE if late else json.loads(b"".join(read) or b"null")
                yield label, result, time.monotonic() - began
            time.sleep(0.02)
    finally:
        for pid in running:
            end(pid)


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, 1 << 20)
    except BlockingIOError:
        return b""
