"""What a program shares: its random numbers and its warnings, left as an audit found them."""

import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


def global_states() -> dict[str, Any]:
    """Return the states of the generators that nobody owns, comparable with ``==``.

    PyTorch's are there if it has been imported, those of its CUDA devices once one is in use.
    """
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    states: dict[str, Any] = {
        "random": random.getstate(),
        "numpy.random": (kind, keys.tolist(), *rest),  # type: ignore[attr-defined]
    }
    if torch := sys.modules.get("torch"):
        held = [torch.get_rng_state()]
        if torch.cuda.is_initialized():  # asking would start it
            held += torch.cuda.get_rng_state_all()
        states["torch"] = [state.tolist() for state in held]
    return states


@contextmanager
def undisturbed() -> Iterator[None]:
    """Silence warnings, in one thread; afterwards give everyone their random numbers back."""
    before = global_states()
    try:
        with warnings.catch_warnings(), _one_thread():
            warnings.simplefilter("ignore")
            yield
    finally:
        _put_back(before)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch use one thread: the arrays are small, and others may need the cores."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    try:
        if torch:
            torch.set_num_threads(1)
        yield
    finally:
        if torch:
            torch.set_num_threads(threads)


def _put_back(states: dict[str, Any]) -> None:
    random.setstate(states["random"])
    np.random.set_state(states["numpy.random"])  # noqa: NPY002
    if "torch" in states:
        torch = sys.modules["torch"]
        cpu, *cuda = (torch.tensor(s, dtype=torch.uint8) for s in states["torch"])
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
