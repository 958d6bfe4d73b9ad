"""Attention whose weights are dropped by the companion's dropout."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from companion.checks import check_probability
from companion.counter import scale_of, threshold_of
from companion.nn import dispatch, drop

import torch  # isort: skip
from torch.autograd import forward_ad
from torch.nn import functional as F

__all__ = ["attend", "scaled_dot_product_attention"]

PIECE = 2**17  # weights that stay in a processor's cache


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    training: bool,
    generator: torch.Generator | None = None,
    dropout_key: int | torch.Tensor | None = None,
) -> torch.Tensor:
    """Let queries attend to values, and drop attention weights.

    What `torch.nn.functional.scaled_dot_product_attention` does, with its arguments. Where nothing
    is dropped, that is called. PyTorch drops whatever `dropout_p` says, in training and out of it;
    here `training` has to be said.

    Parameters
    ----------
    query : torch.Tensor, shape (..., L, E)
    key : torch.Tensor, shape (..., S, E)
        The keys that queries are compared with (not the key of a mask, see `dropout_key`).
    value : torch.Tensor, shape (..., S, V)
    attn_mask : torch.Tensor or None, broadcastable to (..., L, S)
        Of bool, true where a query may attend; else added to the scores.
    dropout_p : float
        The probability of dropping an attention weight, in [0, 1].
    is_causal : bool
        Let query i attend to the keys 0 to i alone.
    scale : float or None
        Factor of the scores; None: ``1 / sqrt(E)``.
    enable_gqa : bool
        Let groups of heads, the third axis from the end, share keys and values.
    training : bool
        If False, drop nothing.
    generator : torch.Generator or None
        Where the key of the mask is drawn from; None: PyTorch's own generator.
    dropout_key : int or torch.Tensor of int64, or None
        64 bits that name the mask, as in `companion.nn.functional.dropout`.

    Returns
    -------
    torch.Tensor, shape (..., L, V)

    Raises
    ------
    ValueError
        If `dropout_p` is outside [0, 1] or NaN, or both `attn_mask` and `is_causal` are given.
    TypeError
        If `dropout_p` is not a real number.

    Notes
    -----
    The mask is that of `companion.nn.functional.dropout` for a tensor of the shape of the weights,
    (..., L, S). A query that may attend to no key gives zeros, as in PyTorch. Half precision is
    computed in float32.

    On a CPU, in float32 and float64, the weights are dropped piece by piece while they are in the
    cache, and kept once for the backward pass, undropped.

    References
    ----------
    .. [1] Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.2.1.

    Examples
    --------
    >>> q, k, v = torch.zeros(2, 8), torch.zeros(4, 8), torch.eye(4)  # so that weights are seen
    >>> scaled_dot_product_attention(q, k, v, dropout_p=0.5, training=True, dropout_key=7)
    tensor([[0.0000, 0.0000, 0.0000, 0.0000],
            [0.5000, 0.5000, 0.5000, 0.0000]])
    """
    if not training or check_probability(dropout_p) == 0:
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask,
            0.0,
            is_causal,
            scale=scale,
            enable_gqa=enable_gqa,
        )
    if is_causal:
        if attn_mask is not None:
            raise ValueError("attn_mask and is_causal=True exclude each other")
        attn_mask = query.new_ones(
            query.shape[-2], key.shape[-2], dtype=torch.bool
        ).tril()
    if enable_gqa:
        key, value = (
            x.repeat_interleave(query.shape[-3] // x.shape[-3], -3)
            for x in (key, value)
        )
    output, _ = attend(
        query, key, value, attn_mask, dropout_p, scale, generator, dropout_key
    )
    return output


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None,
    p: float,
    scale: float | None,
    generator: torch.Generator | None,
    dropout_key: int | torch.Tensor | None,
    need_weights: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the output of attention and, if they are needed, the dropped weights."""
    device = query.device.type
    if device != "meta" and torch.is_autocast_enabled(device):
        low = torch.get_autocast_dtype(device)
        query, key, value = query.to(low), key.to(low), value.to(low)
        with torch.autocast(device, enabled=False):
            return attend(
                query,
                key,
                value,
                attn_mask,
                p,
                scale,
                generator,
                dropout_key,
                need_weights,
            )
    dtype = query.dtype
    if dtype in drop.HALF:
        query, key, value = query.float(), key.float(), value.float()
    bias, blind = _bias(attn_mask, query.dtype)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    weights = None
    if need_weights or p == 1 or not _in_plain_memory(query, key, value, bias):
        weights = _weights(query, key, bias, scale)
        weights = dispatch.dropout(
            weights, p, True, generator=generator, key=dropout_key
        )
        output = weights @ value
    else:
        mask_key = _mask_key(query, generator, dropout_key)
        output = _in_pieces(query, key, value, bias, p, scale, mask_key)
    if blind is not None:
        output = output.masked_fill(blind, 0.0)
        weights = None if weights is None else weights.masked_fill(blind, 0.0)
    return output.to(dtype), None if weights is None else weights.to(dtype)


