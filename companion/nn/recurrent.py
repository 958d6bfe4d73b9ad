"""Recurrent layers whose dropout between the layers is the companion's."""

from typing import Any

from companion.checks import check_probability
from companion.counter import fold_in
from companion.nn import functional
from companion.nn.keyed import Keyed

import torch  # isort: skip
from torch.nn.utils.rnn import PackedSequence

__all__ = ["GRU", "LSTM", "RNN"]

States = tuple[
    torch.Tensor, ...
]  # h, and c of an LSTM; (layers * directions, N, units)


class _Stacked(Keyed, torch.nn.RNNBase):
    """What the three have in common: their layers run one after the other."""

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
        return super().extra_repr() + self._said_source()

    def forward(self, input: Any, hx: Any = None) -> Any:
        if (leaf := self._as_leaf(input, hx)) is not None:
            return leaf
        if not self.training or self.dropout == 0:
            return super().forward(input, hx)
        self._update_flat_weights()
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        batched, axis = input.dim() != 2, 0 if self.batch_first else 1
        x = input if batched else input.unsqueeze(axis)
        states = self._states(x, hx, x.shape[axis], batched)
        self.check_forward_args(x, self._as_given(states), None)
        x = x.transpose(0, 1) if self.batch_first else x
        x, states = self._layers(x, states)
        x = x.transpose(0, 1) if self.batch_first else x
        if batched:
            return x, self._as_given(states)
        return x.squeeze(axis), self._as_given(tuple(s.squeeze(1) for s in states))

    def _packed(self, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        x, sizes, order, original = input
        states = self._states(x, hx, int(sizes[0]))
        if order is not None:
            states = tuple(s.index_select(1, order) for s in states)
        self.check_forward_args(x, self._as_given(states), sizes)
        x, states = self._layers(x, states, sizes)
        output = PackedSequence(x, sizes, order, original)
        return output, self.permute_hidden(self._as_given(states), original)

    def _layers(
        self, x: torch.Tensor, states: States, batch_sizes: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, States]:
        run = getattr(torch._VF, self.mode.lower())
        directions = 1 + self.bidirectional
        weights = len(self._flat_weights) // self.num_layers
        options = self.bias, 1, 0.0, True, self.bidirectional
        ends = []
        for layer in range(self.num_layers):
            if layer:
                x = self._dropped(x, layer)
            hx = tuple(s.narrow(0, layer * directions, directions) for s in states)
            hx = self._as_given(hx)
            of_layer = self._flat_weights[layer * weights : (layer + 1) * weights]
            if batch_sizes is None:
                x, *end = run(x, hx, of_layer, *options, False)
            else:
                x, *end = run(x, batch_sizes, hx, of_layer, *options)
            ends.append(end)
        return x, tuple(map(torch.cat, zip(*ends, strict=True)))

    def _dropped(self, x: torch.Tensor, layer: int) -> torch.Tensor:
        key = None if self.key is None else fold_in(int(self.key), layer)
        return functional.dropout(
            x, self.dropout, True, generator=self.generator, key=key
        )

    def _states(self, x: torch.Tensor, hx: Any, n: int, batched: bool = True) -> States:
        """Return the states to begin with: those that are given, or zeros."""
        if hx is None:
            layers = self.num_layers * (1 + self.bidirectional)
            sizes = [self.proj_size or self.hidden_size, self.hidden_size]
            return tuple(
                x.new_zeros(layers, n, size)
                for size in sizes[: 1 + (self.mode == "LSTM")]
            )
        states = hx if self.mode == "LSTM" else (hx,)
        axes = 3 if batched else 2
        for s in states:
            if s.dim() != axes:
                raise RuntimeError(
                    f"hx must have as many axes as the input, {axes}; got shape {tuple(s.shape)}"
                )
        return tuple(s if batched else s.unsqueeze(1) for s in states)

    def _as_given(self, states: States) -> Any:
        """Return states as PyTorch passes them: one tensor, but for an LSTM's two."""
        return states if self.mode == "LSTM" else states[0]


class LSTM(_Stacked, torch.nn.LSTM):
    """`torch.nn.LSTM` with the companion's dropout between its layers.

    It takes the same arguments, has the same parameters and gives, where nothing is dropped, the
    same results. The output of every layer but the last is dropped, each time step by a mask of
    its own. One mask for all of them takes single layers, with ``Dropout(shared_axes=0)`` between.

    Parameters
    ----------
    *args, **options
        Those of `torch.nn.LSTM`; `dropout` is the drop probability.
    generator : torch.Generator or None
        Where masks are drawn from; None: PyTorch's own generator.
    key : int, 0-d torch.Tensor of int64, or None
        64 bits that name the masks; layer i drops its input by ``fold_in(key, i)``.

    See Also
    --------
    companion.nn.functional.dropout : what drops, and what a key is.

    Notes
    -----
    The layers run one after the other while something is dropped, as PyTorch's do on a CPU; on a
    GPU that is slower than cuDNN, which runs them at once. A mask has the shape (L, N, units), the
    time steps first, whatever `batch_first` says; of a `PackedSequence` it has that of its data.

    References
    ----------
    .. [1] Zaremba, Sutskever and Vinyals, "Recurrent Neural Network Regularization", 2014.

    Examples
    --------
    >>> lstm = LSTM(8, 16, num_layers=2, dropout=0.5)
    >>> output, (h, c) = lstm(torch.ones(5, 3, 8))
    >>> output.shape, h.shape
    (torch.Size([5, 3, 16]), torch.Size([2, 3, 16]))
    """


class GRU(_Stacked, torch.nn.GRU):
    """`torch.nn.GRU` with the companion's dropout between its layers, as `companion.nn.LSTM`.

    Examples
    --------
    >>> gru = GRU(8, 16, num_layers=2, dropout=0.5)
    >>> output, h = gru(torch.ones(5, 3, 8))
    >>> output.shape, h.shape
    (torch.Size([5, 3, 16]), torch.Size([2, 3, 16]))
    """


class RNN(_Stacked, torch.nn.RNN):
    """`torch.nn.RNN` with the companion's dropout between its layers, as `companion.nn.LSTM`.

    Examples
    --------
    >>> rnn = RNN(8, 16, num_layers=2, nonlinearity="relu", dropout=0.5)
    >>> output, h = rnn(torch.ones(5, 3, 8))
    >>> output.shape, h.shape
    (torch.Size([5, 3, 16]), torch.Size([2, 3, 16]))
    """
