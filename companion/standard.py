"""Dropout as first published: mask in training, multiply by ``1 - p`` at test time."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from companion.checks import (
    Rng,
    check_array,
    check_axes,
    check_floating,
    check_probability,
)
from companion.masks import bernoulli_mask, select

__all__ = ["dropout", "scale_weights"]


def dropout(
    x: npt.ArrayLike,
    p: float,
    *,
    training: bool,
    rng: Rng = None,
    shared_axes: int | Sequence[int] = (),
) -> npt.NDArray:
    """Drop units in training, and shrink all of them by ``1 - p`` at test time.

    Parameters
    ----------
    x : array_like of floating or complex dtype
        Activations, any shape: float16, float32, float64, complex64 or complex128. Not written
        to. Both halves of a complex unit are kept, or both are dropped.
    p : float
        The drop probability (not the keep probability!), in [0, 1].
    training : bool
        True: each unit is `x` or 0. False: ``x * (1 - p)``, and nothing is drawn.
    rng : numpy.random.Generator, int or None
        See `companion.masks.bernoulli_mask`.
    shared_axes : int or sequence of int
        Axes along which one draw is shared.

    Returns
    -------
    numpy.ndarray
        Shape and dtype of `x`. Where nothing is dropped in training it is `x` itself.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1] or NaN, or an axis is out of range.
    TypeError
        If `p` is not a real number, `x` is sparse or has masked elements, or `x` is neither
        floating nor complex, nor, at test time, of integers or bools.

    See Also
    --------
    companion.inverted.dropout : the same with the scale moved into training.

    References
    ----------
    .. [1] Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
       Overfitting", JMLR 15, 2014, section 4 and figure 2.

    Examples
    --------
    >>> x = np.array([1.0, 2.0, 3.0, 4.0])
    >>> dropout(x, 0.5, training=True, rng=4)
    array([0., 0., 3., 4.])
    >>> dropout(x, 0.5, training=False)
    array([0.5, 1. , 1.5, 2. ])
    """
    p, x = check_probability(p), check_array(x)
    check_axes(shared_axes, x.ndim)
    if not training:
        return scale_weights(x, p)
    check_floating(x)
    if p == 0:
        return x
    return select(x, bernoulli_mask(x.shape, p, rng=rng, shared_axes=shared_axes))


def scale_weights(weights: npt.ArrayLike, p: float) -> npt.NDArray:
    """Return ``weights * (1 - p)``: the test-time scale, put on the next layer's weights.

    A layer computes ``x @ weights``, so shrinking the weights once after training is the same
    as shrinking every activation that enters it.

    Parameters
    ----------
    weights : array_like
        Dense weights of the layer that reads the dropped units. Its bias must not be scaled.
    p : float
        The drop probability those units were trained with.

    Returns
    -------
    numpy.ndarray
        A new array of the same shape and floating or complex dtype; integers become float64.
        All zeros for ``p == 1``.

    Raises
    ------
    ValueError, TypeError
        If `p` is not a probability, or `weights` are not an array of numbers as above.

    References
    ----------
    .. [1] Srivastava et al., 2014, figure 2, where p is the probability of keeping a unit.

    Examples
    --------
    >>> scale_weights([[2.0, 4.0]], 0.25)
    array([[1.5, 3. ]])
    """
    p, weights = check_probability(p), check_array(weights, "weights")
    if weights.dtype.kind in "biu":
        weights = weights.astype(np.float64)
    return select(weights, np.array(p < 1), 1 - p)
