"""Units dropped by a key: the definition in PyTorch's operations, and a pass over memory."""

import math
import threading
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

from companion import counter
from companion.nn import pages

import torch  # isort: skip
from torch import Tensor, is_grad_enabled  # isort: skip
from torch._C import (  # isort: skip
    _are_functorch_transforms_active,
    _get_tracing_state,
    _len_torch_dispatch_stack,
)
from torch.autograd import forward_ad  # isort: skip

__all__ = [
    "Key",
    "apply",
    "drawn_key",
    "fast",
    "in_memory",
    "key_for",
    "new_key",
    "philox",
    "plain",
    "transformed_key",
]

HALF = (torch.float16, torch.bfloat16)
NAMES = {
    t: str(t).removeprefix("torch.") for t in (*HALF, torch.float32, torch.float64)
}

LOWEST = -(2**63)
MANY = 2**19  # units; with fewer, asking for large pages costs more than it saves
CPU = torch.device("cpu")
Key = int | Tensor  # 64 bits as a signed int, or as a 0-d tensor of int64


# The definition, on any device and under any transform


def plain(
    x: Tensor,
    key: Key,
    threshold: int,
    shape: Sequence[int],
    at_random: bool = True,
    words: Callable[..., Tensor] | None = None,
) -> Tensor:
    """Draw a mask of this shape, drop, scale. The rest of the file makes it fast.

    On its way through ``ones_like`` the mask, and so the result, takes the memory layout of `x`.
    """
    words = words or half_words
    bits = words(math.prod(shape), key, counter.MASK_STREAM, x)
    keep = torch.ones_like(x, dtype=torch.bool) & (bits >= threshold).reshape(shape)
    scale = counter.scale_of(threshold)
    if x.dtype not in HALF or not at_random:
        return torch.where(keep, x * scale, 0.0)
    y = torch.where(keep, x.float() * scale, 0.0)
    noise = words(x.numel(), key, counter.ROUNDING_STREAM, x).reshape(x.shape)
    return rounded_at_random(y, noise.int(), x.dtype)


