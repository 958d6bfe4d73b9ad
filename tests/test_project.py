"""The README keeps its word, and the package installs as promised."""

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_readme_example_prints_what_the_readme_says():
    code, printed = re.search(
        r"```python\n(.*?)```\s+prints\s+```text\n(.*?)```", README, re.S
    ).groups()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == printed
    assert len(code.splitlines()) <= 12


def test_the_readme_names_every_make_target_it_needs():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"\bmake ([a-z]+)", README))
    assert {"book", "test", "quick", "lab", "notebook", "bench"} <= named <= targets


def test_make_without_a_target_lists_the_targets():
    done = subprocess.run(
        ["make"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z]+):", makefile, re.M)
    assert re.findall(r"^  make (\S+) ", done.stdout, re.M) == targets
    (phony,) = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)", makefile, re.M)
    assert set(phony.replace("\\", "").split()) == set(targets)


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("/nowhere/python3", "Python 3.11 or newer is needed"),
        ("{old}", "is Python 3.10.4"),
    ],
)
def test_make_says_so_if_python_is_missing_or_too_old(tmp_path, python, message):
    old = tmp_path / "python3.10"
    pretend = "import sys; sys.version_info = (3, 10, 4); exec(sys.argv[1])"
    old.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.10.4" && exit\n'
        f'exec "{sys.executable}" -c "{pretend}" "$2"\n'
    )
    old.chmod(0o755)
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    command = ["make", "book", f"PYTHON={python.format(old=old)}"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert message in done.stdout
    assert not (tmp_path / ".venv").exists()


def test_requirements_pin_every_package_and_name_no_host():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9_.-]+==[0-9][0-9a-z.]*", pin) for pin in pins), (
        pins
    )
    assert not any(pin.startswith(("nvidia", "triton", "cuda")) for pin in pins)
    pinned = {pin.split("==")[0].replace("_", "-") for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(name for extra in extras for name in extra)]
    assert {re.match(r"[\w-]+", name)[0].replace("_", "-") for name in wanted} <= pinned


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--quiet"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("dropout_companion-*.whl")
    return built


def test_the_wheel_holds_the_companion_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {
        "companion",
        "dropout_companion",
    }
    assert {"companion/py.typed", "companion/digits.npz", "companion/masks.py"} <= set(
        names
    )


def test_the_core_works_with_numpy_alone(wheel, tmp_path):
    """The unpacked wheel and NumPy, in an environment with nothing else in it."""
    venv.create(tmp_path / "env", with_pip=False)
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    numpy = Path(__import__("numpy").__file__).parents[1]
    for name in ("numpy", "numpy.libs"):
        if (numpy / name).exists():
            (tmp_path / "site" / name).symlink_to(numpy / name)
    code = """
from companion import data, inverted, network
X, y = data.load("digits")
network.MLP([64, 8, 10], rng=0).fit(X[:100], y[:100], epochs=2)
assert inverted.dropout(X, 0.5, rng=0).shape == (1797, 64)
try:
    from companion import plots
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [str(tmp_path / "env" / "bin" / "python"), "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert 'pip install "dropout-companion[plots]"' in done.stdout


def test_versions_agree():
    import companion

    assert f"version: {companion.__version__}\n" in (ROOT / "CITATION.cff").read_text()
