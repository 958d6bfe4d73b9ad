"""Large outputs on fresh memory: backed at once, and nothing written to it."""

import ctypes
import mmap
import sys

import numpy as np
import pytest
import torch

from companion import counter
from companion.nn import drop, pages
from companion.nn.functional import dropout

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone knows of it")
SIZE = 2**23


def backed(address, size):
    """Which pages of this memory are there."""
    found = (ctypes.c_ubyte * (size // mmap.PAGESIZE))()
    libc = ctypes.CDLL(None)
    assert libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), found) == 0
    return np.array(found) & 1


def fresh():
    memory = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory))


@linux
def test_fresh_memory_is_backed_at_once():
    memory, address = fresh()
    assert not backed(address, SIZE).any()
    pages.populate(address, SIZE)
    assert backed(address, SIZE).all()
    assert not any(memory[:: mmap.PAGESIZE])


@linux
def test_memory_that_is_backed_keeps_what_it_holds():
    memory, address = fresh()
    memory[:] = bytes(range(256)) * (SIZE // 256)
    before = memory[:]
    pages.populate(address, SIZE)
    assert memory[:] == before


def test_nothing_is_asked_of_a_system_that_does_not_know(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(pages, "_libc", lambda: pytest.fail("asked"))
    pages.populate(0, SIZE)


def test_a_large_output_asks_and_a_small_one_does_not(monkeypatch):
    asked = []
    monkeypatch.setattr(pages, "populate", lambda address, size: asked.append(size))
    for n in (drop.MANY, drop.MANY + 1):
        y = dropout(torch.ones(n), 0.5, True, key=1)
        assert np.array_equal(y.numpy() != 0, counter.bernoulli_mask(n, 0.5, 1))
    assert asked == [4 * (drop.MANY + 1)]
