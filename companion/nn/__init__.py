"""Dropout for PyTorch: one mask for a key everywhere, safe at the edges, fast on a CPU."""

from companion.nn import functional  # says what to install if PyTorch is missing
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
