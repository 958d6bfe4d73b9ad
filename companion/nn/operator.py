"""Dropout as an operator that PyTorch's compilers keep whole: its key is one of its inputs."""

from collections.abc import Sequence
from typing import Any

from companion.nn.drop import apply, key_for, new_key

import torch  # isort: skip

__all__ = ["drop", "fresh_key"]


@torch.library.custom_op(
    "companion::key", mutates_args=(), tags=torch.Tag.nondeterministic_seeded
)
def key_like(word: torch.Tensor) -> torch.Tensor:
    """Draw 64 bits from PyTorch's generator into a new 0-d tensor on the device of `word`."""
    return new_key(None, word.device)


@key_like.register_fake
def _(word: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(word)


def fresh_key(device: torch.device) -> torch.Tensor:
    """Draw a key in a graph.

    Two calls without arguments are one to PyTorch's elimination of common subexpressions, and
    two layers would get one mask. It never merges two empty tensors.
    """
    return key_like(torch.empty((), dtype=torch.int64, device=device))


@torch.library.custom_op("companion::dropout", mutates_args=())
def drop(
    x: torch.Tensor,
    key: torch.Tensor,
    threshold: int,
    shared_axes: Sequence[int] | None,
) -> torch.Tensor:
    """Drop by a key, with a mask shared along axes, and scale."""
    return _drop(x, key, threshold, shared_axes, at_random=True)


@torch.library.custom_op("companion::dropout_backward", mutates_args=())
def drop_backward(
    grad: torch.Tensor,
    key: torch.Tensor,
    threshold: int,
    shared_axes: Sequence[int] | None,
    x: torch.Tensor,
) -> torch.Tensor:
    """Drop a gradient by the same key.

    It has no use for `x`. But what stands ahead of dropout is most often ReLU, and if its output
    is kept for this, a compiled graph does not make a mask of bytes for ReLU's own gradient,
    which takes longer than all of dropout.
    """
    return _drop(grad, key, threshold, shared_axes, at_random=False)


def _drop(
    x: torch.Tensor,
    key: torch.Tensor,
    threshold: int,
    shared_axes: Sequence[int] | None,
    at_random: bool,
) -> torch.Tensor:
    shape = None
    if shared_axes:
        shape = [1 if axis in shared_axes else n for axis, n in enumerate(x.shape)]
    return apply(x, key_for(x, key), threshold, shape, at_random)


@drop.register_fake
@drop_backward.register_fake
def _(x: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.empty_like(x)


def _keep_inputs(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
    x, key, ctx.threshold, ctx.shared_axes, *_ = inputs
    ctx.save_for_backward(x, key)


def _derivative(ctx: Any, grad: torch.Tensor) -> tuple:
    x, key = ctx.saved_tensors
    return drop_backward(grad, key, ctx.threshold, ctx.shared_axes, x), None, None, None


drop.register_autograd(_derivative, setup_context=_keep_inputs)
drop_backward.register_autograd(
    lambda ctx, grad: (*_derivative(ctx, grad), None), setup_context=_keep_inputs
)


@drop.register_vmap
@drop_backward.register_vmap
def _(info: Any, in_dims: tuple, *args: Any) -> tuple[torch.Tensor, int]:
    op = drop if len(args) == 4 else drop_backward
    rows = [
        [a if d is None else a.select(d, i) for a, d in zip(args, in_dims, strict=True)]
        for i in range(info.batch_size)
    ]
    return torch.stack([op(*row) for row in rows]), 0
