"""The numbers behind the figures that move: what a page has to know to draw them by itself.

A hand-made network; one unit of a network that reads digits; and the loss curves of a network
trained on 200 digits, for nine drop probabilities, 20 seeds each. The results stand in
moving_figures.json beside this file, from where the build puts them on the pages. A run that is in
it already is not repeated; delete the file to begin again. Run it with ``make reproduce``.
"""

from pathlib import Path
from typing import Any

import numpy as np
from runs import Run, run_missing

from companion import data
from companion.network import MLP

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "what the moving figures draw"
SETTINGS: dict[str, Any] = {
    "network": {
        "input": [1.0, 0.5],
        "weights": [
            [[0.5, 1.0, -0.2, 1.3, 0.2, 0.9], [0.6, 0.4, 1.2, -0.6, 0.8, 1.0]],
            [[1.0], [-0.5], [1.5], [0.5], [-1.0], [0.5]],
        ],
        "biases": [[0.0] * 6, [0.1]],
    },
    "distribution": {"train": 1000, "epochs": 20, "learning_rate": 0.05, "image": 1000},
    "moments": {"x": 1.0},
    "curves": {"train": 200, "epochs": 100, "learning_rate": 0.05, "seeds": 20},
}
BEGINNING: dict[str, Any] = {"epochs": 2}  # of the curves; the unit takes a second


def distribution(p: float) -> Run:
    """What one output unit reads: the hidden units of one unseen image, and its weights."""
    chosen = SETTINGS["distribution"]
    X, y = data.load("digits")
    net = MLP([64, 32, 10], p=p, rng=0)
    few = slice(chosen["train"])
    fit = {name: chosen[name] for name in ("epochs", "learning_rate")}
    net.fit(X[few], y[few], **fit)
    image = chosen["image"]
    hidden = net.hidden(X[image : image + 1])[0][0]
    weights = net.weights[1][:, y[image]]
    unit = {"hidden": hidden.round(4).tolist(), "weights": weights.round(4).tolist()}
    return {"digit": int(y[image]), **unit}


def curves(p: float, epochs: int | None = None) -> Run:
    """Losses after each epoch, dropout off: mean and standard deviation over the seeds."""
    chosen = SETTINGS["curves"]
    X, y = data.load("digits")
    losses = []
    for seed in range(chosen["seeds"]):
        order = np.random.default_rng(seed).permutation(len(X))
        few, rest = order[: chosen["train"]], order[chosen["train"] :]
        net = MLP([64, 256, 10], p=p, rng=seed)
        history = net.fit(
            X[few],
            y[few],
            epochs=epochs or chosen["epochs"],
            learning_rate=chosen["learning_rate"],
            validation=(X[rest], y[rest]),
        )
        losses.append((history.train_loss, history.val_loss))
    mean, spread = np.mean(losses, axis=0), np.std(losses, axis=0)
    return {
        "train_loss": _rounded(mean[0], 3),
        "train_spread": _rounded(spread[0], 2),
        "val_loss": _rounded(mean[1], 4),
        "val_spread": _rounded(spread[1], 2),
    }


def _rounded(values: np.ndarray, digits: int) -> list[float]:
    """To so many significant digits: every reader downloads all of them."""
    return [float(f"{value:.{digits}g}") for value in values]


def run(figure: str, p: float, epochs: int | None = None) -> Run:
    return distribution(p) if figure == "distribution" else curves(p, epochs)


def wanted_runs() -> list[Run]:
    rates = [round(0.1 * tenths, 1) for tenths in range(9)]
    return [
        {"figure": "distribution", "p": 0.5},
        *({"figure": "curves", "p": p} for p in rates),
    ]


def main() -> None:
    run_missing(RESULTS, WHAT, wanted_runs(), run, SETTINGS, ("numpy",))


if __name__ == "__main__":
    main()
