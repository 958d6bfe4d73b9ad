"""Many small networks trained as one: a stack of weights, one matrix product a layer for all."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

MOMENTUM = 0.9
BATCH = 32


@dataclass
class Data:
    """What each network of a stack learns from and what it is measured on: one a network."""

    train: tuple[Tensor, Tensor]  # inputs (networks, n, features), targets
    held_out: dict[str, tuple[Tensor, Tensor]]


def train(
    data: Data,
    hidden: Sequence[int],
    outputs: int,
    *,
    p: float,
    rate: float,
    decay: float,
    upper: float = 1,
    after: Sequence[int],
    epochs: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Train one network for each row of `data`, and measure all of them after some epochs.

    Gradient descent with momentum; inverted dropout on every hidden layer with a mask for each
    sample; He's initialisation. With `outputs` of 1 the loss is the mean squared error, otherwise
    the cross-entropy. `decay` times the weights is added to their gradient. The rate of all weights
    but the first layer's is multiplied by `upper`. Initial weights and
    the order of the batches depend on `seed` and on the network's place in the stack alone, so
    that networks of two calls are pairs.

    Returns the loss, and for classes the accuracy, of each held-out set: arrays of shape
    (measurements, networks), with dropout off.
    """
    X, y = data.train
    networks, n, features = X.shape
    generator = torch.Generator().manual_seed(seed)
    masks = torch.Generator().manual_seed(seed + 1)
    sizes = [features, *hidden, outputs]
    weights = [
        torch.randn(networks, a, b, generator=generator)
        * ((2 if b != outputs else 1) / a) ** 0.5
        for a, b in pairwise(sizes)
    ]
    biases = [torch.zeros(networks, 1, size) for size in sizes[1:]]
    parameters = weights + biases
    rates = [rate, *[rate * upper] * len(hidden), *[rate] * len(biases)]
    speeds = [torch.zeros_like(parameter) for parameter in parameters]
    result: dict[str, list[np.ndarray]] = {}
    for epoch in range(1, epochs + 1):
        order = torch.rand(networks, n, generator=generator).argsort(dim=1)
        for start in range(0, n, BATCH):
            rows = order[:, start : start + BATCH]
            x = X.gather(1, rows[..., None].expand(-1, -1, features))
            gradients = _gradients(
                x, y.gather(1, rows), weights, biases, p, decay, masks
            )
            for parameter, speed, gradient, its_rate in zip(
                parameters, speeds, gradients, rates, strict=True
            ):
                speed.mul_(MOMENTUM).add_(gradient, alpha=-its_rate)
                parameter.add_(speed)
        if epoch in after:
            for name, (inputs, targets) in data.held_out.items():
                for kind, values in _measure(inputs, targets, weights, biases).items():
                    result.setdefault(f"{name}_{kind}", []).append(values)
    return {name: np.array(values) for name, values in result.items()}


def _gradients(
    x: Tensor,
    y: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    p: float,
    decay: float,
    masks: torch.Generator,
) -> list[Tensor]:
    """Of all weights, then of all biases."""
    inputs, scales = [x], []
    for W, b in zip(weights[:-1], biases[:-1], strict=True):
        h = torch.baddbmm(b, inputs[-1], W).relu_()
        scale = (h > 0).to(h.dtype)  # the slope of ReLU
        if p:
            mask = torch.rand(h.shape, generator=masks) >= p
            scale *= mask
            scale /= 1 - p
            h = h * scale
        inputs.append(h)
        scales.append(scale)
    output = torch.baddbmm(biases[-1], inputs[-1], weights[-1])
    delta = _slope(output, y) / x.shape[1]
    of_weights, of_biases = [], []
    for layer in reversed(range(len(weights))):
        of_weights.append(inputs[layer].mT @ delta)
        if decay:
            of_weights[-1].add_(weights[layer], alpha=decay)
        of_biases.append(delta.sum(dim=1, keepdim=True))
        if layer:
            delta = (delta @ weights[layer].mT).mul_(scales[layer - 1])
    return of_weights[::-1] + of_biases[::-1]


def _slope(output: Tensor, y: Tensor) -> Tensor:
    if output.shape[-1] == 1:
        return 2 * (output - y[..., None])
    probability = output.softmax(dim=-1)
    return probability.scatter_add_(2, y[..., None], -torch.ones(*y.shape, 1))


def _measure(
    x: Tensor, y: Tensor, weights: list[Tensor], biases: list[Tensor]
) -> dict[str, np.ndarray]:
    for W, b in zip(weights[:-1], biases[:-1], strict=True):
        x = torch.baddbmm(b, x, W).relu_()
    output = torch.baddbmm(biases[-1], x, weights[-1])
    if output.shape[-1] == 1:
        return {"loss": ((output[..., 0] - y) ** 2).mean(dim=1).numpy()}
    logs = output.log_softmax(dim=-1)
    return {
        "loss": -logs.gather(2, y[..., None]).mean(dim=(1, 2)).numpy(),
        "accuracy": (output.argmax(dim=-1) == y).float().mean(dim=1).numpy(),
    }
