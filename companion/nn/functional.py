"""Dropout as a function of a tensor; `companion.nn.Dropout` is the layer that calls it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

from companion.checks import check_axes, check_probability
from companion.masks import bernoulli_mask, select

try:
    import torch
except ImportError as error:
    raise ImportError(
        "companion.nn needs PyTorch: pip install 'dropout-companion[torch]'"
    ) from error

__all__ = ["dropout"]

SMALL = 2**16  # units; up to here, seeding a NumPy generator costs more than it saves
HALF = (torch.float16, torch.bfloat16)
FLOATING = (*HALF, torch.float32, torch.float64)


def _plain(
    x: torch.Tensor, p: float, shape: Sequence[int], generator: torch.Generator | None
) -> torch.Tensor:
    """Dropout as it is defined: draw a mask, drop, scale. The rest of the file makes it fast.

    On its way through ``ones_like`` the mask, and so the result, takes the memory layout of `x`.
    """
    p = int(p * 2**24) / 2**24  # the rate that 24 random bits have exactly
    noise = torch.rand(shape, dtype=torch.float32, device=x.device, generator=generator)
    keep = torch.ones_like(x, dtype=torch.bool) & (noise >= p)
    return torch.where(keep, x, 0.0) * _scale(p)


def _scale(p: float) -> float:
    return 1 / (1 - p) if p < 1 else 0.0


def dropout(
    x: torch.Tensor,
    p: float,
    training: bool,
    *,
    shared_axes: int | Sequence[int] = (),
    inplace: bool = False,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Drop each unit with probability `p` and scale the others by ``1 / (1 - p)``.

    What `torch.nn.functional.dropout` does, several times faster on a CPU, and with `training`
    to be said: a default of True is how dropout is left on by accident.

    Parameters
    ----------
    x : torch.Tensor of float16, bfloat16, float32 or float64
        Activations, any shape and memory layout, on any device.
    p : float
        The drop probability (not the keep probability!), in [0, 1].
    training : bool
        If False, return `x` as it is and draw nothing.
    shared_axes : int or sequence of int
        Axes, negative allowed, along which one draw is shared: ``(2, 3)`` drops whole channels
        of an NCHW tensor, as `torch.nn.Dropout2d` does.
    inplace : bool
        Write the result into `x`.
    generator : torch.Generator or None
        Where the mask is drawn from, on the device of `x`. None: PyTorch's own generator of
        that device, the one `torch.manual_seed` seeds.

    Returns
    -------
    torch.Tensor
        Shape, dtype, device and memory layout of `x`. Where nothing is dropped it is `x` itself.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1] or NaN, or an axis is out of range.
    TypeError
        If `p` is not a real number, `x` is not a tensor, or not of a floating dtype in training.

    Notes
    -----
    Every mask comes from PyTorch's generator, so that `torch.manual_seed`,
    `torch.random.fork_rng` and activation checkpointing mean what they always do. On a CPU a
    unit takes one random bit if `p` is 0.5, and otherwise 16 bits in a small tensor; a large one
    takes `companion.masks.bernoulli_mask`, from a NumPy generator seeded anew each time. Other
    devices, compiled code and `torch.func` transforms take 24 bits. Where `p` is rounded, it is
    down to a multiple of 2**-16 or 2**-24, and the scale is always the inverse of the keep
    probability really used. The backward pass keeps the mask, at a byte a unit.

    In float16 and bfloat16 the factor ``1 / (1 - p)`` is too fine for the format: bfloat16 has
    no number between 1 and 1.0078. The product is therefore taken in float32 and rounded up or
    down at random [2]_, so that its mean is exact; the gradient is rounded to nearest.

    References
    ----------
    .. [1] Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
       Overfitting", JMLR 15, 2014, section 10, where p is the probability of keeping a unit.
    .. [2] Gupta et al., "Deep Learning with Limited Numerical Precision", ICML 2015, section 3.

    Examples
    --------
    >>> seeded = torch.Generator().manual_seed(0)
    >>> dropout(torch.ones(2, 5), 0.5, training=True, generator=seeded)
    tensor([[2., 2., 2., 2., 0.],
            [2., 0., 0., 0., 2.]])
    """
    # Subclasses of a tensor, and the stand-ins torch.fx traces with, have their own say.
    if torch.overrides.has_torch_function_unary(x):
        options: dict[str, Any] = {"shared_axes": shared_axes, "inplace": inplace}
        return torch.overrides.handle_torch_function(
            dropout, (x,), x, p, training, **options, generator=generator
        )
    p = check_probability(p)
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"dropout needs a torch.Tensor; got {type(x).__name__}")
    mask_shape = list(x.shape)
    for axis in check_axes(shared_axes, x.ndim):
        mask_shape[axis] = 1
    if not training:
        return x
    if x.dtype not in FLOATING:
        raise TypeError(
            f"dropout needs float16, bfloat16, float32 or float64; got {x.dtype}"
        )
    if p == 0 or x.numel() == 0:
        return x
    if x.dtype in HALF:
        y = _drop(x.float(), p, mask_shape, generator)
        y = _round_at_random(y, x.dtype, generator)
    else:
        y = _drop(x, p, mask_shape, generator)
    return x.copy_(y) if inplace else y


