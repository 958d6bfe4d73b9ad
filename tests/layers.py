"""Every layer that only drops, an input for each, and what it gives from one seed."""

import contextlib
import functools

import torch
from dropouts import LAYERS
from torch.utils._python_dispatch import TorchDispatchMode

from companion.nn import Dropout

MAKERS = {layer.__name__: layer for layer in LAYERS}
MAKERS["Dropout shared"] = functools.partial(Dropout, shared_axes=0)


class Log(TorchDispatchMode):
    """Stands between a call and what it does, and changes nothing but notes its name."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(str(func))
        return func(*args, **kwargs or {})


def units(make, n=64, dtype=torch.float32):
    """An input for the layer: the one with the most axes that it takes."""
    for axes in (3, 2, 1, 0):
        x = torch.ones(n, 40, *[2] * axes, dtype=dtype)
        with contextlib.suppress(ValueError):
            make()(x)
            return x
    raise AssertionError("no input fits")


def seen(f, x, seed=0):
    torch.manual_seed(seed)
    x = x.detach().clone().requires_grad_()
    y = f(x)
    y.backward(torch.linspace(1, 2, y.numel(), dtype=y.dtype).view_as(y))
    return y.detach(), x.grad


def same(f, g, x):
    """Results and gradients of f and g agree, and stay as they are in another run."""
    for one, other in zip(seen(f, x), seen(g, x), strict=True):
        assert one.dtype == other.dtype == x.dtype
        assert one.stride() == other.stride()
        assert torch.equal(one, other)
    assert not torch.equal(seen(f, x, seed=1)[0], seen(f, x)[0])


def own(make):
    return make(0.5, generator=torch.Generator().manual_seed(0))
