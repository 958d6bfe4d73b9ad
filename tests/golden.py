"""The masks that every back end must give, bit for bit.

`python tests/golden.py` writes them to `golden_masks.json`, one unit after the other, with
Python's ints alone: straight from Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3"
(SC 2011), section 3.3, and from the mapping that `companion.counter` promises. It shares no line
with what it checks.
"""

import itertools
import json
import math
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FILE = Path(__file__).with_name("golden_masks.json")
RANDOM = 0xC0A1_7F3E_95D2_6B84
KEYS = 0, 1, 2**63 + 5, -1, RANDOM
SHAPES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((7,), ()),
    ((300,), ()),
    ((4, 5, 6), ()),
    ((2, 3, 4, 4), (2, 3)),
    ((2, 3, 5, 4), (0, 2)),
)
RATES = 0.1, 0.5, 2**-16, 1 - 2**-16
# Where words of 32 bits run over: the position, the number of the block, and far beyond both.
STARTS = 0, 77, 2**31 - 150, 2**32 - 150, 2**35 - 150, 2**40 + 3, 2**62 + 130


class Mask(NamedTuple):
    """Units `start`, `start` + 1, ... of the mask that `key` names at rate `p`."""

    name: str
    key: int
    p: float
    shape: tuple[int, ...]
    shared_axes: tuple[int, ...]
    start: int
    mask: npt.NDArray[np.bool_]


class HalfWords(NamedTuple):
    """The 16 random bits of positions `start`, `start` + 1, ... in a stream of `key`."""

    name: str
    key: int
    stream: int
    start: int
    half_words: npt.NDArray[np.uint16]


def masks() -> list[Mask]:
    """Read the masks; those with a `start` other than 0 are pieces of longer ones."""
    found = []
    for case in json.loads(FILE.read_text())["masks"]:
        shape, axes = tuple(case.pop("shape")), tuple(case.pop("shared_axes"))
        bits = np.frombuffer(bytes.fromhex(case.pop("mask")), np.uint8)
        mask = np.unpackbits(bits, count=math.prod(shape)).astype(bool).reshape(shape)
        found.append(Mask(**case, shape=shape, shared_axes=axes, mask=mask))
    return found


def half_words() -> list[HalfWords]:
    """Read the half-words of the streams for masks (0) and for rounding (1)."""
    found = []
    for case in json.loads(FILE.read_text())["half_words"]:
        values = np.frombuffer(bytes.fromhex(case.pop("half_words")), ">u2")
        found.append(HalfWords(**case, half_words=values.astype(np.uint16)))
    return found


# How they are made


@cache
def philox(counter: tuple[int, ...], key: int, rounds: int = 7) -> tuple[int, ...]:
    """Two S-boxes (high ^ key ^ left, low) with a swap of the right words, as in figure 1."""
    words, keys = counter, [key % 2**64 % 2**32, key % 2**64 // 2**32]
    for _ in range(rounds):
        (high, low), (high2, low2) = (
            divmod(multiplier * right, 2**32)
            for multiplier, right in zip(
                (0xD2511F53, 0xCD9E8D57), (words[0], words[2]), strict=True
            )
        )
        words = (high2 ^ words[1] ^ keys[0], low2, high ^ words[3] ^ keys[1], low)
        keys = [(keys[0] + 0x9E3779B9) % 2**32, (keys[1] + 0xBB67AE85) % 2**32]
    return words


def half_word(position: int, key: int, stream: int = 0) -> int:
    tile, inside = divmod(position, 128)
    slot, lane = divmod(inside, 16)
    high, low = divmod(16 * tile + lane, 2**32)
    word = philox((low, high, stream, 0), key)[slot // 2]
    return word // 2**16 if slot % 2 else word % 2**16


def is_kept(position: int, key: int, p: float) -> bool:
    return half_word(position, key) >= math.floor(Fraction(p) * 2**16)


def draw(index: tuple[int, ...], shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    """Number the draws in C order: an axis that shares them does not count."""
    number = 0
    for axis, (i, size) in enumerate(zip(index, shape, strict=True)):
        if axis not in axes:
            number = number * size + i
    return number


def mask_case(
    name: str,
    key: int,
    p: float,
    shape: tuple[int, ...] = (300,),
    axes: tuple[int, ...] = (),
    start: int = 0,
) -> dict[str, Any]:
    units = itertools.product(*map(range, shape))
    kept = [is_kept(start + draw(unit, shape, axes), key, p) for unit in units]
    bits = "".join("01"[keep] for keep in kept).ljust(-(-len(kept) // 8) * 8, "0")
    packed = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)).hex()
    return {
        "name": name,
        "key": key,
        "p": p,
        "shape": shape,
        "shared_axes": axes,
        "start": start,
        "mask": packed,
    }


def key_with(value: int, n: int = 300) -> int:
    """Return the first key that gives one of its first `n` positions this half-word."""
    return next(
        key
        for key in itertools.count()
        if any(half_word(i, key) == value for i in range(n))
    )


def mask_cases() -> Iterator[dict[str, Any]]:
    for key, p, (shape, axes) in itertools.product(KEYS, RATES, SHAPES):
        name = f"key {key}, p {p}, shape {shape}, shared {axes}"
        yield mask_case(name, key, p, shape, axes)
    for key, start in itertools.product((1, -1, RANDOM), STARTS[1:]):
        yield mask_case(f"key {key}, from {start} on", key, 0.3, start=start)
    for unit in 0, 17, 170, 299:  # it is kept at its own half-word, dropped one above
        half = half_word(unit, RANDOM)
        for threshold, is_ in (half, "kept"), (half + 1, "dropped"):
            name = f"unit {unit} is just {is_}"
            yield mask_case(name, RANDOM, threshold / 2**16)
    yield mask_case("dropped at the smallest p", key_with(0), 2**-16)
    yield mask_case("kept at the largest p", key_with(2**16 - 1), 1 - 2**-16)
    yield mask_case("p is rounded down", RANDOM, 0.5 - 2**-54)


def half_word_cases() -> Iterator[dict[str, Any]]:
    for key, stream, start in itertools.product((-1, RANDOM), (0, 1), STARTS):
        yield {
            "name": f"key {key}, stream {stream}, from {start} on",
            "key": key,
            "stream": stream,
            "start": start,
            "half_words": "".join(
                f"{half_word(i, key, stream):04x}" for i in range(start, start + 160)
            ),
        }


def text() -> str:
    """Return the file: JSON, a case a line."""
    groups = (("masks", mask_cases()), ("half_words", half_word_cases()))
    lists = (
        f'"{name}": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]"
        for name, cases in groups
    )
    return "{" + ",\n".join(lists) + "}\n"


if __name__ == "__main__":
    FILE.write_text(text())
