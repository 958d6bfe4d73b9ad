"""A case of a layer or a function of PyTorch, with its usual figures and lines."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from audit_world.cases import Case, Figures, Verdict
from audit_world.facts_torch import facts, function, get, layer

SHAPE = (64, 256)
PATHS = (65536, 2)
STEPS = (64, 8, 32)
CHANNELS = (64, 32, 8)
IMAGES = (64, 16, 14, 14)

SUMMED = (
    "keep + rand is rounded to the input's dtype before the floor: in bfloat16 the rate is .102 "
    "for .1; and p = 1 gives 0 / 0, NaN"
)
FEWER = (
    "y = PatchDropout(0.5)(torch.ones(8, 65, 4))\nprint('65 tokens become', y.shape[1])"
)


def fewer_tokens(path: str) -> Figures:
    torch.manual_seed(0)
    made = get(path)(0.5)
    x = torch.ones(8, 65, 4)
    return {
        "tokens": 65,
        "kept": made(x).shape[1],
        "at inference": made.eval()(x).shape[1],
    }


def case(
    package: str,
    path: str,
    expected: Verdict,
    confirmed: str,
    *,
    name: str = "",
    p: float = 0.3,
    shape: tuple[int, ...] = SHAPE,
    rate: str = "",
    arguments: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    definition: str = "",
    lines: str = "",
    more: Callable[[], Figures] | None = None,
    make: Callable[[], Any] | None = None,
    truth: Callable[[], Figures] | None = None,
    alone: bool = False,
    missing: tuple[str, ...] = (),
) -> Case:
    """Return the case of what stands at ``package.module:name``.

    `p` and `shape` are those of the figures, which `more` adds to; `rate` is the name of the rate,
    where that is not the first argument. If `alone`, the file is run without its package.
    """
    module, found = path.split(":")
    given = dict(arguments or {})
    call = function(path, **given) if found.islower() else layer(path, rate, **given)
    usual = partial(_figures, call, p, shape, more)
    used = {"arguments": given} | dict(options or {}) if given else dict(options or {})
    head = f"import torch\nfrom {module} import {found}\n\ntorch.manual_seed(0)\n"
    return Case(
        package,
        name or found,
        make or partial(get, path),
        expected,
        truth or usual,
        head + (lines or _rate_and_mean(found, p, shape, rate, given)),
        confirmed,
        used,
        definition,
        files=(module.replace(".", "/") + ".py",) if alone else (),
        missing=missing,
    )


def _figures(
    call: Any, p: float, shape: tuple[int, ...], more: Callable[[], Figures] | None
) -> Figures:
    return facts(call, p, shape) | (more() if more else {})


def _rate_and_mean(
    name: str, p: float, shape: tuple[int, ...], rate: str, given: Mapping[str, Any]
) -> str:
    others = "".join(f", {k}={v!r}" for k, v in given.items())
    x = f"torch.ones({', '.join(map(str, shape))})"
    first = f"{rate}={p}" if rate else f"{p}"
    called = (
        f"{name}({x}, {p}, training=True{others})"
        if name.islower()
        else f"{name}({first}{others})({x})"
    )
    return (
        f"y = {called}\n"
        'print(f"rate {(y == 0).float().mean():.4f}, mean {y.mean():.4f}")'
    )
