"""What an audit asks of an implementation, whatever framework it is made with."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Adapter:
    """What an audit asks of an implementation; the arrays are the implementation's own.

    Attributes
    ----------
    name : str
        For the head of the report.
    dtypes : tuple of str
        Floating dtypes to try; the first one carries the statistics, so the widest.
    has_inference, sets_p, has_backward : bool
        Whether there is an inference mode, another `p` can be set, and gradients can be taken.
    own_stream : bool
        Whether it draws from a generator it was given, and not from its framework's global one.
    inplace : bool
        Whether it was asked to write its result into the input.
    rate : float or None
        The drop probability it was made with, where that can be told.
    signature : str
        How it is called, in words for a message.
    """

    name: str
    rate: float | None = None
    signature = "f(x, p, training)"
    dtypes: tuple[str, ...] = ("float64", "float32", "float16")
    has_inference = sets_p = True
    has_backward = False
    own_stream = True
    inplace = False

    # Arrays

    def array(self, values: Array, dtype: str) -> Any:
        """Return an array of the implementation's kind."""
        return values.astype(dtype)

    def values(self, array: Any) -> Array:
        """Return a copy of the values, in float64; raise TypeError for any other kind of array."""
        if not isinstance(array, np.ndarray | np.floating):
            raise TypeError(f"it returned {type(array).__name__}, not an array")
        return np.array(array, dtype=float)

    def dtype(self, array: Any) -> str:
        """Return the name of the array's dtype, one of `dtypes`."""
        return str(array.dtype)

    def reversed(self, array: Any) -> Any:
        """Return a view with the axes in reverse order; None if there are no views."""
        return array.T

    def layout(self, array: Any) -> Any:
        """Return what should be the same for input and output: the order of axes in memory."""
        return memory_order(array.shape, array.strides)

    def strided(self, values: Array, dtype: str) -> Any:
        """Return an array that is every other element of another; None if there are no views."""
        return None

    def expanded(self, like: Any, shape: tuple[int, ...]) -> Any:
        """Return ones of a shape, in no memory of their own where there is such a thing."""
        return self.array(np.ones(shape), self.dtype(like))

    def without_gradients(self) -> AbstractContextManager:
        """Return a context in which no gradient is recorded, where there is such a thing."""
        return nullcontext()

    # The stream of random numbers

    def seed(self, seed: int) -> None:
        """Start the stream of random numbers again."""
        raise NotImplementedError

    def state(self) -> Any:
        """Return where the stream of random numbers stands, comparable with ``==``."""
        raise NotImplementedError

    # Calls

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        """Call the implementation."""
        raise NotImplementedError

    def gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        """Call it in training; return the result and the gradient of ``sum(result * grad)``."""
        raise NotImplementedError

    def second_gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        """Return the result, and d sum(grad * dx) / d grad, where dx is the gradient."""
        raise NotImplementedError

    def put_back(self) -> None:
        """Give back what was borrowed, if it could not be copied."""


Make = Callable[[float], Any]  # makes a layer for a p


class FrameworkAdapter(Adapter):
    """An adapter that recognises its own candidates; one file for each framework.

    Attributes
    ----------
    takes : str
        The candidates it is for, in words.
    """

    takes: str

    def __init__(self, candidate: Any, made_by: Make | None = None) -> None:
        """Take a candidate, and what makes another one for a `p` if a class was given."""
        self.name = getattr(candidate, "__name__", None) or type(candidate).__name__

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        """Return True for a candidate of this kind; import no framework to find out."""
        raise NotImplementedError


def is_a(candidate: Any, module: str, name: str) -> bool:
    """Return True for an instance of a class, if its module has been imported at all."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(candidate, getattr(loaded, name))


def memory_order(shape: Any, strides: Any) -> list[int]:
    """Return the axes from the fastest to the slowest, less those of one element."""
    long = [axis for axis, n in enumerate(shape) if n > 1]
    return sorted(long, key=lambda axis: abs(strides[axis]))
