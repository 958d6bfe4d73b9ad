"""Which units are kept: the ground floor, and the only source of randomness on the NumPy side."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from companion.checks import (
    Rng,
    check_axes,
    check_floating,
    check_probability,
    check_rng,
)

__all__ = ["BLOCK", "bernoulli_mask", "select"]

BLOCK = 2**18  # units in a pass: random bytes, mask, input and result stay in cache


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
    The draw is what dropout costs. One random byte for each unit, compared with the whole part
    of ``256 * p``, is an eighth of what a random double takes; it leaves less than 1/128 of the
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
    shape = np.empty(shape, bool).shape  # as NumPy reads it
    shared = check_axes(shared_axes, len(shape))
    if p in (0, 1) or 0 in shape:
        return np.full(shape, p < 1)
    sizes = [1 if axis in shared else size for axis, size in enumerate(shape)]
    mask = _draw(math.prod(sizes), p, check_rng(rng)).reshape(sizes)
    return np.broadcast_to(mask, shape) if shared else mask


def _draw(n: int, p: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Draw the rarer of dropped and kept, and turn that into what is kept."""
    rarer = min(p, 1 - p)
    threshold = int(256 * rarer)
    rare = np.empty(n, bool)
    for start in range(0, n, BLOCK):
        block = rare[start : start + BLOCK]
        words = rng.integers(
            2**64 - 1, size=-(-block.size // 8), dtype=np.uint64, endpoint=True
        )
        # Little-endian bytes on every machine, so that a seed means one mask everywhere.
        draws = words.astype("<u8", copy=False).view(np.uint8)[: block.size]
        np.less(draws, threshold, out=block)
    missing = (256 * rarer - threshold) / (256 - threshold)
    if missing:
        # Hits of a Poisson process, thrown at random: each unit is hit with probability
        # 1 - exp(-rate) = missing, independently of the others.
        hits = rng.poisson(-math.log1p(-missing) * n)
        rare[rng.integers(n, size=hits)] = True
    return rare if p > 0.5 else np.logical_not(rare, out=rare)


def select(
    x: npt.NDArray[np.inexact], mask: npt.NDArray[np.bool_], scale: float = 1.0
) -> npt.NDArray[np.inexact]:
    """Return ``x * scale`` where `mask` is True and 0 elsewhere, whatever `x` holds there.

    A product ``x * mask`` would let NaN and infinity through a dropped unit. This multiplies
    the bit pattern of `x` by 0 or 1 instead, which is an exact choice.

    Parameters
    ----------
    x : numpy.ndarray of float16, float32, float64, complex64 or complex128
        Activations or gradients, any shape. Not written to. A complex unit is kept or dropped as
        a whole, and its halves are scaled apart: NaN in one does not reach the other.
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
        If `x` is not of these dtypes, is sparse or has masked elements, or `mask` is not bool.
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
    if x.dtype.kind == "c":
        _select_real(x.real, mask, scale, out.real)
        _select_real(x.imag, mask, scale, out.imag)
    else:
        _select_real(x, mask, scale, out)
    return out


def _select_real(
    x: npt.NDArray, mask: npt.NDArray[np.bool_], scale: float, out: npt.NDArray
) -> None:
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


def _cache_sized(*arrays: npt.NDArray) -> Iterator[tuple[npt.NDArray, ...]]:
    """Cut large contiguous arrays of one shape into blocks; others come back whole."""
    if arrays[0].size > BLOCK and all(a.flags.c_contiguous for a in arrays):
        flat = [a.reshape(-1) for a in arrays]
        for start in range(0, flat[0].size, BLOCK):
            yield tuple(a[start : start + BLOCK] for a in flat)
    else:
        yield arrays
