"""Several processes train one network: which masks they draw, and how a stopped run goes on.

The bound on chance is 5 standard errors; with the fixed seeds used here it holds always or never.
"""

import importlib
import io
import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from companion.counter import fold_in
from companion.nn import Dropout, functional

REPRODUCE = Path(__file__).parents[1] / "reproduce"


# What every rank does. A new process imports this file for it.


class KeyedByStep(nn.Module):
    """Dropout by a key of a seed, the rank and the step: only the step is a state."""

    def __init__(self, rank):
        super().__init__()
        self.rank = rank
        self.register_buffer("step", torch.tensor(0))

    def forward(self, x):
        self.step += 1
        key = fold_in(7, self.rank, int(self.step))
        return functional.dropout(x, 0.5, self.training, key=key)


def own_generator(rank):
    return Dropout(0.5, generator=torch.Generator().manual_seed(rank))


CURES = {
    "a seed for each": lambda rank: Dropout(0.5),
    "a generator for each": own_generator,
    "a key for each": KeyedByStep,
}


DISTRIBUTED = list(product([Shard(0), Shard(1), Replicate()], [(), 0, 1], [7, None]))


def network(rank, cure):
    torch.manual_seed(0)  # the same weights everywhere
    layers = nn.Linear(8, 32), nn.ReLU(), CURES[cure](rank), nn.Linear(32, 3)
    return nn.Sequential(*layers)


def losses(model, rank, steps):
    """The loss of each step, on data of this rank."""
    for step in steps:
        rng = np.random.default_rng([rank, step])
        X = torch.from_numpy(rng.normal(size=(20, 8)).astype("f4"))
        yield cross_entropy(model(X), torch.from_numpy(rng.integers(3, size=20)))


def gradients(rank, cure):
    """Of this rank when it trains alone, and when it trains with the others."""
    found = []
    for wrap in (nn.Sequential, DistributedDataParallel):
        model = wrap(network(rank, cure))
        torch.manual_seed(rank)
        for loss in losses(model, rank, range(2)):
            model.zero_grad()
            loss.backward()
        found.append([p.grad.numpy() for p in model.parameters()])
    return found


def begun(rank, cure):
    model = DistributedDataParallel(network(rank, cure))
    torch.manual_seed(rank)
    return model, torch.optim.Adam(model.parameters(), lr=0.01)


def trained(model, optimizer, rank, steps):
    for loss in losses(model, rank, steps):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [p.detach().numpy() for p in model.parameters()]


def weights(rank, cure):
    """After a run in one go, and after one that stopped half way and went on."""
    straight = trained(*begun(rank, cure), rank, range(4))
    model, optimizer = begun(rank, cure)
    trained(model, optimizer, rank, range(2))
    checkpoint = io.BytesIO()
    state = model.state_dict(), optimizer.state_dict(), torch.get_rng_state()
    torch.save(state, checkpoint)

    checkpoint.seek(0)
    of_model, of_optimizer, of_masks = torch.load(checkpoint)
    model, optimizer = begun(rank, cure)
    model.load_state_dict(of_model)
    optimizer.load_state_dict(of_optimizer)
    torch.set_rng_state(of_masks)
    return straight, trained(model, optimizer, rank, range(2, 4))


def whole(rank, placement, shared_axes, key):
    """Output and gradient, put together, of a tensor of which each rank has a part."""
    torch.manual_seed(rank)
    mesh = init_device_mesh("cpu", (2,))
    x = distribute_tensor(torch.ones(5, 300), mesh, [placement]).requires_grad_()
    y = functional.dropout(x, 0.5, True, shared_axes=shared_axes, key=key)
    y.backward(distribute_tensor(torch.ones(5, 300), mesh, [placement]))
    return y.full_tensor().detach().numpy(), x.grad.full_tensor().numpy()


def everything(rank):
    found = {cure: (gradients(rank, cure), weights(rank, cure)) for cure in CURES}
    found["kept"] = importlib.import_module("ranks").kept(rank)
    found["whole"] = [whole(rank, *case) for case in DISTRIBUTED]
    return found


# What that gives


@pytest.fixture(scope="module")
def ranks():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPRODUCE)
        yield importlib.import_module("ranks")


@pytest.fixture(scope="module")
def found(ranks):
    """What each of two ranks found."""
    return ranks.on_every_rank(everything)


@pytest.mark.parametrize("cure", CURES)
def test_the_common_gradient_is_the_mean_of_those_of_each_ranks_own_masks(found, cure):
    (alone, common), (alone_there, common_there) = (rank[cure][0] for rank in found)
    for here, there, mean, mean_there in zip(
        alone, alone_there, common, common_there, strict=True
    ):
        np.testing.assert_array_equal(mean, here / 2 + there / 2, strict=True)
        np.testing.assert_array_equal(mean, mean_there, strict=True)


@pytest.mark.parametrize("cure", CURES)
def test_a_resumed_run_goes_on_bit_for_bit(found, cure):
    for rank in found:
        for straight, resumed in zip(*rank[cure][1], strict=True):
            np.testing.assert_array_equal(resumed, straight, strict=True)


@pytest.mark.parametrize("case", range(len(DISTRIBUTED)), ids=map(str, DISTRIBUTED))
def test_the_parts_of_a_distributed_tensor_have_the_mask_of_the_whole(found, case):
    """Without a key it is that of rank 0's seed, which is 0."""
    _, shared_axes, key = DISTRIBUTED[case]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = torch.ones(5, 300)
        y = functional.dropout(x, 0.5, True, shared_axes=shared_axes, key=key)
    for rank in found:
        for together in rank["whole"][case]:
            np.testing.assert_array_equal(together, y.numpy(), strict=True)


def test_one_seed_is_one_mask_on_every_rank_and_each_cure_parts_them(
    ranks, found, monkeypatch, capsys
):
    kept = [rank["kept"] for rank in found]
    monkeypatch.setattr(ranks, "on_every_rank", {ranks.kept: kept}.get)
    ranks.main()
    share = json.loads(capsys.readouterr().out)
    assert share.pop("one seed") == share.pop("rank 0's saved state for all") == 1
    assert share.keys() == CURES.keys()
    for same in share.values():  # of 2**16 units with p = 0.5
        assert abs(same - 0.5) <= 5 * math.sqrt(0.25 / 2**16)
