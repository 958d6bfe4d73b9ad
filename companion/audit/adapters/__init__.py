"""How an audit speaks to an implementation: a file for each framework.

To add one, derive from `FrameworkAdapter` in a file of its own and name the class in `KINDS`. For
a single implementation, derive from `Adapter` and audit an instance.
"""

from typing import Any

from companion.audit.adapters.base import Adapter, Array, FrameworkAdapter
from companion.audit.adapters.of_keras import KerasLayer
from companion.audit.adapters.of_numpy import NumPyFunction
from companion.audit.adapters.of_pytensor import PyTensorFunction
from companion.audit.adapters.of_torch import TorchFunction, TorchModule

__all__ = ["KINDS", "Adapter", "Array", "FrameworkAdapter", "adapt"]

KINDS: tuple[type[FrameworkAdapter], ...] = (  # the first that recognises it takes it
    KerasLayer,  # on PyTorch a layer of Keras is a Module as well
    TorchModule,
    PyTensorFunction,
    NumPyFunction,
    TorchFunction,  # takes all functions that are left
)


def adapt(candidate: Any, p: float) -> Adapter:
    """Return the adapter for a candidate; a class is made into a layer with `p` first."""
    made_by = candidate if isinstance(candidate, type) else None
    if made_by is not None:
        candidate = made_by(p)
    if isinstance(candidate, Adapter):
        return candidate
    for kind in KINDS:
        if kind.recognises(candidate):
            return kind(candidate, made_by)
    taken = ", ".join(kind.takes for kind in reversed(KINDS))
    raise TypeError(
        f"candidate must be {taken} or a companion.audit.Adapter; got {candidate!r}"
    )
