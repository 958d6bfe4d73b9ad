"""Dropout, done right: the package behind the book.

Each room is one subject. The core needs NumPy alone and is imported at once::

    masks       draws which units are kept
    standard    dropout as first published: scale at test time
    inverted    dropout as every framework does it now: scale in training
    network     a small multilayer perceptron that trains with either one
    claims      a sentence, the measured value, the bound it must keep

It stands on the ground floor, which needs NumPy alone too::

    checks      what an argument must be, and what is said if it is not
    activations what a layer of the network applies, and its derivative
    optimizers  stochastic gradient descent and Adam
    history     what a training run measured after each epoch
    progress    the bar that long work shows
    counter/    random bits from a key and a position: a mask that nobody has to keep

The other rooms are imported when they are first used::

    symbolic/   the same on PyTensor, Theano's maintained successor
    nn/         dropout for PyTorch, after torch.nn
    training    small training loops for it, repeatable from a seed
    estimators  scikit-learn's multilayer perceptrons with dropout
    audit/      is a dropout right? checks for any implementation
    data        data sets
    plots/      every figure of the book
"""

import importlib
from types import ModuleType

from companion import claims, inverted, masks, network, standard

__version__ = "0.1.0"
__all__ = [
    "activations",
    "audit",
    "checks",
    "claims",
    "counter",
    "data",
    "estimators",
    "history",
    "inverted",
    "masks",
    "network",
    "nn",
    "optimizers",
    "plots",
    "progress",
    "standard",
    "symbolic",
    "training",
]


def __dir__() -> list[str]:
    """List the rooms too that are not imported yet, for tab completion."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"companion.{name}")
    raise AttributeError(f"module 'companion' has no attribute {name!r}")
