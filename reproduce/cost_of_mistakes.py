"""What do the mistakes of tutorials cost a network that is trained with them?

Fixed before the first run: networks 64-64-64-10, 30 epochs of 500 digits, batches of 50, Adam; 20
seeds, each with its own order of the digits (500 to train on, 300 for validation, the rest as a
test) and its own first weights, the same for every variant. The learning rate of each variant is
the one of five with the lowest mean validation loss. (The first grid ended at 0.008, which was the
best for all, so two rates were added.) A variant is compared with the right dropout of the same p,
in pairs; worse means at least four standard errors.

The results stand in cost_of_mistakes.json beside this file. Run it with ``make reproduce``.
"""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from runs import Run, run_missing
from torch import nn
from torch.nn.functional import dropout, linear

import companion.nn
from companion import data, training

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "networks for 500 digits trained with right and wrong dropouts"
SETTINGS: dict[str, Any] = {
    "width": 64,
    "epochs": 30,
    "train": 500,
    "validation": 300,
    "batch_size": 50,
    "rates": [0.0005, 0.002, 0.008, 0.02, 0.05],
    "seeds": 20,
    "measured_every": 10,
}
BEGINNING = {"epochs": 10}


class OneMask(nn.Module):
    """One mask for the whole batch."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * (torch.rand(x.shape[1]) >= self.p) / (1 - self.p)


class NoScale(OneMask):
    """Zeros, and nothing else."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (torch.rand(x.shape) >= self.p) if self.training else x


class Inverse(OneMask):
    """1/p in place of 1/(1-p)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (torch.rand(x.shape) >= self.p) / self.p if self.training else x


class OnWeights(nn.Linear):
    """Half of the weights dropped, once for the batch, and scaled in training."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, dropout(self.weight, 0.5, self.training), self.bias)


LAYERS: dict[str, tuple[Any, float]] = {
    "right": (companion.nn.Dropout, 0.5),
    "one mask a batch": (OneMask, 0.5),
    "no scale": (NoScale, 0.5),
    "dropped weights": (lambda p: nn.Identity(), 0.5),
    "right, p = 0.2": (companion.nn.Dropout, 0.2),
    "1/p, p = 0.2": (Inverse, 0.2),
}


def network(variant: str) -> nn.Sequential:
    """Two hidden layers, each with dropout behind it, or with dropped weights behind both."""
    (Layer, p), width = LAYERS[variant], SETTINGS["width"]
    Linear = OnWeights if variant == "dropped weights" else nn.Linear
    first = [nn.Linear(64, width), nn.ReLU(), Layer(p)]
    second = [Linear(width, width), nn.ReLU(), Layer(p)]
    return nn.Sequential(*first, *second, Linear(width, 10))


def run(variant: str, rate: float, seed: int, epochs: int | None = None) -> Run:
    """Train one network; its validation loss along the way, and at the end the test."""
    torch.set_num_threads(1)
    X, y = data.load("digits")
    order = np.random.default_rng(seed).permutation(len(X))
    cuts = SETTINGS["train"], SETTINGS["train"] + SETTINGS["validation"]
    train, validation, test = np.split(order, cuts)
    model = training.seeded(seed, lambda: network(variant))
    history = training.fit(
        model,
        X[train],
        y[train],
        optimizer=torch.optim.Adam(model.parameters(), lr=rate),
        epochs=epochs or SETTINGS["epochs"],
        batch_size=SETTINGS["batch_size"],
        seed=seed,
        validation=(X[validation], y[validation]),
    )
    every = SETTINGS["measured_every"]
    losses = [round(loss, 5) for loss in history.val_loss[every - 1 :: every]]
    if epochs:
        return {"validation_loss": losses}
    loss, accuracy = training.evaluate(model, X[test], y[test])
    return {
        "validation_loss": losses,
        "test_loss": round(loss, 5),
        "test_accuracy": round(accuracy, 5),
    }


def wanted_runs() -> list[Run]:
    return [
        {"variant": variant, "rate": rate, "seed": seed}
        for variant, rate in product(LAYERS, SETTINGS["rates"])
        for seed in range(SETTINGS["seeds"])
    ]


def main() -> None:
    run_missing(RESULTS, WHAT, wanted_runs(), run, SETTINGS, ("numpy", "torch"))


if __name__ == "__main__":
    main()
