"""Stored results: the beginning of each experiment, run again, gives what is stored."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from companion import data

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "reproduce").glob("*.json"))
NAMES = [path.stem for path in RESULTS]


@pytest.fixture
def program(request, monkeypatch):
    """A program of the folder, with the data that it names at hand."""
    monkeypatch.syspath_prepend(ROOT / "reproduce")
    before = set(sys.modules)
    source = (ROOT / "reproduce" / f"{request.param}.py").read_text()
    for name in data.NAMES:
        if f'"{name}"' in source and name not in data.available():
            pytest.skip(
                f"{name} is not here: set COMPANION_DATA to a folder that has it"
            )
    yield importlib.import_module(request.param)
    for name in set(sys.modules) - before:
        if "reproduce" in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def flat(values):
    """A list of lists as one list, which is all that approx takes."""
    if not isinstance(values, list):
        return [values]
    return [value for part in values for value in flat(part)]


@pytest.mark.parametrize("program", NAMES, indirect=True)
def test_the_beginning_of_an_experiment_gives_what_is_stored(program):
    content = json.loads(program.RESULTS.read_text())
    first = content["runs"][0]
    key = {name: first[name] for name in program.wanted_runs()[0]}
    try:
        begun = program.run(**key, **program.BEGINNING)
    except ImportError as error:
        pytest.skip(str(error))
    assert begun
    for name, values in begun.items():
        stored = first[name][: len(values)] if isinstance(values, list) else first[name]
        assert stored, name
        values, stored = flat(values), flat(stored)
        if not isinstance(values[0], str):
            stored = pytest.approx(stored, rel=1e-3, abs=1e-5)
        assert values == stored, name


@pytest.mark.parametrize("path", RESULTS, ids=NAMES)
def test_results_say_what_was_run_when_with_what_and_for_how_long(path):
    content = json.loads(path.read_text())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", content["date"])
    assert content["versions"]["python"]
    assert len(content["what"]) > 10
    assert content["minutes"] > 0
    assert content["runs"]


@pytest.mark.parametrize("name", NAMES)
def test_results_are_read_by_the_book(name):
    pages = [*(ROOT / "book").glob("*.ipynb"), *(ROOT / "book" / "_ext").glob("*.py")]
    assert any(f"{name}.json" in path.read_text() for path in pages)


def test_every_program_that_stores_results_has_stored_them():
    programs = {
        path.stem
        for path in (ROOT / "reproduce").glob("*.py")
        if "RESULTS = " in path.read_text()
    }
    assert programs == set(NAMES)
