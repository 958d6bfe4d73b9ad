"""Is dropout used well in this model? Reads the tree of a `torch.nn.Module` and watches it run."""

import copy
import random
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypeGuard

import numpy as np

from companion.audit import misuses as m
from companion.audit.report import AuditReport, Check, Verdict

try:
    import torch
except ImportError as error:
    raise ImportError(
        "companion.audit.audit_model needs PyTorch: pip install 'dropout-companion[torch]'"
    ) from error
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from companion.audit.trace import Found, Names, Trace, Trail, after_dropout

SHAPE_LAYERS = (nn.Flatten, nn.Unflatten, nn.Identity)
NO_INPUT = "needs an example_input"


def audit_model(model: nn.Module, example_input: Any = None) -> AuditReport:
    """Look for misuse of dropout in a model, and say where it is and what to do.

    Parameters
    ----------
    model : torch.nn.Module
        Any model. It comes back as it was: a copy is run.
    example_input : torch.Tensor, tuple, mapping or None
        What to call it with: one input, a tuple of arguments, or a mapping of keyword arguments.
        None: only the tree of modules is read, and what needs more is not applicable.

    Returns
    -------
    AuditReport
        A failing check for each finding, whose `measured` is the dotted path of the submodule (in
        brackets where a list or dict hides it from PyTorch; all paths of a shared one, joined by
        " = "), and a passing check for each misuse that was not found.

    Raises
    ------
    TypeError
        If `model` is not a `torch.nn.Module`.

    Notes
    -----
    The copy runs once in evaluation and once in training mode, without gradients; a forward pass
    that raises is reported. A call to a function is attributed to the innermost submodule. What
    comes out of a dropout is followed through functions of one floating tensor (activations,
    pooling, changes of shape): anything that takes a second one, be it a weight or the other
    branch of a residual connection, ends the trail. So the original block of a wide ResNet,
    conv-dropout-BN-ReLU-conv [2]_, is reported, and BN-ReLU-dropout-conv is not.

    Without an example input the order of layers is read in `nn.Sequential` alone. Not seen are
    dropouts written by hand (a product with a random mask), compiled or scripted code, and
    branches the example input does not take. Hooks of the model run with its copy; a module it
    holds in a closure alone is not copied.

    References
    ----------
    .. [1] Li et al., "Understanding the Disharmony between Dropout and Batch Normalization by
       Variance Shift", CVPR 2019.
    .. [2] Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016.
    .. [3] Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2), nn.Dropout(0.5))
    >>> report = audit_model(model, torch.ones(1, 8))
    >>> report.passed
    False
    >>> [(check.name, check.measured) for check in report.failures]
    [('dropout on the output', '3')]
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"audit_model needs a torch.nn.Module; got {model!r}")
    names, found = _names(model), Found()
    _read_layers(names, found)
    missing, ran = _run(model, example_input, found)
    if m.OUTPUT in missing:  # without a run, the order is known in nn.Sequential alone
        _read_chains(model, names, found)
        if all(map(_is_known, names)):
            missing -= {m.OUTPUT, m.BATCHNORM, m.TWICE}
    reason = "the model did not run" if ran.verdict == "fail" else NO_INPUT
    checks = [ran]
    for name, (meaning, advice) in m.MISUSES.items():
        here = [
            (path, said)
            for misuse, path, said in dict.fromkeys(found)
            if misuse == name
        ]
        for path, said in here:
            checks.append(Check(name, meaning, "fail", path, "", advice.format(said)))
        if not here and name in missing:
            checks.append(Check(name, meaning, "not applicable", reason))
        elif not here:
            checks.append(Check(name, meaning, "pass", "none found"))
    return AuditReport(type(model).__name__, tuple(checks))


# What can be read without running


def _names(model: nn.Module) -> Names:
    """Every module and its paths, also those in lists, dicts or attributes PyTorch overlooks."""
    paths: dict[nn.Module, list[str]] = defaultdict(list)
    for path, module in model.named_modules(remove_duplicate=False):
        paths[module].append(path or "(the model itself)")
    queue = list(model.named_modules())
    for path, module in queue:  # which grows
        for key, hidden in _attributes(module):
            if hidden not in paths:
                inner = list(hidden.named_modules(prefix=f"{path}.{key}".lstrip(".")))
                queue += inner
                for name, part in inner:
                    paths[part].append(name)
    return {module: " = ".join(said) for module, said in paths.items()}


def _attributes(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for key, value in vars(module).items():
        items: Any = [("", value)]
        if isinstance(value, list | tuple):
            items = ((f"[{i}]", item) for i, item in enumerate(value))
        elif isinstance(value, dict):
            items = ((f"[{i!r}]", item) for i, item in value.items())
        yield from ((key + i, item) for i, item in items if isinstance(item, nn.Module))


def _rate(module: nn.Module) -> float:
    """How much a layer of PyTorch's drops; 0 for one that is no dropout."""
    if isinstance(module, _DropoutNd):
        return module.p
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        return module.dropout
    return 0.0


