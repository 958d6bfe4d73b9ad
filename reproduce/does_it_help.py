"""Does dropout help? Four experiments, each network with the learning rate that suits it.

The plan, fixed before the run. Only the grids were chosen beforehand, by a trial on five splits of
images 50,000 to 59,999, which are not used here.

*Data.* The middle 24 x 24 pixels of MNIST averaged to 12 x 12, images 0 to 49,999, in 20 splits
that share **no** image: for each, 200 images to train, 400 to validate and 1,000 to test. Of the
training and of the validation labels a part (0, 20 or 40%) is replaced by one of the nine wrong
ones; test labels are right. The splits are independent, so the plain standard error holds.

*Networks.* One hidden layer of ReLU (128 units), softmax, gradient descent with momentum 0.9,
batches of 32, 100 epochs, measured after 13 of them. Two networks of one split start from the same
weights and see the same batches. Dropout is on the hidden layer, one mask a sample.

*Choice.* On each split and for each rival, the configuration with the highest accuracy on the
validation set (the first of equals), at the last epoch; for early stopping, at the best of the 13
measured epochs. Each rival may train twelve networks a split:

- none and early stopping: twelve learning rates, 0.001 times powers of 1.6 (``RATES``);
- dropout, with and without early stopping: p of 0.25, 0.5, 0.75 and four of these rates (``FEW``);
- weight decay: 0.003, 0.01, 0.03 and the four rates;
- dropout and weight decay (labels with 20% noise only): p of 0.5, those decays, the four rates.

*One rate for all.* p of 0 and 0.5 at all twelve rates, on clean labels and with 20% noise; and on
clean labels p of 0.5 with the rate of the weights that read dropped units divided by four, as the
rule k^2 for inverted dropout asks. Training loss, dropout off, is compared too.

*Which p.* Also 0.1 and 0.9, four rates each; the rate chosen for each p.

*Capacity.* 100, 300 and 900 training images, 16, 64 and 256 hidden units, 20% noise; without
dropout and with p of 0.5, four rates each. A first run with ``FEW`` had its best at the lowest rate
for the larger sets, so the four are ``SMALL`` times 200 over the number of training images.

*Tables.* Regression with 64-64 hidden units, p of 0, 0.1, 0.25, 0.5 on both, and the rivals as
above (twelve rates; p and four rates; decay and four rates; all rates a tenth of those above), by
mean squared error of standardised targets. ``diabetes``: scikit-learn's table of 442 patients, 50
random splits of 300, 71 and 71, which overlap: standard errors are the corrected ones of Nadeau and
Bengio, the standard deviation times ``sqrt(1/50 + 71/300)``. ``friedman``: 20 fresh draws of
Friedman's first function with noise of standard deviation 1, 200, 400 and 1,000 rows each, which
are independent. A first run with ``FEW`` and with the decays above had its best at the largest rate
of Friedman's tables and the strongest decay of both, so these grids were moved up: the rates of
``friedman`` to ``LARGE``, the decays to 0.01, 0.03 and 0.1.

*Added after the results.* Of the three decays of the images, the strongest was chosen most often
with wrong labels and the weakest with right ones. So the next ones, 0.1 and 0.001, were run as well
(``AFTERWARDS``). They enter no verdict; the chapter says whether they would change one.

*Verdicts.* Paired by split. "Higher" or "lower" needs a mean difference of at least 4 standard
errors. "No difference" needs the mean and 3 standard errors either way within 0.5 points of
accuracy (5% of the loss). Everything else is "could not tell".

The results stand in does_it_help.json beside this file. Run it with ``make reproduce``.
"""

from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from runs import Run, run_missing
from sklearn.datasets import load_diabetes, make_friedman1
from stacked import Data, train

from companion import data

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "small networks with tuned learning rates"
RATES = [round(0.001 * 1.6**power, 4) for power in range(12)]
FEW = RATES[2:10:2]
LARGE = RATES[4::2]
SMALL = RATES[0:8:2]
AFTER = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 100]
SETTINGS: dict[str, Any] = {
    "rates": RATES,
    "few_rates": FEW,
    "large_rates": LARGE,
    "small_rates": SMALL,
    "measured_after": AFTER,
    "splits": 20,
    "validation": 400,
    "test": 1000,
    "splits_of_the_table": 50,
    "table": [300, 71, 71],
}
BEGINNING = {"epochs": 2}
DECAYS = [0.003, 0.01, 0.03]
DECAYS_OF_TABLES = [0.01, 0.03, 0.1]
AFTERWARDS = [(0.2, 0.1), (0.4, 0.1), (0.0, 0.001)]  # label noise and decay


@cache
def images() -> tuple[np.ndarray, np.ndarray]:
    """Images 0 to 49,999 of MNIST, cut to the middle, each pixel the mean of four."""
    X, y = (part[:50_000] for part in data.load("mnist", split="train"))
    middle = X.reshape(-1, 28, 28)[:, 2:-2, 2:-2]
    return middle.reshape(-1, 12, 2, 12, 2).mean(axis=(2, 4)).reshape(-1, 144), y


def digits(noise: float, size: int) -> Data:
    """Splits that share no image; wrong labels in training and validation."""
    X, y = images()
    rng = np.random.default_rng(0)
    sizes = [size, SETTINGS["validation"], SETTINGS["test"]]
    whole = sum(sizes)
    order = rng.permutation(len(X))[: SETTINGS["splits"] * whole].reshape(-1, whole)
    wrong = (rng.random(order.shape) < noise) * rng.integers(1, 10, order.shape)
    wrong[:, -SETTINGS["test"] :] = 0
    return _parts(X[order], (y[order] + wrong) % 10, sizes)