def half_words(n: int, key: Key, stream: int, x: Tensor) -> Tensor:
    """`companion.counter.half_words` as int64, on the device of `x`."""
    lanes = -(-n // counter.TILE) * counter.LANES
    blocks = torch.arange(lanes, device=x.device).reshape(-1, counter.LANES)
    return torch.stack(philox(blocks, key, stream), 1).reshape(-1)[:n]


def philox(blocks: Tensor, key: Key, stream: int) -> list[Any]:
    """Return the 8 half-words of each block; products of int64 wrap as those of uint64 do."""
    low, (a, b) = counter.LOW, counter.MULTIPLIERS
    zeros = torch.zeros_like(blocks)
    w0, w1, w2, w3 = blocks & low, blocks >> 32, zeros + stream, zeros
    k0, k1 = key & low, key >> 32 & low
    for _ in range(counter.ROUNDS):
        by_a, by_b = w0 * a, w2 * b
        w0, w1 = by_b >> 32 & low ^ w1 ^ k0, by_b & low
        w2, w3 = by_a >> 32 & low ^ w3 ^ k1, by_a & low
        k0, k1 = k0 + counter.KEY_STEPS[0] & low, k1 + counter.KEY_STEPS[1] & low
    return [half for w in (w0, w1, w2, w3) for half in (w & 0xFFFF, w >> 16)]


def rounded_at_random(y: Tensor, noise: Tensor, dtype: torch.dtype) -> Tensor:
    """Round float32 up or down so that the mean is exact; the slope is that of the cast.

    What is rounded to the largest number when it is rounded to nearest does not become infinite.
    """
    rounded, size = y.to(dtype), y.detach().abs()
    bits, largest = size.view(torch.int32), torch.finfo(dtype).max
    if dtype == torch.bfloat16:
        drawn, limit = (bits + noise & -0x10000).view(torch.float32), 0x7F7F8002
    else:  # below 2**-14 the numbers of float16 are the multiples of 2**-24
        normal, limit = (bits + (noise >> 3) & -0x2000).view(torch.float32), 0x477FF002
        steps = (size.clamp(max=2.0**-14) * 2.0**37).int() + (noise >> 3) >> 13
        drawn = torch.where(size < 2.0**-14, steps * 2.0**-24, normal)
    drawn = torch.where((drawn > largest) & (bits <= limit), largest, drawn)
    drawn = torch.where(size.isfinite(), drawn, size).copysign(y.detach())
    rounded.detach().copy_(drawn)
    return rounded


# Keys

_local = threading.local()


def drawn_key(generator: torch.Generator | None, device: torch.device) -> Key:
    """Draw 64 bits as any random operation would: as an int, or a tensor if not on the CPU."""
    if device != CPU:
        return new_key(generator, device)
    try:
        word, bits = _local.word
    except AttributeError:
        with torch.inference_mode(False):
            word = torch.empty(1, dtype=torch.int64, device=CPU)
        _local.word = word, bits = word, word.numpy()
    if generator is None:
        word.random_(LOWEST, None)
    else:
        word.random_(LOWEST, None, generator=generator)
    return bits.item()


def new_key(generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Draw the same bits into a new 0-d tensor."""
    key = torch.empty((), dtype=torch.int64, device=device)
    return key.random_(LOWEST, None, generator=generator)


def transformed_key(generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Draw the bits of `drawn_key` in the one way that `torch.vmap` has a rule for."""
    bits = torch.randint(LOWEST, ~LOWEST, (), generator=generator, device=device)
    return bits ^ LOWEST


def key_for(x: Tensor, key: Key) -> Key:
    """Return a given key as `apply` takes it for this tensor."""
    if isinstance(key, Tensor):
        return int(key) if x.is_cpu else key.to(x.device)
    return key if key < 2**63 else key - 2**64


# One pass over memory

_scale_of = cache(counter.scale_of)


@cache
def _kernels() -> ModuleType | None:
    try:
        from companion.counter import kernels
    except ImportError:  # Numba is missing
        return None
    return kernels


@cache
def _kernel(dtype: torch.dtype, at_random: bool) -> Callable[..., None] | None:
    if (kernels := _kernels()) is None:
        return None
    return kernels.drop(NAMES[dtype], at_random and dtype in HALF)


@cache
def _triton() -> ModuleType | None:
    try:
        from companion.nn import triton_kernel
    except ImportError:
        return None
    return triton_kernel


def apply(
    x: Tensor,
    key: Key,
    threshold: int,
    shape: Sequence[int] | None,
    at_random: bool,
) -> Tensor:
    """Do what `plain` does, for a tensor in memory and without derivatives.

    Where `shape` is None the mask has the shape of `x`. With ``at_random=False`` half precision
    is rounded to nearest.
    """
    if shape is None and (x.is_neg() or not x.is_contiguous()):
        y = apply(x.resolve_neg().contiguous(), key, threshold, None, at_random)
        return torch.empty_like(x).copy_(y)
    if shape is None and x.is_cpu and (kernel := _kernel(x.dtype, at_random)):
        y, n = torch.empty_like(x), x.numel()
        if n > MANY:
            pages.populate(y.data_ptr(), y.nbytes)
        kernel(x.data_ptr(), y.data_ptr(), n, 0, key, threshold, _scale_of(threshold))
        return y
    if shape is None and x.is_cuda and (triton := _triton()):
        return triton.drop(x, key, threshold, at_random)
    return plain(x, key, threshold, shape or x.shape, at_random, _words)


def _words(n: int, key: Key, stream: int, x: Tensor) -> Tensor:
    """Do what `half_words` does, in one pass where that is possible."""
    if not x.is_cpu:
        return half_words(n, key, stream, x)
    assert isinstance(key, int)
    if (kernels := _kernels()) is None:
        return torch.from_numpy(counter.half_words(n, key, stream=stream).astype("i4"))
    bits = torch.empty(n, dtype=torch.int16, device=CPU)
    kernels.half_words(stream)(0, bits.data_ptr(), n, 0, key, 0, 0.0)
    return bits.int() & 0xFFFF


How = tuple[Key, int, Sequence[int] | None, bool]  # what `apply` takes beside x


class _Drop(torch.autograd.Function):
    """`apply` with its derivative, which is `apply` again: it is linear in x.

    Nothing is kept for it but what the mask is drawn from.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, how: How) -> Tensor:
        ctx.how = (*how[:3], False)
        return apply(x, *how)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _derivative(grad, ctx.how), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return _derivative(tangent, ctx.how)


def _derivative(grad: Tensor, how: How) -> Tensor:
    if in_memory(grad):
        return fast(grad, how)
    key, threshold, shape, _ = how
    return plain(grad, key, threshold, shape or grad.shape, at_random=False)


# The rest of `torch.autograd.Function.apply` is for `torch.func`, which is not active here.
_differentiable = super(torch.autograd.Function, _Drop).apply


def fast(x: Tensor, how: How) -> Tensor:
    """Return `apply` of `x`, with a derivative if one is wanted."""
    if (x.requires_grad and is_grad_enabled()) or forward_ad._current_level >= 0:
        return _differentiable(x, how)  # type: ignore[no-untyped-call]
    return apply(x, *how)


def in_memory(x: Tensor) -> bool:
    """Whether `x` is numbers on a device: not traced, faked, wrapped or transformed."""
    kind = type(x)
    if (
        (
            kind is not Tensor
            and kind.__torch_dispatch__ is not Tensor.__torch_dispatch__
        )
        or _are_functorch_transforms_active()
        or _len_torch_dispatch_stack()
        or _get_tracing_state()
        or x.is_meta
    ):
        return False
    try:
        return (
            bool(x.data_ptr()) or x.numel() == 0
        )  # 0 is a gradient nobody has computed
    except RuntimeError:  # batched by torch.autograd.grad(is_grads_batched=True)
        return False