def _bias(
    mask: torch.Tensor | None, dtype: torch.dtype
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return what a mask adds to the scores, and which queries may attend to no key.

    To them nothing is added: the softmax of scores that are all -inf has no derivative.
    """
    if mask is None:
        return None, None
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, -math.inf)
    elif not mask.is_floating_point():
        raise TypeError(
            f"a mask must be of bool or of a floating dtype; got {mask.dtype}"
        )
    blind = (mask == -math.inf).all(-1, keepdim=True)
    return mask.to(dtype).masked_fill(blind, 0.0), blind


def _weights(
    query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor | None, scale: float
) -> torch.Tensor:
    scores = (query * scale) @ key.mT
    return (scores if bias is None else scores + bias).softmax(-1)


def _in_plain_memory(*tensors: torch.Tensor | None) -> bool:
    """Whether all are numbers on the CPU, and only a backward pass through q, k, v may follow."""
    bias = tensors[-1]
    return (
        not torch.compiler.is_compiling()
        and forward_ad._current_level < 0
        and (bias is None or not bias.requires_grad)
        and all(
            x is None or (x.is_cpu and x.numel() and drop.in_memory(x)) for x in tensors
        )
        and drop._kernels() is not None
    )


def _mask_key(
    x: torch.Tensor, generator: torch.Generator | None, key: drop.Key | None
) -> drop.Key:
    if key is not None:
        return drop.key_for(x, dispatch.signed_key(key, generator))
    if generator is not None:
        dispatch.check_repeatable()
    return drop.drawn_key(generator, x.device)


def _in_pieces(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    p: float,
    scale: float,
    dropout_key: drop.Key,
) -> torch.Tensor:
    def flat(x: torch.Tensor) -> torch.Tensor:
        return x.expand(*batch, *x.shape[-2:]).reshape(-1, *x.shape[-2:])

    inputs = [query, key, value] + ([] if bias is None else [bias])
    batch = torch.broadcast_shapes(*(x.shape[:-2] for x in inputs))
    q, k, v, *b = map(flat, inputs)
    flat_bias = b[0] if b else None
    y = _Attention.apply(q, k, v, flat_bias, p, scale, dropout_key)  # type: ignore[no-untyped-call]
    return y.reshape(*batch, *y.shape[-2:])


class _Attention(torch.autograd.Function):
    """Attention of three axes, in pieces that stay in the cache; keeps the weights undropped."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bias: torch.Tensor | None,
        p: float,
        scale: float,
        dropout_key: drop.Key,
    ) -> torch.Tensor:
        weights = query.new_empty(len(query), query.shape[1], key.shape[1])
        output = query.new_empty(*query.shape[:2], value.shape[2])
        for piece, dropped in _pieces(weights, p, dropout_key):
            w = weights[piece]
            added, beta = (w, 0) if bias is None else (bias[piece], 1)
            q, k, v = query[piece], key[piece].mT, value[piece]
            torch.baddbmm(added, q, k, beta=beta, alpha=scale, out=w)
            torch.softmax(w, -1, out=w)
            torch.bmm(dropped(w), v, out=output[piece])
        ctx.save_for_backward(query, key, value, bias, weights)
        ctx.numbers = p, scale, dropout_key
        return output

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, bias, weights = ctx.saved_tensors
        p, scale, dropout_key = ctx.numbers
        if torch.is_grad_enabled() or not drop.in_memory(grad):
            return _slopes(grad, query, key, value, bias, p, scale, dropout_key)
        slopes = tuple(
            torch.empty_like(x, memory_format=torch.contiguous_format)
            for x in (query, key, value)
        )
        for piece, dropped in _pieces(weights, p, dropout_key):
            w, g = weights[piece], grad[piece]
            of_query, of_key, of_value = (slope[piece] for slope in slopes)
            torch.bmm(dropped(w).mT, g, out=of_value)
            of_scores = torch._softmax_backward_data(
                dropped(g @ value[piece].mT), w, -1, w.dtype
            )
            options = {"beta": 0, "alpha": scale}
            torch.baddbmm(of_query, of_scores, key[piece], **options, out=of_query)
            torch.baddbmm(of_key, of_scores.mT, query[piece], **options, out=of_key)
        return *slopes, None, None, None, None


def _slopes(
    grad: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    p: float,
    scale: float,
    dropout_key: drop.Key,
) -> tuple[torch.Tensor | None, ...]:
    """Return the gradient of `_Attention` with derivatives of its own."""
    with torch.enable_grad():
        weights = _weights(query, key, bias, scale)
        output = dispatch.dropout(weights, p, True, key=dropout_key) @ value
    inputs = [x for x in (query, key, value) if x.requires_grad]
    again = torch.is_grad_enabled()
    slopes = iter(torch.autograd.grad(output, inputs, grad, create_graph=again))
    wanted = (next(slopes) if x.requires_grad else None for x in (query, key, value))
    return *wanted, None, None, None, None


def _pieces(
    weights: torch.Tensor, p: float, dropout_key: drop.Key
) -> Iterator[tuple[slice, Callable[[torch.Tensor], torch.Tensor]]]:
    """Yield slices of the first axis, and what drops the units of each into one buffer."""
    units = weights[0].numel()
    step = max(1, PIECE // units)
    kernels = drop._kernels()
    assert kernels is not None
    kernel = kernels.drop(drop.NAMES[weights.dtype])
    threshold = threshold_of(p)
    buffer = torch.empty_like(weights[:step])
    for start in range(0, len(weights), step):

        def dropped(x: torch.Tensor, first: int = start * units) -> torch.Tensor:
            y = buffer[: len(x)]
            kernel(
                x.data_ptr(), y.data_ptr(), x.numel(), first, dropout_key, threshold,
                scale_of(threshold),
            )  # fmt: skip
            return y

        yield slice(start, start + step), dropped
