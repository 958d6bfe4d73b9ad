"""The audit from a shell: how it is called, what it says, and that nothing stays behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from companion.audit import Check, audit, layer, process
from companion.audit.__main__ import main, status
from companion.audit.estimator import CHECKS as ESTIMATOR_CHECKS
from companion.audit.report import AuditReport

HERE = Path(__file__).parent
SMALL = ["--shape", "16,32"]  # enough where chance plays no part
CANDIDATES = '''
"""Candidates of one fault each."""
import ctypes, os, subprocess, sys, time
import numpy as np

print("{ this is no report", flush=True)
os.system("echo nor this")


def dropout(x, p, training, rng):
    if not 0 <= p <= 1:
        raise ValueError(p)
    if not training or p == 0:
        return x
    return np.where(rng.random(x.shape) >= p, x / (1 - p), 0).astype(x.dtype)


def prints(x, p, training, rng):
    os.write(1, b"{ nor that")
    return dropout(x, p, training, rng)


class Wanting:
    def __init__(self, p, *, sides):
        self.p = p

    def __call__(self, x, p, training, rng):
        return dropout(x, p, training, rng)


def unscaled(x, p, training, rng):
    return dropout(x, p, training, rng) * (1 - p if training else 1)


def upcast(x, p, training, rng):
    return dropout(x, p, training, rng).astype(np.float64)


def ends(x, p, training, rng):
    os._exit(0)


def crashes(x, p, training, rng):
    ctypes.string_at(0)


def leaves(x, p, training, rng):
    raise SystemExit(0)


def sleeps_in_c(x, p, training, rng):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open("started", "w") as file:
        print(os.getpid(), child.pid, file=file)
    ctypes.PyDLL(None).sleep(600)  # holds the interpreter: no signal of Python gets through
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with candidates in it, which is the working directory and on Python's path."""
    (tmp_path / "candidates.py").write_text(CANDIDATES)
    (tmp_path / "broken.py").write_text("import nowhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected", "said"),
    [
        (["companion.inverted:dropout", "--p", "0.3"], 0, " (0.298"),
        (["companion.estimators:MLPDropoutRegressor"], 0, "13 passed, 0 failed"),
        (["candidates:unscaled", *SMALL], 1, "✗ survivors' scale"),
        (["candidates:upcast", *SMALL], 3, "! dtype and layout"),
        (["candidates:upcast", *SMALL, "--skip", "DR203=meant so"], 0, "meant so"),
        (["candidates:upcast", *SMALL, "--dtypes", "float64"], 0, " 0 failed"),
        (["candidates:dropout", *SMALL, "--kind", "channels"], 1, "✗ what is dropped"),
        (["candidates:Wanting", *SMALL], 2, "--argument name=value"),
        (["candidates:Wanting", *SMALL, "--argument", "sides=2"], 0, " 0 failed"),
        (["torch.nn:Dropout2d", "--shape", "4,8,6,6"], 0, "channels"),
        (["nothing"], 2, "name must be package.module:name; got 'nothing'"),
        (["nowhere:f"], 2, "No module named 'nowhere'"),
        (["broken:f"], 2, "import broken raised ModuleNotFoundError: No module named"),
        (["candidates:nowhere"], 2, "has no attribute 'nowhere'"),
        (["candidates:droput"], 2, "this module: dropout?"),
        (["candidates:leaves"], 2, "SystemExit"),
        (["candidates:ends"], 2, "came to its end (exit status 0)"),
        (["candidates:crashes"], 2, "came to its end (Segmentation fault)"),
        (["companion.inverted:dropout", "--p", "1"], 2, "got 1.0"),
    ],
)
def test_the_command(arguments, expected, said, folder, capfd):
    found = main(arguments)
    printed = capfd.readouterr().out
    assert found == expected
    assert said in printed
    assert "Traceback" not in printed
    assert ("could not run" in printed) == (found == 2)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], 0),
        ([("note", False), ("pass", True)], 0),
        ([("fail", True), ("fail", False)], 1),
        ([("fail", True)], 3),
    ],
)
def test_the_exit_status_tells_the_core_from_the_edges(verdicts, expected):
    checks = [Check("n", "m", verdict, edge=edge) for verdict, edge in verdicts]
    assert status(AuditReport("f", tuple(checks))) == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "usage: python -m companion.audit"),
        (["f", "--argument", "size"], "both sides of =; got 'size'"),
        (["f", "--argument", "size=large"], "a literal of Python, a string in quotes"),
        (["f", "--skip", "DR202="], "both sides of =; got 'DR202='"),
        (["f", "--shape", "4,b"], "invalid _numbers value: '4,b'"),
        (["f", "--format", "pdf"], "invalid choice: 'pdf'"),
    ],
)
def test_a_wrong_call_is_told_how_it_is_done(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_what_is_given_reaches_the_audit_and_nothing_else_does(monkeypatch):
    asked = []

    def audit_apart(name, settings):
        asked.append((name, settings))
        return AuditReport(name), None

    monkeypatch.setattr(sys.modules[main.__module__], "audit_apart", audit_apart)
    assert main(["m:f"]) == 0
    given = "m:f --p 0.1 --shape 4,8,6,6 --batch-axis 1 --dtypes float32,float16 --kind channels"
    given += (
        " --argument block_size=7 --argument mode='x' --skip DR203=told --skip DR202=no"
    )
    assert main(given.split()) == 0
    expected = {
        "p": 0.1,
        "shape": (4, 8, 6, 6),
        "batch_axis": 1,
        "dtypes": ("float32", "float16"),
        "kind": "channels",
        "arguments": {"block_size": 7, "mode": "x"},
        "skip": {"DR203": "told", "DR202": "no"},
    }
    assert asked == [("m:f", {}), ("m:f", expected)]


def shell(*command, check=True, **kwargs):
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=check,
        **kwargs,
    )


