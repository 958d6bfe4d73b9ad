"""Speed and memory of companion.inverted.dropout, forward, on one thread."""

import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from side_by_side import ROUNDS, print_times

from companion import inverted

N = 4_000_000


def extra_bytes(run: Callable[[], np.ndarray]) -> float:
    """Peak memory beyond the result, in bytes an element."""
    tracemalloc.start()
    result = run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return (peak - result.nbytes) / result.size


def naive_draw(n: int, keep: float, rng: np.random.Generator) -> np.ndarray:
    return rng.random(n) < keep


def naive(x: np.ndarray, keep: float, rng: np.random.Generator) -> np.ndarray:
    return x * naive_draw(x.size, keep, rng) / keep


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(N, dtype=np.float32)
    tensor, out = torch.from_numpy(x), np.empty_like(x)
    print(f"{N:,} float32, forward, one thread, medians of {ROUNDS} rounds")
    print(f"NumPy {np.__version__}, PyTorch {torch.__version__}")
    for p in (0.5, 0.1):
        keep = 1 - p
        scale = np.float32(1 / keep)
        ours = partial(inverted.dropout, x, p, rng=rng)
        runs: dict[str, Callable[[], object]] = {
            "companion.inverted.dropout": ours,
            "torch.nn.functional.dropout": partial(
                torch.nn.functional.dropout, tensor, p
            ),
            "x * (rng.random(n) < keep) / keep": partial(naive, x, keep, rng),
            "rng.random(n) < keep": partial(naive_draw, x.size, keep, rng),
            "np.multiply(x, c, out)": partial(np.multiply, x, scale, out=out),
        }
        print_times(f"p = {p}", runs, N)
        print(
            f"  peak memory beyond the result: {extra_bytes(ours):.2f} bytes an element"
        )


if __name__ == "__main__":
    main()
