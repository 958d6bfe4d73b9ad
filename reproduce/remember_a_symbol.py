"""What dropout does to a memory that is trained, by where the mask stands in the loop.

One of 4 symbols, then 20 empty steps, then the network has to name the symbol. There are 4 such
sequences, so nothing is held out: the question is what is learned, and how soon. GRUs of 32 units,
five ways to drop at p = 0.25, ten networks a way, trained as one stack: network k of each way
starts from the same weights and sees the same sequences in the same order, so that networks make
pairs. 400 updates of 16 sequences, measured on 200 others every 50 updates, with dropout off and,
to see what was learned, with it on.

The plan, fixed before the run. Each way has its own learning rate, the best of several by the
accuracy on validation sequences, averaged over measurements and networks. What is compared is the
accuracy on test sequences, averaged over the measurements of each network, and after the last
update. "Lower" and "higher" need a mean difference of 4 standard errors of the 10 paired
differences; anything else is not told apart, for "no difference" would need 20 pairs.

After a first look at the rates 0.003, 0.01 and 0.03 the highest was the best for four of the five
ways, so 0.1, 0.3 and 1.0 were added; nothing else was changed. For masks on the memory the highest
is still the best, so for them each rate is looked at.

The results stand in remember_a_symbol.json beside this file. A run that is in it already is not
repeated; delete the file to begin again. Run it with ``make reproduce``.
"""

from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from runs import Run, run_missing
from torch import Tensor

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "GRUs that have to remember a symbol for 20 steps"
SETTINGS: dict[str, Any] = {
    "p": 0.25,
    "networks": 10,
    "symbols": 4,
    "delay": 20,
    "hidden": 32,
    "batch": 16,
    "updates": 400,
    "every": 50,
    "measured_on": 200,
}
DROPS = ("none", "units, sequence", "units, step", "memory, step", "weights, step")
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
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


def masks(p: float, seed: int) -> Callable[[torch.Size], Tensor]:
    """Draw masks that are 0 or ``1 / (1 - p)``."""
    generator = torch.Generator().manual_seed(seed)
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


def run(drop: str, rate: float, updates: int | None = None) -> Run:
    """Train a stack to name a symbol it saw `delay` steps ago."""
    torch.set_num_threads(1)
    own, networks, symbols = SETTINGS, SETTINGS["networks"], SETTINGS["symbols"]
    stack, mask = Stack(symbols, own["hidden"], symbols, networks), masks(own["p"], 1)

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

    measured_under = masks(own["p"], 5)

    def accuracy(x: Tensor, symbol: Tensor, drop: str = "none") -> list[float]:
        guess = stack.logits(stack.states(x, drop, measured_under)[-1]).argmax(2)
        return rounded((guess == symbol).double().mean(1))

    return train(
        stack.parameters,
        rate,
        own["updates"] if updates is None else updates,
        own["every"],
        loss,
        lambda: {
            "validation": accuracy(*validation),
            "test": accuracy(*test),
            "dropout on": accuracy(*test, drop),
        },
    )


def wanted_runs() -> list[Run]:
    return [{"drop": drop, "rate": rate} for drop, rate in product(DROPS, RATES)]


def main() -> None:
    run_missing(RESULTS, WHAT, wanted_runs(), run, SETTINGS, ("torch",))


if __name__ == "__main__":
    main()