def test_the_command_in_a_shell_with_json():
    expected = audit(torch.nn.Dropout, shape=(16, 32)).to_dict()
    done = shell("-m", "companion.audit", "torch.nn:Dropout", *SMALL, "--json")
    assert json.loads(done.stdout) == expected


def test_what_a_candidate_prints_is_no_part_of_the_report(folder):
    done = shell("-m", "companion.audit", "candidates:prints", *SMALL, "--json")
    assert json.loads(done.stdout)["passed"]


def test_the_report_stands_in_a_file_and_the_text_is_printed(folder, capsys):
    named = ["--format", "sarif", "--output", "a.sarif"]
    assert main(["candidates:upcast", *SMALL, *named]) == 3
    written = json.loads((folder / "a.sarif").read_text())
    (found,) = written["runs"][0]["results"]
    assert found["ruleId"] == "DR203"
    place = found["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "candidates.py"
    line = CANDIDATES.splitlines()[place["region"]["startLine"] - 1]
    assert line.startswith("def upcast")
    assert capsys.readouterr().out.startswith("upcast: ")


def test_the_summary_of_a_job_gets_the_table(folder, monkeypatch, capsys):
    (folder / "summary").write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary"))
    assert main(["candidates:upcast", *SMALL]) == 3
    assert (folder / "summary").read_text() == "before\n"
    capsys.readouterr()
    assert main(["candidates:upcast", *SMALL, "--format", "github"]) == 3
    summary = (folder / "summary").read_text()
    assert summary.startswith("before\n### upcast: ")
    assert "| ! | dtype and layout |" in summary
    printed = capsys.readouterr().out
    assert printed.startswith("::warning file=candidates.py,line=")


@pytest.mark.parametrize(
    ("name", "checks"),
    [
        ("companion.inverted:dropout", layer.CHECKS),
        ("companion.estimators:MLPDropoutRegressor", ESTIMATOR_CHECKS),
    ],
)
def test_checks_have_names_where_docstrings_are_left_out(name, checks):
    done = shell("-OO", "-m", "companion.audit", name, "--format", "json")
    made = json.loads(done.stdout)["checks"]
    found = [(check["name"], check["meaning"]) for check in made]
    assert found == [(check.name, check.meaning) for check in checks]
    assert all(map(all, found))


def test_a_file_that_cannot_be_written_is_said_with_the_report(folder, capsys):
    assert main(["candidates:dropout", *SMALL, "--output", "nowhere/a.txt"]) == 2
    printed = capsys.readouterr().out
    assert "✓ drop rate" in printed
    assert "could not be written: [Errno 2]" in printed


def test_a_code_is_explained(capsys):
    assert main(["DR105"]) == 0
    assert "+    return F.dropout(x, p, training)" in capsys.readouterr().out


def test_a_locale_without_the_signs_is_no_error(folder):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = shell("-m", "companion.audit", "candidates:dropout", *SMALL, env=environment)
    assert "✓ drop rate" in done.stdout


def is_running(number):
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def started(folder):
    """The processes of the candidate that sleeps, once there are any."""
    end = time.monotonic() + 60
    while not (numbers := read(folder / "started")):
        assert time.monotonic() < end, "it did not start"
        time.sleep(0.05)
    return numbers


def read(path):
    return path.read_text().split() if path.exists() else []


def wait_until_gone(numbers):
    end = time.monotonic() + 10
    while any(map(is_running, numbers)):
        assert time.monotonic() < end, "it was left behind"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="asks Linux who is running")
