"""When does it matter that the backward pass draws its own mask?

A network trained with a *fresh* mask in the backward pass is compared with one that uses the mask
of its forward pass, as it should. Both start from the same weights, and see the same images in the
same order, under the same masks in the forward pass. The plan, fixed after a trial of six of the 81
settings had shown that losses can run away, and before all other runs:

- Data: the digits. A seed splits them into 1000 to train on, 397 to choose by, 400 to test on.
- Networks: one, two or three hidden layers of 64 ReLU units, a softmax and cross-entropy; inverted
  dropout after each hidden layer, p = 0.2, 0.5 or 0.8; batches of 50, 60 epochs (1200 steps).
- Optimisers: plain gradient descent, momentum 0.9, and Adam, with three learning rates each.
- Seeds: 10 for each of the 3 * 3 * 9 * 2 combinations, trained side by side as one stack.
- Measured with dropout off, after 1 to 60 epochs (20 to 1200 steps): the median and the largest
  training loss of the ten networks and their mean validation loss, and each test loss at the end.

Read off, for each depth, p and optimiser:

- *goes downhill*: the largest of the ten training losses is below the mean of the untrained
  networks, after 200 and after 1200 steps;
- *diverges*: the largest training loss after 1200 steps is above ln 10, the loss of guessing all
  ten digits alike;
- *costs*: fresh minus same of the test loss after 1200 steps, the learning rate of each chosen by
  its mean validation loss there; called higher or lower if the mean of the 10 differences is at
  least 4 of its standard errors, otherwise "could not tell".

The results stand in fresh_mask.json beside this file. A run that is in it already is not repeated;
delete the file to begin again. Run it with ``make reproduce``.
"""

from collections.abc import Iterable
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from runs import Run, run_missing

from companion import data

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "networks trained with the same and with a fresh mask in the backward pass"
SETTINGS: dict[str, Any] = {
    "train": 1000,
    "validation": 397,
    "hidden_size": 64,
    "batch_size": 50,
    "epochs": [1, 2, 5, 10, 15, 20, 30, 40, 50, 60],
    "seeds": 10,
    "rates": {
        "plain": [0.02, 0.1, 0.5],
        "momentum": [0.002, 0.01, 0.05],
        "adam": [0.0005, 0.002, 0.008],
    },
}
DEPTHS, RATES_OF_DROPPING = (1, 2, 3), (0.2, 0.5, 0.8)
BEGINNING: dict[str, Any] = {"epochs": 2}
TOO_HIGH = 999.0  # stored for a loss that is higher, or no number

Arrays = list[np.ndarray]


def images() -> tuple[np.ndarray, np.ndarray]:
    """One split a seed, stacked: shapes (seeds, 1797, 64) and (seeds, 1797)."""
    X, y = data.load("digits")
    seeds = range(SETTINGS["seeds"])
    order = np.stack([np.random.default_rng(s).permutation(len(X)) for s in seeds])
    return X[order], y[order]


def start(depth: int) -> tuple[Arrays, Arrays]:
    """He's initialisation, for all seeds at once."""
    sizes = [64, *depth * [SETTINGS["hidden_size"]], 10]
    rng, stack = np.random.default_rng(1), SETTINGS["seeds"]
    shapes = list(pairwise(sizes))
    weights = [rng.normal(0, np.sqrt(2 / m), (stack, m, n)) for m, n in shapes]
    biases = [np.zeros((stack, 1, n)) for _, n in shapes]
    as_float32 = [
        [a.astype(np.float32) for a in arrays] for arrays in (weights, biases)
    ]
    return as_float32[0], as_float32[1]


