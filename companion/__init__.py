"""Dropout, done right: the package behind the book.

Each room is one subject. The core needs NumPy alone and is imported at once::

    masks      draws which units are kept
    standard   dropout as first published: scale at test time
    inverted   dropout as every framework does it now: scale in training
    network    a small multilayer perceptron that trains with either one
    claims     a sentence, the measured value, the bound it must keep

The other rooms are imported when they are first used::

    symbolic   the same on PyTensor, Theano's maintained successor
    nn         dropout for PyTorch, after torch.nn
    training   small training loops for it, repeatable from a seed
    estimators scikit-learn's multilayer perceptrons with dropout
    audit      is a dropout right? checks for any implementation
    data       data sets
    plots      every figure of the book
"""

import importlib
from types import ModuleType

from companion import claims, inverted, masks, network, standard

__version__ = "0.1.0"
__all__ = [
    "audit",
    "claims",
    "data",
    "estimators",
    "inverted",
    "masks",
    "network",
    "nn",
    "plots",
    "standard",
    "symbolic",
    "training",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"companion.{name}")
    raise AttributeError(f"module 'companion' has no attribute {name!r}")
