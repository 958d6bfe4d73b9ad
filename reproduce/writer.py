"""One small network that learned to write from Shakespeare's plays.

An embedding of 32 numbers a character, a GRU of 96 units, dropout with one mask a sequence at p =
0.1, trained with Adam at 0.004 for 3,000 updates of 32 stretches of 64 characters from the first
900,000. Bits a character are measured on 5,000 characters each of validation and test text, every
200 updates with dropout off. The weights are stored at the end, in half precision; no verdict
follows from one network.

The results stand in writer.json beside this file; delete the file to begin again. Run it with
``make reproduce``.
"""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from remember_a_symbol import train
from runs import Run, run_missing
from torch import Tensor, nn

from companion import data
from companion.nn import Dropout

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "a GRU that learned to write from Shakespeare's plays"
SETTINGS: dict[str, Any] = {
    "embedding": 32,
    "hidden": 96,
    "p": 0.1,
    "adam": 0.004,
    "batch": 32,
    "steps": 64,
    "updates": 3000,
    "every": 200,
    "trained_on": 900_000,
    "measured_on": 5_000,
}
BEGINNING: dict[str, Any] = {"updates": 200}


def plays() -> tuple[list[str], dict[str, Tensor]]:
    """The characters there are, and the text in numbers: all to train on, validation, test."""
    characters, tokens = np.unique(
        list(data.load("tinyshakespeare")), return_inverse=True
    )
    n, text = SETTINGS["measured_on"], torch.from_numpy(tokens)
    return characters.tolist(), {
        "train": text[: SETTINGS["trained_on"]],
        "validation": text[-2 * n : -n],
        "test": text[-n:],
    }


class Writer(nn.Module):
    """Predict the next character: an embedding, a GRU, a linear layer, one mask a sequence."""

    def __init__(self, characters: int, embedding: int, hidden: int, p: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, embedding)
        self.gru = nn.GRU(embedding, hidden, batch_first=True)
        self.drop = Dropout(p, shared_axes=(1,))
        self.linear = nn.Linear(hidden, characters)

    def forward(
        self, tokens: Tensor, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        outputs, state = self.gru(self.drop(self.embedding(tokens)), state)
        return self.linear(self.drop(outputs)), state


def run(network: int, updates: int | None = None) -> Run:
    """Train one network to write, and keep its weights, in half precision."""
    torch.set_num_threads(1)
    own = SETTINGS
    characters, parts = plays()
    torch.manual_seed(network)
    model = Writer(len(characters), own["embedding"], own["hidden"], own["p"])
    stretch = torch.arange(own["steps"] + 1)

    def bits(tokens: Tensor) -> Tensor:
        logits, _ = model(tokens[:, :-1])
        return F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:]) / np.log(2)

    def loss() -> Tensor:
        model.train()
        start = torch.randint(len(parts["train"]) - own["steps"], (own["batch"], 1))
        return bits(parts["train"][start + stretch])

    def measure() -> dict[str, Any]:
        model.eval()
        return {
            name: round(bits(parts[name].view(100, -1)).item(), 4)
            for name in ("validation", "test")
        }

    measured = train(
        model.parameters(),
        own["adam"],
        own["updates"] if updates is None else updates,
        own["every"],
        loss,
        measure,
    )
    if updates is None:
        weights = [w.half().numpy().tobytes() for w in model.state_dict().values()]
        measured["weights"] = base64.b64encode(b"".join(weights)).decode()
        measured["characters"] = "".join(characters)
    return measured


def wanted_runs() -> list[Run]:
    return [{"network": 0}]


def main() -> None:
    data.load("tinyshakespeare")  # says what is missing before anything is started
    run_missing(RESULTS, WHAT, wanted_runs(), run, SETTINGS, ("numpy", "torch"))


if __name__ == "__main__":
    main()
