"""Time functions against each other.

Every contestant runs in turn in each round of one process, so that a slow moment of the machine
hits them all; the figures are medians over the rounds, the ratios medians of ratios.
"""

import time
from collections.abc import Callable, Mapping

import numpy as np

ROUNDS = 25


def print_times(title: str, runs: Mapping[str, Callable[[], object]], n: int) -> None:
    """Print nanoseconds an element, and the time of each over that of the first."""
    times, ratios = medians(runs)
    print(f"\n{title}{'ns an element':>45}{'time / ours':>14}")
    for name, nanoseconds, ratio in zip(runs, times / n * 1e9, ratios, strict=True):
        print(f"  {name:<36}{nanoseconds:>14.2f}{ratio:>14.2f}")


def medians(
    runs: Mapping[str, Callable[[], object]], rounds: int = ROUNDS
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of each run, and their ratios to the first."""
    for run in runs.values():
        run()
    times = np.array([[seconds(run) for run in runs.values()] for _ in range(rounds)])
    return np.median(times, axis=0), np.median(times / times[:, :1], axis=0)


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
