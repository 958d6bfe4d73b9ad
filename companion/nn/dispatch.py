"""Dropout as a function of a tensor, done in the way that suits it."""

from collections.abc import Sequence
from typing import Any

from companion.checks import check_axes, check_key, check_probability

import torch  # isort: skip
from torch import Tensor  # isort: skip
from torch._C import _are_functorch_transforms_active, _get_tracing_state  # isort: skip
from torch.compiler import is_compiling  # isort: skip
from torch.overrides import has_torch_function_unary  # isort: skip

from companion.nn import drop, kinds, operator

__all__ = ["dropout"]

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
COMPLEX = (torch.complex64, torch.complex128)


def dropout(
    x: Tensor,
    p: float,
    training: bool,
    *,
    shared_axes: int | Sequence[int] = (),
    inplace: bool = False,
    generator: torch.Generator | None = None,
    key: int | Tensor | None = None,
) -> Tensor:
    """Drop each unit with probability `p` and scale the others by ``1 / (1 - p)``.

    What `torch.nn.functional.dropout` does, several times faster on a CPU, and with `training`
    to be said: a default of True is how dropout is left on by accident.

    Parameters
    ----------
    x : torch.Tensor of a floating or complex dtype
        Activations, any shape and memory layout, on any device; nested and distributed ones too.
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
        Where the key of the mask is drawn from, on the device of `x`. None: PyTorch's own
        generator of that device, the one `torch.manual_seed` seeds.
    key : int, 0-d torch.Tensor of int64, or None
        64 bits that name the mask, and nothing is drawn: the same key is the same mask again.
        `companion.counter.fold_in` makes keys for a layer, a step, a rank.

    Returns
    -------
    torch.Tensor
        Shape, dtype, device and memory layout of `x`. Where nothing is dropped it is `x` itself.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1] or NaN, an axis is out of range, `key` has more than 64 bits or
        both `generator` and `key` are given.
    TypeError
        If `p` is not a real number, `x` is not a tensor, or in training is sparse or neither
        floating nor complex.
    RuntimeError
        If `generator` is asked for a mask where it would give another one than before, or one
        for ever: in the recomputation of a checkpoint, or while a graph is traced or exported.

    Notes
    -----
    A mask is a function of a key, of `p` and of each unit's position, its index in C order (with
    `shared_axes`, its index among the draws), and of nothing else: neither of dtype, memory
    layout and number of units nor of threads, device and compilation. The bits are those of
    `companion.counter`: 16 for each unit, so that `p` is rounded down to a multiple of 2**-16,
    and the scale is the inverse of the keep probability really used. The key, 64 bits, comes from
    PyTorch's generator, so that `torch.manual_seed`, `torch.random.fork_rng` and activation
    checkpointing mean what they always do. The backward pass draws the mask again from the key,
    and eager code keeps nothing else.

    In float16 and bfloat16 the factor ``1 / (1 - p)`` is too fine for the format: bfloat16 has
    no number between 1 and 1.0078. The product is therefore taken in float32 and rounded up or
    down at random [2]_, so that its mean is exact; the gradient is rounded to nearest, and so is
    a number that only this leaves finite.

    Numba compiles the pass over a CPU's memory when a dtype is first used, in half a second to
    a second; without Numba everything works, slower, with the same bits.

    References
    ----------
    .. [1] Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
       Overfitting", JMLR 15, 2014, section 10, where p is the probability of keeping a unit.
    .. [2] Gupta et al., "Deep Learning with Limited Numerical Precision", ICML 2015, section 3.
    .. [3] Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.

    Examples
    --------
    >>> dropout(torch.ones(2, 5), 0.5, training=True, key=7)
    tensor([[0., 0., 0., 0., 2.],
            [2., 2., 0., 2., 2.]])
    >>> from companion.counter import bernoulli_mask
    >>> bernoulli_mask((2, 5), 0.5, key=7)
    array([[False, False, False, False,  True],
           [ True,  True, False,  True,  True]])
    """
    # Subclasses of a tensor, and the stand-ins torch.fx traces with, have their own say.
    if has_torch_function_unary(x):
        options: dict[str, Any] = {"shared_axes": shared_axes, "inplace": inplace}
        options |= {"generator": generator, "key": key}
        return torch.overrides.handle_torch_function(
            dropout, (x,), x, p, training, **options
        )
    p = check_probability(p)
    if not isinstance(x, Tensor):
        raise TypeError(f"dropout needs a torch.Tensor; got {type(x).__name__}")
    axes = () if shared_axes == () else check_axes(shared_axes, x.dim())
    if key is not None:
        key = signed_key(key, generator)
    if not training:
        return x
    if x.dtype not in FLOATING or x.layout is not torch.strided:
        _check_kind(x)
    if p == 0 or not (_get_tracing_state() or x.numel()):
        return x
    if x.is_nested or (x.is_complex() and not kinds.is_distributed(x)):
        y = _drop_parts(x, p, axes, generator, key)
    elif p == 1:
        y = torch.where(torch.zeros((), dtype=torch.bool, device=x.device), x, 0.0)
    else:
        y = _drop(x, int(p * 2**16), axes, generator, key, inplace)
    return x.copy_(y) if inplace else y


