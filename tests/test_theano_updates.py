"""What Theano did with its masks: stored once, and run again wherever Theano itself is there."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def program(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "reproduce")
    yield importlib.import_module("theano_updates")
    sys.modules.pop("theano_updates", None)


@pytest.fixture
def content(program):
    return json.loads(program.RESULTS.read_text())


def test_results_are_those_of_the_settings_and_say_where_they_come_from(
    program, content
):
    names = "masked", "generator"
    keys = [{name: run[name] for name in names} for run in content["runs"]]
    assert keys == program.wanted_runs()
    assert content["settings"] == program.SETTINGS
    assert content["what"] == program.WHAT
    assert content["versions"].keys() == {"python", "theano", "numpy"}
    assert content["command"].split()[-1] == "reproduce/theano_updates.py"


def test_a_mask_is_numbered_by_how_many_different_ones_came_before(program):
    a, b = np.array([0.0, 1.0]), np.array([1.0, 1.0])
    assert program._patterns(np.array([a, b, a, a, b])) == [0, 1, 0, 0, 1]


def test_every_call_and_every_step_has_a_number(content):
    calls, steps = content["settings"]["calls"], content["settings"]["steps"]
    for run in content["runs"]:
        expected = calls if run["masked"] == "outside" else calls * steps
        lists = [value for value in run.values() if isinstance(value, list)]
        assert len(lists) >= 2
        assert {len(numbers) for numbers in lists} == {expected}


def test_the_beginning_of_each_run_is_what_is_stored(program, content):
    pytest.importorskip("theano", reason="needs an old Python")
    for key, run in zip(program.wanted_runs(), content["runs"], strict=True):
        for name, value in program.run(**key, **program.BEGINNING).items():
            begins = run[name][: len(value)] if isinstance(value, list) else run[name]
            assert value == begins, (key, name)
