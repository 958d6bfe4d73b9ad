"""The plugin for pytest, in a project of its own that knows nothing of the companion."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import companion

TESTS = """
import numpy as np
import pytest


def right(x, p, training, rng):
    if not 0 <= p <= 1:
        raise ValueError(p)
    if not training or p == 0:
        return x
    return np.where(rng.random(x.shape) >= p, x / (1 - p), 0).astype(x.dtype)


def unscaled(x, p, training, rng):
    return right(x, p, training, rng) * (1 - p if training else 1)


def upcast(x, p, training, rng):
    return right(x, p, training, rng).astype(np.float64)


def refuses(x, p, training, rng):
    raise TypeError("unheard of")


def test_right(audit_dropout):
    assert audit_dropout(right, p=0.3, shape=(16, 32)).passed


def test_core(audit_dropout):
    audit_dropout(unscaled, shape=(16, 32))


def test_edge(audit_dropout):
    with pytest.warns(UserWarning, match="! dtype and layout"):
        assert not audit_dropout(upcast, shape=(16, 32)).passed


def test_edge_told(audit_dropout):
    audit_dropout(upcast, shape=(16, 32), edges=True)


def test_blocked(audit_dropout):
    audit_dropout(refuses, shape=(16, 32))


@pytest.mark.dropout(p=0.3, shape=(16, 32))
def test_marked():
    return right


@pytest.mark.filterwarnings("ignore:upcast")
@pytest.mark.dropout(shape=(16, 32))
def test_marked_edge():
    return upcast


@pytest.mark.parametrize("candidate", [right, unscaled])
@pytest.mark.dropout(shape=(16, 32))
def test_of_many(candidate):
    return candidate


@pytest.mark.dropout(shape=(16, 32))
class TestMethods:
    @pytest.fixture
    def made(self):
        return unscaled

    def test_method(self, made):
        return made

    def test_itself(self):
        assert 1 == 2


def test_other():
    pass
"""
OUTCOMES = {
    "test_right": None,
    "test_core": "✗ survivors' scale",
    "test_edge": None,
    "test_edge_told": "! dtype and layout",
    "test_blocked": "TypeError: unheard of",
    "test_marked": None,
    "test_marked_edge": None,
    "test_of_many[right]": None,
    "test_of_many[unscaled]": "✗ survivors' scale",
    "test_method": "✗ survivors' scale",
    "test_itself": "assert 1 == 2",
    "test_other": None,
}
ROOT = Path(companion.__file__).parents[1]


def run(folder, *options, **more):
    """Run pytest as a user does: nothing but what is installed makes the plugin known."""
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error")
    path = os.pathsep.join(filter(None, [*more.pop("path", []), str(ROOT)]))
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", *options]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PYTEST_ADDOPTS": "", **more},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What became of each test: None, or what the failure says."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_layers.py").write_text(TESTS)
    done = run(folder, "--junitxml=found.xml")
    assert done.returncode == 1, done.stdout + done.stderr
    cases = ET.parse(folder / "found.xml").iter("testcase")
    return {
        case.get("name"): (
            case.find("failure").text if case.find("failure") is not None else None
        )
        for case in cases
    }


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_test_of_the_fixture_or_the_marker(name, outcomes):
    said = OUTCOMES[name]
    assert (outcomes[name] is None) == (said is None)
    assert (said or "") in (outcomes[name] or "")


def test_a_failure_is_the_report_and_no_traceback(outcomes):
    assert outcomes.keys() == OUTCOMES.keys()
    assert outcomes["test_core"].startswith("unscaled: ")
    assert outcomes["test_method"].startswith("unscaled: ")
    assert outcomes["test_edge_told"].startswith("upcast: ")


WITHOUT = """
import sys

def test_nothing_heavy_is_imported():
    assert not {"torch", "scipy", "companion.audit.layer"} & set(sys.modules)

def test_used(audit_dropout):
    audit_dropout(print)
"""


def test_nothing_is_imported_before_it_is_used_and_then_what_is_missing_is_named(
    tmp_path,
):
    (tmp_path / "scipy").mkdir()
    (tmp_path / "scipy" / "__init__.py").write_text("raise ImportError('not here')")
    (tmp_path / "test_it.py").write_text(WITHOUT)
    done = run(tmp_path, path=[str(tmp_path)])
    assert "1 failed, 1 passed" in done.stdout
    assert "pip install 'dropout-companion[audit]'" in done.stdout


def test_the_fixture_and_the_marker_say_what_they_do(tmp_path):
    assert "audit_dropout [session scope]" in run(tmp_path, "--fixtures").stdout
    assert "@pytest.mark.dropout(edges=False" in run(tmp_path, "--markers").stdout
