"""Dropout of tensors that are more than numbers in a row: complex, nested, distributed, wrapped.

The reference is the mask of a key, from NumPy. Every layer that drops is tried where it can be.
"""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
from layers import MAKERS, seen, units
from torch import nn
from torch.distributed import _functional_collectives
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import (
    DTensor,
    Partial,
    Replicate,
    Shard,
    distribute_tensor,
)
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.testing._internal.distributed.fake_pg import FakeStore

from companion.counter import bernoulli_mask
from companion.nn import Dropout
from companion.nn.functional import dropout

each_layer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
COMPLEX = [torch.complex64, torch.complex128]
complexes = pytest.mark.parametrize("dtype", COMPLEX, ids=str)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*[Ss]parse.* tensor:UserWarning"),
]


def mask(shape, p=0.5, key=3, shared_axes=()):
    return torch.tensor(bernoulli_mask(shape, p, key, shared_axes=shared_axes))


def numbers(*shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=dtype)


def dropped(x, shared_axes=(), key=3):
    return torch.where(mask(x.shape, shared_axes=shared_axes, key=key), 2 * x, 0)


# Complex units


@pytest.mark.parametrize("axes", [(), (0,), (1, -1)], ids=str)
@complexes
def test_a_complex_unit_has_one_mask_for_both_parts(dtype, axes):
    x = numbers(3, 50, 2, dtype=dtype)
    x[0, 0, 0] = complex(math.nan, math.inf)
    laid = x.transpose(0, 1).contiguous().transpose(0, 1)
    conjugated = x.conj().resolve_conj().conj()
    assert conjugated.is_conj()
    for one in (x, laid, conjugated, torch.stack([x, x], -1)[..., 0]):
        y = dropout(one, 0.5, True, shared_axes=axes, key=3)
        expected = dropped(x, axes)
        torch.testing.assert_close(y, expected, rtol=0, atol=0, equal_nan=True)
        real = dropout(torch.ones(x.shape), 0.5, True, shared_axes=axes, key=3)
        assert torch.equal(real != 0, mask(x.shape, shared_axes=axes))


@complexes
def test_a_complex_gradient_has_that_mask(dtype):
    x = numbers(40, dtype=dtype)
    grad = numbers(40, dtype=dtype).flip(0)
    leaf = x.clone().requires_grad_()
    dropout(leaf.conj(), 0.5, True, key=3).backward(grad)
    assert torch.equal(leaf.grad, dropped(grad).conj().resolve_conj())

    def f(x):
        return dropout(x, 0.4, True, key=3)

    double = x[:6].to(torch.cdouble).requires_grad_()
    assert torch.autograd.gradcheck(f, double, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda x: f(x * x), double)


@complexes
def test_complex_units_in_place_and_all_dropped(dtype):
    x = numbers(40, dtype=dtype)
    before = x.clone()
    assert dropout(x, 0.5, True, key=3, inplace=True) is x
    assert torch.equal(x, dropped(before))
    x.fill_(complex(math.nan, 1))
    assert torch.equal(dropout(x, 1, True), torch.zeros_like(before))
    dropout(before.conj(), 1, True, inplace=True)
    assert not before.any()


# Nested tensors


LAYOUTS = [torch.strided, torch.jagged]
layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=str)
PARTS = [numbers(20, 4), numbers(1, 4), numbers(30, 4)]


def nested(layout, parts=PARTS, **options):
    return torch.nested.nested_tensor(parts, layout=layout, **options)


def joined(x):
    return torch.cat(x.unbind())


@layouts
def test_a_nested_tensor_has_the_mask_of_its_buffer(layout):
    x, whole = nested(layout), torch.cat(PARTS)
    y = dropout(x, 0.5, True, key=3)
    assert (y.layout, y.dtype) == (layout, x.dtype)
    assert torch.equal(joined(y), dropped(whole))
    torch.testing.assert_close(joined(y + x), dropped(whole) + whole, rtol=0, atol=0)
    assert torch.equal(joined(dropout(x, 1, True)), torch.zeros(51, 4))
    for p, training in ((0, True), (0.5, False), (1, False)):
        assert dropout(x, p, training) is x
    assert dropout(x, 0.5, True, key=3, inplace=True) is x
    assert torch.equal(joined(x), dropped(whole))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, *COMPLEX], ids=str)
