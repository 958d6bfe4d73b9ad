"""What an argument must be: each check returns the value, or says what is wrong with it."""

from collections.abc import Sequence
from numbers import Real
from operator import index
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = [
    "Rng",
    "check_array",
    "check_axes",
    "check_count",
    "check_each",
    "check_floating",
    "check_inside",
    "check_key",
    "check_labels",
    "check_option",
    "check_pair",
    "check_positive",
    "check_probability",
    "check_rng",
    "check_samples",
    "check_sizes",
]

Rng = np.random.Generator | int | None
FLOATING = (np.float16, np.float32, np.float64, np.complex64, np.complex128)
Option = TypeVar("Option", bound=str)


def check_probability(p: float, name: str = "p") -> float:
    """Return `p` as a float in [0, 1].

    Examples
    --------
    >>> check_probability(1.5)
    Traceback (most recent call last):
        ...
    ValueError: p is a drop probability in [0, 1]; got 1.5
    """
    if type(p) is float and 0 <= p <= 1:
        return p
    if not isinstance(p, (float, Real)) or isinstance(p, (bool, np.bool_)):
        raise TypeError(f"{name} must be a real number; got {p!r}")
    if not 0 <= p <= 1:  # NaN fails this too
        raise ValueError(f"{name} is a drop probability in [0, 1]; got {p}")
    return float(p)


def check_inside(value: float, name: str) -> float:
    """Return a number that lies between 0 and 1 and is neither.

    Examples
    --------
    >>> check_inside(1, "alpha")
    Traceback (most recent call last):
        ...
    ValueError: alpha must lie between 0 and 1, ends excluded; got 1
    """
    if not 0 < value < 1:
        raise ValueError(
            f"{name} must lie between 0 and 1, ends excluded; got {value!r}"
        )
    return value


def check_key(key: int, name: str = "key") -> int:
    """Return 64 bits as an int from 0 to ``2**64 - 1``, a negative one modulo ``2**64``.

    Examples
    --------
    >>> check_key(2**64)
    Traceback (most recent call last):
        ...
    ValueError: key must be 64 bits, from -2**63 to 2**64 - 1; got 18446744073709551616
    """
    if isinstance(key, bool) or not isinstance(key, (int, np.integer)):
        raise TypeError(f"{name} must be an int of 64 bits; got {key!r}")
    if not -(2**63) <= key < 2**64:
        raise ValueError(f"{name} must be 64 bits, from -2**63 to 2**64 - 1; got {key}")
    return int(key) % 2**64


