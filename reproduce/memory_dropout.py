"""What dropout does to the memory of a trained network, by where the mask stands in the loop.

Two tasks, six ways to drop at p = 0.25, and networks trained as one stack: network k of each way
starts from the same weights and sees the same data in the same order, so that networks make pairs.

- *recall*: one of 4 symbols, then 20 empty steps, then the network has to name the symbol. Data are
  drawn without end, so nothing can be overfitted. 32 recurrent units, 500 updates, measured on 500
  new sequences every 50 updates with dropout off.
- *text*: the next character of Shakespeare's plays, from 20,000 characters of them (a fiftieth),
  which a network of this size overfits, and from the first 900,000. 64 recurrent units, 400
  updates, measured every 50 updates with dropout off, on validation and on test text of 5,000
  characters each, neither of them among the training text.

The plan, fixed before the run. 10 networks a way. Each way has its own learning rate, the best of
three: in recall by the accuracy on validation sequences, averaged over measurements and networks;
in text by the mean over networks of the fewest bits on validation text. What is compared is, in
recall, the test accuracy averaged over the measurements, and after the last update; in text the
test bits at the measurement with the fewest validation bits (early stopping), and after the last
update. "Lower" and "higher" need a mean difference of 4 standard errors of the 10 paired
differences; anything else is not told apart, for "no difference" would need 20 pairs.

*writer* is one larger network, trained on the 900,000 characters to write some itself. Its weights
are stored; no verdict follows from it.

The results stand in memory_dropout.json beside this file. A run that is in it already is not
repeated; delete the file to begin again. Run it with ``make reproduce``.
"""

import base64
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from runs import Run, run_missing
from torch import Tensor, nn

from companion import data
from companion.nn import Dropout

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "networks that remember a symbol, and networks that read Shakespeare's plays"
SETTINGS: dict[str, Any] = {
    "p": 0.25,
    "networks": 10,
    "recall": {
        "symbols": 4,
        "delay": 20,
        "hidden": 32,
        "batch": 32,
        "updates": 500,
        "every": 50,
        "measured_on": 500,
    },
    "text": {
        "embedding": 24,
        "hidden": 64,
        "batch": 16,
        "steps": 24,
        "updates": 400,
        "every": 50,
        "measured_on": 5_000,
    },
    "writer": {
        "embedding": 32,
        "hidden": 96,
        "batch": 32,
        "steps": 64,
        "updates": 3000,
        "every": 200,
        "p": 0.1,
        "adam": 0.004,
    },
}
DROPS = (
    "none",
    "units, sequence",
    "units, step",
    "memory, step",
    "weights, sequence",
    "weights, step",
)
RATES = {"recall": (0.003, 0.01, 0.03), "text": (0.005, 0.01, 0.02)}
TEXTS = {"a fiftieth": 20_000, "all": 900_000}
BEGINNING: dict[str, Any] = {"updates": 50}


