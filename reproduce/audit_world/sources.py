"""Run one file of a package that cannot be imported whole, as it stands in its wheel."""

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any


class Anything(type):
    """Stands for any class, function or type that is not here."""

    def __getattr__(cls, name: str) -> "Anything":
        if name.startswith("__"):
            raise AttributeError(name)
        return anything(name)

    def __getitem__(cls, item: Any) -> "Anything":
        return cls

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return args[0] if len(args) == 1 and callable(args[0]) else cls


def anything(name: str) -> Anything:
    return Anything(name, (), {"__init_subclass__": _take_all})


def _take_all(cls: type, **kwargs: Any) -> None:
    """Let a class be derived with any keywords."""


class Stub(ModuleType):
    """A module that is not here. It has whatever it is asked for."""

    def __getattr__(self, name: str) -> Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return anything(name)


class Stubs(MetaPathFinder, Loader):
    """Finds a stub for each of some modules, and for what is in them."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if any(name == n or name.startswith(f"{n}.") for n in self.names):
            return ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Stub(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


def stub(*names: str) -> None:
    """Let there be a stub for each of some modules."""
    for name in names:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Stubs(names))


def load_file(file: str, *missing: str) -> ModuleType:
    """Run one file of an installed package without its ``__init__``.

    Its own imports run as usual: of its package likewise file by file, and for each module named
    in `missing`, and all below it, there is a stub.
    """
    stub(*missing)
    parts = Path(file).with_suffix("").parts
    for i in range(1, len(parts)):
        _bare(parts[:i])
    return importlib.import_module(".".join(parts))


def hide(name: str) -> None:
    """Let an installed package be as if it were not."""
    sys.modules[name] = None  # type: ignore[assignment]


def _bare(parts: tuple[str, ...]) -> None:
    """Let a package be a mere folder, whose files can be imported one by one."""
    name = ".".join(parts)
    if name in sys.modules:
        return
    folder = next(Path(p, *parts) for p in sys.path if Path(p, *parts).is_dir())
    package = Stub(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
