"""The recurrent experiments: the stack of GRUs is PyTorch's, and each mask stands in its place."""

import base64
import importlib
import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
NAMES = "remember_a_symbol", "language_dropout", "writer"


@pytest.fixture
def load(monkeypatch):
    """Import a program of the folder, afresh, and put the threads back."""
    monkeypatch.syspath_prepend(ROOT / "reproduce")
    before = torch.get_num_threads()
    for name in (*NAMES, "runs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    torch.set_num_threads(before)
    for name in (*NAMES, "runs"):
        sys.modules.pop(name, None)


@pytest.fixture
def symbols(load):
    return load("remember_a_symbol")


@pytest.fixture(params=NAMES)
def program(request, load):
    return load(request.param)


def stored(program):
    return json.loads(program.RESULTS.read_text())


# What is stored


def test_all_that_is_wanted_is_stored_under_these_settings(program):
    content = stored(program)
    wanted = program.wanted_runs()
    keys = [{name: run[name] for name in wanted[0]} for run in content["runs"]]
    assert keys == wanted
    assert (content["settings"], content["what"]) == (program.SETTINGS, program.WHAT)


def test_every_run_has_one_figure_a_measurement_and_network(program):
    settings, most = program.SETTINGS, math.log2(65) + 1
    updates = list(range(0, settings["updates"] + 1, settings["every"]))
    for run in stored(program)["runs"]:
        assert run["update"] == updates
        assert run["seconds"] > 0
        for part in {"train", "validation", "test", "dropout on"} & run.keys():
            shape = (len(updates), settings.get("networks", 1))
            assert np.reshape(run[part], (len(updates), -1)).shape == shape
            assert 0 <= np.min(run[part]) <= np.max(run[part]) < most


# The stack


def states(stack, x, drop, mask=None):
    with torch.no_grad():
        return torch.stack(stack.states(x, drop, mask))


@pytest.fixture
def stack(symbols):
    return symbols.Stack(inputs=3, hidden=5, outputs=2, networks=4)


@pytest.fixture
def x():
    return torch.randn(7, 4, 6, 3, generator=torch.Generator().manual_seed(0))


def test_each_network_of_a_stack_is_a_gru_of_pytorch(stack, x):
    found = states(stack, x, "none")
    for k in range(4):
        gru = torch.nn.GRU(3, 5)
        with torch.no_grad():
            gru.weight_ih_l0.copy_(stack.W[k].T)
            gru.weight_hh_l0.copy_(stack.U[k].T)
            gru.bias_ih_l0.copy_(stack.b[k, 0])
            gru.bias_hh_l0.zero_()
            assert torch.allclose(found[:, k], gru(x[:, k])[0], atol=1e-6)


def test_networks_of_a_stack_differ_and_are_the_same_whatever_their_number(symbols):
    few, many = (symbols.Stack(3, 5, 2, networks) for networks in (2, 4))
    assert torch.equal(few.U, many.U[:2])
    assert len(many.U.flatten(1).unique(dim=0)) == 4


@pytest.mark.parametrize(
    "drop", ["units, sequence", "units, step", "memory, step", "weights, sequence"]
)
def test_a_mask_of_ones_drops_nothing_anywhere(drop, stack, x):
    found = states(stack, x, drop, torch.ones)
    assert torch.allclose(found, states(stack, x, "none"), atol=1e-6)


@pytest.mark.parametrize(
    ("drop", "shapes"),
    [
        ("none", []),
        ("units, sequence", [(4, 6, 5)]),
        ("units, step", 7 * [(4, 6, 5)]),
        ("memory, step", 7 * [(4, 6, 5)]),
        ("weights, sequence", [(4, 3, 15), (4, 5, 15)]),
        ("weights, step", 7 * [(4, 3, 15), (4, 5, 15)]),
    ],
)
def test_masks_are_drawn_for_what_is_dropped_and_as_often_as_said(
    drop, shapes, stack, x
):
    asked = []

    def mask(shape):
        asked.append(tuple(shape))
        return torch.ones(shape)

    states(stack, x, drop, mask)
    assert asked == shapes


@pytest.mark.parametrize(
    ("drop", "kept"), [("units, step", True), ("memory, step", False)]
)
def test_only_a_mask_on_the_memory_ends_it(drop, kept, stack, x):
    x.requires_grad_()
    calls = itertools.count()
    found = stack.states(x, drop, lambda shape: torch.ones(shape) * (next(calls) != 3))
    (gradient,) = torch.autograd.grad(found[-1].sum(), x)
    assert gradient[:3].any().item() == kept
    assert gradient[4:].any()


def test_masks_are_zero_or_the_scale_at_their_rate_and_repeat(symbols):
    mask, again = (symbols.masks(0.25, seed=3)((400, 500)) for _ in range(2))
    assert mask.unique().tolist() == pytest.approx([0, 4 / 3])
    assert abs((mask == 0).double().mean() - 0.25) < 5 * (0.25 * 0.75 / 2e5) ** 0.5
    assert torch.equal(mask, again)


# The runs


def test_a_few_updates_are_the_beginning_of_a_run(symbols):
    longer = symbols.run("units, step", 0.01, updates=100)
    shorter = symbols.run("units, step", 0.01, updates=50)
    assert shorter == {name: values[:2] for name, values in longer.items()}
    assert longer["update"] == [0, 50, 100]


@pytest.mark.parametrize("name", ["language_dropout", "writer"])
def test_programs_that_read_the_plays_run_on_any_text(name, load, monkeypatch):
    program, writer = load(name), load("writer")
    monkeypatch.setattr(writer.data, "load", lambda name: "to be or not, " * 2000)
    monkeypatch.setitem(program.SETTINGS, "updates", program.SETTINGS["every"])
    key = program.wanted_runs()[0]
    result = program.run(**key, **({"updates": 10} if name != "writer" else {}))
    assert np.mean(result["test"][0]) > 2
    if name == "writer":
        assert np.mean(result["test"][-1]) < 1
        weights = np.frombuffer(base64.b64decode(result["weights"]), np.float16)
        assert len(result["characters"]) == 8
        assert np.isfinite(weights).all()