@layouts
def test_it_does_in_every_dtype(layout, dtype):
    x = nested(layout, [torch.ones(20, 4), torch.ones(31, 4)]).to(dtype)
    assert torch.equal(joined(dropout(x, 0.5, True, key=3)) != 0, mask((51, 4)))


@layouts
def test_the_gradient_of_a_nested_tensor_has_that_mask(layout):
    x = nested(layout, requires_grad=True)
    y = dropout(x, 0.5, True, key=3)
    sum((part * part).sum() for part in y.unbind()).backward()
    torch.testing.assert_close(joined(x.grad), 4 * dropped(torch.cat(PARTS)))


@layouts
def test_masks_of_nested_tensors_are_fresh_and_seeded(layout):
    layer, x = Dropout(), nested(layout)
    torch.manual_seed(0)
    first, second = layer(x), layer(x)
    torch.manual_seed(0)
    assert torch.equal(joined(layer(x)), joined(first))
    assert not torch.equal(joined(second), joined(first))


def test_transposed_and_gappy_jagged_tensors():
    x = nested(torch.jagged).transpose(1, 2)
    y = dropout(x, 0.5, True, key=3)
    assert (x + y).shape == y.shape == x.shape
    assert torch.equal(y.values(), dropped(torch.cat(PARTS).T))
    values, starts = numbers(60, 4), torch.tensor([0, 20, 60])
    lengths = torch.tensor([15, 30])
    gappy = torch.nested.nested_tensor_from_jagged(values, starts, lengths)
    y = dropout(gappy, 0.5, True, key=3)
    assert (y + gappy).shape == gappy.shape
    expected = dropped(values)
    assert torch.equal(joined(y), torch.cat([expected[:15], expected[20:50]]))


def test_a_nested_tensor_keeps_the_lengths_it_knew():
    x = nested(torch.jagged)
    padded = torch.compile(
        lambda x: torch.nested.to_padded_tensor(dropout(x, 0.5, True, key=3), 0.0),
        backend="aot_eager",
        fullgraph=True,
    )(x)
    assert padded.shape == (3, 30, 4)
    assert torch.equal(padded[0, :20], dropped(torch.cat(PARTS))[:20])
    torch._dynamo.reset()


def test_axes_after_the_ragged_one_can_share_a_draw():
    x = nested(torch.jagged, [torch.ones(3, 5, 2), torch.ones(4, 5, 2)])
    y = dropout(x, 0.5, True, shared_axes=-1, key=3)
    assert torch.equal(joined(y) != 0, mask((7, 5, 2), shared_axes=-1))
    for axes, layout in ((0, torch.jagged), (1, torch.jagged), (2, torch.strided)):
        x = nested(layout)
        with pytest.raises(ValueError, match=r"ragged axis, .*jagged; got \(\d,\)"):
            dropout(x, 0.5, True, shared_axes=axes)


def test_unlike_shapes_and_empty_parts():
    parts = [torch.ones(2, 3), torch.ones(0, 3), torch.ones(4, 5)]
    y = dropout(torch.nested.nested_tensor(parts), 0.5, True, key=3)
    assert [part.shape for part in y.unbind()] == [part.shape for part in parts]
    assert torch.equal(torch.cat([t.flatten() for t in y.unbind()]) != 0, mask((26,)))


# What is refused


