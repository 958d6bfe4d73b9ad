"""How long do dropout layers take on a processor, forward and backward, and what does Numba cost?

PyTorch's layer, the companion's with Numba and without it, and ReLU for comparison, in float32 on
one thread. They take turns in each of 25 rounds of one process; the times are medians over the
rounds, in microseconds of the processor for each call. Beside them stand how many seconds the first
call took, in which Numba compiles, and how many megabytes Numba and LLVM take on the disk. The
results stand in layer_times.json beside this file, with the name of the processor that they hold
for. Delete the file to begin again. Run it with ``make reproduce``, and nothing else beside it.
"""

import platform
import time
from collections.abc import Callable
from importlib.metadata import files
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from runs import Run, run_missing
from torch import nn

import companion.nn
from companion.nn import drop

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "dropout layers, forward and backward, timed on one thread"
SETTINGS: dict[str, Any] = {
    "units": [1024, 131_072, 4_000_000],
    "p": [0.1, 0.5],
    "rounds": 25,
    "units a round": 4_000_000,
}
BEGINNING = {"rounds": 0}


def run(threads: int, rounds: int = SETTINGS["rounds"]) -> Run:
    """Times of each layer, for each number of units and each p."""
    grid = list(product(SETTINGS["units"], SETTINGS["p"]))
    measured: Run = {"units": [n for n, _ in grid], "p": [p for _, p in grid]}
    if not rounds:
        return measured
    torch.set_num_threads(threads)
    start = time.process_time()
    step(companion.nn.Dropout(0.5), torch.ones(1, requires_grad=True), torch.ones(1))
    measured["first call"] = round(time.process_time() - start, 3)
    measured["megabytes"] = round(sum(map(size_of, ("numba", "llvmlite"))) / 1e6)
    measured["processor"] = processor()
    times = [layer_times(n, p, rounds) for n, p in grid]
    return measured | {name: [t[name] for t in times] for name in times[0]}


def layer_times(n: int, p: float, rounds: int) -> dict[str, float]:
    """Microseconds that a call forward and backward takes, of each layer."""
    x, grad = torch.randn(n, requires_grad=True), torch.randn(n)
    own, builtin, relu = companion.nn.Dropout(p), nn.Dropout(p), nn.ReLU()

    def without_numba() -> None:
        with patch.multiple(drop, _kernel=lambda *_: None, _kernels=lambda: None):
            step(own, x, grad)

    steps: dict[str, Callable[[], None]] = {
        "PyTorch": lambda: step(builtin, x, grad),
        "companion": lambda: step(own, x, grad),
        "without Numba": without_numba,
        "ReLU": lambda: step(relu, x, grad),
    }
    calls = max(1, SETTINGS["units a round"] // n // 10)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, one in steps.items():
            start = time.process_time()
            for _ in range(calls):
                one()
            taken[name].append((time.process_time() - start) / calls * 1e6)
    return {name: round(median(each[1:]), 2) for name, each in taken.items()}


def step(layer: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> None:
    x.grad = None
    layer(x).backward(grad)


def size_of(package: str) -> int:
    found = (Path(str(file.locate())) for file in files(package) or [])
    return sum(path.stat().st_size for path in found if path.is_file())


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()


def wanted_runs() -> list[Run]:
    return [{"threads": 1}]


def main() -> None:
    run_missing(
        RESULTS, WHAT, wanted_runs(), run, SETTINGS, ("numpy", "torch", "numba")
    )


if __name__ == "__main__":
    main()
