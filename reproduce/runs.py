"""Run many small experiments, keep what is done, and write it down."""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

Run = dict[str, Any]


def run_missing(
    results: Path,
    what: str,
    wanted: Sequence[Run],
    run: Callable[..., Run],
    settings: dict[str, Any],
    packages: Sequence[str],
) -> None:
    """Call ``run(**key)`` for each wanted key that is not in `results` yet, and save each.

    A key says which run it is. Beside it is stored what `run` measured and how many seconds of a
    processor it took; above all of them, in a few words, `what` was run. A run that fails does not
    stop the others: its error is raised when they are done.
    """
    stored = json.loads(results.read_text()) if results.exists() else {"runs": []}
    runs, errors = stored["runs"], []
    if runs and stored["settings"] != settings:
        raise ValueError(
            f"{results} was made with other settings: {stored['settings']}; "
            f"these are {settings}. Delete it to begin again."
        )
    missing = [key for key in wanted if not any(_is(key, r) for r in runs)]
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(_timed, run, key): key for key in missing}
        for job in tqdm(as_completed(jobs), total=len(jobs), unit="run", desc="runs"):
            if error := job.exception():
                errors.append(error)
                continue
            runs.append(jobs[job] | job.result())
            in_order = [r for key in wanted for r in runs if _is(key, r)]
            save(results, what, in_order, settings, packages)
    if errors:
        raise errors[0]


def _timed(run: Callable[..., Run], key: Run) -> Run:
    start = time.process_time()
    measured = run(**key)
    return measured | {"seconds": round(time.process_time() - start, 1)}


def _is(key: Run, run: Run) -> bool:
    return all(run[name] == value for name, value in key.items())


def save(
    results: Path,
    what: str,
    runs: list[Run],
    settings: dict[str, Any],
    packages: Sequence[str],
    command: str = "make reproduce",
) -> None:
    """Write all results, or leave the file as it was."""
    versions = {"python": platform.python_version()}
    versions |= {name: __import__(name).__version__ for name in packages}
    content = {
        "what": what,
        "command": command,
        "minutes": round(sum(run.get("seconds", 0) for run in runs) / 60, 1),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions,
        "settings": settings,
        "runs": runs,
    }
    unfinished = results.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    unfinished.replace(results)