REFUSED = {
    "COO": lambda x: x.to_sparse(),
    "CSR": lambda x: x.to_sparse_csr(),
    "CSC": lambda x: x.to_sparse_csc(),
    "BSR": lambda x: x.to_sparse_bsr((2, 2)),
    "MKL-DNN": lambda x: x.to_mkldnn(),
    "quantised": lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),
    "complex32": lambda x: x.to(torch.complex32),
    "float8": lambda x: x.to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("kind", REFUSED.values(), ids=REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_dense_or_not_floating_is_refused_with_the_way_out(kind):
    x = kind(torch.eye(4))
    with pytest.raises(TypeError, match=r"dropout needs .*; got .*torch\..*: .*x\.\w+"):
        Dropout()(x)
    assert Dropout().eval()(x) is x


# Views, wrappers, modes


@each_layer
def test_a_tensor_of_any_kind_has_the_mask_of_the_key(make):
    layer, plain = make(0.5, key=3), units(make)
    kept = layer(plain) != 0

    def parameter(x):
        return nn.Parameter(x)

    def subclass(x):
        return x.as_subclass(type("Named", (torch.Tensor,), {}))

    def expanded(x):
        return torch.ones(()).expand(x.shape)

    def far_apart(x):
        y = torch.ones(x.numel() * 1000).as_strided(
            x.shape, [1000 * s for s in x.stride()]
        )
        return y

    def imaginary(x):
        return torch.complex(x, -x).conj().imag

    for kind in (parameter, subclass, expanded, far_apart, imaginary, torch._neg_view):
        x = kind(plain)
        y = layer(x)
        assert type(y) is (type(x) if kind is subclass else torch.Tensor)
        assert torch.equal(y.as_subclass(torch.Tensor), torch.where(kept, 2 * x, 0))
    with torch.inference_mode():
        assert torch.equal(layer(plain) != 0, kept)
        inside = torch.ones_like(plain)
    assert torch.equal(layer(inside) != 0, kept)


@each_layer
def test_a_gradient_nobody_has_computed_is_zero(make):
    x = units(make).requires_grad_()
    y = make(0.5)(x)
    (slope,) = torch.autograd.grad(y, x, torch._efficientzerotensor(x.shape))
    assert torch.equal(slope, torch.zeros_like(x))
    zeros = torch._efficientzerotensor(x.shape)
    assert torch.equal(make(0.5)(zeros), torch.zeros_like(x))


@each_layer
def test_more_units_than_an_int32_counts_have_a_shape(make):
    x = units(make)[:1, :1].to("meta")
    x = x.expand(2**31 + 5, 3, *x.shape[2:])
    for options in ({}, {"key": 3}, {"generator": torch.Generator()}):
        assert make(0.5, **options)(x).shape == x.shape


def test_defaults_of_device_and_dtype_are_not_asked(monkeypatch):
    x, expected = torch.ones(5, 6), dropped(torch.ones(5, 6))
    calls = [
        lambda: dropout(x, 0.5, True, key=3),
        lambda: dropout(x.half(), 0.5, True, key=3).float(),
        lambda: torch.vmap(lambda x: dropout(x, 0.5, True, key=3))(x[None])[0],
        lambda: dropout(x + 0j, 0.5, True, key=3).real,
        lambda: dropout(torch.stack([x, x]), 0.5, True, shared_axes=0, key=3)[1],
    ]
    for call in calls:
        with torch.device("meta"):
            assert torch.equal(call(), expected)
        torch.set_default_dtype(torch.float64)
        try:
            assert torch.equal(call(), expected)
        finally:
            torch.set_default_dtype(torch.float32)


# Distributed tensors


PLACEMENTS = [[Shard(0)], [Shard(1)], [Replicate()]]
GRIDS = [[Shard(0), Shard(1)], [Shard(1), Replicate()], [Shard(0), Shard(0)]]


@pytest.fixture
def world(request):
    """Be one of several processes, the others of which do not exist."""

    def be(rank, size, *sizes):
        if dist.is_initialized():
            dist.destroy_process_group()
        dist.init_process_group("fake", rank=rank, world_size=size, store=FakeStore())
        return init_device_mesh("cpu", sizes or (size,))

    yield be
    if dist.is_initialized():
        dist.destroy_process_group()


def shard_of(whole, mesh, placements):
    """This process's part of a tensor, as a distributed one, and where it lies."""
    shape, offsets = compute_local_shape_and_global_offset(
        whole.shape, mesh, placements
    )
    where = tuple(slice(o, o + n) for o, n in zip(offsets, shape, strict=True))
    options = {"run_check": False, "shape": whole.shape, "stride": whole.stride()}
    local = whole[where].clone()
    return DTensor.from_local(local, mesh, placements, **options), where


@pytest.mark.parametrize("axes", [(), (0,), (-1,), (0, 1)], ids=str)
@pytest.mark.parametrize(
    ("sizes", "placements"),
    [*(((4,), p) for p in PLACEMENTS), *(((2, 2), p) for p in GRIDS)],
    ids=str,
)
def test_shards_put_together_have_the_mask_of_the_whole(sizes, placements, axes, world):
    whole = numbers(7, 130, 3)  # uneven shards, one of them empty
    whole[0, 0, 0] = math.nan
    for rank in range(4):
        mesh = world(rank, 4, *sizes)
        x, where = shard_of(whole, mesh, placements)
        x.requires_grad_()
        y = dropout(x, 0.5, True, shared_axes=axes, key=3)
        y.backward(x.detach())
        expected = dropped(whole, axes)[where]
        for found in (y.detach(), x.grad):
            assert found.placements == tuple(placements)
            assert found.shape == whole.shape
            torch.testing.assert_close(
                found.to_local(), expected, rtol=0, atol=0, equal_nan=True
            )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, *COMPLEX], ids=str)
