"""Run one file of a package that cannot be imported whole, as it stands in its wheel."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


class Anything(type):
    """Stands for any class or function that is not here."""

    def __getattr__(cls, name: str) -> "Anything":
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name, (), {})

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return args[0] if len(args) == 1 and callable(args[0]) else cls


class Stub(ModuleType):
    """A module that is not here. It has whatever it is asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name, (), {})


def load_file(file: str, *missing: str) -> ModuleType:
    """Run one file of an installed package without its ``__init__``.

    Its own imports run as usual: of its package likewise file by file, and for each module named
    in `missing` there is a stub.
    """
    for name in missing:
        sys.modules.setdefault(name, Stub(name))
    parts = Path(file).with_suffix("").parts
    for i in range(1, len(parts)):
        _bare(parts[:i])
    return importlib.import_module(".".join(parts))


def _bare(parts: tuple[str, ...]) -> None:
    """Let a package be a mere folder, whose files can be imported one by one."""
    name = ".".join(parts)
    if name in sys.modules:
        return
    folder = next(Path(p, *parts) for p in sys.path if Path(p, *parts).is_dir())
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