def _drop_parts(
    x: Tensor,
    p: float,
    axes: tuple[int, ...],
    generator: torch.Generator | None,
    key: drop.Key | None,
) -> Tensor:
    """Drop the values of a nested tensor, or both parts of each complex unit."""

    def dropped(x: Tensor, axes: tuple[int, ...]) -> Tensor:
        return dropout(x, p, True, shared_axes=axes, generator=generator, key=key)

    if x.is_nested:
        return kinds.drop_nested(x, axes, dropped)
    pairs = torch.view_as_real(x.resolve_conj())
    return torch.view_as_complex(dropped(pairs, (*axes, x.dim())))


def signed_key(key: Any, generator: torch.Generator | None) -> int | Tensor:
    """Return a key as PyTorch holds 64 bits: a negative int is one of the upper half."""
    if generator is not None:
        raise ValueError(f"a mask has a generator or a key; got {generator} and {key}")
    if isinstance(key, Tensor):
        if key.dtype != torch.int64 or key.dim():
            raise TypeError(f"a tensor as key must be 0-d and int64; got {key!r}")
        return key
    key = check_key(key)
    return key if key < 2**63 else key - 2**64


def _check_kind(x: Tensor) -> None:
    if x.layout not in (torch.strided, torch.jagged):
        raise TypeError(
            f"dropout needs a dense tensor; got one of layout {x.layout}: take x.to_dense(), or "
            "drop the values of a sparse tensor and build it anew"
        )
    if x.dtype not in FLOATING and x.dtype not in COMPLEX:
        raise TypeError(
            "dropout needs float16, bfloat16, float32, float64, complex64 or complex128; "
            f"got {x.dtype}: convert it with x.to(), or x.dequantize()"
        )


def _drop(
    x: Tensor,
    threshold: int,
    axes: tuple[int, ...],
    generator: torch.Generator | None,
    key: drop.Key | None,
    inplace: bool,
) -> Tensor:
    """Drop by the mask of this key, or of one that is drawn, in the way that suits `x`."""
    if is_compiling() and not _are_functorch_transforms_active():
        return _drop_in_graph(x, threshold, axes, generator, key, inplace)
    if generator is not None:
        check_repeatable()
    if drop.in_memory(x):
        key = (
            drop.drawn_key(generator, x.device) if key is None else drop.key_for(x, key)
        )
        shape = _mask_shape(x, axes) if axes else None
        return drop.fast(x, (key, threshold, shape, True))
    if _are_functorch_transforms_active():
        if key is None:
            key = drop.transformed_key(generator, x.device)
        return drop.plain(x, key, threshold, _mask_shape(x, axes))
    return _drop_in_graph(x, threshold, axes, generator, key, inplace)


def _mask_shape(x: Tensor, axes: tuple[int, ...]) -> list[int]:
    return [1 if axis in axes else size for axis, size in enumerate(x.shape)]


def _drop_in_graph(
    x: Tensor,
    threshold: int,
    axes: tuple[int, ...],
    generator: torch.Generator | None,
    key: drop.Key | None,
    inplace: bool,
) -> Tensor:
    traced = _get_tracing_state()
    if (traced or torch.compiler.is_exporting()) and torch.onnx.is_in_onnx_export():
        return _drop_in_onnx(x, threshold / 2**16, axes, key)
    drawn = key is None
    if generator is not None:
        key = _key_outside(generator, x.device)
    elif key is None and traced:
        # TorchScript computes once what depends on constants, but for PyTorch's own draws.
        key = drop.transformed_key(None, x.device)
    elif key is None:
        key = operator.fresh_key(x.device)
    elif not isinstance(key, Tensor):
        key = torch.full((), key, dtype=torch.int64, device=x.device)
    if kinds.is_distributed(x):
        return kinds.drop_shard(x, threshold, axes, key, drawn)
    if inplace:  # the operator keeps what it is given for its backward pass
        x = x.clone()
    return operator.drop(x, key, threshold, axes or None)


def _drop_in_onnx(
    x: Tensor, p: float, axes: tuple[int, ...], key: drop.Key | None
) -> Tensor:
    """Leave the mask to ONNX, whose Dropout knows no shared axes."""
    if key is not None:
        raise RuntimeError(
            f"ONNX draws masks of its own, and none of a key; got {key}: leave out key="
        )
    if not axes:
        return torch.nn.functional.dropout(x, p)
    dropped = torch.rand(_mask_shape(x, axes), device=x.device) < p
    return torch.where(dropped, 0.0, x * (1 / (1 - p)))


@torch._disable_dynamo  # type: ignore[attr-defined]  # without importing the compiler
def _key_outside(generator: torch.Generator, device: torch.device) -> Tensor:
    check_repeatable()
    return drop.new_key(generator, device)


_key_outside._torchdynamo_disable = True  # type: ignore[attr-defined]
_key_outside._torchdynamo_disable_msg = (  # type: ignore[attr-defined]
    "one graph cannot hold a layer's own generator: leave out generator=, or name the mask with "
    "a tensor as key="
)


def check_repeatable() -> None:
    """Refuse a mask that would not be the one of the forward pass, or would never change."""
    where = None
    if torch._C._current_graph_task_id() != -1 and torch.is_grad_enabled():
        where = "the recomputation of a checkpoint, inside a backward pass"
    elif (
        _get_tracing_state()
        or torch.compiler.is_exporting()
        or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY)
    ):
        where = "a graph that is traced or exported"
    if where:
        raise RuntimeError(
            f"a layer's own generator does not give the right masks in {where}: PyTorch does "
            "not know of it. Leave out generator=, or name the mask with key="
        )
