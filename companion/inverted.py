"""Inverted dropout: scale the kept units by ``1 / (1 - p)`` in training, do nothing after it."""

from collections.abc import Sequence
from typing import Literal, overload

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

__all__ = ["Mask", "apply_mask", "dropout", "dropout_backward"]

Mask = npt.NDArray[np.bool_]


@overload
def dropout(
    x: npt.ArrayLike,
    p: float,
    *,
    training: bool = True,
    rng: Rng = None,
    shared_axes: int | Sequence[int] = (),
    mask: Mask | None = None,
    return_mask: Literal[False] = False,
) -> npt.NDArray: ...


@overload
def dropout(
    x: npt.ArrayLike,
    p: float,
    *,
    training: bool = True,
    rng: Rng = None,
    shared_axes: int | Sequence[int] = (),
    mask: Mask | None = None,
    return_mask: Literal[True],
) -> tuple[npt.NDArray, Mask | None]: ...


def dropout(
    x: npt.ArrayLike,
    p: float,
    *,
    training: bool = True,
    rng: Rng = None,
    shared_axes: int | Sequence[int] = (),
    mask: Mask | None = None,
    return_mask: bool = False,
) -> npt.NDArray | tuple[npt.NDArray, Mask | None]:
    """Drop each unit with probability `p` and scale the others by ``1 / (1 - p)``.

    The mean of every unit over the masks is the unit itself, to the rounding of its dtype, so
    that nothing is left to do at test time; the variance is ``x**2 * p / (1 - p)``.

    Parameters
    ----------
    x : array_like of floating or complex dtype
        Activations, any shape: float16, float32, float64, complex64 or complex128. Not written
        to. Both halves of a complex unit are kept, or both are dropped.
    p : float
        The drop probability (not the keep probability!), in [0, 1].
    training : bool
        If False, return `x` as it is and draw nothing.
    rng : numpy.random.Generator, int or None
        See `companion.masks.bernoulli_mask`.
    shared_axes : int or sequence of int
        Axes along which one draw is shared.
    mask : numpy.ndarray of bool, optional
        A mask to replay, True where kept; it must broadcast to `x`. Nothing is drawn.
    return_mask : bool
        Return ``(y, mask)``, for `dropout_backward`.

    Returns
    -------
    y : numpy.ndarray
        Shape and dtype of `x`. Where nothing is dropped it is `x` itself, not a copy.
    mask : numpy.ndarray of bool or None
        Only with `return_mask`. None where nothing was dropped.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1] or NaN, an axis is out of range, or `mask` does not fit.
    TypeError
        If `p` is not a real number, `mask` is not bool, `x` is sparse or has masked elements, or,
        in training, `x` is neither floating nor complex.

    Notes
    -----
    Of a sparse array, give the stored values: ``x.data`` of a CSR array without duplicates. A
    zero stays 0, kept or dropped.

    References
    ----------
    .. [1] Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
       Overfitting", JMLR 15, 2014, section 10, where p is the probability of keeping a unit.

    Examples
    --------
    >>> x = np.array([1.0, 2.0, 3.0, 4.0])
    >>> y, mask = dropout(x, 0.5, rng=1, return_mask=True)
    >>> y
    array([2., 4., 0., 0.])
    >>> dropout(10 * x, 0.5, mask=mask)
    array([20., 40.,  0.,  0.])
    >>> dropout(x, 0.5, training=False)
    array([1., 2., 3., 4.])
    """
    p, x = check_probability(p), check_array(x)
    check_axes(shared_axes, x.ndim)
    if not training:
        return (x, None) if return_mask else x
    check_floating(x)  # before anything is drawn
    if mask is None and p > 0:
        mask = bernoulli_mask(x.shape, p, rng=rng, shared_axes=shared_axes)
    y = apply_mask(x, mask, p)
    return (y, mask) if return_mask else y


def apply_mask(x: npt.ArrayLike, mask: Mask | None, p: float) -> npt.NDArray:
    """Return ``x / (1 - p)`` where `mask` is True, and 0 elsewhere.

    Parameters
    ----------
    x : array_like of floating or complex dtype
        Activations on the way forward, gradients on the way back.
    mask : numpy.ndarray of bool or None
        True where kept; must broadcast to `x`. None: nothing is dropped.
    p : float
        The drop probability (not the keep probability!), in [0, 1].

    Returns
    -------
    numpy.ndarray
        Shape and dtype of `x`; all zeros for ``p == 1``. `x` itself if `mask` is None.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1] or NaN, or `mask` does not fit.
    TypeError
        If `p` is not a real number, `mask` is not bool, or `x` is not as above.

    Examples
    --------
    >>> apply_mask([1.0, 2.0, 3.0], np.array([True, False, True]), 0.5)
    array([2., 0., 6.])
    """
    p, x = check_probability(p), check_floating(x)
    if mask is None:
        return x
    if p == 1:
        return select(x, np.zeros_like(mask))
    return select(x, mask, 1 / (1 - p))


def dropout_backward(grad: npt.ArrayLike, mask: Mask | None, p: float) -> npt.NDArray:
    """Push a gradient back through `dropout`: the forward's mask, and its scale.

    Given the mask, dropout is linear: every unit is multiplied by 0 or by ``1 / (1 - p)``.
    Its backward pass is therefore the same map, `apply_mask`.

    Parameters
    ----------
    grad : array_like of floating or complex dtype
        Gradient of the loss with respect to the output of `dropout`.
    mask : numpy.ndarray of bool or None
        What ``dropout(..., return_mask=True)`` gave. None: nothing was dropped.
    p : float
        The drop probability of the forward pass.

    Returns
    -------
    numpy.ndarray
        Gradient with respect to the input: shape and dtype of `grad`, 0 at dropped units, all
        zeros for ``p == 1``.

    Raises
    ------
    ValueError, TypeError
        As `dropout`.

    References
    ----------
    .. [1] Srivastava et al., 2014, section 5.1: back-propagation is done on the thinned network.

    Examples
    --------
    >>> dropout_backward([1.0, 1.0, 1.0], np.array([True, False, True]), 0.5)
    array([2., 0., 2.])
    """
    return apply_mask(grad, mask, p)
