"""How good the bits of a counter-based generator are: the number of rounds is chosen by this."""

import numpy as np
import numpy.typing as npt

from companion.checks import check_key
from companion.counter import LANES, ROUNDS, philox4x32

__all__ = ["avalanche", "largest_z"]


def bits_of(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.float32]:
    """Return the 128 bits of each block as -1 and 1: column 32 w + b is bit b of word w."""
    bits = np.unpackbits(words.astype("<u4").view("u1"), axis=1, bitorder="little")
    return 2 * bits.astype(np.float32) - 1


def avalanche(
    counters: npt.NDArray[np.uint32], key: int, rounds: int = ROUNDS
) -> npt.NDArray[np.float64]:
    """Flip each input bit and return how often each output bit flips: half the time is right.

    Parameters
    ----------
    counters : numpy.ndarray of uint32, shape (n, 4)
        Counters to start from. Chance alone moves a share by a standard error of
        ``1 / sqrt(4 * n)``.
    key : int
        64 bits, as in `companion.counter.philox4x32`.
    rounds : int

    Returns
    -------
    numpy.ndarray, shape (192, 128)
        Shares: a row for each bit of the counter, then of the key; a column for each of the
        output. The lowest bit of the first word is first.

    Examples
    --------
    In one round the first word reaches the last two alone.

    >>> avalanche(np.arange(400, dtype=np.uint32).reshape(-1, 4), key=7, rounds=1)[0, :3]
    array([0., 0., 0.])
    """
    bit = np.arange(128)
    flips = np.zeros((128, 4), np.uint32)
    flips[bit, bit // 32] = 1 << bit % 32
    flipped = [(counters ^ flip, key) for flip in flips]
    flipped += [(counters, check_key(key) ^ 1 << i) for i in range(64)]
    before = bits_of(philox4x32(counters, key, rounds))
    agree = [
        np.mean(before * bits_of(philox4x32(*inputs, rounds)), axis=0, dtype=float)
        for inputs in flipped
    ]
    return (1 - np.array(agree)) / 2


def largest_z(
    key: int, rounds: int = ROUNDS, n_blocks: int = 2**15
) -> dict[str, float]:
    """Look for the strongest dependence between the bits of blocks whose inputs are related.

    Each bit of one is compared with each of the other. The largest of 16,384 such correlations
    is about 4 standard errors by chance, and above 6.5 once in a million times.

    Parameters
    ----------
    key : int
        64 bits, as in `companion.counter.philox4x32`.
    rounds : int
    n_blocks : int
        How many of each kind; the more, the sharper.

    Returns
    -------
    dict of str to float
        What was compared, and the largest correlation in standard errors.

    Examples
    --------
    >>> largest_z(key=7)["the next block"] < 6.5
    True
    >>> largest_z(key=7, rounds=5)["the next block"] < 6.5
    False
    """
    counters = np.zeros((n_blocks, 4), np.uint32)
    counters[:, 0] = np.arange(n_blocks)
    bits = bits_of(philox4x32(counters, key, rounds))
    related = {
        "the next block": ((1, 0, 0, 0), key),
        f"{LANES} blocks on": ((LANES, 0, 0, 0), key),
        "2**32 blocks on": ((0, 1, 0, 0), key),
        "the next stream": ((0, 0, 1, 0), key),
        "a key one bit away": ((0, 0, 0, 0), check_key(key) ^ 1),
    }
    products = {
        "the number of ones": bits.sum(axis=0),
        "other bits of the block": bits.T @ bits - n_blocks * np.eye(128),
    }
    for name, (step, its_key) in related.items():
        words = philox4x32(counters + np.array(step, np.uint32), its_key, rounds)
        products[name] = bits.T @ bits_of(words)
    return {name: float(abs(z).max() / n_blocks**0.5) for name, z in products.items()}
