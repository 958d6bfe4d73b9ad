"""Speed of companion.symbolic.dropout_layer, compiled, forward, on one thread."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytensor
import pytensor.tensor as pt
import torch
from side_by_side import ROUNDS, print_times

from companion import standard, symbolic

N = 4_000_000


def compiled(p: float, *, training: bool | None) -> Callable:
    """The layer; None for a flag that is an input, as in the book."""
    x, rng = pt.vector("x", dtype="float32"), pt.random.shared_rng(seed=0)
    train = pt.scalar("train", dtype="bool") if training is None else training
    next_rng, y = symbolic.dropout_layer(x, p, train, rng)
    inputs = [x, train] if training is None else [x]
    return pytensor.function(inputs, y, updates={rng: next_rng}, trust_input=True)


def main() -> None:
    torch.set_num_threads(1)
    x = np.random.default_rng(0).standard_normal(N, dtype=np.float32)
    tensor, yes, no = torch.from_numpy(x), np.array(True), np.array(False)
    print(f"{N:,} float32, forward, one thread, medians of {ROUNDS} rounds")
    print(f"PyTensor {pytensor.__version__}, PyTorch {torch.__version__}")
    for p in (0.5, 0.1):
        layer = compiled(p, training=None)
        rng = np.random.default_rng(1)
        runs: dict[str, Callable[[], object]] = {
            "symbolic.dropout_layer, training": partial(layer, x, yes),
            "the same, training settled at build": partial(
                compiled(p, training=True), x
            ),
            "symbolic.dropout_layer, testing": partial(layer, x, no),
            "companion.standard.dropout": partial(
                standard.dropout, x, p, training=True, rng=rng
            ),
            "torch.nn.functional.dropout": partial(
                torch.nn.functional.dropout, tensor, p
            ),
        }
        print_times(f"p = {p}", runs, N)


if __name__ == "__main__":
    main()
