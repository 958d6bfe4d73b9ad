"""Does dropout help a recurrent language model, and does it matter how often masks change?

Trains a small GRU on the characters of Shakespeare's plays, on all of the training text and on a
tenth of it: without dropout, with fresh masks at every step, and with one mask for a sequence. The
results stand in recurrent_dropout.json beside this file, which is written after every run. A run
that is in it already is not repeated, so an interrupted program goes on where it stopped; delete
the file to begin again. Run it with ``make reproduce``.
"""

from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from runs import run_missing

from companion import data
from companion.symbolic import LanguageModel, MaskPer

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "a GRU trained on Shakespeare's plays"
SETTINGS: dict[str, Any] = {
    "hidden_size": 128,
    "embedding_size": 64,
    "batch_size": 32,
    "steps": 64,
    "updates": 3000,
    "measurements": 5,
    "held_out": 0.1,
}
TEXTS = {"all": 1.0, "a tenth": 0.1}  # the part of the training text that is used
DROPOUT = {"none": 0.0, "per step": 0.25, "per sequence": 0.25}
SEEDS = range(3)


@cache
def model(vocabulary_size: int, mask_per: MaskPer) -> LanguageModel:
    """One model a process and kind of mask: compiling takes longer than restarting."""
    sizes = SETTINGS["hidden_size"], SETTINGS["embedding_size"]
    return LanguageModel(
        vocabulary_size, sizes[0], embedding_size=sizes[1], mask_per=mask_per, rng=0
    )


def run(text: str, dropout: str, seed: int) -> dict[str, Any]:
    """Train one model and measure it along the way, in bits a character."""
    plays = data.load("tinyshakespeare")
    vocabulary, tokens = np.unique(list(plays), return_inverse=True)
    cut = round(len(tokens) * (1 - SETTINGS["held_out"]))
    held_out, train = tokens[cut:], tokens[: round(cut * TEXTS[text])]
    p = DROPOUT[dropout]
    gru = model(len(vocabulary), "step" if dropout == "per step" else "sequence")
    gru.restart(seed)
    result: dict[str, Any] = {"p": p, "update": [], "train": [], "held_out": []}
    for measurement in range(1, SETTINGS["measurements"] + 1):
        updates = SETTINGS["updates"] // SETTINGS["measurements"]
        size = {name: SETTINGS[name] for name in ("batch_size", "steps")}
        gru.fit(train, p=p, updates=updates, **size)
        result["update"].append(measurement * updates)
        result["train"].append(gru.bits(train[: len(held_out)], p))
        result["held_out"].append(gru.bits(held_out, p))
    return result


def main() -> None:
    data.load("tinyshakespeare")  # says what is missing before anything is started
    wanted = [
        {"text": text, "dropout": dropout, "seed": seed}
        for text, dropout, seed in product(TEXTS, DROPOUT, SEEDS)
    ]
    run_missing(RESULTS, WHAT, wanted, run, SETTINGS, ("numpy", "pytensor"))


if __name__ == "__main__":
    main()
