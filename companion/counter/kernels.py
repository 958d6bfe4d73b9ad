"""Drop, scale and round in one pass over memory, with the bits of `companion.counter`, in Numba.

Each kernel is compiled when it is first asked for, in half a second to a second, not kept on disk.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from companion.counter import (
    KEY_STEPS,
    LANES,
    MASK_STREAM,
    MULTIPLIERS,
    ROUNDING_STREAM,
    ROUNDS,
    TILE,
)

__all__ = ["Kernel", "drop", "half_words"]

# Of the addresses of x and y, how many units, the position of the first, the key as an int64, the
# threshold and the scale.
Kernel = Callable[[int, int, int, int, int, int, float], None]

# The bits of the largest float32 that is the largest number of a format, rounded to nearest: half a
# step above that number, and the two steps of float32 that scale and product may be off.
BFLOAT16_LIMIT, FLOAT16_LIMIT = 0x7F7F8002, 0x477FF002

CHUNK = (
    8 * TILE
)  # units whose bits are drawn before they are used: they stay in the first cache
LINE = 64  # bytes that memory hands over at once

u16, u32, u64, i32, f32 = np.uint16, np.uint32, np.uint64, np.int32, np.float32
A, B = map(u64, MULTIPLIERS)
STEP_0, STEP_1 = map(u32, KEY_STEPS)


@njit(inline="always")
def _philox(block, stream, key):  # type: ignore[no-untyped-def]
    """`companion.counter.philox4x32`; without the casts, Numba would go on in 64 bits."""
    w0, w1, w2, w3 = u32(block), u32(block >> u64(32)), u32(stream), u32(0)
    k0, k1 = u32(key), u32(key >> u64(32))
    for _ in range(ROUNDS):
        a, b = u64(w0) * A, u64(w2) * B
        w0 = u32(u32(u32(b >> u64(32)) ^ w1) ^ k0)
        w2 = u32(u32(u32(a >> u64(32)) ^ w3) ^ k1)
        w1, w3 = u32(b), u32(a)
        k0, k1 = u32(k0 + STEP_0), u32(k1 + STEP_1)
    return w0, w1, w2, w3


@njit(inline="always")
def _draw_tile(bits, first, tile, stream, key):  # type: ignore[no-untyped-def]
    for lane in range(LANES):
        w0, w1, w2, w3 = _philox(u64(tile * LANES + lane), stream, key)
        at = u64(first + lane)  # an index without a sign is not counted from the end
        bits[at] = u16(w0)
        bits[at + u64(LANES)] = u16(w0 >> u32(16))
        bits[at + u64(2 * LANES)] = u16(w1)
        bits[at + u64(3 * LANES)] = u16(w1 >> u32(16))
        bits[at + u64(4 * LANES)] = u16(w2)
        bits[at + u64(5 * LANES)] = u16(w2 >> u32(16))
        bits[at + u64(6 * LANES)] = u16(w3)
        bits[at + u64(7 * LANES)] = u16(w3 >> u32(16))


@intrinsic
def _prefetch(context, address):  # type: ignore[no-untyped-def]
    """Ask for a line of memory, which arrives while bits are drawn; an address may be wrong."""

    def code(context, builder, signature, args):  # type: ignore[no-untyped-def]
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        fetch = cgutils.get_or_insert_function(
            builder.module, kind, "llvm.prefetch.p0i8"
        )
        to_read, into_the_nearest_cache, data = flag(0), flag(3), flag(1)
        where = builder.inttoptr(args[0], byte)
        builder.call(fetch, [where, to_read, into_the_nearest_cache, data])
        return context.get_dummy_value()

    return types.void(address), code


def _compiled(unit: Any, dtype: Any, rounds_at_random: bool) -> Kernel:
    """Make a kernel of what becomes of a unit, given its 16 bits and 16 more for its rounding."""
    lines = TILE * dtype.bitwidth // 8 // LINE

    @intrinsic
    def pointer(context, address):  # type: ignore[no-untyped-def]
        kind = types.CPointer(dtype)

        def code(context, builder, signature, args):  # type: ignore[no-untyped-def]
            return builder.inttoptr(args[0], context.get_value_type(kind))

        return kind(address), code

    @njit("void(int64, int64, int64, int64, int64, int64, float64)", nogil=True)
    def kernel(x_at, y_at, n, start, signed_key, threshold, scale):  # type: ignore[no-untyped-def]
        x, y = numba.carray(pointer(x_at), n), numba.carray(pointer(y_at), n)
        key, least, end = u64(signed_key), u32(threshold), start + n
        bits = np.empty(CHUNK, np.uint16)
        noise = np.empty(CHUNK, np.uint16) if rounds_at_random else bits
        for base in range(start // TILE * TILE, end, CHUNK):
            ahead = (base + CHUNK - start) * (lines * LINE // TILE)
            for first in range(0, min(CHUNK, end - base), TILE):
                tile = (base + first) // TILE
                _draw_tile(bits, first, tile, MASK_STREAM, key)
                if rounds_at_random:
                    _draw_tile(noise, first, tile, ROUNDING_STREAM, key)
                for line in range(lines):
                    offset = ahead + (first // TILE * lines + line) * LINE
                    _prefetch(x_at + offset)
                    _prefetch(y_at + offset)
            low, high = max(base, start), min(base + CHUNK, end)
            source, target = (
                x[low - start : high - start],
                y[low - start : high - start],
            )
            drawn = bits[low - base : high - base]
            shifts = noise[low - base : high - base]
            for i in range(high - low):
                shift = u32(shifts[i]) if rounds_at_random else u32(0)
                target[i] = unit(source[i], u32(drawn[i]), shift, least, scale)

    return kernel


@cache
def half_words(stream: int = MASK_STREAM) -> Kernel:
    """Return the kernel that writes the 16 bits of each unit into y, of uint16; x is not used."""

    @njit(inline="always")
    def unit(value, bits, noise, least, scale):  # type: ignore[no-untyped-def]
        return u16(noise if stream else bits)

    return _compiled(unit, types.uint16, rounds_at_random=stream == ROUNDING_STREAM)


@cache
def drop(dtype: str, at_random: bool = False) -> Kernel:
    """Return the kernel that writes the units kept, times the scale, and 0 for the others.

    Parameters
    ----------
    dtype : {"float32", "float64", "bfloat16", "float16"}
        Of x and y.
    at_random : bool
        In half precision, round up or down at random so that the mean is exact; else to nearest.
    """
    if dtype in ("float32", "float64"):
        real = getattr(np, dtype)

        @njit(inline="always")
        def unit(value, bits, noise, least, scale):  # type: ignore[no-untyped-def]
            return value * real(scale) if bits >= least else real(0)

        return _compiled(unit, getattr(types, dtype), rounds_at_random=False)

    widen, narrow = _HALF[dtype]

    @njit(inline="always")
    def half_unit(value, bits, noise, least, scale):  # type: ignore[no-untyped-def]
        product = f32(widen(u32(value)) * f32(scale)).view(np.uint32)
        sign = u32(u32(product >> u32(16)) & u32(0x8000))
        size = narrow(u32(product & u32(0x7FFFFFFF)), noise, at_random)
        return u16(sign | size) if bits >= least else u16(0)

    return _compiled(half_unit, types.uint16, rounds_at_random=at_random)


@njit(inline="always")
def _widen_bfloat16(bits):  # type: ignore[no-untyped-def]
    return u32(bits << u32(16)).view(np.float32)


@njit(inline="always")
def _narrow_bfloat16(size, noise, at_random):  # type: ignore[no-untyped-def]
    """Round the bits of a float32 without its sign."""
    infinity = u32(0x7F80)
    if at_random:
        rounded = u32(u32(size + noise) >> u32(16))
        largest = infinity - u32(size <= u32(BFLOAT16_LIMIT))
        rounded = rounded if rounded < infinity else largest
    else:
        odd = u32(u32(size >> u32(16)) & u32(1))
        rounded = u32(u32(size + u32(0x7FFF) + odd) >> u32(16))
    return u32(0x7FC0) if size > u32(0x7F800000) else rounded


@njit(inline="always")
def _widen_float16(bits):  # type: ignore[no-untyped-def]
    sign, size = u32(u32(bits & u32(0x8000)) << u32(16)), u32(bits & u32(0x7FFF))
    subnormal = f32(f32(i32(size)) * f32(2.0**-24)).view(np.uint32)
    normal = u32(u32(size << u32(13)) + u32(112 << 23))
    normal = u32(normal + u32(112 << 23)) if size >= u32(0x7C00) else normal
    return u32(sign | (subnormal if size < u32(0x400) else normal)).view(np.float32)


@njit(inline="always")
def _narrow_float16(size, noise, at_random):  # type: ignore[no-untyped-def]
    """As for bfloat16; below 2**-14 the numbers of float16 are the multiples of 2**-24."""
    value, bias, infinity = u32(size).view(np.float32), u32(112 << 10), u32(0x7C00)
    tiny = size < u32(113 << 23)
    if at_random:
        shift = u32(noise >> u32(3))
        steps = u32(i32(f32(value * f32(2.0**37)))) if tiny else u32(0)
        normal = u32(u32(u32(size + shift) >> u32(13)) - bias)
        rounded = u32(u32(steps + shift) >> u32(13)) if tiny else normal
        largest = infinity - u32(size <= u32(FLOAT16_LIMIT))
        rounded = rounded if rounded < infinity else largest
    else:
        odd = u32(u32(size >> u32(13)) & u32(1))
        normal = u32(u32(u32(size + u32(0xFFF) + odd) >> u32(13)) - bias)
        # The numbers of float32 beside 0.5 are as far apart: the sum is rounded to them.
        steps = u32(f32(value + f32(0.5)).view(np.uint32) - u32(0x3F000000))
        rounded = steps if tiny else min(normal, infinity)
    return u32(0x7E00) if size > u32(0x7F800000) else rounded


_HALF = {
    "bfloat16": (_widen_bfloat16, _narrow_bfloat16),
    "float16": (_widen_float16, _narrow_float16),
}
