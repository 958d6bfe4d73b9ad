"""Drop, scale and round on a GPU in one pass, with the bits of `companion.counter`, in Triton.

Triton comes with PyTorch's builds for CUDA. The key is read on the device, so a call waits for
nothing and a CUDA graph can record it. With ``TRITON_INTERPRET=1`` the same code runs on a CPU.
"""

import torch
import triton
import triton.language as tl

from companion import counter

__all__ = ["drop", "half_words"]

TILES = 16  # that a program takes, with its 128 threads: two blocks each
CONSTANTS = {"TILES": TILES, "LANES": counter.LANES, "ROUNDS": counter.ROUNDS}
# Compiled once for all values; and a load of several neighbours at once would move the bits,
# which belong to 16 threads side by side, through shared memory.
SIZES = ["n", "first_tile", "skipped", "threshold"]


@triton.jit  # type: ignore[untyped-decorator]
def _words(key, tile, stream: tl.constexpr, LANES: tl.constexpr, ROUNDS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the four words of each tile's blocks, one a lane."""
    block = tile * LANES + tl.arange(0, LANES)[None, :]
    low, high = block.to(tl.uint32), (block >> 32).to(tl.uint32)
    zero = low * 0
    return tl.philox(tl.load(key), low, high, zero + stream, zero, ROUNDS)


@triton.jit  # type: ignore[untyped-decorator]
def _half(words, slot: tl.constexpr):  # type: ignore[no-untyped-def]
    return (words[slot // 2] >> (slot % 2 * 16)) & 0xFFFF


@triton.jit
def _widen_bfloat16(x):  # type: ignore[no-untyped-def]
    word = x.to(tl.uint16, bitcast=True).to(tl.uint32) << 16
    return word.to(tl.float32, bitcast=True)


@triton.jit  # type: ignore[untyped-decorator]
def _narrow_bfloat16(y, noise, at_random: tl.constexpr):  # type: ignore[no-untyped-def]
    """Round a float32, to nearest where that alone is finite; the interpreter's cast cuts off."""
    word = y.to(tl.uint32, bitcast=True)
    size, sign = word & 0x7FFFFFFF, (word >> 16) & 0x8000
    half = (size + 0x7FFF + ((size >> 16) & 1)) >> 16
    if at_random:
        drawn = (size + noise) >> 16
        half = tl.where(drawn < 0x7F80, drawn, half)
    half = tl.where(size > 0x7F800000, 0x7FC0, half)
    return (sign | half).to(tl.uint16).to(tl.bfloat16, bitcast=True)


@triton.jit  # type: ignore[untyped-decorator]
def _narrow_float16(y, noise, at_random: tl.constexpr):  # type: ignore[no-untyped-def]
    """As for bfloat16; below 2**-14 the numbers of float16 are the multiples of 2**-24."""
    nearest = y.to(tl.float16)
    if at_random:
        word = y.to(tl.uint32, bitcast=True)
        size, sign, noise = word & 0x7FFFFFFF, (word >> 16) & 0x8000, noise >> 3
        normal = size >= 0x38800000  # 2**-14
        steps = tl.where(normal, 0.0, tl.abs(y) * 2.0**37).to(tl.uint32)
        half = tl.where(normal, ((size + noise) >> 13) - 0x1C000, (steps + noise) >> 13)
        drawn = (sign | half).to(tl.uint16).to(tl.float16, bitcast=True)
        nearest = tl.where(half < 0x7C00, drawn, nearest)
    return nearest


@triton.jit(do_not_specialize=SIZES)  # type: ignore[untyped-decorator]
def _drop(  # type: ignore[no-untyped-def]
    x,
    y,
    key,
    n,
    first_tile,
    skipped,
    threshold,
    scale: tl.float64,
    at_random: tl.constexpr,
    MASK_STREAM: tl.constexpr,
    ROUNDING_STREAM: tl.constexpr,
    TILES: tl.constexpr,
    LANES: tl.constexpr,
    ROUNDS: tl.constexpr,
):
    scale = tl.full((), scale, tl.float64)  # a plain number in the interpreter
    tile = tl.program_id(0).to(tl.int64) * TILES + tl.arange(0, TILES)[:, None]
    words = _words(key, tile + first_tile, MASK_STREAM, LANES, ROUNDS)
    noise = words
    if at_random:
        noise = _words(key, tile + first_tile, ROUNDING_STREAM, LANES, ROUNDS)
    for slot in tl.static_range(8):
        i = (tile * 8 + slot) * LANES + tl.arange(0, LANES)[None, :] - skipped
        inside = (i >= 0) & (i < n)
        unit = tl.load(x + i, mask=inside)
        if unit.dtype == tl.bfloat16:
            scaled = _widen_bfloat16(unit) * scale.to(tl.float32)
            unit = _narrow_bfloat16(scaled, _half(noise, slot), at_random)
        elif unit.dtype == tl.float16:
            scaled = unit.to(tl.float32) * scale.to(tl.float32)
            unit = _narrow_float16(scaled, _half(noise, slot), at_random)
        else:
            unit *= scale.to(unit.dtype)
        kept = _half(words, slot) >= threshold
        tl.store(y + i, tl.where(kept, unit, 0.0), mask=inside)


@triton.jit(do_not_specialize=SIZES[:3])  # type: ignore[untyped-decorator]
def _half_words(  # type: ignore[no-untyped-def]
    y,
    key,
    n,
    first_tile,
    skipped,
    stream: tl.constexpr,
    TILES: tl.constexpr,
    LANES: tl.constexpr,
    ROUNDS: tl.constexpr,
):
    tile = tl.program_id(0).to(tl.int64) * TILES + tl.arange(0, TILES)[:, None]
    words = _words(key, tile + first_tile, stream, LANES, ROUNDS)
    for slot in tl.static_range(8):
        i = (tile * 8 + slot) * LANES + tl.arange(0, LANES)[None, :] - skipped
        tl.store(y + i, _half(words, slot).to(tl.int32), mask=(i >= 0) & (i < n))


def drop(
    x: torch.Tensor,
    key: int | torch.Tensor,
    threshold: int,
    at_random: bool,
    start: int = 0,
) -> torch.Tensor:
    """Return the units of `x` that `key` keeps, times the scale, and 0 for the others.

    Parameters
    ----------
    x : contiguous tensor of float16, bfloat16, float32 or float64
        On a GPU; on a CPU in Triton's interpreter.
    key : int or tensor of int64, no axes
        A tensor is on the device of `x`; an int is signed, and written there without waiting.
    threshold : int
        From `companion.counter.threshold_of`.
    at_random : bool
        In half precision, round up or down at random so that the mean is exact; else to nearest.
    start : int
        The position of the first unit of `x`, from 0 to 2**67 - 1.

    Returns
    -------
    tensor
        Shape and dtype of `x`.
    """
    y = torch.empty_like(x)
    if not isinstance(key, torch.Tensor):
        key = torch.full((), key, dtype=torch.int64, device=x.device)
    grid, place = _programs(x.numel(), start)
    scale = counter.scale_of(threshold)
    streams = counter.MASK_STREAM, counter.ROUNDING_STREAM
    with torch.cuda.device_of(x):
        _drop[grid](
            x, y, key, *place, threshold, scale, at_random, *streams, **CONSTANTS
        )
    return y


def half_words(
    n: int, key: torch.Tensor, start: int = 0, stream: int = counter.MASK_STREAM
) -> torch.Tensor:
    """Return what `companion.counter.half_words` does, as int32, on the device of the key."""
    y = torch.empty(n, dtype=torch.int32, device=key.device)
    grid, place = _programs(n, start)
    with torch.cuda.device_of(key):
        _half_words[grid](y, key, *place, stream, **CONSTANTS)
    return y


def _programs(n: int, start: int) -> tuple[tuple[int], tuple[int, int, int]]:
    """Return how many run, and `n`, the first tile and how many of its units are not asked for."""
    first_tile, skipped = divmod(start, counter.TILE)
    return (-(-(skipped + n) // (TILES * counter.TILE)),), (n, first_tile, skipped)
