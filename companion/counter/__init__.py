"""Random bits from a key and a position: a mask that nobody has to keep.

A counter-based generator has no state. It is a function that scrambles a counter under a key, so
the bits of a unit can be had in any order, on any device, and again whenever they are needed.
This file is the definition, in NumPy; what makes it fast elsewhere gives the same bits.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from companion.checks import check_axes, check_key, check_probability

__all__ = [
    "ROUNDS",
    "bernoulli_mask",
    "fold_in",
    "half_words",
    "philox4x32",
    "scale_of",
    "threshold_of",
]

# The fewest that pass BigCrush (table 2 of the paper below), and in which `quality` finds nothing.
ROUNDS = 7
LOW = 2**32 - 1
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85  # the golden ratio and the root of 3, minus 1

LANES = 16  # blocks side by side, so that a processor takes them in one vector
TILE = 8 * LANES  # units: each block of 4 words of 32 bits gives 8 of them 16 bits

# The third word of the counter tells apart what one key is used for.
MASK_STREAM, ROUNDING_STREAM, FOLD_STREAM = range(3)


def philox4x32(
    counter: npt.ArrayLike, key: int, rounds: int = ROUNDS
) -> npt.NDArray[np.uint32]:
    """Scramble counters under a key.

    Each round multiplies two words by constants, and swaps and XORs the halves of the products
    with the other two words and the key. It can be undone, so no two counters give one result.

    Parameters
    ----------
    counter : array_like of uint32, shape (..., 4)
        Four words of 32 bits each.
    key : int
        64 bits, from -2**63 to 2**64 - 1; a negative one is read modulo 2**64.
    rounds : int
        More of them scramble better and take longer.

    Returns
    -------
    numpy.ndarray of uint32
        Shape of `counter`: 128 bits for each.

    Raises
    ------
    TypeError
        If `key` is not an int.
    ValueError
        If `key` has more than 64 bits or a counter is not made of four words.

    References
    ----------
    .. [1] Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011, section 3.3
       and table 2.

    Examples
    --------
    >>> print(*map(hex, philox4x32([0, 0, 0, 0], key=0)))
    0x5f6fb709 0xd893f64 0x4f121f81 0x4f730a48
    """
    counter = np.asarray(counter, np.uint32)
    if counter.shape[-1:] != (4,):
        raise ValueError(
            f"a counter is four words of 32 bits; got shape {counter.shape}"
        )
    w0, w1, w2, w3 = np.moveaxis(counter.astype(np.uint64), -1, 0)
    key = check_key(key)
    k0, k1 = key & LOW, key >> 32
    for _ in range(rounds):
        a, b = w0 * MULTIPLIERS[0], w2 * MULTIPLIERS[1]
        w0, w1, w2, w3 = b >> 32 ^ w1 ^ k0, b & LOW, a >> 32 ^ w3 ^ k1, a & LOW
        k0, k1 = k0 + KEY_STEPS[0] & LOW, k1 + KEY_STEPS[1] & LOW
    return np.stack([w0, w1, w2, w3], axis=-1).astype(np.uint32)


def half_words(
    n: int, key: int, *, start: int = 0, stream: int = MASK_STREAM
) -> npt.NDArray[np.uint16]:
    """Return 16 random bits for each of `n` positions from `start` on.

    The bits of a position depend on the key and the stream, and on nothing else: neither on `n`
    nor on where the piece starts.

    Parameters
    ----------
    n : int
        How many.
    key : int
        64 bits, as in `philox4x32`.
    start : int
        The first position, from 0 to 2**67 - 1.
    stream : int
        Which of 2**32 independent sequences of the key.

    Returns
    -------
    numpy.ndarray of uint16, shape (n,)

    Examples
    --------
    >>> half_words(4, key=7)
    array([32199, 19259, 11230,  9030], dtype=uint16)
    >>> half_words(2, key=7, start=2)
    array([11230,  9030], dtype=uint16)
    """
    tiles = np.arange(start // TILE, -(-(start + n) // TILE), dtype=np.uint64)
    blocks = np.add.outer(tiles * LANES, np.arange(LANES, dtype=np.uint64))
    zeros = np.zeros_like(blocks)
    counter = np.stack([blocks & LOW, blocks >> 32, zeros + stream, zeros], axis=-1)
    words = philox4x32(counter.astype(np.uint32), key)
    halves = words.astype("<u4").view("<u2")  # (tiles, LANES, 8), the low half first
    first = start % TILE
    return halves.swapaxes(1, 2).reshape(-1)[first : first + n].astype(np.uint16)


def threshold_of(p: float) -> int:
    """Return how many of the 65,536 values of 16 bits drop a unit: those below it do.

    Examples
    --------
    >>> threshold_of(0.1)
    6553
    """
    return int(check_probability(p) * 2**16)


def scale_of(threshold: int) -> float:
    """Return the inverse of the keep probability that a threshold means; 0 if none is kept.

    Examples
    --------
    >>> scale_of(threshold_of(0.1))
    1.111099808419375
    """
    return 2**16 / (2**16 - threshold) if threshold < 2**16 else 0.0


def bernoulli_mask(
    shape: int | Sequence[int],
    p: float,
    key: int,
    *,
    shared_axes: int | Sequence[int] = (),
) -> npt.NDArray[np.bool_]:
    """Say which units a key keeps: `companion.masks.bernoulli_mask` with a name for each mask.

    Parameters
    ----------
    shape : int or sequence of int
        Shape of the mask.
    p : float
        The drop probability (not the keep probability!), in [0, 1]; rounded down to a multiple
        of 2**-16.
    key : int
        64 bits that name the mask, as in `philox4x32`.
    shared_axes : int or sequence of int
        Axes, negative allowed, along which one draw is shared.

    Returns
    -------
    numpy.ndarray of bool
        Of shape `shape`, true where a unit is kept. With `shared_axes` it may be a read-only
        broadcast view.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1] or NaN, `key` has more than 64 bits or an axis is out of range.
    TypeError
        If `p` is not a real number or `key` not an int.

    See Also
    --------
    companion.nn.functional.dropout : takes a `key`, and then drops by this mask.

    Examples
    --------
    >>> bernoulli_mask((2, 5), 0.5, key=7)
    array([[False, False, False, False,  True],
           [ True,  True, False,  True,  True]])
    """
    shape = np.empty(shape, bool).shape  # as NumPy reads it
    shared = check_axes(shared_axes, len(shape))
    sizes = [1 if axis in shared else size for axis, size in enumerate(shape)]
    threshold = threshold_of(p)
    mask = (half_words(math.prod(sizes), key) >= threshold).reshape(sizes)
    return np.broadcast_to(mask, shape) if shared else mask


def fold_in(key: int, *numbers: int) -> int:
    """Make a key of a key and numbers: a layer, a step, a rank.

    Parameters
    ----------
    key : int
        64 bits, as in `philox4x32`.
    *numbers : int
        Folded in one after the other, 64 bits each.

    Returns
    -------
    int
        A key, from 0 to 2**64 - 1. Keys that differ, or numbers that differ, give one that is
        as good as drawn anew. A function that is compiled takes it as a 0-d tensor of int64,
        made outside.

    Examples
    --------
    >>> seed, layer, step = 7, 2, 1000
    >>> fold_in(seed, layer, step) == fold_in(fold_in(seed, layer), step)
    True
    """
    for number in numbers:
        number = check_key(number, "each number folded in")
        counter = [number & LOW, number >> 32, FOLD_STREAM, 0]
        low, high = philox4x32(counter, key)[:2].tolist()
        key = high << 32 | low
    return check_key(key)
