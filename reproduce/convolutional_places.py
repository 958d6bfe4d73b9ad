"""Where in a convolutional network does dropout belong? Fashion-MNIST, 1,000 images a network.

Plan, fixed before the runs, but for the learning rates that are marked "added".

Of the 60,000 training images, each seed gets 1,000 that no other seed has, and 2,000 more are the
validation set; the test set is the usual 10,000 images. So the training sets of two seeds have
no image in common, and the differences of two seeds are independent but for the test set they
share. Networks: two convolutions of 8 and 16 filters of 3 x 3, each with ReLU and max pooling of
2 x 2, then 64 hidden units with ReLU, then 10 outputs. Adam, batches of 50, 15 epochs. Seven places
(`PLACES`): 0.5 on the 64 hidden units, 0.2 in the convolutional part, with or without batch
normalisation.

Each place is tuned over three learning rates, by the mean validation loss of seeds 0 to 2 after the
last epoch; then twelve seeds run at that rate. The networks of one seed have the same images, the
same initial weights and the same batches, and form a pair. Compared is the test loss after the last
epoch, and beside it the accuracy.

*Added* when these results and the sentences of the chapter stood: the two places with batch
normalisation had taken the lowest of the three rates, and their grids were extended downwards until
the best rate lay inside (`further_rates`). One moved, batch normalisation alone, from 0.001 to
0.0005, and verdicts with it: at 0.001 dropout in the head had lowered the loss and the accuracy
beside batch normalisation, and batch normalisation could not be told from nothing.

Bounds: "lower" or "higher" needs a mean difference of 4 standard errors of the twelve paired
differences. Twelve pairs allow no verdict of "no difference": anything else is "could not tell".
Stored after every run; run it with ``make reproduce``.
"""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from runs import run_missing
from torch import nn

from companion import data, training

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "convolutional networks on Fashion-MNIST with dropout in different places"
SETTINGS: dict[str, Any] = {
    "images": 1000,
    "validation": 2000,
    "filters": [8, 16],
    "hidden": 64,
    "batch_size": 50,
    "epochs": 15,
    "rates": [0.001, 0.002, 0.004],
    # where the best rate was the first of its grid: the next ones
    "further_rates": {"batch norm": [0.0005, 0.00025], "batch norm, head": [0.0005]},
    "tuning_seeds": 3,
    "seeds": 12,
    "p_head": 0.5,
    "p_maps": 0.2,
}
BEGINNING = {"epochs": 1}
PLACES = [
    "nowhere",
    "head",
    "pixels, then pooling",
    "pooling, then pixels",
    "pooling, then channels",
    "batch norm",
    "batch norm, head",
]


def block(place: str, n_in: int, n_out: int) -> list[nn.Module]:
    """A convolution with its activation, pooling and what stands between them."""
    p = SETTINGS["p_maps"]
    layers: list[nn.Module] = [nn.Conv2d(n_in, n_out, 3, padding=1)]
    if "norm" in place:
        layers.append(nn.BatchNorm2d(n_out))
    layers.append(nn.ReLU())
    if place == "pixels, then pooling":
        layers.append(nn.Dropout(p))
    layers.append(nn.MaxPool2d(2))
    if place == "pooling, then pixels":
        layers.append(nn.Dropout(p))
    if place == "pooling, then channels":
        layers.append(nn.Dropout2d(p))
    return layers


def network(place: str) -> nn.Module:
    first, second = SETTINGS["filters"]
    hidden = SETTINGS["hidden"]
    head = [nn.Dropout(SETTINGS["p_head"])] if "head" in place else []
    layers = nn.Sequential(
        *block(place, 1, first),
        *block(place, first, second),
        nn.Flatten(),
        nn.Linear(second * 7 * 7, hidden),
        nn.ReLU(),
        *head,
        nn.Linear(hidden, 10),
    )
    # The stubs of PyTorch know `to` with a dtype or a device alone.
    return layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def images(split: str, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    X, y = data.load("fashion-mnist", split=split)
    X, y = X[rows], y[rows]
    return (
        torch.tensor(X).float().reshape(-1, 1, 28, 28) / 0.35 - 0.82,
        torch.tensor(y).long(),
    )


def run(place: str, rate: float, seed: int, epochs: int = 0) -> dict[str, Any]:
    """Mean training loss of each epoch, masks on; at the end, validation and test."""
    torch.set_num_threads(1)
    n, size = SETTINGS["images"], SETTINGS["batch_size"]
    X, y = images("train", slice(n * seed, n * (seed + 1)))
    model = training.seeded(seed, lambda: network(place))
    adam = torch.optim.Adam(model.parameters(), lr=rate)
    order = np.random.default_rng(seed)
    result: dict[str, Any] = {"training_curve": []}

    def train() -> None:
        for _ in range(epochs or SETTINGS["epochs"]):
            total = 0.0
            for batch in np.split(order.permutation(n), n // size):
                adam.zero_grad()
                loss = F.cross_entropy(model(X[batch]), y[batch])
                loss.backward()
                adam.step()
                total += loss.item()
            result["training_curve"].append(round(total * size / n, 5))

    training.seeded(seed, train)
    if epochs:
        return result
    last = slice(-SETTINGS["validation"], None)
    for name, part in (
        ("validation", images("train", last)),
        ("test", images("test", slice(None))),
    ):
        loss, accuracy = training.evaluate(model, *part)
        result |= {name: round(loss, 5), f"{name}_accuracy": round(accuracy, 5)}
    return result


def rates_of(place: str) -> list[float]:
    return SETTINGS["rates"] + SETTINGS["further_rates"].get(place, [])


def tuned(runs: list[dict[str, Any]], place: str) -> float | None:
    """The rate with the lowest mean validation loss, once all tuning seeds have run."""
    losses: dict[float, list[float]] = {}
    for r in runs:
        if r["place"] == place and r["seed"] < SETTINGS["tuning_seeds"]:
            losses.setdefault(r["rate"], []).append(r["validation"])
    wanted = len(rates_of(place)) * SETTINGS["tuning_seeds"]
    if sum(map(len, losses.values())) < wanted:
        return None
    return min(losses, key=lambda rate: sum(losses[rate]))


def wanted_runs() -> list[dict[str, Any]]:
    """All rates with the tuning seeds; and the tuned rate with the others, once it is known."""
    runs = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    seeds = range(SETTINGS["tuning_seeds"]), range(SETTINGS["seeds"])
    keys = [
        {"place": place, "rate": rate, "seed": seed}
        for place in PLACES
        for rate, seed in product(rates_of(place), seeds[0])
    ]
    for place, seed in product(PLACES, seeds[1][len(seeds[0]) :]):
        if rate := tuned(runs, place):
            keys.append({"place": place, "rate": rate, "seed": seed})
    return keys


def main() -> None:
    data.load("fashion-mnist")  # says what is missing before anything is started
    for _ in ("tune", "compare"):
        run_missing(RESULTS, WHAT, wanted_runs(), run, SETTINGS, ("numpy", "torch"))


if __name__ == "__main__":
    main()