def _read_layers(names: Names, found: Found) -> None:
    # dropout=0 of a transformer's layer is how it is turned off, not a layer left behind.
    transformers = (
        x for x in names if type(x).__module__ == "torch.nn.modules.transformer"
    )
    off = {part for transformer in transformers for part in transformer.children()}
    for module, path in names.items():
        p = _rate(module)
        if p == 1:
            found.append((m.RATE, path, m.ALL_ZEROS))
        if p == 0 and isinstance(module, _DropoutNd) and module not in off:
            found.append((m.RATE, path, m.NO_EFFECT))
        if isinstance(module, nn.RNNBase) and p > 0 and module.num_layers == 1:
            found.append((m.RNN, path, f"{p:g}"))


def _is_chain(module: nn.Module) -> TypeGuard[nn.Sequential]:
    inherits = isinstance(module, nn.Sequential)
    return inherits and type(module).forward is nn.Sequential.forward


def _is_known(module: nn.Module) -> bool:
    """Whether its forward hides no dropout."""
    plain = type(module).__module__.startswith(("torch.nn.", "companion.nn"))
    return plain or isinstance(module, _DropoutNd) or _is_chain(module)


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    if _is_chain(module):
        for child in module:  # one that stands twice comes twice
            yield from _leaves(child)
    else:
        yield module


def _read_chains(model: nn.Module, names: Names, found: Found) -> None:
    for module in filter(_is_chain, names):
        trail = _follow_chain(module, names, found)
        if trail and module is model:
            found.append((m.OUTPUT, trail.drop.path, ""))


def _follow_chain(module: nn.Module, names: Names, found: Found) -> Trail | None:
    trail = None
    for layer in _leaves(module):
        if isinstance(layer, _DropoutNd):
            trail = after_dropout(trail, names[layer], layer.p, found)
        elif trail:
            if isinstance(layer, _BatchNorm) and layer.track_running_stats:
                found.append((m.BATCHNORM, trail.drop.path, names[layer]))
            weights = any(True for _ in layer.parameters())
            direct = trail.direct and isinstance(layer, SHAPE_LAYERS)
            trail = None if weights else Trail(trail.drop, direct)
    return trail


# What needs a run


def _run(model: nn.Module, example: Any, found: Found) -> tuple[set[str], Check]:
    """Run a copy in both modes; return what could not be looked for, and how it went."""
    order = {m.OUTPUT, m.BATCHNORM, m.TWICE, m.SHAPE}
    errors = {}
    with _undisturbed(model):
        try:
            copied, names = _copy(model)
            _find_stuck(copied, names, found)
            if example is None:
                return order | {m.ACTIVE}, _ran("not applicable", NO_INPUT)
            trace = Trace(names, found)
        except Exception as error:
            missing = set(m.MISUSES) - {m.RATE, m.RNN}
            return missing, _ran("fail", "preparing a copy", error)
        for mode in ("eval()", "train()"):
            try:
                _switch(copied, mode == "train()")
                trace.run(copied, mode == "train()", example)
            except Exception as error:
                errors[mode] = error
    missing = order if len(errors) == 2 else set()
    if "eval()" in errors:
        return missing | {m.ACTIVE}, _ran("fail", "eval()", errors["eval()"])
    if errors:  # many a model wants targets, or more data, in training alone
        return missing, _ran("note", "train()", errors["train()"])
    return missing, _ran("pass", "in eval() and train()")


def _ran(verdict: Verdict, measured: str, error: Exception | None = None) -> Check:
    meaning = "Could the model be copied, and run in both modes?"
    advice = (
        "What only a run would show is not looked for. Give an input that the model takes, and "
        "the model as it was before it was compiled or scripted."
    )
    if error:
        measured += f": {type(error).__name__}: {' '.join(str(error).split())}"
    return Check(m.RAN, meaning, verdict, measured, consequence=advice)


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Leave random numbers as they were, and neither warn nor record gradients."""
    held = chain(model.parameters(), model.buffers())
    devices = {tensor.device.index for tensor in held if tensor.is_cuda}
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def _copy(model: nn.Module) -> tuple[nn.Module, Names]:
    copied = copy.deepcopy(model)
    names = _names(copied)
    if not names.keys().isdisjoint(_names(model)):  # a __deepcopy__ of its own
        raise RuntimeError("the copy shares modules with the model")
    return copied, names


def _switch(model: nn.Module, training: bool) -> None:
    if training:
        model.train()
    else:
        model.eval()


def _find_stuck(model: nn.Module, names: Names, found: Found) -> None:
    for training, said in [(True, m.OFF), (False, m.ON)]:
        _switch(model, training)
        for module, path in names.items():
            if _rate(module) > 0 and module.training is not training:
                found.append((m.STUCK, path, said))
