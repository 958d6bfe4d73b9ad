"""Is dropout used well in this model? Reads the tree of a `torch.nn.Module` and watches it run."""

import copy
from typing import Any

from companion.audit import misuses as m
from companion.audit.report import AuditReport, Check, Verdict
from companion.audit.state import undisturbed

try:
    import torch
except ImportError as error:
    raise ImportError(
        "companion.audit.audit_model needs PyTorch: pip install 'dropout-companion[torch]'"
    ) from error
from torch import nn

from companion.audit import tree
from companion.audit.trace import Trace
from companion.audit.tree import Names

RAN = "forward pass ran"
NO_INPUT = "needs an example_input"
ORDER = {m.OUTPUT, m.BATCHNORM, m.TWICE}  # what nn.Sequential shows without a run
Missing = set[m.Misuse]  # what could not be looked for


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
    names, findings = tree.name_modules(model), m.Findings()
    tree.read_layers(names, findings)
    missing, ran = _run(model, example_input, findings)
    if missing >= ORDER:
        tree.read_chains(model, names, findings)
        if all(map(tree.hides_no_dropout, names)):
            missing -= ORDER
    reason = "the model did not run" if ran.verdict == "fail" else NO_INPUT
    checks = [ran]
    for misuse in m.MISUSES:
        found = [finding.check() for finding in findings.of(misuse)]
        checks += found or [_not_found(misuse, reason if misuse in missing else "")]
    return AuditReport(type(model).__name__, tuple(checks))


def _not_found(misuse: m.Misuse, reason: str) -> Check:
    title = misuse.name, misuse.meaning
    if reason:
        return Check(*title, "not applicable", reason, code=misuse.code)
    return Check(*title, "pass", "none found", code=misuse.code)


def _run(model: nn.Module, example: Any, findings: m.Findings) -> tuple[Missing, Check]:
    """Run a copy in both modes; return what could not be looked for, and how it went."""
    with undisturbed(), torch.no_grad():
        try:
            copied, names = _copy(model)
            tree.read_modes(copied, names, findings)
            if example is None:
                missing = ORDER | {m.SHAPE, m.ACTIVE}
                return missing, _ran("not applicable", NO_INPUT)
            trace = Trace(names, findings)
        except Exception as error:
            missing = set(m.MISUSES) - {m.RATE, m.RNN}
            return missing, _ran("fail", "preparing a copy", error)
        resting = _raised(trace, copied, False, example)
        training = _raised(trace, copied, True, example)
    missing = ORDER | {m.SHAPE} if resting and training else set()
    if resting:
        return missing | {m.ACTIVE}, _ran("fail", "eval()", resting)
    if training:  # many a model wants targets, or more data, in training alone
        return missing, _ran("note", "train()", training)
    return missing, _ran("pass", "in eval() and train()")


def _copy(model: nn.Module) -> tuple[nn.Module, Names]:
    copied = copy.deepcopy(model)
    names = tree.name_modules(copied)
    if not names.keys().isdisjoint(tree.name_modules(model)):  # its own __deepcopy__
        raise RuntimeError("the copy shares modules with the model")
    tree.part_from_original(names)
    return copied, names


def _raised(
    trace: Trace, model: nn.Module, training: bool, example: Any
) -> Exception | None:
    """Watch a forward pass in one mode; return the error that ended it."""
    try:
        tree.switch(model, training)
        trace.run(model, training, example)
    except Exception as error:
        return error
    return None


def _ran(verdict: Verdict, measured: str, error: Exception | None = None) -> Check:
    meaning = "Could the model be copied, and run in both modes?"
    advice = (
        "What only a run would show is not looked for. Give an input that the model takes, and "
        "the model as it was before it was compiled or scripted."
    )
    if error:
        measured += f": {type(error).__name__}: {' '.join(str(error).split())}"
    return Check(RAN, meaning, verdict, measured, consequence=advice)
