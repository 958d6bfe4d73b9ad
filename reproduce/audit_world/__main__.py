"""What does the audit find in the world? Run every case, each in a process of its own.

A case is one implementation of dropout in a public package at a pinned version: cases.py says
what belongs to it, and the modules named in MODULES hold them. Each is measured without the audit
first, then its lines are run, then it is audited, on one core and for at most LIMIT seconds. The
results stand in results.json beside this file. A case that is in it already is not run again;
delete the file to begin again, or name a part of its name. The name of a module keeps to that.

It needs an environment of its own, since the packages ask for versions that exclude one another.
requirements.txt pins all there is in it, so each is installed without its dependencies. From the
checkout::

    python3.11 -m venv _build/audit_world
    _build/audit_world/bin/pip install --no-deps -r reproduce/audit_world/requirements.txt
    PYTHONPATH=.:reproduce _build/audit_world/bin/python -m audit_world           # what is missing
    PYTHONPATH=.:reproduce _build/audit_world/bin/python -m audit_world DropBlock  # these, again

The companion is that of the checkout, through PYTHONPATH. PyTorch is its build for CPUs;
torchvision's wheel asks for CUDA beside it, so it is hidden from all cases but its own.
"""

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from runs import save as store
from tqdm import tqdm

from audit_world.cases import Case
from audit_world.sources import hide, load_file

MODULES = (
    "layers_torch",
    "layers_images",
    "layers_text",
    "layers_bayes",
    "layers_numpy",
    "layers_other",
    "layers_keras",
    "models",
    "models_more",
)
RESULTS = Path(__file__).with_name("results.json")
COMMAND = "PYTHONPATH=.:reproduce _build/audit_world/bin/python -m audit_world"
WHAT = "audits of dropouts in public packages"
LIMIT = 300
AT_ONCE = 2
MARK = "RESULT "


def cases_of(modules: Sequence[str]) -> list[Case]:
    found = [importlib.import_module(f"audit_world.{name}") for name in modules]
    return [case for module in found for case in module.CASES]


def run(case: Case) -> dict[str, Any]:
    """Measure the truth, run the lines, audit; return what came out."""
    if not any(file.startswith("torchvision") for file in case.files):
        hide("torchvision")
    for file in case.files:
        load_file(file, *case.missing)
    found = {"truth": case.truth(), "shown": shown(case.lines)}
    options = case.options() if callable(case.options) else case.options
    tool = getattr(importlib.import_module("companion.audit"), case.tool)
    candidate, start = case.make(), time.perf_counter()
    report = tool(candidate, **options)
    seconds = time.perf_counter() - start
    verdicts = {None: "could not run", True: "pass", False: "edge"}
    first = [*report.core, *report.edges][:1]
    return found | {
        "verdict": "fail" if report.core else verdicts[report.passed],
        "subject": report.subject,
        "core": [check.code for check in report.core],
        "edges": [check.code for check in report.edges],
        "first": first[0].name if first else "",
        "measured": first[0].measured if first else report.obstacle.partition("\n")[0],
        "seconds": round(seconds, 1),
    }


def shown(lines: str) -> str:
    """What the lines print."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(lines, {"__name__": "__lines__"})
    return out.getvalue().rstrip()


def run_apart(case: Case) -> dict[str, Any]:
    """Run a case in a process of its own."""
    said = {
        "package": case.package,
        "version": case.version,
        "name": case.name,
        "tool": case.tool,
        "expected": case.expected,
        "definition": case.definition,
        "confirmed": case.confirmed,
        "lines": case.lines,
    }
    command = [sys.executable, "-W", "ignore", "-m", "audit_world", "--one", str(case)]
    one_core = {f"{n}_NUM_THREADS": "1" for n in ("OMP", "OPENBLAS", "MKL")}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            env=os.environ | one_core,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return said | {"verdict": "out of time", "seconds": LIMIT}
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return said | json.loads(line.removeprefix(MARK))
    return said | {"verdict": "crashed", "measured": done.stderr[-2000:]}


def save(case: Case, result: dict[str, Any]) -> None:
    """Put one result among those that are stored, in the order of the cases."""
    found = load() | {str(case): {"case": str(case)} | result}
    names = [str(c) for c in cases_of(MODULES)]
    in_order = [found[name] for name in names if name in found]
    settings = {"seconds at most": LIMIT}
    store(RESULTS, WHAT, in_order, settings, ("numpy", "torch"), COMMAND)


def load() -> dict[str, Any]:
    stored = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    return {result["case"]: result for result in stored}


def main(words: Sequence[str]) -> None:
    cases = cases_of([name for name in MODULES if name in words] or MODULES)
    if words[:1] == ["--one"]:
        result = run(next(case for case in cases if str(case) == words[1]))
        print(MARK + json.dumps(result), flush=True)
        return
    done = load()
    parts = [word for word in words if word not in MODULES]
    wanted = [case for case in cases if any(part in str(case) for part in parts)]
    if not parts:
        wanted = [case for case in cases if str(case) not in done]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = {pool.submit(run_apart, case): case for case in wanted}
        for job in tqdm(as_completed(jobs), total=len(jobs), unit="case"):
            case, result = jobs[job], job.result()
            save(case, result)
            if result["verdict"] != case.expected:
                tqdm.write(f"{case}: {result['verdict']}, expected {case.expected}")


if __name__ == "__main__":
    main(sys.argv[1:])
