"""Importing the package: light, silent, and with NumPy alone."""

import subprocess
import sys
from pathlib import Path

import pytest

import companion

NEW_MODULES = """
import sys, numpy.random
known, before = {"numpy", *sys.stdlib_module_names}, set(sys.modules)
import companion
print(*sorted(name for name in set(sys.modules) - before if name.split(".")[0] not in known))
"""
CORE = ["claims", "inverted", "masks", "network", "standard"]


def test_import_takes_the_core_and_numpy_alone_and_warns_of_nothing():
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", NEW_MODULES],
        cwd=Path(companion.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    # Neither torch, scikit-learn, matplotlib, pooch nor tqdm, nor a room that needs one of them.
    expected = ["companion", *(f"companion.{room}" for room in CORE)]
    assert (result.stdout.split(), result.stderr) == (expected, "")


def test_an_unknown_room_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'cellar'"):
        _ = companion.cellar
