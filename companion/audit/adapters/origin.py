"""Where a candidate comes from: the modules that its code refers to."""

import dis
import functools
import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

_READS = ("LOAD_GLOBAL", "LOAD_DEREF", "LOAD_NAME")


def is_of(candidate: Any, *packages: str) -> bool:
    """Return True if the code of a candidate refers to one of some packages.

    Examples
    --------
    >>> import numpy as np
    >>> is_of(lambda x: np.sign(x), "numpy"), is_of(lambda x: x, "numpy")
    (True, False)
    """
    return any(name.partition(".")[0] in packages for name in modules_of(candidate))


def modules_of(candidate: Any) -> set[str]:
    """Return the names of the modules that a candidate's code and annotations refer to.

    Functions that it calls are followed inside its own module; nothing is imported.
    """
    found: set[str] = set()
    waiting, seen = list(_functions(candidate)), set()
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        found.add(str(function.__module__))
        for thing in _things(function):
            found.add(thing if isinstance(thing, str) else _module(thing))
            if _module(thing) == function.__module__ and not isinstance(thing, type):
                waiting += _functions(thing)
    return found


def _functions(candidate: Any) -> Iterator[FunctionType]:
    """Yield the function, or the methods of an object, without what is wrapped around them."""
    while isinstance(candidate, functools.partial):
        candidate = candidate.func
    if isinstance(candidate, MethodType):
        candidate = candidate.__func__
    with suppress(Exception):  # whatever has a __getattr__ of its own
        candidate = inspect.unwrap(candidate)
    if isinstance(candidate, FunctionType):
        yield candidate
    elif not isinstance(candidate, ModuleType):
        for kind in type(candidate).__mro__[:-1]:
            yield from (f for f in vars(kind).values() if isinstance(f, FunctionType))


def _things(function: FunctionType) -> Iterator[Any]:
    """Yield the objects that a function reads by name, and the names it imports."""
    closure = inspect.getclosurevars(function).nonlocals
    scope = {**function.__globals__, **closure}
    for annotation in function.__annotations__.values():
        if isinstance(annotation, str):
            yield from (scope[w] for w in re.findall(r"\w+", annotation) if w in scope)
        else:
            yield annotation
    for code in _codes(function.__code__):
        for step in dis.get_instructions(code):
            if step.opname == "IMPORT_NAME":
                yield step.argval
            elif step.opname in _READS and step.argval in scope:
                yield scope[step.argval]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _module(thing: Any) -> str:
    if isinstance(thing, ModuleType):
        return thing.__name__
    with suppress(Exception):
        return str(getattr(thing, "__module__", None) or type(thing).__module__)
    return ""
