"""Which units two processes drop that train one network together: printed as JSON.

A notebook runs this file, because a new process cannot run what stands in a cell. Both processes
draw a mask from one seed, from the state that rank 0 would save for them all, and in the three
ways that tell them apart. Printed is the share of units that have the same fate on both: 1 for one
mask, and ``p**2 + (1 - p)**2`` for two that have nothing to do with each other.
"""

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed

from companion.counter import fold_in
from companion.nn import Dropout

RANKS, P, UNITS, SEED = 2, 0.5, 2**16, 0

Found = TypeVar("Found")


def on_every_rank(work: Callable[[int], Found], ranks: int = RANKS) -> list[Found]:
    """Call ``work(rank)`` in a process for each rank, all in one group; in order of rank.

    What `work` is and what it returns must survive pickling, and no result is a tensor.
    """
    with (
        TemporaryDirectory() as folder,
        ProcessPoolExecutor(ranks, mp_context=get_context("spawn")) as pool,
    ):
        joined = partial(_in_group, work, Path(folder, "meeting").as_uri(), ranks)
        return list(pool.map(joined, range(ranks)))


def _in_group(
    work: Callable[[int], Found], meeting: str, ranks: int, rank: int
) -> Found:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=meeting,
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=60),
    )
    try:
        return work(rank)
    finally:
        distributed.destroy_process_group()


def kept(rank: int) -> dict[str, npt.NDArray[np.bool_]]:
    """Which units this rank keeps, in each of the ways."""
    x, layer = torch.ones(UNITS), Dropout(P)
    torch.manual_seed(SEED)
    outputs = {"one seed": layer(x)}
    torch.manual_seed(SEED + rank)
    state = torch.get_rng_state()
    outputs["a seed for each"] = layer(x)
    distributed.broadcast(state, src=0)
    torch.set_rng_state(state)
    outputs["rank 0's saved state for all"] = layer(x)
    own = torch.Generator().manual_seed(SEED + rank)
    outputs["a generator for each"] = Dropout(P, generator=own)(x)
    outputs["a key for each"] = Dropout(P, key=fold_in(SEED, rank))(x)
    return {way: (y != 0).numpy() for way, y in outputs.items()}


def main() -> None:
    first, second = on_every_rank(kept)
    print(json.dumps({way: float((first[way] == second[way]).mean()) for way in first}))


if __name__ == "__main__":
    main()
