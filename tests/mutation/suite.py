"""Mutants of the package against its tests, those that run the changed line first."""

import importlib
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

import coverage
import pytest

from .sites import Mutant

LEFT_OUT = (".git", ".venv", "_build", "build", "dist", "__pycache__", ".*_cache")
HEAVY = ("numpy", "scipy.stats", "matplotlib.pyplot", "torch", "torch.nn.functional")
HEAVY += ("sklearn.neural_network", "sklearn.model_selection", "pytensor", "pandas")
HEAVY += ("numba", "tqdm.auto", "playwright.sync_api", "bs4")
FIRST = 60.0  # seconds of tests, fastest first, before all of them are tried


def copy_tree(root: Path, place: Path) -> Path:
    """A copy of the checkout in which a file may be broken."""
    shutil.copytree(root, place, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return place


def enter(copy: Path) -> None:
    """In a fresh process: let imports, and those of its children, come from the copy."""
    os.chdir(copy)
    paths = [str(copy), str(copy / "tests")]
    sys.path[:0] = paths
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = (
        True  # a changed file of the same size and second is not new
    )


def load_heavy(tree: Path) -> None:
    """Import what the package and its tests use, once for all forks; never the package."""
    for name in ("OPENBLAS", "OMP", "MKL"):  # a fork has none of its parent's threads
        os.environ[f"{name}_NUM_THREADS"] = "1"
    os.environ |= {"MPLBACKEND": "Agg", "NUMBA_OPT": "1"}
    files = [*(tree / "companion").rglob("*.py"), *(tree / "tests").glob("*.py")]
    text = "".join(file.read_text() for file in files)
    for name in HEAVY:
        if name.partition(".")[0] in text:
            with suppress(ImportError):
                importlib.import_module(name)
    assert "companion" not in sys.modules


class Chosen:
    """Pytest's plugin: run these tests alone, in this order, and keep the first that fails."""

    def __init__(self, order: list[str] | None):
        self.order = order
        self.failed: str | None = None

    def pytest_collection_modifyitems(self, config, items):
        if self.order is not None:
            place = {name: i for i, name in enumerate(self.order)}
            items[:] = [item for item in items if item.nodeid in place]
            items.sort(key=lambda item: place[item.nodeid])

    def pytest_runtest_logreport(self, report):
        if report.failed and self.failed is None:
            self.failed = report.nodeid


class Recorder:
    """Pytest's plugin: how long each test takes, and the lines of the package that it runs."""

    def __init__(self, copy: Path):
        self.copy = copy
        self.seconds: dict[str, float] = defaultdict(float)
        self.failed: set[str] = set()
        self.coverage = coverage.Coverage(
            data_file=None, config_file=False, include=[f"{copy}/companion/*"]
        )
        self.coverage.start()

    def pytest_runtest_logstart(self, nodeid):
        self.coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed.add(report.nodeid)

    def record(self) -> dict[str, Any]:
        self.coverage.stop()
        data = self.coverage.get_data()
        lines: dict[str, dict[str, list[int]]] = defaultdict(dict)
        for file in data.measured_files():
            name = Path(file).relative_to(self.copy).as_posix()
            for line, contexts in data.contexts_by_lineno(file).items():
                for context in contexts:
                    lines[context].setdefault(name, []).append(line)
        tests = {
            test: {"seconds": seconds, "lines": lines.get(test, {})}
            for test, seconds in self.seconds.items()
            if test not in self.failed
        }
        return {"tests": tests, "failed": sorted(self.failed)}


def run_pytest(copy: Path, files: Sequence[str], plugin: Any) -> int:
    """Run test files of the copy in this process."""
    enter(copy)
    import companion

    assert Path(companion.__file__).is_relative_to(copy), companion.__file__
    options = ["-q", "-o", "addopts=", "--doctest-modules", "--rootdir", str(copy)]
    options += ["-c", "pyproject.toml", "-p", "no:cacheprovider", "--no-header"]
    options += ["-p", "no:xdist", "-p", "no:nbval", "-p", "no:randomly", "--tb=line"]
    options += ["-p", "no:dropout_audit"]  # the copy loads its own
    return int(pytest.main([*options, *files], plugins=[plugin]))


def record(copy: Path, files: Sequence[str]):
    """The job that records some files of tests or doctests."""

    def work():
        recorder = Recorder(copy)
        run_pytest(copy, files, recorder)
        return recorder.record()

    return work


def try_tests(copy: Path, order: list[str]):
    """The job that runs tests until one fails, and returns that one, or ""."""

    def work() -> str:
        plugin = Chosen(order)
        files = list(dict.fromkeys(name.partition("::")[0] for name in order))
        if not files:
            return ""
        code = run_pytest(copy, ["-x", *files], plugin)
        if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            return ""
        return plugin.failed or "collection"

    return work


def choose(mutant: Mutant, recorded: dict[str, Any]) -> list[str]:
    """The tests that run a mutant's line, fastest first.

    What runs on import concerns every test that runs the function it belongs to, or anything
    of the file if it belongs to none.
    """
    first, last = mutant.reach or (1, sys.maxsize)
    chosen = [
        test
        for test, record in recorded.items()
        if (lines := record["lines"].get(mutant.file))
        and any(first <= line <= last for line in lines)
    ]
    return sorted(chosen, key=lambda test: recorded[test]["seconds"])


def stages(mutant: Mutant, recorded: dict[str, Any], room: str) -> tuple[list, list]:
    """The tests to try at first, and the others that may notice: of its room, or slow."""
    chosen = choose(mutant, recorded)
    total = list(accumulate(recorded[test]["seconds"] for test in chosen))
    first = [test for test, until in zip(chosen, total, strict=True) if until < FIRST]
    rest = [test for test in chosen if test not in first]
    rest += [
        test
        for test in recorded
        if test.startswith((room, mutant.file)) and test not in chosen
    ]
    return (first, rest) if first else (rest, [])