def table(name: str) -> Data:
    """Standardised by the training rows of each split."""
    rng = np.random.default_rng(0)
    if name == "diabetes":
        sizes = SETTINGS["table"]
        columns, target = load_diabetes(return_X_y=True)
        splits = range(SETTINGS["splits_of_the_table"])
        order = np.array([rng.permutation(len(columns)) for _ in splits])
        X, y = columns[order], target[order]
    else:
        sizes = [200, SETTINGS["validation"], SETTINGS["test"]]
        draws = [
            make_friedman1(sum(sizes), noise=1.0, random_state=seed)
            for seed in range(SETTINGS["splits"])
        ]
        X, y = (np.array(part) for part in zip(*draws, strict=True))
    for values in (X, y):
        first = values[:, : sizes[0]]
        values -= first.mean(axis=1, keepdims=True)
        values /= first.std(axis=1, keepdims=True)
    return _parts(X, y, sizes)


def _parts(X: np.ndarray, y: np.ndarray, sizes: Sequence[int]) -> Data:
    kind = torch.int64 if np.issubdtype(y.dtype, np.integer) else torch.float32
    parts = zip(
        torch.as_tensor(X, dtype=torch.float32).split(sizes, dim=1),
        torch.as_tensor(y, dtype=kind).split(sizes, dim=1),
        strict=True,
    )
    first, validation, test = ((a.contiguous(), b.contiguous()) for a, b in parts)
    return Data(first, {"training": first, "validation": validation, "test": test})


def run(
    experiment: str,
    p: float,
    decay: float,
    noise: float = 0.0,
    size: int = 200,
    width: int = 128,
    upper: float = 1.0,
    epochs: int = AFTER[-1],
) -> Run:
    """All splits at each rate; the lists are over the epochs measured, then over the rates.

    ``validation`` and ``test`` hold a figure a split, in one string to save room: images right, or
    the squared error times 10,000; ``training``, on clean labels at every rate, the loss times a
    million. They need all epochs.
    """
    torch.set_num_threads(1)
    is_image = experiment in ("rivals", "quarter", "capacity")
    parts = digits(noise, size) if is_image else table(experiment)
    every_rate = not decay and (p == 0 or (p == 0.5 and is_image and noise < 0.4))
    every_rate = every_rate and experiment != "capacity"
    few = {"friedman": LARGE, "capacity": SMALL}.get(experiment, FEW)
    rates = RATES if every_rate else few
    factor = 200 / size if is_image else 0.1
    measured = [
        train(
            parts,
            [width] if is_image else [64, 64],
            10 if is_image else 1,
            p=p,
            rate=factor * rate,
            decay=decay,
            upper=upper,
            after=AFTER,
            epochs=epochs,
            seed=0,
        )
        for rate in rates
    ]
    result: Run = {}
    for part in parts.held_out:
        losses = np.array([_finite(m[f"{part}_loss"]).mean(axis=1) for m in measured])
        result[f"{part}_loss"] = losses.T.round(4).tolist()
        is_train = part == "training"
        if epochs < AFTER[-1] or (is_train and (noise or decay or not every_rate)):
            continue
        if is_image and not is_train:
            unit, kind = SETTINGS[part], "accuracy"
        else:
            unit, kind = 1_000_000 if is_train else 10_000, "loss"
        figures = np.array([_finite(m[f"{part}_{kind}"]) for m in measured])
        figures = (figures * unit).round().astype(int)
        result[part] = [
            [" ".join(map(str, row)) for row in rows] for rows in figures.swapaxes(0, 1)
        ]
    return result


def _finite(losses: np.ndarray) -> np.ndarray:
    """A network that diverged counts as very bad."""
    return np.nan_to_num(losses, nan=99, posinf=99).clip(max=99).astype(float)


def wanted_runs() -> list[Run]:
    drop = [(p, 0.0) for p in (0.0, 0.5, 0.25, 0.75, 0.1, 0.9)]
    shrink = [(0.0, decay) for decay in DECAYS]
    wanted: list[Run] = []
    for noise, (p, decay) in product((0.2, 0.4, 0.0), drop + shrink):
        wanted.append({"experiment": "rivals", "noise": noise, "p": p, "decay": decay})
    key = {"experiment": "quarter", "noise": 0.0, "p": 0.5, "decay": 0.0}
    wanted.append(key | {"upper": 0.25})
    for decay in DECAYS:
        wanted.append({"experiment": "rivals", "noise": 0.2, "p": 0.5, "decay": decay})
    shrink = [(0.0, decay) for decay in DECAYS_OF_TABLES]
    drop = [(p, 0.0) for p in (0.0, 0.5, 0.25, 0.1)]
    for name, (p, decay) in product(("diabetes", "friedman"), drop + shrink):
        wanted.append({"experiment": name, "p": p, "decay": decay})
    for size, width, p in product((100, 300, 900), (16, 64, 256), (0.0, 0.5)):
        key = {"experiment": "capacity", "noise": 0.2, "size": size, "width": width}
        wanted.append(key | {"p": p, "decay": 0.0})
    for noise, decay in AFTERWARDS:
        wanted.append(
            {"experiment": "rivals", "noise": noise, "p": 0.0, "decay": decay}
        )
    return wanted


def main() -> None:
    data.load("mnist", split="train")  # says what is missing before anything is started
    run_missing(
        RESULTS, WHAT, wanted_runs(), run, SETTINGS, ("numpy", "torch", "sklearn")
    )


if __name__ == "__main__":
    main()
