"""Dropout for PyTorch: one mask for a key everywhere, safe at the edges, fast on a CPU."""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        "companion.nn needs PyTorch: pip install 'dropout-companion[torch]'"
    ) from error

from companion.nn import functional
from companion.nn.conversion import Unconverted, convert, unconverted
from companion.nn.dropout import Dropout, Dropout1d, Dropout2d, Dropout3d
from companion.nn.multihead import MultiheadAttention
from companion.nn.recurrent import GRU, LSTM, RNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "MultiheadAttention",
    "Unconverted",
    "convert",
    "functional",
    "unconverted",
]
