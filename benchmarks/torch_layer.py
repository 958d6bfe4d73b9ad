"""Speed of companion.nn.Dropout: the layer forward and backward, and a whole epoch."""

from collections.abc import Callable
from functools import partial

import torch
from side_by_side import ROUNDS, medians, print_times
from torch import nn

import companion.nn

SIZES = (4_096, 131_072, 4_000_000)
EXAMPLES, BATCH = 12_800, 256  # 50 updates of the network below
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "no dropout": nn.Identity,
    "companion.nn.Dropout": partial(companion.nn.Dropout, 0.5),
    "torch.nn.Dropout": partial(nn.Dropout, 0.5),
}


def forward_and_backward(
    layer: nn.Module, x: torch.Tensor, grad: torch.Tensor, times: int
) -> None:
    for _ in range(times):
        x.grad = None
        layer(x).backward(grad)


def print_layers(threads: int) -> None:
    for n in SIZES:
        x, grad = torch.randn(n, requires_grad=True), torch.randn(n)
        times = max(1, 1_000_000 // n)
        for p in (0.5, 0.1):
            layers = {
                "companion.nn.Dropout": companion.nn.Dropout(p),
                "torch.nn.Dropout": nn.Dropout(p),
                "torch.nn.ReLU, for comparison": nn.ReLU(),
            }
            runs: dict[str, Callable[[], object]] = {
                name: partial(forward_and_backward, layer, x, grad, times)
                for name, layer in layers.items()
            }
            print_times(f"{n:>9,} units, p = {p}, {threads} thr.", runs, n * times)


def epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    X: torch.Tensor,
    y: torch.Tensor,
) -> None:
    for batch in torch.randperm(len(X)).split(BATCH):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(X[batch]), y[batch]).backward()
        optimizer.step()


def print_epochs(threads: int) -> None:
    X, y = torch.rand(EXAMPLES, 784), torch.randint(10, (EXAMPLES,))
    runs = {}
    for name, layer in LAYERS.items():
        network = nn.Sequential(
            *(nn.Linear(784, 256), nn.ReLU(), layer()),
            *(nn.Linear(256, 256), nn.ReLU(), layer()),
            nn.Linear(256, 10),
        )
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        runs[name] = partial(epoch, network, optimizer, X, y)
    times, ratios = medians(runs)
    print(f"\n784-256-256-10, batches of {BATCH}, SGD, {threads} thread(s)")
    print(f"{'':38}{'ms an update':>14}{'time / none':>14}")
    for name, took, ratio in zip(runs, times, ratios, strict=True):
        milliseconds = took / (EXAMPLES / BATCH) * 1e3
        print(f"  {name:<36}{milliseconds:>14.2f}{ratio:>14.2f}")


def main() -> None:
    print(f"float32, forward and backward, medians of {ROUNDS} rounds")
    print(f"PyTorch {torch.__version__}")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        print_layers(threads)
        print_epochs(threads)


if __name__ == "__main__":
    main()
