"""Dropout for PyTorch: seedable, safe at the edges, and fast on a CPU."""

from collections.abc import Sequence
from operator import index

from companion.checks import check_probability
from companion.nn import functional

import torch  # isort: skip

__all__ = ["Dropout", "functional"]


class Dropout(torch.nn.Dropout):
    """Drop each unit with probability `p` in training, and scale the others by ``1 / (1 - p)``.

    It takes the place of `torch.nn.Dropout` (`inplace` by name only) and adds what that lacks: a
    `generator`, masks shared along axes, nothing leaking through a dropped unit, a mean that
    is exact in half precision, and `p` checked whenever it is assigned.

    Parameters
    ----------
    p : float
        The drop probability (not the keep probability!), in [0, 1]. It may be assigned later.
    shared_axes : int or sequence of int
        Axes, negative allowed, along which one draw is shared.
    inplace : bool
        Write the result into the input.
    generator : torch.Generator or None
        Where masks are drawn from; None: PyTorch's own generator of the input's device.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1] or NaN; when called, if an axis is out of range.
    TypeError
        If `p` is not a real number, `shared_axes` are not integers or `generator` is neither
        of the above; when called in training, if the input is not of a floating dtype.

    See Also
    --------
    companion.nn.functional.dropout : the function behind it, with notes on how it draws.

    References
    ----------
    .. [1] Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
       Overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> layer = Dropout(0.5, shared_axes=(2, 3), generator=torch.Generator().manual_seed(1))
    >>> layer
    Dropout(p=0.5, inplace=False, shared_axes=(2, 3), generator=torch.Generator('cpu'))
    >>> x = torch.ones(1, 4, 2, 2)
    >>> layer(x).amax((2, 3))  # 4 channels of 2 x 2 pixels
    tensor([[2., 2., 0., 2.]])
    >>> layer.eval()(x) is x
    True
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        shared_axes: int | Sequence[int] = (),
        inplace: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(check_probability(p), inplace)
        axes = shared_axes if isinstance(shared_axes, Sequence) else (shared_axes,)
        self.shared_axes = tuple(map(index, axes))
        if not isinstance(generator, torch.Generator | None):
            raise TypeError(
                f"generator must be a torch.Generator or None; got {generator!r}"
            )
        self.generator = generator

    @property
    def p(self) -> float:
        return self._p

    @p.setter
    def p(self, p: float) -> None:
        self._p = check_probability(p)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return functional.dropout(
            input,
            self.p,
            self.training,
            shared_axes=self.shared_axes,
            inplace=self.inplace,
            generator=self.generator,
        )

    def extra_repr(self) -> str:
        said = super().extra_repr()
        if self.shared_axes:
            said += f", shared_axes={self.shared_axes}"
        if self.generator is not None:
            said += f", generator=torch.Generator('{self.generator.device}')"
        return said