def test_a_candidate_that_hangs_in_c_is_ended_with_all_it_started(
    folder, monkeypatch, capsys
):
    monkeypatch.setattr(process, "LIMIT", 8.0)
    assert main(["candidates:sleeps_in_c"]) == 2
    assert "no answer within 8 s" in capsys.readouterr().out
    numbers = started(folder)
    assert len(numbers) == 2
    wait_until_gone(numbers)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="asks Linux who is running")
def test_a_job_that_is_cancelled_leaves_nothing_behind(folder):
    command = [sys.executable, "-m", "companion.audit", "candidates:sleeps_in_c"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        numbers = started(folder)
        running.send_signal(signal.SIGTERM)
        _, said = running.communicate(timeout=30)
    assert running.returncode == 143
    assert "Traceback" not in said
    wait_until_gone(numbers)


# The action

ACTION = yaml.safe_load((HERE.parent / "action.yml").read_text())
AUDIT = ACTION["runs"]["steps"][-1]


def act(folder, **given):
    """Run the step of the action as GitHub does, with what a workflow gives it."""
    inputs = {name: what.get("default") for name, what in ACTION["inputs"].items()}
    inputs |= {"python": sys.executable, "options": "--shape 16,32"} | given
    environment = os.environ | {"GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    for name, value in AUDIT["env"].items():
        environment[name] = inputs[re.fullmatch(r"\$\{\{ inputs\.(\w+) }}", value)[1]]
    return subprocess.run(
        ["bash", "-e", "-c", AUDIT["run"]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("given", "expected", "said"),
    [
        ({"name": "candidates:upcast"}, 3, "::warning file=candidates.py,line="),
        (
            {"name": "candidates:upcast", "edges": "warn"},
            0,
            "::warning file=candidates.py",
        ),
        (
            {"name": "candidates:unscaled", "edges": "warn"},
            1,
            "::error file=candidates.py",
        ),
        ({"name": "nowhere:f", "edges": "warn"}, 2, "::error title=nowhere%3Af"),
        (
            {"name": "candidates:dropout", "options": "--p '0.2' --shape 16,32"},
            0,
            "dropout: ",
        ),
    ],
)
def test_the_action_ends_as_the_audit_does(given, expected, said, folder):
    done = act(folder, **given)
    assert done.returncode == expected
    assert "Traceback" not in done.stderr
    assert said in done.stdout
    assert (folder / "summary.md").read_text().startswith("### ")


def test_an_input_of_the_action_is_no_code(folder):
    done = act(folder, name="$(touch x);`touch x`:f", options="'; touch x'")
    assert done.returncode == 2
    assert not (folder / "x").exists()


def test_the_action_is_what_others_can_use():
    assert ACTION["runs"]["using"] == "composite"
    steps = ACTION["runs"]["steps"]
    assert not [
        step for step in steps if "uses" in step
    ]  # nothing is uploaded or fetched
    for step in steps:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"
    assert "$GITHUB_ACTION_PATH[audit]" in steps[0]["run"]
    assert {name for name, i in ACTION["inputs"].items() if i.get("required")} == {
        "name"
    }
