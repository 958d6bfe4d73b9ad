"""Right dropouts of every kind, and what an audit of each is told."""

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import companion.nn
from companion import inverted, standard, symbolic

os.environ.setdefault("KERAS_BACKEND", "torch")


class Right(NamedTuple):
    """A right dropout: how it is made, and how it is audited."""

    make: Callable[[], Any]
    options: Mapping[str, Any] = MappingProxyType({})


class Blocks(nn.Module):
    """DropBlock: squares of 3 x 3, at a rate that is exact, scaled by its inverse."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p must be in [0, 1]; got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if self.p == 1:
            return torch.where(torch.ones_like(x, dtype=torch.bool), 0.0, x).to(x.dtype)
        n, c, h, w = x.shape
        seeds = torch.rand(n, c, h + 2, w + 2) < 1 - (1 - self.p) ** (1 / 9)
        dropped = F.max_pool2d(seeds.float(), 3, stride=1) > 0
        return torch.where(dropped, 0, x / (1 - self.p))


class Gaussian(nn.Module):
    """Gaussian dropout (Srivastava et al. 2014, section 10)."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p must be in [0, 1); got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        noise = torch.randn(x.shape, dtype=x.dtype)
        return x * (1 + (self.p / (1 - self.p)) ** 0.5 * noise)


class Weights(nn.Module):
    """DropConnect: the weights of a linear layer are dropped, one mask for the batch."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p, self.weight = p, nn.Parameter(torch.randn(64, 256).double())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, F.dropout(self.weight, self.p, self.training))


def global_stream(x: np.ndarray, p: float, training: bool) -> np.ndarray:
    """Inverted dropout of NumPy arrays that draws from NumPy's global generator."""
    if not 0 <= p < 1:
        raise ValueError(f"p must be in [0, 1); got {p}")
    if not training or p == 0:
        return np.array(x)
    kept = np.random.random(x.shape) >= p  # noqa: NPY002
    return np.where(kept, x / x.dtype.type(1 - p), x.dtype.type(0))


def compiled() -> Any:
    """A compiled PyTensor function of x, p and the mode."""
    import pytensor
    import pytensor.tensor as pt

    x, p, training = pt.matrix("x"), pt.scalar("p"), pt.scalar("training", dtype="bool")
    rng = pt.random.shared_rng(seed=0)
    next_rng, y = symbolic.dropout_layer(x, p, training, rng)
    return pytensor.function([x, p, training], y, updates={rng: next_rng})


def keras(name: str, *arguments: float) -> Callable[[], Any]:
    """A layer of Keras, on PyTorch."""

    def make() -> Any:
        import keras

        return getattr(keras.layers, name)(*arguments)

    return make


IMAGES, STEPS = {"shape": (8, 16, 14, 14)}, {"shape": (16, 8, 32)}
RIGHT = {
    "NumPy, inverted": Right(lambda: inverted.dropout),
    "NumPy, standard": Right(lambda: standard.dropout),
    "NumPy, global generator": Right(lambda: global_stream),
    "PyTensor": Right(compiled),
    "torch.nn.Dropout": Right(lambda: nn.Dropout),
    "torch.nn.Dropout, in place": Right(lambda: nn.Dropout(inplace=True)),
    "torch.nn.functional.dropout": Right(lambda: F.dropout),
    "torch.nn.Dropout1d": Right(lambda: nn.Dropout1d, STEPS),
    "torch.nn.Dropout2d": Right(lambda: nn.Dropout2d, IMAGES),
    "torch.nn.Dropout3d": Right(lambda: nn.Dropout3d, {"shape": (8, 16, 4, 4, 4)}),
    "torch.nn.AlphaDropout": Right(lambda: nn.AlphaDropout),
    "torch.nn.FeatureAlphaDropout": Right(lambda: nn.FeatureAlphaDropout, STEPS),
    "companion.nn.Dropout": Right(lambda: companion.nn.Dropout),
    "companion.nn.Dropout2d": Right(lambda: companion.nn.Dropout2d, IMAGES),
    "companion.nn.functional.dropout": Right(lambda: companion.nn.functional.dropout),
    "steps": Right(lambda: companion.nn.Dropout(shared_axes=1), STEPS),
    "steps, time first": Right(
        lambda: companion.nn.Dropout(shared_axes=0), STEPS | {"batch_axis": 1}
    ),
    "tokens": Right(lambda: companion.nn.Dropout(shared_axes=2), STEPS),
    "paths": Right(lambda: companion.nn.Dropout(shared_axes=1)),
    "blocks": Right(lambda: Blocks, IMAGES),
    "Gaussian noise": Right(lambda: Gaussian),
    "weights": Right(
        lambda: Weights, {"skip": {"DR202": "F.dropout refuses it later"}}
    ),
    "keras Dropout": Right(keras("Dropout", 0.5)),
    "keras SpatialDropout1D": Right(keras("SpatialDropout1D", 0.5), STEPS),
    "keras GaussianDropout": Right(keras("GaussianDropout", 0.5)),
}