def check_axes(shared_axes: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return axes counted from the front, each in range and none of them twice.

    Examples
    --------
    >>> check_axes((0, -1), ndim=4)
    (0, 3)
    """
    if isinstance(shared_axes, tuple) and not shared_axes:
        return ()
    given = shared_axes if isinstance(shared_axes, Sequence) else (shared_axes,)
    axes = [index(axis) for axis in given]
    if not all(-ndim <= axis < ndim for axis in axes):
        raise ValueError(
            f"shared_axes must be axes of {ndim} dimensions; got {shared_axes}"
        )
    positive = tuple(axis % ndim for axis in axes)
    if len(set(positive)) < len(positive):
        raise ValueError(f"shared_axes must not name an axis twice; got {shared_axes}")
    return positive


def check_rng(rng: Rng) -> np.random.Generator:
    """Return a generator: the one given, one seeded with an int, or a fresh one for None.

    Examples
    --------
    >>> check_rng("seed")
    Traceback (most recent call last):
        ...
    TypeError: rng must be a numpy.random.Generator, an int seed or None; got 'seed'
    """
    if isinstance(rng, bool) or not isinstance(
        rng, (np.random.Generator, int, np.integer, type(None))
    ):
        raise TypeError(
            f"rng must be a numpy.random.Generator, an int seed or None; got {rng!r}"
        )
    if isinstance(rng, (int, np.integer)) and rng < 0:
        raise ValueError(f"a seed must not be negative; got {rng}")
    return np.random.default_rng(rng)


def check_array(x: npt.ArrayLike, name: str = "x") -> npt.NDArray:
    """Return `x` as a plain array: no sparse one, and none with masked elements.

    NumPy takes a sparse array for one object, and reads what a mask hides as numbers.

    Examples
    --------
    >>> check_array(np.ma.masked_invalid([1.0, np.nan]))
    Traceback (most recent call last):
        ...
    TypeError: x must not be masked, what a mask hides would count: use x.filled(...)
    """
    if hasattr(x, "todense"):
        raise TypeError(
            f"{name} must be dense; got a sparse {type(x).__name__}: use {name}.toarray()"
        )
    if np.ma.is_masked(x):
        raise TypeError(
            f"{name} must not be masked, what a mask hides would count: use {name}.filled(...)"
        )
    return np.asarray(x)


def check_floating(x: npt.ArrayLike) -> npt.NDArray[np.inexact]:
    """Return `x` as an array of one of the dtypes in `FLOATING`.

    Examples
    --------
    >>> check_floating([1, 2])
    Traceback (most recent call last):
        ...
    TypeError: dropout needs float16, float32, float64, complex64 or complex128; got int64
    """
    array = check_array(x)
    if array.dtype.type not in FLOATING:
        raise TypeError(
            "dropout needs float16, float32, float64, complex64 or complex128; "
            f"got {array.dtype}"
        )
    return array


def check_count(value: int, name: str) -> int:
    """Return an int of 1 or more.

    Examples
    --------
    >>> check_count(0, "epochs")
    Traceback (most recent call last):
        ...
    ValueError: epochs must be at least 1; got 0
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an int; got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")
    return int(value)


def check_sizes(layer_sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the numbers of units of two layers or more.

    Examples
    --------
    >>> check_sizes([4])
    Traceback (most recent call last):
        ...
    ValueError: layer_sizes needs an input and an output at least; got [4]
    """
    sizes = tuple(layer_sizes)
    if len(sizes) < 2:
        raise ValueError(
            f"layer_sizes needs an input and an output at least; got {layer_sizes}"
        )
    return tuple(check_count(size, "each of layer_sizes") for size in sizes)


def check_option(value: Option, options: Sequence[str], name: str) -> Option:
    """Return one of the options.

    Examples
    --------
    >>> check_option("adagrad", ("sgd", "adam"), "optimizer")
    Traceback (most recent call last):
        ...
    ValueError: optimizer must be one of sgd, adam; got 'adagrad'
    """
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(options)}; got {value!r}")
    return value


def check_each(value: Any, count: int, name: str) -> list[Any]:
    """Return `count` values: those given, or the one given, repeated.

    Examples
    --------
    >>> check_each(0.5, 2, "p")
    [0.5, 0.5]
    """
    values = list(value) if np.ndim(value) else [value] * count
    if len(values) != count:
        raise ValueError(
            f"{name} must be one number, or one for each of {count}; got {value}"
        )
    return values


def check_pair(value: Any, name: str) -> tuple[Any, Any]:
    """Return a pair (X, y).

    Examples
    --------
    >>> check_pair([1], "validation")
    Traceback (most recent call last):
        ...
    ValueError: validation must be a pair (X, y); got 1 items
    """
    if len(value) != 2:
        raise ValueError(f"{name} must be a pair (X, y); got {len(value)} items")
    return tuple(value)


def check_positive(value: Any, name: str) -> float:
    """Return a number above 0.

    Examples
    --------
    >>> check_positive(-1, "learning_rate")
    Traceback (most recent call last):
        ...
    ValueError: learning_rate must be positive; got -1
    """
    if not isinstance(value, Real) or not float(value) > 0:
        raise ValueError(f"{name} must be positive; got {value!r}")
    return float(value)


def check_samples(X: npt.ArrayLike, n_features: int) -> npt.NDArray[np.float64]:
    """Return finite samples as float64, shape (n_samples > 0, n_features).

    Examples
    --------
    >>> check_samples([[1, 2]], n_features=3)
    Traceback (most recent call last):
        ...
    ValueError: X must have shape (n_samples > 0, 3); got (1, 2)
    """
    X = check_array(X, "X")
    if X.dtype.kind == "c":
        raise TypeError(f"X must be real; got {X.dtype}")
    X = X.astype(np.float64, copy=False)
    if X.ndim != 2 or X.shape[1] != n_features or len(X) == 0:
        raise ValueError(
            f"X must have shape (n_samples > 0, {n_features}); got {X.shape}"
        )
    if not np.isfinite(X).all():
        raise ValueError("X must be finite; got NaN or infinity in it")
    return X


def check_labels(
    y: npt.ArrayLike, n_samples: int, n_classes: int
) -> npt.NDArray[np.integer]:
    """Return the class of each sample: ints from 0 to ``n_classes - 1``.

    Examples
    --------
    >>> check_labels([0, 2], n_samples=2, n_classes=2)
    Traceback (most recent call last):
        ...
    ValueError: y must hold classes 0 to 1; got 0 to 2
    """
    y = check_array(y, "y")
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise ValueError(
            f"y must be a vector of ints; got shape {y.shape}, dtype {y.dtype}"
        )
    if len(y) != n_samples:
        raise ValueError(f"X has {n_samples} samples, y has {len(y)}")
    if y.min() < 0 or y.max() >= n_classes:
        raise ValueError(
            f"y must hold classes 0 to {n_classes - 1}; got {y.min()} to {y.max()}"
        )
    return y