def _drop(
    x: torch.Tensor, p: float, shape: list[int], generator: torch.Generator | None
) -> torch.Tensor:
    """Do what `_plain` does, with a mask of this shape, in the way that is fastest for `x`."""
    if not _in_plain_memory(x):
        return _plain(x, p, shape, generator)
    keep, p = _draw(shape, p, generator)
    if x.numel() > SMALL:
        return _Select.apply(x, keep, _scale(p))  # type: ignore[no-untyped-call]
    if not x.is_contiguous():  # the result takes the memory layout of the mask
        keep = torch.zeros_like(x, dtype=torch.bool) | keep
    # The derivative of ReLU is the one choice of PyTorch's that reads a byte mask, never branches
    # and has derivatives of its own: x where the mask is above 0, and 0 elsewhere.
    y: torch.Tensor = torch.ops.aten.threshold_backward.default(
        x, keep.view(torch.int8), 0
    )
    return y.mul_(_scale(p))


def _draw(
    shape: list[int], p: float, generator: torch.Generator | None
) -> tuple[torch.Tensor, float]:
    """Return which units are kept, and the drop probability really used."""
    units = math.prod(shape)
    if p == 0.5:
        coins = _words(-(-units // 64), generator).view(np.uint8)
        keep = np.unpackbits(coins, count=units, bitorder="little").view(np.bool_)
    elif units <= SMALL:
        threshold = int(p * 2**16)
        p = threshold / 2**16
        keep = _words(-(-units // 4), generator).view("<u2")[:units] >= threshold
    else:
        bits = np.random.SFC64(_Seed(generator))  # type: ignore[arg-type]
        keep = bernoulli_mask(units, p, rng=np.random.Generator(bits))
    return torch.from_numpy(keep.reshape(shape)), p


def _in_plain_memory(x: torch.Tensor) -> bool:
    """Whether `x` is numbers on the CPU: not traced, faked or transformed by `torch.func`."""
    if (
        not x.is_cpu
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
    ):
        return False
    try:
        x.data_ptr()
    except RuntimeError:  # batched by torch.autograd.grad(is_grads_batched=True)
        return False
    return True


def _words(n: int, generator: torch.Generator | None) -> np.ndarray:
    """Return `n` times 64 random bits; without bounds, random_ never sets the top one."""
    words = torch.empty(n, dtype=torch.int64, device="cpu")
    words.random_(-(2**63), None, generator=generator)
    return words.numpy().astype("<i8", copy=False)


class _Seed(ISeedSequence):
    """What a NumPy generator is seeded from: bits of PyTorch's, which need no more mixing."""

    def __init__(self, generator: torch.Generator | None) -> None:
        self.generator = generator

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        size = n_words * np.dtype(dtype).itemsize
        return _words(-(-size // 8), self.generator).view(dtype)[:n_words]


def _select(x: torch.Tensor, keep: torch.Tensor, scale: float) -> torch.Tensor:
    """`companion.masks.select` for a tensor: bit patterns times 0 or 1, then the scale."""
    return torch.from_numpy(select(x.resolve_neg().numpy(), keep.numpy(), scale))


class _Select(torch.autograd.Function):
    """`_select` with its derivative, which is `_select` again: it is linear in x."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, keep: torch.Tensor, scale: float
    ) -> torch.Tensor:
        ctx.save_for_backward(keep)
        ctx.save_for_forward(keep)
        ctx.scale = scale
        return _select(x, keep, scale)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (keep,) = ctx.saved_tensors
        if not _in_plain_memory(grad):
            return grad.masked_fill(~keep, 0.0) * ctx.scale, None, None
        again = _Select.apply if torch.is_grad_enabled() else _select
        return again(grad, keep, ctx.scale), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor, *_: None) -> torch.Tensor:
        (keep,) = ctx.saved_tensors
        return _Select.apply(tangent, keep, ctx.scale)  # type: ignore[no-untyped-call]


def _round_at_random(
    y: torch.Tensor, dtype: torch.dtype, generator: torch.Generator | None
) -> torch.Tensor:
    """Round float32 up or down so that the mean is exact; the slope is that of the cast."""
    # The bits of the fraction that must go; 2**-112 maps the subnormals of float16 to those of
    # float32, so that there too they are 13.
    excess, shift = (13, 2.0**-112) if dtype == torch.float16 else (16, 1.0)
    rounded = y.to(dtype)
    with torch.no_grad():
        noise = torch.randint(
            2**excess, y.shape, dtype=torch.int32, device=y.device, generator=generator
        )
        bits = ((y * shift).view(torch.int32) + noise) >> excess << excess
        rounded.detach().copy_(bits.view(torch.float32) / shift)
    return rounded
