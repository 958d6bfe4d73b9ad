"""Which units are kept: the ground floor, and the only source of randomness on the NumPy side."""

import math
from collections.abc import Iterator, Sequence
from numbers import Real
from operator import index

import numpy as np
import numpy.typing as npt

BLOCK = 2**18  # units a pass: random bytes, mask, input and result stay in cache

Rng = np.random.Generator | int | None


def bernoulli_mask(
    shape: int | Sequence[int],
    p: float,
    *,
    rng: Rng = None,
    shared_axes: int | Sequence[int] = (),
) -> npt.NDArray[np.bool_]:
    """Draw which units are kept: each one independently with probability ``1 - p``.

    Parameters
    ----------
    shape : int or sequence of int
        Shape of the mask.
    p : float
        The drop probability (not the keep probability!), in [0, 1].
    rng : numpy.random.Generator, int or None
        A generator, a seed for ``numpy.random.default_rng``, or None for fresh entropy.
        Nothing is drawn if `p` is 0 or 1 or the mask is empty.
    shared_axes : int or sequence of int
        Axes, negative allowed, along which one draw is shared: ``(0,)`` gives a whole batch
        one mask, ``(2, 3)`` drops whole channels of an NCHW array.

    Returns
    -------
    numpy.ndarray of bool
        Of shape `shape`, true where a unit is kept. With `shared_axes` it may be a read-only
        broadcast view.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1] or NaN, a seed is negative, or an axis is out of range.
    TypeError
        If `p` is not a real number or `rng` is none of the above.

    Notes
    -----
    The draw is what dropout costs. One random byte a unit, compared with the whole part of
    ``256 * p``, is an eighth of what a random double takes; it leaves less than 1/128 of the
    probability to be made up. A Poisson number of units picked at random makes it up, so the
    drop probability is `p` itself, to the last bits of a double, and the units stay independent.

    References
    ----------
    .. [1] Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
       Overfitting", JMLR 15, 2014, section 4: ``r ~ Bernoulli(1 - p)``.

    Examples
    --------
    >>> bernoulli_mask((2, 4), 0.5, rng=0)
    array([[False,  True,  True,  True],
           [ True,  True, False,  True]])
    >>> bernoulli_mask((2, 4), 0.5, rng=0, shared_axes=0)
    array([[False,  True,  True,  True],
           [False,  True,  True,  True]])
    """
    p = check_probability(p)
    mask = np.full(shape, p < 1)
    shared = check_axes(shared_axes, mask.ndim)
    if p in (0, 1) or mask.size == 0:
        return mask
    if shared:
        drawn = tuple(
            1 if axis in shared else size for axis, size in enumerate(mask.shape)
        )
        return np.broadcast_to(bernoulli_mask(drawn, p, rng=rng), mask.shape)
    _draw_into(mask.reshape(-1), p, check_rng(rng))
    return mask


def _draw_into(mask: npt.NDArray[np.bool_], p: float, rng: np.random.Generator) -> None:
    """Hit each unit with the rarer of p and 1 - p; a hit drops it, or keeps it if p > 1/2."""
    rarer = min(p, 1 - p)
    threshold = int(256 * rarer)
    hit = np.greater_equal if p <= 0.5 else np.less
    for start in range(0, mask.size, BLOCK):
        block = mask[start : start + BLOCK]
        words = rng.integers(
            2**64 - 1, size=-(-block.size // 8), dtype=np.uint64, endpoint=True
        )
        # Little-endian bytes on every machine, so that a seed means one mask everywhere.
        draws = words.astype("<u8", copy=False).view(np.uint8)[: block.size]
        hit(draws, threshold, out=block)
    missing = (256 * rarer - threshold) / (256 - threshold)
    if missing:
        # Hits of a Poisson process, thrown at random: each unit is hit with probability
        # 1 - exp(-rate) = missing, independently of the others.
        hits = rng.poisson(-math.log1p(-missing) * mask.size)
        mask[rng.integers(mask.size, size=hits)] = p > 0.5


def select(
    x: npt.NDArray[np.floating], mask: npt.NDArray[np.bool_], scale: float = 1.0
) -> npt.NDArray[np.floating]:
    """Return ``x * scale`` where `mask` is True and 0 elsewhere, whatever `x` holds there.

    A product ``x * mask`` would let NaN and infinity through a dropped unit. This multiplies
    the bit pattern of `x` by 0 or 1 instead, which is an exact choice.

    Parameters
    ----------
    x : numpy.ndarray of float16, float32 or float64
        Activations or gradients, any shape. Not written to.
    mask : numpy.ndarray of bool
        Must broadcast to the shape of `x`.
    scale : float
        Factor of what is kept, taken in at least float32.

    Returns
    -------
    numpy.ndarray
        Shape and dtype of `x`.

    Raises
    ------
    TypeError
        If `x` is not of a floating dtype or `mask` is not bool.
    ValueError
        If `mask` does not broadcast to the shape of `x`.

    Examples
    --------
    >>> select(np.array([1.0, np.nan, 3.0]), np.array([True, False, True]), scale=2)
    array([2., 0., 6.])
    """
    x, mask = check_floating(x), np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(
            f"mask must be boolean, True where kept; got dtype {mask.dtype}"
        )
    if mask.shape != x.shape:
        try:
            mask = np.broadcast_to(mask, x.shape)
        except ValueError:
            raise ValueError(
                f"a mask of shape {mask.shape} does not fit x of shape {x.shape}"
            ) from None
    out = np.empty_like(x)
    bits = np.dtype(f"u{x.dtype.itemsize}")
    # float16 would round a factor of 0.9 to 0.8999, and the mean with it.
    factor = np.promote_types(x.dtype, np.float32).type(scale)
    for source, keep, target, result in _cache_sized(
        x.view(bits), mask, out.view(bits), out
    ):
        np.copyto(target, keep)
        np.multiply(target, source, out=target)
        if scale != 1:
            np.multiply(result, factor, out=result, casting="same_kind")
    return out


def _cache_sized(*arrays: npt.NDArray) -> Iterator[tuple[npt.NDArray, ...]]:
    """Cut large contiguous arrays of one shape into blocks; others come back whole."""
    if arrays[0].size > BLOCK and all(a.flags.c_contiguous for a in arrays):
        flat = [a.reshape(-1) for a in arrays]
        for start in range(0, flat[0].size, BLOCK):
            yield tuple(a[start : start + BLOCK] for a in flat)
    else:
        yield arrays


def check_probability(p: float, name: str = "p") -> float:
    """Return `p` as a float in [0, 1], or say what is wrong with it.

    Examples
    --------
    >>> check_probability(1.5)
    Traceback (most recent call last):
        ...
    ValueError: p is a drop probability in [0, 1]; got 1.5
    """
    if not isinstance(p, (float, Real)) or isinstance(p, (bool, np.bool_)):
        raise TypeError(f"{name} must be a real number; got {p!r}")
    if not 0 <= p <= 1:  # NaN fails this too
        raise ValueError(f"{name} is a drop probability in [0, 1]; got {p}")
    return float(p)


def check_axes(shared_axes: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return axes counted from the front, or say which one is out of range.

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


def check_floating(x: npt.ArrayLike) -> npt.NDArray[np.floating]:
    """Return `x` as an array, refusing every dtype but float16, float32 and float64.

    Examples
    --------
    >>> check_floating([1, 2])
    Traceback (most recent call last):
        ...
    TypeError: dropout needs float16, float32 or float64; got int64
    """
    array = np.asarray(x)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise TypeError(f"dropout needs float16, float32 or float64; got {array.dtype}")
    return array
