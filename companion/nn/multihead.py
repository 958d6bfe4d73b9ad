"""Attention of several heads, as a layer."""

import math
from typing import Any

from companion.checks import check_probability
from companion.nn.attention import attend
from companion.nn.keyed import Keyed

import torch  # isort: skip
from torch.nn import functional as F  # isort: skip

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Keyed, torch.nn.MultiheadAttention):
    """`torch.nn.MultiheadAttention` whose attention weights the companion's dropout drops.

    It takes the same arguments, has the same parameters and gives, where nothing is dropped, the
    same results: there it is PyTorch's own that runs.

    Parameters
    ----------
    *args, **options
        Those of `torch.nn.MultiheadAttention`; `dropout` is the drop probability.
    generator : torch.Generator or None
        Where masks are drawn from; None: PyTorch's own generator.
    key : int, 0-d torch.Tensor of int64, or None
        64 bits that name the mask. (The argument `key` of a call is what queries are compared
        with.)

    See Also
    --------
    companion.nn.functional.scaled_dot_product_attention : the function behind it.

    Notes
    -----
    The mask has the shape of the weights, (N, heads, L, S), whatever `batch_first` says. With
    ``need_weights=True`` those that are returned are dropped, as PyTorch's are. While something is
    dropped, a query that may attend to no key gives the bias of the output alone, not NaN, and
    nested tensors are refused, as PyTorch does.

    Examples
    --------
    >>> attention = MultiheadAttention(16, num_heads=2, dropout=0.5, batch_first=True)
    >>> x = torch.ones(3, 5, 16)
    >>> output, weights = attention(x, x, x, average_attn_weights=False)
    >>> output.shape, weights.shape
    (torch.Size([3, 5, 16]), torch.Size([3, 2, 5, 5]))
    >>> weights.max()  # a fifth each, and twice that if it is kept
    tensor(0.4000, grad_fn=<MaxBackward1>)
    """

    def __init__(
        self,
        *args: Any,
        generator: torch.Generator | None = None,
        key: int | torch.Tensor | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        check_probability(self.dropout)
        self._draw_from(generator, key)

    def extra_repr(self) -> str:
        return self._said_source().removeprefix(", ")

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        given = (
            query, key, value, key_padding_mask, need_weights, attn_mask,
            average_attn_weights, is_causal,
        )  # fmt: skip
        if (leaf := self._as_leaf(*given)) is not None:
            return leaf
        if not self.training or self.dropout == 0 or query.is_nested:
            return super().forward(*given)
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal=True says that attn_mask is causal; got None")
        q, k, v = self._projected(query, key, value)
        mask = self._mask(len(q), q.shape[1], k.shape[1], attn_mask, key_padding_mask)
        if self.bias_k is not None and self.bias_v is not None:
            k, v = _with_another(k, self.bias_k), _with_another(v, self.bias_v)
        if self.add_zero_attn:
            zero = k.new_zeros(1, 1, self.embed_dim)
            k, v = _with_another(k, zero), _with_another(v, zero)
        if mask is not None:
            mask = F.pad(mask, (0, k.shape[1] - mask.shape[-1]))
        q, k, v = (
            x.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v)
        )
        output, weights = attend(
            q, k, v, mask, self.dropout, None, self.generator, self.key, need_weights
        )
        output = output.permute(
            (0, 2, 1, 3) if self.batch_first or query.dim() == 2 else (2, 0, 1, 3)
        )
        output = F.linear(output.flatten(2), self.out_proj.weight, self.out_proj.bias)
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if query.dim() == 2:
            output = output.squeeze(0)
            weights = None if weights is None else weights.squeeze(0)
        return output, weights

    def _projected(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return what attends and is attended to, each of shape (N, L, E)."""
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if weight is not None and query is key and key is value:
            projected = F.linear(query, weight, bias).chunk(3, -1)
        else:
            own = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
            weights = own if weight is None else weight.chunk(3)
            biases = (None, None, None) if bias is None else bias.chunk(3)
            projected = tuple(map(F.linear, (query, key, value), weights, biases))
        if query.dim() == 2:
            return [x.unsqueeze(0) for x in projected]
        return [x if self.batch_first else x.transpose(0, 1) for x in projected]

    def _mask(
        self,
        n: int,
        queries: int,
        keys: int,
        attn_mask: torch.Tensor | None,
        key_padding_mask: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """Return what both masks add to the scores; where they are of bool, true is blocked."""
        dtype, mask = self.out_proj.weight.dtype, None
        if attn_mask is not None:
            shapes = (queries, keys), (n * self.num_heads, queries, keys)
            mask = _added(attn_mask, "attn_mask", dtype, *shapes)
            if mask.dim() == 3:
                mask = mask.unflatten(0, (n, self.num_heads))
        if key_padding_mask is not None:
            shape = (n, keys) if key_padding_mask.dim() == 2 or n > 1 else (keys,)
            padding = _added(key_padding_mask, "key_padding_mask", dtype, shape)
            padding = padding.reshape(n, 1, 1, keys)
            mask = padding if mask is None else mask + padding
        return mask


def _added(
    mask: torch.Tensor, name: str, dtype: torch.dtype, *shapes: tuple[int, ...]
) -> torch.Tensor:
    if mask.shape not in shapes:
        accepted = " or ".join(map(str, shapes))
        raise ValueError(f"{name} must be of shape {accepted}; got {tuple(mask.shape)}")
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)
    return mask


def _with_another(x: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Append one key or value, of shape (1, 1, E), to those of each sample."""
    return torch.cat([x, key.to(x.dtype).expand(len(x), 1, -1)], 1)
