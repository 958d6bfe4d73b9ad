"""What an argument must be, where it may be a number or a part of the graph."""

from typing import Any

import numba
import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import (
    numba_njit,
    register_funcify_default_op_cache_key,
)
from pytensor.tensor.random.type import RandomGeneratorType

from companion.checks import check_probability


class CheckProbability(Op):  # type: ignore[misc]
    """The identity, for a drop probability in [0, 1]; raises for any other."""

    __props__ = ()

    def make_node(self, p: Variable) -> Apply:
        return Apply(self, [p], [p.type()])

    def perform(self, node: Apply, inputs: Any, output_storage: Any) -> None:
        check_probability(inputs[0].item())
        output_storage[0][0] = inputs[0].copy()

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> Any:
        return output_gradients

    def infer_shape(self, fgraph: Any, node: Apply, input_shapes: Any) -> Any:
        return input_shapes


@register_funcify_default_op_cache_key(CheckProbability)  # type: ignore[untyped-decorator]
def _numba_check_probability(op: Op, node: Apply, **kwargs: Any) -> tuple[Any, int]:
    @numba_njit
    def check(p):  # type: ignore[no-untyped-def]
        with numba.objmode():
            check_probability(p.item())
        return p.copy()  # what reads it may write over it

    return check, 1


def check_p(p: Any) -> Variable:
    """Return `p` as a float64 scalar: a number checked now, a symbol at every call.

    Examples
    --------
    >>> check_p(1.5)
    Traceback (most recent call last):
        ...
    ValueError: p is a drop probability in [0, 1]; got 1.5
    """
    if isinstance(p, Constant):
        p = p.data.item() if p.data.ndim == 0 else p.data
    if not isinstance(p, Variable):
        return pt.constant(check_probability(p), dtype="float64")
    if getattr(p.owner, "op", None) == CheckProbability():
        return p
    return CheckProbability()(pt.cast(_check_scalar(p, "p"), "float64"))


def check_flag(train: Any) -> Any:
    """Return a bool, or the symbolic scalar given.

    Examples
    --------
    >>> check_flag(1)
    True
    """
    if isinstance(train, (bool, np.bool_)):
        return bool(train)
    if isinstance(train, (int, np.integer)) and train in (0, 1):
        return bool(train)
    if not isinstance(train, Variable):
        raise TypeError(f"train must be a bool or a symbolic scalar; got {train!r}")
    return _check_scalar(train, "train")


def _check_scalar(x: Variable, name: str) -> Variable:
    if getattr(x.type, "dtype", None) not in pt.type.all_dtypes or "complex" in x.dtype:
        raise TypeError(f"{name} must be a real scalar; got {x.type}")
    if x.type.ndim != 0:
        raise ValueError(f"{name} must be a scalar; got {x.type.ndim} axes")
    return x


def check_generator(rng: Any) -> Variable:
    """Return a symbolic generator.

    Examples
    --------
    >>> check_generator(0)
    Traceback (most recent call last):
        ...
    TypeError: rng must be a symbolic generator, from pt.random.shared_rng(seed=0); got 0
    """
    if isinstance(getattr(rng, "type", None), RandomGeneratorType):
        return rng
    raise TypeError(
        f"rng must be a symbolic generator, from pt.random.shared_rng(seed=0); got {rng!r}"
    )


def check_floating(x: Any) -> Any:
    """Return `x` as a symbolic array of float16, float32 or float64.

    Examples
    --------
    >>> check_floating([1, 2])
    Traceback (most recent call last):
        ...
    TypeError: dropout needs float16, float32 or float64; got int64
    """
    x = pt.as_tensor_variable(x)
    if x.dtype not in ("float16", "float32", "float64"):
        raise TypeError(f"dropout needs float16, float32 or float64; got {x.dtype}")
    return x
