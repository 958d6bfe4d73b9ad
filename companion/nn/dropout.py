"""Layers that drop units or whole channels, named after those of torch.nn."""

from collections.abc import Sequence
from operator import index

from companion.checks import check_probability
from companion.nn import functional
from companion.nn.keyed import Keyed

import torch  # isort: skip
from torch import fx  # isort: skip

__all__ = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d"]


class _Layer(Keyed, torch.nn.modules.dropout._DropoutNd):
    """What the layers share: `p`, and where masks come from."""

    shared_axes: tuple[int, ...] = ()

    def __init__(
        self,
        p: float = 0.5,
        *,
        inplace: bool = False,
        generator: torch.Generator | None = None,
        key: int | torch.Tensor | None = None,
    ) -> None:
        super().__init__(check_probability(p), inplace)
        self._draw_from(generator, key)

    @property
    def p(self) -> float:
        return self._p

    @p.setter
    def p(self, p: float) -> None:
        self._p = check_probability(p)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if isinstance(input, fx.Proxy) and input.tracer.root is not self:
            # A leaf, as torch.nn's own are: eval() turns it off.
            path = input.tracer.path_of_module(self)
            return input.tracer.create_proxy("call_module", path, (input,), {})
        return functional.dropout(
            input,
            self._p,
            self.training,
            shared_axes=self._axes(input),
            inplace=self.inplace,
            generator=self.generator,
            key=self.key,
        )

    def _axes(self, input: torch.Tensor) -> tuple[int, ...]:
        return self.shared_axes

    def extra_repr(self) -> str:
        said = super().extra_repr()
        if "shared_axes" in vars(self) and self.shared_axes:
            said += f", shared_axes={self.shared_axes}"
        return said + self._said_source()


class Dropout(_Layer, torch.nn.Dropout):
    """Drop each unit with probability `p` in training, and scale the others by ``1 / (1 - p)``.

    It takes the place of `torch.nn.Dropout` (`inplace` by name only) and adds what that lacks: a
    `generator`, a `key` that names a mask, masks shared along axes, nothing leaking through a
    dropped unit, a mean that is exact in half precision, the same masks compiled and eager, and
    `p` checked whenever it is assigned.

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
    key : int, 0-d torch.Tensor of int64, or None
        64 bits that name the mask: each call drops by the same one, until another is assigned.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1] or NaN, `key` has more than 64 bits or both `generator` and
        `key` are given; when called, if an axis is out of range.
    TypeError
        If `p` is not a real number, `shared_axes` are not integers or `generator` or `key` is
        none of the above; when called in training, if the input is sparse or neither floating
        nor complex.
    RuntimeError
        When called, where its own generator would give another mask than before: in the
        recomputation of a checkpoint, or while a graph is traced or exported.

    See Also
    --------
    companion.nn.functional.dropout : the function behind it, with notes on how it draws.

    Notes
    -----
    A generator is a stream that copies of the layer share, so that they do not repeat each
    other's masks; its state stands in the layer's ``state_dict`` and in a pickle, so that a
    resumed run goes on with its masks. Compiled code is broken in two where it draws from one.

    `torch.export` and `torch.jit.trace` keep the mode that the layer was in; what they make
    needs this package where it runs, and PyTorch's and torchao's ways of switching a graph to
    evaluation do not know its operator: export the model in the mode it will run in.
    ``torch.onnx.export(..., dynamo=True)`` writes ONNX's own Dropout. `torch.jit.script` cannot
    compile it and says so.

    References
    ----------
    .. [1] Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
       Overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> layer = Dropout(0.5, shared_axes=(2, 3), key=7)
    >>> layer
    Dropout(p=0.5, inplace=False, shared_axes=(2, 3), key=7)
    >>> x = torch.ones(1, 6, 2, 2)
    >>> layer(x).amax((2, 3))  # 6 channels of 2 x 2 pixels
    tensor([[0., 0., 0., 0., 2., 2.]])
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
        key: int | torch.Tensor | None = None,
    ) -> None:
        super().__init__(p, inplace=inplace, generator=generator, key=key)
        axes = shared_axes if isinstance(shared_axes, Sequence) else (shared_axes,)
        self.shared_axes = tuple(map(index, axes))


class _Channels(_Layer):
    """Drop whole channels, each the last so many axes of an input with or without a batch."""

    def _axes(self, input: torch.Tensor) -> tuple[int, ...]:
        axes = len(self.shared_axes)
        if isinstance(
            input, fx.Proxy
        ):  # the layer alone is traced: take it as it is named
            return self.shared_axes
        if input.dim() not in (axes + 1, axes + 2):
            raise ValueError(
                f"{type(self).__name__} needs {axes + 1} or {axes + 2} dimensions, the last "
                f"{axes} of them a channel; got {input.dim()}"
            )
        return self.shared_axes


class Dropout1d(_Channels, torch.nn.Dropout1d):
    """Drop whole channels of sequences, of shape (batch, channels, length) or without the batch.

    `Dropout` with ``shared_axes=-1``, in the place of `torch.nn.Dropout1d`; the other parameters
    and what is raised are those of `Dropout`.

    References
    ----------
    .. [1] Tompson et al., "Efficient Object Localization Using Convolutional Networks",
       CVPR 2015, section 3.2.

    Examples
    --------
    >>> Dropout1d(0.5, key=7)(torch.ones(1, 6, 2)).amax(-1)
    tensor([[0., 0., 0., 0., 2., 2.]])
    """

    shared_axes = (-1,)


class Dropout2d(_Channels, torch.nn.Dropout2d):
    """Drop whole channels of images, of shape (batch, channels, height, width).

    `Dropout` with ``shared_axes=(-2, -1)``, in the place of `torch.nn.Dropout2d`. As there, an
    input of three dimensions is a batch of sequences, (batch, channels, length), and no image.

    References
    ----------
    .. [1] Tompson et al., "Efficient Object Localization Using Convolutional Networks",
       CVPR 2015, section 3.2.

    Examples
    --------
    >>> Dropout2d(0.5, key=7)(torch.ones(1, 6, 2, 2)).amax((-2, -1))
    tensor([[0., 0., 0., 0., 2., 2.]])
    """

    shared_axes = (-2, -1)

    def _axes(self, input: torch.Tensor) -> tuple[int, ...]:
        axes = super()._axes(input)
        return axes if isinstance(input, fx.Proxy) or input.dim() == 4 else axes[1:]


class Dropout3d(_Channels, torch.nn.Dropout3d):
    """Drop whole channels of volumes: (batch, channels, depth, height, width) or without batch.

    `Dropout` with ``shared_axes=(-3, -2, -1)``, in the place of `torch.nn.Dropout3d`.

    References
    ----------
    .. [1] Tompson et al., "Efficient Object Localization Using Convolutional Networks",
       CVPR 2015, section 3.2.

    Examples
    --------
    >>> Dropout3d(0.5, key=7)(torch.ones(1, 6, 2, 2, 2)).amax((-3, -2, -1))
    tensor([[0., 0., 0., 0., 2., 2.]])
    """

    shared_axes = (-3, -2, -1)
