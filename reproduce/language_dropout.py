"""What dropout does to small networks that read Shakespeare's plays, by where the mask stands.

GRUs of 48 units predict the next character, from 5,000 characters of the plays, which networks of
this size overfit. Five ways to drop at p = 0.25, ten networks a way, trained as one stack: network
k of each way starts from the same weights and sees the same stretches of text in the same order,
so that networks make pairs. 300 updates of 16 stretches of 16 characters, measured every 50
updates with dropout off, on 3,000 characters each of validation and of test text, neither of them
among the training text.

The plan, fixed before the run. Each way has its own learning rate, the best of several by the mean
over networks of the fewest bits on validation text. What is compared is the bits on test text at
the measurement with the fewest validation bits (early stopping), and after the last update.
"Lower" and "higher" need a mean difference of 4 standard errors of the 10 paired differences;
anything else is not told apart, for "no difference" would need 20 pairs.

After a first look at the rates 0.005, 0.01 and 0.02 the lowest was the best for each way, so
0.0025 was added; nothing else was changed.

The results stand in language_dropout.json beside this file. A run that is in it already is not
repeated; delete the file to begin again. Run it with ``make reproduce``.
"""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from remember_a_symbol import DROPS, Stack, masks, mean_loss, rounded, train
from runs import Run, run_missing
from torch import Tensor
from writer import plays

from companion import data

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "GRUs that read Shakespeare's plays, with masks in four places"
SETTINGS: dict[str, Any] = {
    "p": 0.25,
    "networks": 10,
    "trained_on": 5_000,
    "embedding": 24,
    "hidden": 48,
    "batch": 16,
    "steps": 16,
    "updates": 300,
    "every": 50,
    "measured_on": 3_000,
}
RATES = (0.0025, 0.005, 0.01, 0.02)
BEGINNING: dict[str, Any] = {"updates": 50}


def run(drop: str, rate: float, updates: int | None = None) -> Run:
    """Train a stack to predict the next character."""
    torch.set_num_threads(1)
    own, networks = SETTINGS, SETTINGS["networks"]
    characters, parts = plays()
    parts["train"] = parts["train"][: own["trained_on"]]
    stack = Stack(own["embedding"], own["hidden"], len(characters), networks)
    embedding = stack.uniform(len(characters), own["embedding"], 1.0)
    stream, mask = torch.Generator().manual_seed(2), masks(own["p"], 1)
    network = torch.arange(networks)[:, None]

    def bits(tokens: Tensor, drop: str) -> Tensor:
        """Of tokens (steps + 1, networks, batch), one figure a network."""
        states = stack.states(embedding[network, tokens[:-1]], drop, mask)
        logits = stack.logits(torch.stack(states, 1).flatten(1, 2))
        target = tokens[1:].transpose(0, 1).flatten(1)
        return mean_loss(logits, target) / np.log(2)

    def loss() -> Tensor:
        last = len(parts["train"]) - own["steps"]
        start = torch.randint(last, (networks, own["batch"]), generator=stream)
        stretch = torch.arange(own["steps"] + 1)[:, None, None]
        return bits(parts["train"][start + stretch], drop).sum()

    def measure() -> dict[str, Any]:
        found = {}
        for name, tokens in parts.items():
            rows = tokens[: own["measured_on"]].view(100, -1).T
            found[name] = rounded(bits(rows[:, None].expand(-1, networks, -1), "none"))
        return found

    return train(
        [*stack.parameters, embedding],
        rate,
        own["updates"] if updates is None else updates,
        own["every"],
        loss,
        measure,
    )


def wanted_runs() -> list[Run]:
    return [{"drop": drop, "rate": rate} for drop, rate in product(DROPS, RATES)]


def main() -> None:
    data.load("tinyshakespeare")  # says what is missing before anything is started
    run_missing(RESULTS, WHAT, wanted_runs(), run, SETTINGS, ("numpy", "torch"))


if __name__ == "__main__":
    main()