class Stack:
    """Many GRUs of one shape, each with its own weights, and a layer that reads their states.

    The recurrent formulas are PyTorch's. ``read`` is what the gates of the next step and the output
    read, ``h`` is the memory that is carried on.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, networks: int) -> None:
        self.seeds = [torch.Generator().manual_seed(s) for s in range(networks)]
        self.hidden, self.networks = hidden, networks
        bound = hidden**-0.5
        self.W = self.uniform(inputs, 3 * hidden, bound)
        self.U = self.uniform(hidden, 3 * hidden, bound)
        self.b = self.uniform(1, 3 * hidden, bound)
        self.V = self.uniform(hidden, outputs, bound)
        self.c = self.uniform(1, outputs, bound)
        self.parameters = [self.W, self.U, self.b, self.V, self.c]

    def uniform(self, rows: int, columns: int, bound: float) -> Tensor:
        numbers = [torch.rand(rows, columns, generator=seed) for seed in self.seeds]
        return (bound * (2 * torch.stack(numbers) - 1)).requires_grad_()

    def states(
        self, x: Tensor, drop: str, mask: Callable[[torch.Size], Tensor]
    ) -> list[Tensor]:
        """What is read after each step of `x`, shape (steps, networks, batch, inputs)."""
        what = drop.split(", ")[0]
        W, U, size = self.W, self.U, 2 * self.hidden
        h = read = x.new_zeros(self.networks, x.shape[2], self.hidden)
        once = mask(h.shape) if drop == "units, sequence" else None
        if drop == "weights, sequence":
            W, U = W * mask(W.shape), U * mask(U.shape)
        if drop != "weights, step":
            rows = x.transpose(0, 1).flatten(1, 2)
            inputs = torch.baddbmm(self.b, rows, W).unflatten(1, (len(x), -1))
        found = []
        for t in range(len(x)):
            if drop == "weights, step":
                from_x = torch.baddbmm(self.b, x[t], W * mask(W.shape))
                from_h = torch.bmm(read, U * mask(U.shape))
            else:
                from_x, from_h = inputs[:, t], torch.bmm(read, U)
            gates = torch.sigmoid(from_x[..., :size] + from_h[..., :size])
            r, z = gates.chunk(2, dim=-1)
            n = torch.tanh(from_x[..., size:] + r * from_h[..., size:])
            h = read = n + z * (h - n)
            if what == "memory":
                h = read = h * mask(h.shape)
            elif what == "units":
                read = h * (mask(h.shape) if once is None else once)
            found.append(read)
        return found

    def logits(self, states: Tensor) -> Tensor:
        return torch.baddbmm(self.c, states, self.V)


def masks(seed: int) -> Callable[[torch.Size], Tensor]:
    """Draw masks that are 0 or ``1 / (1 - p)``."""
    generator, p = torch.Generator().manual_seed(seed), SETTINGS["p"]
    return lambda shape: (torch.rand(shape, generator=generator) >= p) / (1 - p)


def mean_loss(logits: Tensor, target: Tensor) -> Tensor:
    """One loss a network, in nats; logits (networks, n, classes), target (networks, n)."""
    return F.cross_entropy(logits.transpose(1, 2), target, reduction="none").mean(1)


def train(
    parameters: Iterable[Tensor],
    rate: float,
    updates: int,
    every: int,
    loss: Callable[[], Tensor],
    measure: Callable[[], dict[str, Any]],
) -> Run:
    """Train with Adam, and measure before the first update and after every so many."""
    parameters = list(parameters)
    adam = torch.optim.Adam(parameters, lr=rate)
    measured: Run = {"update": []}
    for update in range(updates + 1):
        if update % every == 0:
            with torch.no_grad():
                for name, value in {"update": update, **measure()}.items():
                    measured.setdefault(name, []).append(value)
        if update < updates:
            adam.zero_grad()
            loss().backward()
            adam.step()
    return measured


def rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]


def recall(drop: str, rate: float, updates: int | None = None) -> Run:
    """Train a stack to name a symbol it saw `delay` steps ago."""
    own, networks = SETTINGS["recall"], SETTINGS["networks"]
    symbols = own["symbols"]
    stack, mask = Stack(symbols, own["hidden"], symbols, networks), masks(1)

    def draw(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        symbol = torch.randint(symbols, (networks, n), generator=generator)
        x = torch.zeros(own["delay"] + 1, networks, n, symbols)
        x[0] = F.one_hot(symbol, symbols)
        return x, symbol

    stream = torch.Generator().manual_seed(2)
    validation, test = (
        draw(own["measured_on"], torch.Generator().manual_seed(s)) for s in (3, 4)
    )

    def loss() -> Tensor:
        x, symbol = draw(own["batch"], stream)
        return mean_loss(stack.logits(stack.states(x, drop, mask)[-1]), symbol).sum()

    def accuracy(x: Tensor, symbol: Tensor) -> list[float]:
        guess = stack.logits(stack.states(x, "none", mask)[-1]).argmax(2)
        return rounded((guess == symbol).double().mean(1))

    return train(
        stack.parameters,
        rate,
        own["updates"] if updates is None else updates,
        own["every"],
        loss,
        lambda: {"validation": accuracy(*validation), "test": accuracy(*test)},
    )


def plays() -> tuple[list[str], dict[str, Tensor]]:
    """The characters there are, and the text in numbers: all to train on, validation, test."""
    characters, tokens = np.unique(
        list(data.load("tinyshakespeare")), return_inverse=True
    )
    n, text = SETTINGS["text"]["measured_on"], torch.from_numpy(tokens)
    return characters.tolist(), {
        "train": text[: TEXTS["all"]],
        "validation": text[-2 * n : -n],
        "test": text[-n:],
    }


def text(drop: str, rate: float, amount: str, updates: int | None = None) -> Run:
    """Train a stack to predict the next character."""
    own, networks = SETTINGS["text"], SETTINGS["networks"]
    characters, parts = plays()
    parts["train"] = parts["train"][: TEXTS[amount]]
    stack = Stack(own["embedding"], own["hidden"], len(characters), networks)
    embedding = stack.uniform(len(characters), own["embedding"], 1.0)
    stream, mask = torch.Generator().manual_seed(2), masks(1)
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


def writer(updates: int | None = None) -> Run:
    """Train one network to write, and keep its weights, in half precision."""
    own = SETTINGS["writer"]
    characters, parts = plays()
    torch.manual_seed(0)
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


def run(task: str, updates: int | None = None, **key: Any) -> Run:
    """Train one stack of networks, or the writer, and measure along the way."""
    torch.set_num_threads(1)
    return {"recall": recall, "text": text, "writer": writer}[task](
        updates=updates, **key
    )


def wanted_runs() -> list[Run]:
    recalls = [
        {"task": "recall", "drop": drop, "rate": rate}
        for drop, rate in product(DROPS, RATES["recall"])
    ]
    texts = [
        {"task": "text", "amount": amount, "drop": drop, "rate": rate}
        for amount, drops in (("a fiftieth", DROPS), ("all", DROPS[:2]))
        for drop, rate in product(drops, RATES["text"])
    ]
    return [*recalls, {"task": "writer"}, *texts]


def main() -> None:
    data.load("tinyshakespeare")  # says what is missing before anything is started
    run_missing(RESULTS, WHAT, wanted_runs(), run, SETTINGS, ("numpy", "torch"))


if __name__ == "__main__":
    main()
