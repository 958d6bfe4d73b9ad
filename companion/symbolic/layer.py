"""Dropout as first published: masked in training, scaled by ``1 - p`` at test time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.builders import OpFromGraph
from pytensor.gradient import grad_undefined
from pytensor.graph.basic import Constant, Variable
from pytensor.ifelse import ifelse
from pytensor.tensor.basic import get_scalar_constant_value
from pytensor.tensor.random.type import RandomGeneratorType

from companion.checks import check_axes
from companion.symbolic.checks import (
    check_flag,
    check_floating,
    check_generator,
    check_p,
)
from companion.symbolic.graph import Drawn, if_training, select

CHOICE = "dropout_layer"  # what `ifelse` calls its own, and its gradients after it


def bernoulli_mask(shape: Sequence[Any], p: Any, rng: Variable) -> Drawn:
    """Draw which units are kept, in the graph: each one with probability ``1 - p``.

    Parameters
    ----------
    shape : sequence of int or symbolic integer scalar
        Shape of the mask.
    p : float or symbolic scalar
        The drop probability (not the keep probability!), in [0, 1]. A number is checked now, a
        symbolic scalar whenever the compiled function is called.
    rng : symbolic generator
        From ``pt.random.shared_rng``, or the `next_rng` of another layer.

    Returns
    -------
    next_rng : symbolic generator
        The state after the draw. For ``p == 0`` nothing is drawn and the state is the same.
    mask : symbolic bool array, shape `shape`
        True where a unit is kept.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1] or NaN, or is not a scalar.
    TypeError
        If `p` is not a real number or `rng` is not a symbolic generator.

    See Also
    --------
    companion.masks.bernoulli_mask : the same in NumPy.

    Examples
    --------
    >>> import pytensor
    >>> import pytensor.tensor as pt
    >>> rng = pt.random.shared_rng(seed=0)
    >>> next_rng, mask = bernoulli_mask((5,), 0.5, rng)
    >>> draw = pytensor.function([], mask, updates={rng: next_rng})
    >>> draw().dtype
    dtype('bool')
    """
    return draw_mask(tuple(shape), check_p(p), check_generator(rng))


def draw_mask(shape: Sequence[Any], p: Variable, rng: Variable) -> Drawn:
    """Draw as `bernoulli_mask` does, for arguments that are checked already.

    Examples
    --------
    >>> rng = pt.random.shared_rng(seed=0)
    >>> next_rng, mask = draw_mask((5,), pt.constant(0.0), rng)
    >>> next_rng is rng
    True
    """
    if isinstance(p, Constant):
        if p.data == 0:
            return rng, pt.ones(shape, dtype=bool)
        next_rng, uniform = draw_uniform(shape, rng)
        return next_rng, uniform >= p
    draw = DrawMask(shape)
    next_rng, mask = draw(rng, p, *draw.unknown(shape))
    return next_rng, mask


class DrawMask(OpFromGraph):  # type: ignore[misc]
    """The draw of a mask as one piece of the graph, for `companion.symbolic.jax` to replace.

    Everywhere else the graph inside takes its place before anything is compiled.

    Parameters
    ----------
    shape : sequence of int or symbolic integer scalar
        Shape of the mask. Those sizes that are not known yet become inputs.
    """

    def __init__(self, shape: Sequence[Any]) -> None:
        self._sizes = [
            get_scalar_constant_value(n, raise_not_constant=False) for n in shape
        ]
        rng, p = RandomGeneratorType()(), pt.dscalar()
        sizes = [n.type() for n in self.unknown(shape)]
        shape = self.complete(sizes)
        # Where p turns out to be 0 the draw is of no numbers, on Numba and on C alike.
        size = pt.prod(pt.stack(shape)) if shape else pt.constant(1)
        drawn = pt.switch(p > 0, size, 0)
        next_rng, uniform = draw_uniform((drawn,), rng)
        mask = pt.concatenate([uniform >= p, pt.ones(size - drawn, dtype=bool)])
        outputs = [next_rng, mask.reshape(shape)]
        super().__init__([rng, p, *sizes], outputs, inline=True, name="DrawMask")

    def unknown(self, shape: Sequence[Any]) -> list[Variable]:
        """Return the sizes that are inputs."""
        sizes = zip(shape, self._sizes, strict=True)
        return [n for n, known in sizes if isinstance(known, Variable)]

    def complete(self, unknown: Sequence[Variable]) -> list[Any]:
        """Return the shape for these inputs."""
        rest = iter(unknown)
        return [next(rest) if isinstance(n, Variable) else int(n) for n in self._sizes]

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> Any:
        return [grad_undefined(self, i, x) for i, x in enumerate(inputs)]


def draw_uniform(shape: Sequence[Any], rng: Variable) -> Drawn:
    """Draw numbers from [0, 1), in doubles."""
    # In float32 a draw could round up to 1, and a unit with p = 1 would be kept.
    return pt.random.uniform(size=shape, dtype="float64", rng=rng, return_next_rng=True)


def dropit(
    x: Any, p: Any, rng: Variable, *, shared_axes: int | Sequence[int] = ()
) -> Drawn:
    """Drop units of `x`, and do not scale: dropout as first published, in training.

    Parameters
    ----------
    x : symbolic array of float16, float32 or float64
        Activations, any shape.
    p : float or symbolic scalar
        The drop probability (not the keep probability!), in [0, 1].
    rng : symbolic generator
        From ``pt.random.shared_rng``, or the `next_rng` of another layer.
    shared_axes : int or sequence of int
        Axes along which one draw is shared: 0 gives every time step of a sequence one mask.

    Returns
    -------
    next_rng : symbolic generator
        The state after the draw.
    y : symbolic array
        Shape and dtype of `x`: each unit is `x`, or 0 whatever `x` was.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1] or NaN, or not a scalar, or an axis is out of range. A symbolic
        `p` is checked whenever the compiled function is called.
    TypeError
        If `x` is not floating, `p` is not a real number, or `rng` is not a symbolic generator.

    Notes
    -----
    The default backend, Numba, has no float16.

    References
    ----------
    .. [1] Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
       Overfitting", JMLR 15, 2014, section 4.

    Examples
    --------
    >>> import pytensor
    >>> import pytensor.tensor as pt
    >>> x = pt.vector("x", dtype="float32")
    >>> rng = pt.random.shared_rng(seed=1)
    >>> next_rng, y = dropit(x, 0.5, rng)
    >>> train = pytensor.function([x], y, updates={rng: next_rng})
    >>> train([1, 2, 3, 4])
    array([1., 2., 0., 4.], dtype=float32)
    >>> train([1, 2, 3, 4])
    array([0., 0., 3., 0.], dtype=float32)
    """
    x, p, rng = check_floating(x), check_p(p), check_generator(rng)
    return _drop(x, p, rng, shared_axes)


def _drop(
    x: Any, p: Variable, rng: Variable, shared_axes: int | Sequence[int]
) -> Drawn:
    shared = check_axes(shared_axes, x.ndim)
    shape = [1 if axis in shared else n for axis, n in enumerate(tuple(x.shape))]
    next_rng, mask = draw_mask(shape, p, rng)
    return next_rng, select(mask, x)


def dont_dropit(x: Any, p: Any) -> Variable:
    """Multiply by ``1 - p``: the same layer at test time.

    Parameters
    ----------
    x : symbolic array of float16, float32 or float64
        Activations, any shape, or the weights that read them.
    p : float or symbolic scalar
        The drop probability used in training, in [0, 1].

    Returns
    -------
    symbolic array
        Shape and dtype of `x`. All zeros for ``p == 1``.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1] or NaN, or is not a scalar.
    TypeError
        If `x` is not floating or `p` is not a real number.

    References
    ----------
    .. [1] Srivastava et al., 2014, figure 2, where p is the probability of keeping a unit.

    Examples
    --------
    >>> x = pt.vector("x", dtype="float32")
    >>> dont_dropit(x, 0.25).eval({x: [4, 8]})
    array([3., 6.], dtype=float32)
    """
    x, p = check_floating(x), check_p(p)
    # float16 would round a factor of 0.9 to 0.8999, and the mean with it.
    factor = pt.cast(1 - p, np.promote_types(x.dtype, "float32").name)
    return select(p < 1, pt.cast(x * factor, x.dtype))


def dropout_layer(
    x: Any, p: Any, train: Any, rng: Variable, *, shared_axes: int | Sequence[int] = ()
) -> Drawn:
    """Choose between `dropit` and `dont_dropit` when the compiled function runs.

    Parameters
    ----------
    x : symbolic array of float16, float32 or float64
        Activations, any shape.
    p : float or symbolic scalar
        The drop probability (not the keep probability!), in [0, 1].
    train : bool or symbolic scalar
        What the other rooms call `training`: True or 1 in training, False or 0 at test time. A
        Python bool settles it now.
    rng : symbolic generator
        From ``pt.random.shared_rng``, or the `next_rng` of another layer.
    shared_axes : int or sequence of int
        Axes along which one draw is shared, as in `dropit`.

    Returns
    -------
    next_rng : symbolic generator
        The state after the draw. At test time nothing is drawn and the state is the same.
    y : symbolic array
        Shape and dtype of `x`.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1] or NaN, or `p` or `train` is not a scalar, or an axis is out of
        range. A symbolic `p` is checked whenever the compiled function is called.
    TypeError
        If `x` is not floating, `p` is not a real number, `train` is neither a bool nor
        symbolic, or `rng` is not a symbolic generator.

    Notes
    -----
    ``ifelse`` alone does not keep the generator still at test time: Numba, the default backend,
    computes both branches and cannot pass a generator through either. Here testing sets p to 0
    for the draw, and a draw with p = 0 is of no numbers, on Numba and on C alike.

    PyTensor's mode "JAX" works too. From the same seed JAX draws other masks, and a bad `p` of a
    call raises its ``JaxRuntimeError``, which quotes the ValueError.

    Examples
    --------
    >>> import pytensor
    >>> import pytensor.tensor as pt
    >>> x, train = pt.vector("x", dtype="float32"), pt.scalar("train", dtype="bool")
    >>> rng = pt.random.shared_rng(seed=1)
    >>> next_rng, y = dropout_layer(x, 0.5, train, rng)
    >>> f = pytensor.function([x, train], y, updates={rng: next_rng})
    >>> f([1, 2, 3, 4], True)
    array([1., 2., 0., 4.], dtype=float32)
    >>> f([1, 2, 3, 4], False)
    array([0.5, 1. , 1.5, 2. ], dtype=float32)
    """
    x, p, train = check_floating(x), check_p(p), check_flag(train)
    p_drawn = if_training(train, p, pt.constant(0.0))
    next_rng, dropped = _drop(x, p_drawn, check_generator(rng), shared_axes)
    if isinstance(train, bool):
        return next_rng, dropped if train else dont_dropit(x, p)
    return next_rng, ifelse(train, dropped, dont_dropit(x, p), name=CHOICE)
