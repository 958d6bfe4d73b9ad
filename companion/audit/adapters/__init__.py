"""How an audit speaks to an implementation: a file for each framework.

To add one, derive from `FrameworkAdapter` in a file of its own and name the class in `KINDS`. For
a single implementation, derive from `Adapter` and audit an instance.
"""

from collections.abc import Iterator
from typing import Any

from companion.audit.adapters.base import Adapter, Array, FrameworkAdapter, Make
from companion.audit.adapters.of_array_api import ArrayAPIFunction, MLXFunction
from companion.audit.adapters.of_jax import (
    EquinoxLayer,
    FlaxLinenModule,
    FlaxNNXModule,
    HaikuTransform,
    JAXFunction,
)
from companion.audit.adapters.of_keras import (
    KerasLayer,
    KerasOnJAX,
    KerasOnTensorFlow,
    KerasOnTorch,
)
from companion.audit.adapters.of_numpy import GlobalNumPyFunction, NumPyFunction
from companion.audit.adapters.of_pytensor import PyTensorFunction
from companion.audit.adapters.of_tinygrad import TinygradFunction
from companion.audit.adapters.of_torch import TorchFunction, TorchModule

__all__ = ["KINDS", "Adapter", "Array", "FrameworkAdapter", "Make", "adapters_of"]

KINDS: tuple[type[FrameworkAdapter], ...] = (  # the first that can call it takes it
    KerasOnTorch,  # on PyTorch a layer of Keras is a Module as well
    KerasOnJAX,
    KerasOnTensorFlow,
    KerasLayer,
    TorchModule,
    PyTensorFunction,
    EquinoxLayer,
    FlaxLinenModule,
    FlaxNNXModule,
    HaikuTransform,
    TinygradFunction,
    MLXFunction,
    ArrayAPIFunction,
    JAXFunction,  # takes what has a key and is none of these
    NumPyFunction,
    TorchFunction,
    GlobalNumPyFunction,  # takes all functions that are left
)


def adapters_of(candidate: Any, make: Make | None = None) -> Iterator[Adapter]:
    """Yield the adapters that a candidate may be for, the likeliest first.

    `make` makes another candidate for a `p`, if a class was given.
    """
    if isinstance(candidate, Adapter):
        yield candidate
        return
    kinds = [kind for kind in KINDS if kind.recognises(candidate)]
    if not kinds:
        taken = ", ".join(dict.fromkeys(kind.takes for kind in reversed(KINDS)))
        raise TypeError(
            f"candidate must be {taken} or a companion.audit.Adapter; got {candidate!r}"
        )
    yield from (kind(candidate, make) for kind in kinds)
