"""Tensors that are several: nested ones, of sequences, and distributed ones, of shards."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from companion import counter
from companion.nn.drop import Key, philox, plain

import torch  # isort: skip

__all__ = ["drop_nested", "drop_shard", "is_distributed"]


def drop_nested(
    x: Any,
    axes: tuple[int, ...],
    drop: Callable[[torch.Tensor, tuple[int, ...]], torch.Tensor],
) -> torch.Tensor:
    """Drop the values of a nested tensor, whose positions are those in its one buffer."""
    if x.layout == torch.jagged:
        values = drop(x.values(), _inner_axes(axes, x._ragged_idx))
        return torch.nested.nested_tensor_from_jagged(
            values,
            x.offsets(),
            x.lengths(),
            x._ragged_idx,
            x._maybe_min_seqlen,
            x._maybe_max_seqlen,
        )
    parts = x.unbind()
    if axes:
        _inner_axes(axes, x.dim())
    values = drop(torch.cat([part.reshape(-1) for part in parts]), ())
    pieces = values.split([part.numel() for part in parts])
    shaped = [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]
    return torch.nested.as_nested_tensor(shaped)


def _inner_axes(axes: tuple[int, ...], ragged: int) -> tuple[int, ...]:
    if any(axis <= ragged for axis in axes):
        raise ValueError(
            "shared_axes of a nested tensor must come after its ragged axis, and it must be of "
            f"layout torch.jagged; got {axes}"
        )
    return tuple(axis - 1 for axis in axes)


def is_distributed(x: torch.Tensor) -> bool:
    """Whether `x` is a DTensor, which nobody has who has not imported them."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


def drop_shard(
    x: Any,
    threshold: int,
    axes: tuple[int, ...],
    key: torch.Tensor,
    drawn: bool,
) -> torch.Tensor:
    """Drop this process's shard by its part of the mask of the whole.

    A key that was drawn is that of the first process of the mesh, which tells it to the others.
    """
    from torch.distributed._functional_collectives import broadcast, wait_tensor
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    local, mesh = x.to_local(), x.device_mesh
    for dim in range(mesh.ndim if drawn else 0):
        key = wait_tensor(broadcast(key, 0, (mesh, dim)))
    if isinstance(key, DTensor):
        key = key.to_local()
    _, offsets = compute_local_shape_and_global_offset(x.shape, mesh, x.placements)
    whole = x.shape
    if x.is_complex():  # PyTorch's own view_as_real gives up the placements
        local, whole = torch.view_as_real(local.resolve_conj()), (*whole, 2)
        offsets, axes = (*offsets, 0), (*axes, x.dim())

    def words(n: int, key: Key, stream: int, shard: torch.Tensor) -> torch.Tensor:
        shared = axes if stream == counter.MASK_STREAM else ()
        positions = _positions(whole, shard.shape, offsets, shared, shard.device)
        return half_words_at(positions, key, stream).reshape(-1)

    shape = [1 if axis in axes else n for axis, n in enumerate(local.shape)]
    y = plain(local, key.to(local.device), threshold, shape, words=words)
    if x.is_complex():
        y = torch.view_as_complex(y)
    return DTensor.from_local(
        y, mesh, x.placements, run_check=False, shape=x.shape, stride=x.stride()
    )


def _positions(
    whole: Sequence[int],
    part: Sequence[int],
    offsets: Sequence[int],
    shared: tuple[int, ...],
    device: torch.device,
) -> torch.Tensor:
    """Return the index in C order of each unit of a part, or of each draw if axes share one."""
    positions = torch.zeros((), dtype=torch.int64, device=device)
    for axis, (size, length, offset) in enumerate(
        zip(whole, part, offsets, strict=True)
    ):
        size, length, offset = (1, 1, 0) if axis in shared else (size, length, offset)
        index = torch.arange(offset, offset + length, device=device)
        positions = positions[..., None] * size + index
    return positions


def half_words_at(positions: torch.Tensor, key: Key, stream: int) -> torch.Tensor:
    """Return the 16 bits of any positions, at the price of a whole block for each."""
    tile, unit = positions // counter.TILE, positions % counter.TILE
    blocks = tile * counter.LANES + unit % counter.LANES
    halves = torch.stack(philox(blocks, key, stream))
    slot = torch.broadcast_to(unit // counter.LANES, positions.shape)
    return halves.gather(0, slot[None])[0]
