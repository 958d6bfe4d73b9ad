"""Measure a dropout of PyTorch without the audit."""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from audit_world.cases import Figures

Run = Callable[[torch.Tensor, bool], Any]
Maker = Callable[[float], Run]
UNITS = 1_000_000


def get(path: str) -> Any:
    """What stands at ``package.module:name``."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


def layer(path: str, rate: str = "", **arguments: Any) -> Maker:
    """Make a layer of each rate, which is its first argument or the one named `rate`."""

    def make(p: float) -> Run:
        named = {rate: p} if rate else {}
        made = get(path)(*([] if rate else [p]), **named, **arguments)
        return partial(_call, made)

    return make


def _call(made: nn.Module, x: torch.Tensor, training: bool) -> Any:
    made.train() if training else made.eval()
    return made(x)


def function(path: str, **arguments: Any) -> Maker:
    """Call a function ``f(x, p, training)``."""
    return lambda p: lambda x, training: get(path)(x, p, training=training, **arguments)


def facts(make: Maker, p: float = 0.3, shape: tuple[int, ...] = (64, 256)) -> Figures:
    """Rate, mean and scale of ones, what inference does, and what the edges do."""
    torch.manual_seed(0)
    x, run = torch.ones(shape), make(p)
    outs = [run(x, True) for _ in range(-(-UNITS // x.numel()))]
    y = torch.stack(outs).double()
    return {
        "rate asked": p,
        "rate": _round((y == 0).double().mean()),
        "mean": _round(y.mean()),
        "kept": sorted({_round(v) for v in y[y != 0][:100_000].tolist()})[:4],
        "inference": _attempt(lambda: _round((run(x, False) - x).abs().max())),
        "p = 1": _attempt(lambda: _extent(make(1.0)(x, True))),
        "takes": [
            f"{bad:g}" for bad in (-0.1, 1.5, float("nan")) if _takes(make, bad, x)
        ],
        "dtypes": _dtypes(run, x),
        "bfloat16 rate at .1": _attempt(lambda: _rate(make(0.1), x.bfloat16())),
        "no samples": _attempt(lambda: list(run(x[:0], True).shape)),
    }


def mean_rate(make: Maker, p: float, shape: tuple[int, ...]) -> float:
    """Return which share of ones is dropped at rate `p`."""
    torch.manual_seed(0)
    return _rate(make(p), torch.ones(shape))


def _round(value: Any) -> float:
    return round(float(value), 4)


def _attempt(measure: Callable[[], Any]) -> Any:
    try:
        return measure()
    except Exception as error:
        return type(error).__name__


def _extent(y: torch.Tensor) -> str:
    if y.isnan().any():
        return "NaN"
    return "zeros" if not y.any() else f"mean {_round(y.mean())}"


def _takes(make: Maker, bad: float, x: torch.Tensor) -> bool:
    try:
        make(bad)(x, True)
    except Exception:
        return False
    return True


def _dtypes(run: Run, x: torch.Tensor) -> list[str]:
    """What comes out for what goes in, where it is not the same."""
    kinds = (torch.float16, torch.bfloat16, torch.float64)
    outs = {k: _attempt(partial(_dtype, run, x.to(k))) for k in kinds}
    return [f"{k} to {out}" for k, out in outs.items() if k != out]


def _dtype(run: Run, x: torch.Tensor) -> torch.dtype:
    return run(x, True).dtype


def _rate(run: Run, x: torch.Tensor) -> float:
    outs = [run(x, True) for _ in range(-(-UNITS // x.numel()))]
    return _round((torch.stack(outs) == 0).double().mean())
