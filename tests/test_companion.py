"""Importing the package: light, silent, and with NumPy alone; and what its rooms export."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import companion

NEW_MODULES = """
import sys, numpy.random
known, before = {"numpy", *sys.stdlib_module_names}, set(sys.modules)
import companion
print(*sorted(name for name in set(sys.modules) - before if name.split(".")[0] not in known))
"""
CORE = ["claims", "inverted", "masks", "network", "standard"]
GROUND = ["activations", "checks", "history", "optimizers", "progress"]
ROOMS = sorted(room.name for room in pkgutil.iter_modules(companion.__path__))


def test_import_takes_the_core_and_numpy_alone_and_warns_of_nothing():
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", NEW_MODULES],
        cwd=Path(companion.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    # Neither torch, scikit-learn, matplotlib, pooch nor tqdm, nor a room that needs one of them.
    expected = ["companion", *(f"companion.{room}" for room in sorted(CORE + GROUND))]
    assert (result.stdout.split(), result.stderr) == (expected, "")


def test_an_unknown_room_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'cellar'"):
        _ = companion.cellar


def test_every_room_is_listed_completed_and_described():
    described = re.findall(r"^    (\w+)", companion.__doc__, re.MULTILINE)
    assert sorted(described) == companion.__all__ == ROOMS
    assert set(ROOMS) <= set(dir(companion))
    assert "__version__" in dir(companion)


@pytest.mark.parametrize("room", ["nn.functional", *ROOMS])
def test_a_room_exports_what_it_says_and_nothing_of_others(room):
    module = importlib.import_module(f"companion.{room}")
    for name in module.__all__:
        thing = getattr(module, name)
        assert not isinstance(thing, ModuleType) or name == "functional"
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__module__.startswith("companion."), name
