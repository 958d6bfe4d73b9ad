"""Dropout1d, 2d and 3d drop whole channels; and without Numba the same is dropped."""

import math

import numpy as np
import pytest
import torch
from test_nn import python

import companion
from companion import counter, nn
from companion.nn.functional import dropout

LAYERS = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d}
each = pytest.mark.parametrize(("axes", "layer"), LAYERS.items())


@each
def test_it_takes_the_place_of_pytorchs(axes, layer):
    theirs = getattr(torch.nn, layer.__name__)
    assert isinstance(layer(), theirs)
    assert not isinstance(layer(), torch.nn.Dropout)
    assert (layer().p, layer().inplace) == (theirs().p, theirs().inplace)
    assert repr(layer(0.2)) == f"{layer.__name__}(p=0.2, inplace=False)"


@each
def test_the_audit_finds_whole_channels_and_nothing_wrong(axes, layer, audit_dropout):
    shape = (16, 32, *[3] * axes)
    audit_dropout(layer, shape=shape, kind="channels", edges=True)


@each
@pytest.mark.parametrize("p", [0.2, 0.5])
def test_whole_channels_are_dropped_with_or_without_a_batch(axes, layer, p):
    x = torch.ones(20, 30, *[3] * axes)
    results = [layer(p, key=5)(x)]
    if layer is not nn.Dropout2d:  # which reads three axes as PyTorch's does
        results.append(layer(p, key=5)(x.flatten(0, 1)).view_as(x))
    for y in results:
        mask = counter.bernoulli_mask((20, 30), p, key=5)
        scale = counter.scale_of(counter.threshold_of(p))
        for place in y.flatten(2).unbind(-1):
            expected = torch.from_numpy(mask).float() * scale
            torch.testing.assert_close(place, expected, rtol=1e-6, atol=0)


@pytest.mark.filterwarnings("ignore:dropout2d")
def test_three_axes_of_2d_are_a_batch_of_sequences_as_in_pytorch():
    x = torch.ones(50, 40, 7)
    for layer in (nn.Dropout2d(0.5, key=5), torch.nn.Dropout2d(0.5)):
        shares = (layer(x) == 0).double().mean(-1)
        assert set(shares.unique().tolist()) == {0, 1}
    mask = counter.bernoulli_mask((50, 40), 0.5, key=5)
    assert np.array_equal((nn.Dropout2d(0.5, key=5)(x) != 0).all(-1).numpy(), mask)


@each
def test_it_is_dropout_with_these_axes_shared(axes, layer):
    x = torch.randn(4, 5, *[3] * axes)
    last = tuple(range(-axes, 0))
    y = dropout(x, 0.5, True, shared_axes=last, key=8)
    assert torch.equal(layer(0.5, key=8)(x), y)
    assert torch.equal(layer(0.5, inplace=True, key=8)(x), y)
    assert torch.equal(x, y)


@each
def test_the_share_of_dropped_channels(axes, layer):
    p, n = 0.2, 5000
    torch.manual_seed(0)
    y = layer(p)(torch.ones(1, n, *[1] * axes))
    dropped = (y == 0).double().mean().item()
    assert abs(dropped - p) <= 5 * math.sqrt(p * (1 - p) / n)


@each
@pytest.mark.parametrize("off", [-1, 2])
def test_another_number_of_dimensions_is_refused(axes, layer, off):
    dimensions = axes + 1 + off
    x = torch.ones([2] * dimensions)
    words = f"needs {axes + 1} or {axes + 2} dimensions, .* a channel; got {dimensions}"
    for training in (True, False):
        with pytest.raises(ValueError, match=words):
            layer().train(training)(x)


@each
@pytest.mark.parametrize(("p", "error"), [(1.5, ValueError), ("half", TypeError)])
def test_bad_p_is_refused(axes, layer, p, error):
    with pytest.raises(error, match=f"got .?{p}"):
        layer(p)


def test_p_1_draws_nothing():
    before = torch.get_rng_state()
    for layer in (nn.Dropout(1), nn.Dropout2d(1)):
        assert not layer(torch.full((2, 3, 4, 4), math.nan)).any()
    assert torch.equal(torch.get_rng_state(), before)


# What is loaded, and what is there without it


def test_numba_and_triton_wait_until_they_are_used():
    result = python("""
import sys, companion.nn
print(*sorted({"numba", "triton"} & set(sys.modules)))
import torch
companion.nn.Dropout(0.5)(torch.ones(3))
print("numba" in sys.modules)
""")
    assert (result.stdout, result.stderr) == ("\nTrue\n", "")


def test_without_numba_the_masks_are_the_same():
    code = """
import sys
if {absent}:
    sys.modules["numba"] = None
import torch
from companion.nn import Dropout, Dropout1d
torch.manual_seed(3)
for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
    x = torch.linspace(-2, 2, 700, dtype=torch.float64).to(dtype).requires_grad_()
    y = Dropout(0.3)(x)
    y.backward(x.detach())
    print(y.double().tolist(), x.grad.double().tolist())
    print(Dropout1d(0.3)(x.view(7, 10, 10)).sum().item())
"""
    results = [python(code.format(absent=absent)) for absent in (True, False)]
    assert [result.stderr for result in results] == ["", ""]
    assert results[0].stdout == results[1].stdout
    assert len(results[0].stdout) > 10_000


def test_the_numpy_side_can_repeat_a_mask_of_pytorchs():
    x = np.random.default_rng(0).normal(size=(4, 6))
    ours = companion.inverted.dropout(
        x, 0.5, mask=counter.bernoulli_mask((4, 6), 0.5, 9)
    )
    theirs = dropout(torch.from_numpy(x), 0.5, True, key=9)
    assert np.array_equal(ours, theirs.numpy())
