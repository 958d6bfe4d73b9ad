"""What the tests of companion.symbolic share: modes, masks as drawn, a GRU in NumPy."""

import math

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import torch
from pytensor.compile.mode import Mode
from pytensor.link.vm import VMLinker

from companion.symbolic import bernoulli_mask

# Numba is the default, and computes both branches of a choice. The virtual machine computes
# only the one it needs; without C it starts at once, so most tests use it.
LAZY = Mode(VMLinker(use_cloop=False, c_thunks=False), "fast_run")
# Numbers of order 1, fewer than a hundred roundings away from exact ones.
FLOAT32 = {"rtol": 0, "atol": 1e-5}
FLOAT64 = {"rtol": 0, "atol": 1e-14}
drops = pytest.mark.parametrize("drop", ["units", "weights"])
masks_per = pytest.mark.parametrize("mask_per", ["sequence", "step"])


@pytest.fixture(autouse=True)
def without_a_c_compiler():
    # A scan would look for one, and warn where there is no BLAS to link to.
    with pytensor.config.change_flags(cxx=""):
        yield


def generator(seed=0):
    return pt.random.shared_rng(seed=seed)


def state(rng):
    return rng.get_value().bit_generator.state


def masks(shapes, p, seed=0):
    """The masks of layers in a row, the first of which takes a generator of this seed."""
    rng, drawn = generator(seed), []
    for shape in shapes:
        rng, mask = bernoulli_mask(shape, p, rng)
        drawn.append(mask)
    return pytensor.function([], drawn, mode=LAZY)()


def activations(shape, dtype="float32"):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def states_of(gru, x, p, train, seed=0):
    inputs = pt.tensor3(dtype=gru.dtype)
    _, states = gru(inputs, p, train, generator(seed))
    return pytensor.function([inputs], states, mode=LAZY)(x)


def gru_by_hand(gru, x, x_kept=1, h_kept=1, W_kept=1, U_kept=1):
    """The docstring's equations in NumPy; what is kept is 1, 0 or, at test time, 1 - p."""
    W, U, b = (param.get_value() for param in gru.params)
    h, states = np.zeros((x.shape[1], gru.hidden_size)), []
    h_kept = np.broadcast_to(h_kept, (len(x), *h.shape))
    U_kept = np.broadcast_to(U_kept, (len(x), *U.shape))
    for x_t, h_t, U_t in zip(
        (x * x_kept) @ (W * W_kept) + b, h_kept, U_kept, strict=True
    ):
        x_r, x_z, x_n = np.split(x_t, 3, axis=1)
        h_r, h_z, h_n = np.split((h * h_t) @ (U * U_t), 3, axis=1)
        r, z = 1 / (1 + np.exp(-x_r - h_r)), 1 / (1 + np.exp(-x_z - h_z))
        h = (1 - z) * np.tanh(x_n + r * h_n) + z * h
        states.append(h)
    return np.stack(states)


def kept_in(drop, mask_per, p, seed, *, steps=5, batch=3, input_size=4, hidden_size=6):
    """The masks of a GRU in training: on its input and its state, or on W and U."""
    times = steps if mask_per == "step" else 1
    if drop == "units":
        names = ["x_kept", "h_kept"]
        shapes = [(times, batch, input_size), (times, batch, hidden_size)]
    else:
        names = ["W_kept", "U_kept"]
        shapes = [(times, n, 3 * hidden_size) for n in (input_size, hidden_size)]
    return dict(zip(names, masks(shapes, p, seed), strict=True))


def torch_gru(gru):
    copy = torch.nn.GRU(
        gru.input_size, gru.hidden_size, dtype=getattr(torch, gru.dtype)
    )
    W, U, b = (torch.from_numpy(param.get_value()) for param in gru.params)
    with torch.no_grad():
        copy.weight_ih_l0.copy_(W.T)
        copy.weight_hh_l0.copy_(U.T)
        copy.bias_ih_l0.copy_(b)
        copy.bias_hh_l0.zero_()
    return copy


def assert_uniform(param, bound):
    squares = (param.get_value() / bound) ** 2
    assert squares.max() <= 1
    # Their mean is 1/3 and their variance 1/5 - 1/9; 5 standard errors.
    assert abs(squares.mean() - 1 / 3) <= 5 * math.sqrt((1 / 5 - 1 / 9) / squares.size)