def test_shards_of_every_dtype_are_those_of_the_whole(dtype, world):
    """The rounding of half precision too is that of the whole."""
    whole = numbers(7, 50, 2, dtype=dtype)
    expected = dropout(whole, 0.3, True, key=3)
    for rank, placement in itertools.product(range(3), (Shard(0), Shard(1))):
        x, where = shard_of(whole, world(rank, 3), [placement])
        assert torch.equal(dropout(x, 0.3, True, key=3).to_local(), expected[where])


@each_layer
def test_a_layer_drops_a_distributed_tensor(make, world):
    x = distribute_tensor(units(make), world(0, 1), [Shard(0)])
    for key in (torch.tensor(3), 3):
        y = make(0.5, key=key)(x)
        assert torch.equal(y.to_local(), make(0.5, key=3)(units(make)))
    torch.manual_seed(0)
    assert torch.equal(make(0.5)(x).to_local(), seen(make(0.5), units(make))[0])
    assert make(0.5).eval()(x) is x
    assert make(1)(x).to_local().count_nonzero() == 0
    into = make(0.5, inplace=True, key=3)
    assert into(x) is x
    assert torch.equal(x.to_local(), y.to_local())


def test_parts_of_a_sum_are_dropped_by_one_mask(world):
    for rank in range(2):
        local = numbers(7, 5).requires_grad_()
        x = DTensor.from_local(local, world(rank, 2), [Partial()])
        y = dropout(x, 0.5, True, key=3)
        assert y.placements == (Partial(),)
        assert torch.equal(y.to_local(), dropped(local.detach()))


def test_processes_agree_without_a_key_by_asking_the_first(world, monkeypatch):
    asked = []

    def broadcast(tensor, source, group):
        asked.append((source, group[1]))
        return torch.tensor(3)

    monkeypatch.setattr(_functional_collectives, "broadcast", broadcast)
    x, where = shard_of(torch.ones(7, 5), world(3, 4, 2, 2), [Shard(0), Shard(1)])
    assert torch.equal(dropout(x, 0.5, True).to_local() != 0, mask((7, 5))[where])
    assert asked == [(0, 0), (0, 1)]
    dropout(x, 0.5, True, key=3)
    assert len(asked) == 2


@pytest.mark.parametrize("placement", [Shard(0), Shard(1)], ids=str)
def test_a_compiled_program_drops_a_distributed_tensor(placement, world):
    whole = numbers(7, 50)
    program = torch.compile(Dropout(), backend="aot_eager", fullgraph=True)
    for rank, size in ((0, 1), (1, 3)):
        x, where = shard_of(whole, world(rank, size), [placement])
        x.requires_grad_()
        torch.manual_seed(0)
        y = program(x)
        y.backward(x.detach())
        expected = seen(Dropout(), whole)[0][where]
        for found in (y.detach(), x.grad):
            assert found.placements == (placement,)
            assert torch.equal(found.to_local(), expected)
        torch._dynamo.reset()


def test_masks_are_equal_in_every_layout_and_dtype():
    x = torch.ones(6, 4, 5, 7, dtype=torch.float64)
    laid = [
        x,
        x.to(memory_format=torch.channels_last),
        x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0),
        torch.ones(1, 4, 1, 1, dtype=torch.float64).expand(x.shape),
    ]
    dtypes = [torch.float16, torch.bfloat16, torch.float32, torch.float64, *COMPLEX]
    for axes, one, dtype in itertools.product([(), (2, 3), (0,)], laid, dtypes):
        y = dropout(one.to(dtype), 0.3, True, shared_axes=axes, key=3)
        expected = bernoulli_mask(x.shape, 0.3, 3, shared_axes=axes)
        assert np.array_equal((y != 0).numpy(), expected)
