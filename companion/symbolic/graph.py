"""Pieces of a graph: a selection, a choice by the flag, a variable that lasts between calls."""

from typing import Any, TypeAlias

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable

Drawn: TypeAlias = tuple[Variable, Variable]  # the generator's next state, the result


def select(mask: Any, x: Any) -> Variable:
    """Return `x` where the mask is True, and 0 elsewhere, whatever `x` holds there.

    Examples
    --------
    >>> select(np.array([True, False]), np.array([1, np.nan])).eval()
    array([1., 0.])
    """
    # A product with the mask would let NaN through a dropped unit.
    return pt.switch(mask, x, np.zeros((), x.dtype))


def if_training(train: Any, then: Any, otherwise: Any) -> Any:
    """Return one of two scalars: now for a bool, in the graph for a symbolic flag.

    Examples
    --------
    >>> if_training(False, "in training", "at test time")
    'at test time'
    """
    if isinstance(train, bool):
        return then if train else otherwise
    return pt.switch(train, then, otherwise)


def shared(value: Any, name: str) -> SharedVariable:
    """Return a shared variable of fixed shape, which makes graphs small and quick to compile.

    Examples
    --------
    >>> shared(np.zeros((2, 3)), "W").type.shape
    (2, 3)
    """
    return pytensor.shared(value, name=name, shape=value.shape)