def losses(weights: Arrays, biases: Arrays, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean cross-entropy of each network in nats, dropout off."""
    units = X
    for W, b in zip(weights[:-1], biases[:-1], strict=True):
        units = np.maximum(units @ W + b, 0)
    logits = units @ weights[-1] + biases[-1]
    logits = logits - logits.max(axis=2, keepdims=True)
    true = np.take_along_axis(logits, y[:, :, None], axis=2)[:, :, 0]
    each = (np.log(np.exp(logits).sum(axis=2)) - true).mean(axis=1)
    return np.nan_to_num(each, nan=TOO_HIGH, posinf=TOO_HIGH).clip(max=TOO_HIGH)


def gradients(
    weights: Arrays,
    biases: Arrays,
    X: np.ndarray,
    y: np.ndarray,
    masks: list[np.ndarray],
    back_masks: list[np.ndarray],
    p: float,
) -> Arrays:
    """Weights first, then biases; right if `back_masks` are `masks`."""
    scale, read = np.float32(1 / (1 - p)), [X]
    hidden: Arrays = []
    for W, b, mask in zip(weights[:-1], biases[:-1], masks, strict=True):
        hidden.append(np.maximum(read[-1] @ W + b, 0))
        read.append(hidden[-1] * mask * scale)
    logits = read[-1] @ weights[-1] + biases[-1]
    delta = np.exp(logits - logits.max(axis=2, keepdims=True))
    delta /= delta.sum(axis=2, keepdims=True)
    delta -= np.eye(10, dtype=np.float32)[y]
    delta /= X.shape[1]
    of_weights: Arrays = []
    of_biases: Arrays = []
    for i in reversed(range(len(weights))):
        of_weights.insert(0, read[i].transpose(0, 2, 1) @ delta)
        of_biases.insert(0, delta.sum(axis=1, keepdims=True))
        if i:
            back = delta @ weights[i].transpose(0, 2, 1)
            delta = back * back_masks[i - 1] * scale * (hidden[i - 1] > 0)
    return of_weights + of_biases


def update(
    parameters: Arrays,
    slopes: Arrays,
    optimiser: str,
    rate: float,
    memory: dict[str, Any],
) -> None:
    """One step of the optimiser, whose `memory` is empty at first."""
    memory["t"] = t = memory.get("t", 0) + 1
    first = memory.setdefault("first", [np.zeros_like(a) for a in parameters])
    second = memory.setdefault("second", [np.zeros_like(a) for a in parameters])
    for a, g, m, v in zip(parameters, slopes, first, second, strict=True):
        if optimiser == "plain":
            a -= rate * g
        elif optimiser == "momentum":
            m *= 0.9
            m += g
            a -= rate * m
        else:
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            size = rate / (1 - 0.9**t)
            a -= size * m / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def rounded(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.3g}") for value in values]


def run(
    depth: int,
    p: float,
    optimiser: str,
    rate: float,
    backward: str,
    epochs: int | None = None,
) -> Run:
    """Losses of the ten networks; after fewer `epochs` than all, without those of the test set."""
    X, y = images()
    n, b = SETTINGS["train"], SETTINGS["batch_size"]
    end = n + SETTINGS["validation"]
    weights, biases = start(depth)
    batches, forward, back = (np.random.default_rng([2, stream]) for stream in range(3))
    shape = depth, len(X), b, SETTINGS["hidden_size"]
    memory: dict[str, Any] = {}

    def loss_of(images: slice) -> np.ndarray:
        return losses(weights, biases, X[:, images], y[:, images])

    measured: Run = {"untrained": float(f"{loss_of(slice(n)).mean():.3g}")}
    measured |= {"median": [], "largest": [], "validation": []}
    with np.errstate(over="ignore", invalid="ignore"):
        for epoch in range(1, (epochs or SETTINGS["epochs"][-1]) + 1):
            order = batches.permutation(n)
            for first in range(0, n, b):
                batch = order[first : first + b]
                masks = list(forward.random(shape, np.float32) >= p)
                back_masks = masks
                if backward == "fresh":
                    back_masks = list(back.random(shape, np.float32) >= p)
                slopes = gradients(
                    weights, biases, X[:, batch], y[:, batch], masks, back_masks, p
                )
                update(weights + biases, slopes, optimiser, rate, memory)
            if epoch in SETTINGS["epochs"]:
                trained, unseen = loss_of(slice(n)), loss_of(slice(n, end))
                summary = np.median(trained), trained.max(), unseen.mean()
                for name, value in zip(
                    ("median", "largest", "validation"), rounded(summary), strict=True
                ):
                    measured[name].append(value)
        if epochs is None:
            measured["test"] = rounded(loss_of(slice(end, None)))
    return measured


def wanted_runs() -> list[Run]:
    return [
        {"depth": d, "p": p, "optimiser": name, "rate": rate, "backward": backward}
        for d, p, name in product(DEPTHS, RATES_OF_DROPPING, SETTINGS["rates"])
        for rate in SETTINGS["rates"][name]
        for backward in ("same", "fresh")
    ]


def main() -> None:
    run_missing(RESULTS, WHAT, wanted_runs(), run, SETTINGS, ("numpy",))


if __name__ == "__main__":
    main()
