"""Dropout as first published, on a symbolic graph: PyTensor, Theano's maintained successor.

Nothing here computes. Each function adds to a graph that ``pytensor.function`` compiles later.
A layer that draws takes the state of a generator, made with ``pt.random.shared_rng(seed=0)``,
and returns the next state beside its output. Hand that on to the next layer, and the last one to
``updates={rng: next_rng}``: without it every call repeats the same masks.
"""

try:
    import numba as _numba  # noqa: F401
    import pytensor as _pytensor  # noqa: F401
except ImportError:
    raise ImportError(
        'companion.symbolic needs PyTensor: pip install "dropout-companion[pytensor]"'
    ) from None

import companion.symbolic.jax  # noqa: F401  # what it registers
from companion.symbolic.gru import GRU
from companion.symbolic.language_model import LanguageModel
from companion.symbolic.layer import (
    bernoulli_mask,
    dont_dropit,
    dropit,
    dropout_layer,
)
from companion.symbolic.optimizers import adam

__all__ = [
    "GRU",
    "LanguageModel",
    "adam",
    "bernoulli_mask",
    "dont_dropit",
    "dropit",
    "dropout_layer",
]
