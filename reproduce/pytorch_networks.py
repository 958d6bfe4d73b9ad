"""What dropout does to two networks of well-known tutorials, on the data they name.

The first is a network of "Dropout is Drop-Dead Easy to Implement", trained for two epochs on
MNIST with the two layers shown there, with PyTorch's and with the companion's. The second is the
multilayer perceptron of "Dive into Deep Learning", trained on Fashion-MNIST for ten epochs and
for sixty, with and without dropout. The results stand in pytorch_networks.json beside this file.
A run that is in it already is not repeated; delete the file to begin again. Run it with
``make reproduce``.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from runs import Run, run_missing
from sklearn.metrics import f1_score
from torch import nn

import companion.nn
from companion import data, training

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "the networks of two tutorials trained on MNIST and Fashion-MNIST"
SEEDS = range(3)
MORE_SEEDS = range(10)  # where three settled nothing
SETTINGS: dict[str, Any] = {
    "blog": {"data": "mnist", "epochs": 2, "batch_size": 64, "adam": 0.001, "p": 0.5},
    "d2l": {"data": "fashion-mnist", "epochs": 60, "batch_size": 256, "sgd": 0.1},
}
SWAPPED = {"0.2, 0.5": (0.2, 0.5), "0.5, 0.2": (0.5, 0.2)}
RATES = {"none": (0.0, 0.0), "0.5, 0.5": (0.5, 0.5), **SWAPPED}


class SharedMask(nn.Module):
    """One mask for the whole batch, as in the blog post, with its scale or without."""

    def __init__(self, p: float, *, scaled: bool) -> None:
        super().__init__()
        self.p, self.scaled = p, scaled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        kept = x * (torch.rand(x.shape[1]) >= self.p)
        return kept / (1 - self.p) if self.scaled else kept


LAYERS: dict[str, Callable[[float], nn.Module]] = {
    "one mask, no scale": partial(SharedMask, scaled=False),
    "one mask, scaled": partial(SharedMask, scaled=True),
    "torch.nn.Dropout": nn.Dropout,
    "companion.nn.Dropout": companion.nn.Dropout,
}
BLOG = ("as printed", "last layer used", "with ReLU")


def blog_network(version: str, layer: nn.Module) -> nn.Module:
    """784-512-512-10 without an activation; as printed, the last layer's output is not used."""
    relu = [nn.ReLU()] if version == "with ReLU" else []
    last = [] if version == "as printed" else [nn.Linear(512, 10)]
    return nn.Sequential(
        nn.Linear(784, 512), *relu, nn.Linear(512, 512), *relu, layer, *last
    )


def d2l_network(
    rates: tuple[float, float], layer: Callable[[float], nn.Module]
) -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(784, 256), nn.ReLU(), layer(rates[0])),
        *(nn.Linear(256, 256), nn.ReLU(), layer(rates[1])),
        nn.Linear(256, 10),
    )


def run(network: str, variant: str, layer: str, seed: int) -> Run:
    torch.set_num_threads(1)
    settings, make = SETTINGS[network], LAYERS[layer]
    train, test = (
        data.load(settings["data"], split=part) for part in ("train", "test")
    )
    fit = partial(
        training.fit,
        epochs=settings["epochs"],
        batch_size=settings["batch_size"],
        seed=seed,
        validation=test,
    )
    if network == "blog":
        model = training.seeded(
            seed, lambda: blog_network(variant, make(settings["p"]))
        )
        adam = torch.optim.Adam(model.parameters(), lr=settings["adam"])
        history = fit(model, *train, optimizer=adam)
        guesses = training.predict(model, test.X).argmax(1)
        f1 = f1_score(test.y, guesses, average="macro", zero_division=0)
        return {"test_accuracy": history.val_accuracy, "macro_f1": float(f1)}
    model = training.seeded(seed, lambda: d2l_network(RATES[variant], make))
    sgd = torch.optim.SGD(model.parameters(), lr=settings["sgd"])
    history = fit(model, *train, optimizer=sgd)
    return {
        f"{new}_{what}": [
            round(value, 6) for value in getattr(history, f"{old}_{what}")
        ]
        for old, new in (("train", "train"), ("val", "test"))
        for what in ("loss", "accuracy")
    }


def wanted_runs() -> list[Run]:
    blog = [("blog", version, layer) for version in BLOG for layer in LAYERS]
    d2l = [("d2l", rates, "companion.nn.Dropout") for rates in RATES]
    d2l.append(("d2l", "0.5, 0.5", "torch.nn.Dropout"))
    names = ("network", "variant", "layer", "seed")
    return [
        dict(zip(names, (*key, seed), strict=True))
        for key in (*blog, *d2l)
        for seed in (MORE_SEEDS if key[1] in SWAPPED else SEEDS)
    ]


def main() -> None:
    for (
        settings
    ) in SETTINGS.values():  # says what is missing before anything is started
        data.load(settings["data"], split="test")
    packages = ("numpy", "torch", "sklearn")
    run_missing(RESULTS, WHAT, wanted_runs(), run, SETTINGS, packages)


if __name__ == "__main__":
    main()
