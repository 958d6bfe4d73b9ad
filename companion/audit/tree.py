"""Read the tree of a model's modules: what can be known of its dropout without a run."""

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, TypeGuard

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from companion.audit import misuses as m
from companion.audit.trail import Trail, after_dropout

Names = dict[nn.Module, str]
ROOT = "(the model itself)"
SHAPE_LAYERS = (nn.Flatten, nn.Unflatten, nn.Identity)


def name_modules(model: nn.Module) -> Names:
    """Return every module and its paths, also of those that PyTorch overlooks in lists or dicts.

    Several paths of one module are joined by " = ".
    """
    paths: dict[nn.Module, list[str]] = defaultdict(list)
    for path, module in model.named_modules(remove_duplicate=False):
        paths[module].append(path or ROOT)
    queue = list(model.named_modules())
    for path, module in queue:  # which grows
        for key, hidden in _attributes(module):
            if hidden not in paths:
                inner = list(hidden.named_modules(prefix=f"{path}.{key}".lstrip(".")))
                queue += inner
                for name, part in inner:
                    paths[part].append(name)
    return {module: " = ".join(found) for module, found in paths.items()}


def _attributes(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules in attributes that PyTorch does not know of, with "key" or "key[index]"."""
    for key, value in vars(module).items():
        items: Any = [("", value)]
        if isinstance(value, list | tuple):
            items = ((f"[{i}]", item) for i, item in enumerate(value))
        elif isinstance(value, dict):
            items = ((f"[{i!r}]", item) for i, item in value.items())
        yield from ((key + i, item) for i, item in items if isinstance(item, nn.Module))


def rate(module: nn.Module) -> float:
    """Return how much a layer of PyTorch's drops; 0 for one that is no dropout."""
    if isinstance(module, _DropoutNd):
        return number(module.p)
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        return number(module.dropout)
    return 0.0


def number(p: Any) -> float:
    """Return a probability as it is; NaN, which is neither 0 nor 1 nor between, if it is none."""
    try:
        return float(p)
    except (TypeError, ValueError, RuntimeError):
        return math.nan


def read_layers(names: Names, findings: m.Findings) -> None:
    """Find rates without effect in the settings of each layer."""
    off = []
    for module, path in names.items():
        p = rate(module)
        if p == 1:
            findings.add(m.RATE, path, m.ALL_ZEROS)
        if p == 0 and isinstance(module, _DropoutNd):
            off.append(path)
        if isinstance(module, nn.RNNBase) and p > 0 and module.num_layers == 1:
            findings.add(m.RNN, path, f"{p:g}")
    if off:
        findings.add(m.RATE, ", ".join(off), m.NO_EFFECT, "note")


def read_modes(model: nn.Module, names: Names, findings: m.Findings) -> None:
    """Find dropouts that model.train() and model.eval() do not reach; leaves it in eval()."""
    for training, said in [(True, m.OFF), (False, m.ON)]:
        switch(model, training)
        for module, path in names.items():
            if rate(module) > 0 and module.training is not training:
                findings.add(m.STUCK, path, said)


def switch(model: nn.Module, training: bool) -> None:
    """Call train() or eval(), as a user would: a model may have its own."""
    if training:
        model.train()
    else:
        model.eval()


def read_chains(model: nn.Module, names: Names, findings: m.Findings) -> None:
    """Find what the order of layers in each `nn.Sequential` shows."""
    for module in filter(_is_chain, names):
        trail = _follow_chain(module, names, findings)
        if trail and module is model:
            findings.add(m.OUTPUT, trail.drop.path)


def _follow_chain(
    module: nn.Module, names: Names, findings: m.Findings
) -> Trail | None:
    trail = None
    for layer in _leaves(module):
        if isinstance(layer, _DropoutNd):
            trail = after_dropout(trail, names[layer], layer.p, findings)
        elif trail:
            if isinstance(layer, _BatchNorm) and layer.track_running_stats:
                findings.add(m.BATCHNORM, trail.drop.path, names[layer])
            trail = _after_layer(trail, layer)
    return trail


def _after_layer(trail: Trail, layer: nn.Module) -> Trail | None:
    if any(True for _ in layer.parameters()):
        return None
    return Trail(trail.drop, trail.direct and isinstance(layer, SHAPE_LAYERS))


def hides_no_dropout(module: nn.Module) -> bool:
    """Return whether the order of dropouts in its forward is known without a run."""
    plain = type(module).__module__.startswith(("torch.nn.", "companion.nn"))
    return plain or isinstance(module, _DropoutNd) or _is_chain(module)


def _is_chain(module: nn.Module) -> TypeGuard[nn.Sequential]:
    inherits = isinstance(module, nn.Sequential)
    return inherits and type(module).forward is nn.Sequential.forward


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    if _is_chain(module):
        for child in module:  # one that stands twice comes twice
            yield from _leaves(child)
    else:
        yield module
