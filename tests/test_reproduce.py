"""The long experiments: what is stored is what the program would have to run."""

import importlib.util
import json
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def program():
    path = ROOT / "reproduce" / "recurrent_dropout.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_run_is_stored_once_with_the_settings_of_the_program(program):
    stored = json.loads(program.RESULTS.read_text())
    keys = [(run["text"], run["dropout"], run["seed"]) for run in stored["runs"]]
    wanted = product(program.TEXTS, program.DROPOUT, program.SEEDS)
    assert sorted(keys) == sorted(wanted)
    assert stored["settings"] == program.SETTINGS
    assert {"command", "date", "versions"} <= stored.keys()
    for run in stored["runs"]:
        assert run["p"] == program.DROPOUT[run["dropout"]]
        assert run["update"][-1] == program.SETTINGS["updates"]
        assert len(run["update"]) == len(run["train"]) == len(run["held_out"])


def test_runs_that_are_stored_are_not_repeated(program, tmp_path, monkeypatch):
    copy = tmp_path / "results.json"
    before = program.RESULTS.read_text()
    copy.write_text(before)
    monkeypatch.setattr(program, "RESULTS", copy)
    monkeypatch.setattr(program.data, "load", lambda name: "")
    program.main()
    assert copy.read_text() == before
    assert list(tmp_path.iterdir()) == [copy]


def test_missing_data_is_said_before_anything_is_started(
    program, tmp_path, monkeypatch
):
    monkeypatch.setattr(program, "RESULTS", tmp_path / "results.json")
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="tinyshakespeare"):
        program.main()
    assert list(tmp_path.iterdir()) == []


def test_results_are_replaced_in_one_go(program, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "RESULTS", tmp_path / "results.json")
    run = {"text": "all", "dropout": "none", "seed": 0}
    program.save([run])
    assert json.loads(program.RESULTS.read_text())["runs"] == [run]
    with pytest.raises(TypeError):
        program.save([{"held_out": {1.5}}])
    assert json.loads(program.RESULTS.read_text())["runs"] == [run]
