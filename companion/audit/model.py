"""Is dropout used well in this model? Reads the tree of a `torch.nn.Module` and watches it run."""

import copy
from collections.abc import Callable
from typing import Any

from companion.audit import misuses as m
from companion.audit.report import AuditReport, Check, Verdict
from companion.audit.state import undisturbed

try:
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError(
        "companion.audit.audit_model needs PyTorch: pip install 'dropout-companion[torch]'"
    ) from error
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_map_only

from companion.audit import batches, probes, tree
from companion.audit.passes import Passes
from companion.audit.probes import Study
from companion.audit.snapshot import reached
from companion.audit.trace import Trace

RAN, RAN_CODE = "forward pass ran", "DR300"
NO_INPUT = "needs an example_input"
NOT_RUN = "the model did not run"
ORDER = {m.OUTPUT, m.BATCHNORM, m.TWICE}  # what nn.Sequential shows without a run
PROBES = probes.RESTING | probes.TRAINING | batches.PROBES
RESTING = {m.ACTIVE, m.MOVED, m.BATCH}  # what eval() alone shows
Missing = dict[m.Misuse, str]  # what could not be looked for, and why


def audit_model(model: nn.Module, example_input: Any = None) -> AuditReport:
    """Look for misuse of dropout in a model, and say where it is and what to do.

    Parameters
    ----------
    model : torch.nn.Module
        Any model. It comes back as it was: a copy is run, or, where none can be made that shares
        nothing with it, the model itself, and all that it holds is put back.
    example_input : torch.Tensor, tuple, mapping or None
        What to call it with: one input, a tuple of arguments, or a mapping of keyword arguments.
        None: only the tree of modules is read, and what needs more is not applicable.

    Returns
    -------
    AuditReport
        A failing check for each finding, whose `measured` is the dotted path of the submodule (in
        brackets where a list or dict hides it from PyTorch; all paths of a shared one, joined by
        " = "), and a passing check for each misuse that was not found. Its `passed` is None, and
        its `obstacle` says why, if the model does not run in evaluation mode; what the tree of
        modules shows is among the checks all the same.

    Raises
    ------
    TypeError
        If `model` is not a `torch.nn.Module`. Nothing that the model does is raised.

    Notes
    -----
    The model runs some two dozen times, after its own ``eval()`` and ``train()``, from several
    seeds of all generators that nobody owns and of those that it holds; once with a backward
    pass. From pass to pass everything that can be reached from it is put back. Passes are
    compared call by call, and a difference is attributed to the innermost submodule that gives
    another output for the same input. So whatever drew random numbers in evaluation is found,
    by hand or not, and where dropout is not meant, as in a variational autoencoder, it is for you
    to say so.

    What comes out of a dropout is followed through functions of one floating tensor (activations,
    pooling, changes of shape): anything that takes a second one, be it a weight or the other
    branch of a residual connection, ends the trail. So the original block of a wide ResNet,
    conv-dropout-BN-ReLU-conv [2]_, is reported, and BN-ReLU-dropout-conv is not.

    A mask that the batch shares is looked for in the submodule that draws it, on a batch of equal
    samples, along the axes whose order does not matter to the answers in evaluation. Dropped
    weights, dropped rows of a table of embeddings and dropped layers are shared by a batch by
    design, and no finding.

    Without an example input the order of layers is read in `nn.Sequential` alone. Not followed
    are the outputs of a dropout written by hand (a product with a random mask); not looked into
    is scripted code; and not seen are branches the example input does not take, random numbers
    that only a rare pass draws, and, of masks written by hand that are fixed or shared, those
    that no input or output of a submodule shows as zeros among units scaled by one number. Hooks
    of the model run with it.

    References
    ----------
    .. [1] Li et al., "Understanding the Disharmony between Dropout and Batch Normalization by
       Variance Shift", CVPR 2019.
    .. [2] Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016.
    .. [3] Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2), nn.Dropout(0.5))
    >>> report = audit_model(model, torch.ones(1, 8))
    >>> report.passed
    False
    >>> [(check.name, check.measured) for check in report.failures]
    [('dropout on the output', '3')]
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"audit_model needs a torch.nn.Module; got {_refused(model)}")
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    names, findings = tree.name_modules(model), m.Findings()
    tree.read_layers(names, findings)
    with undisturbed():
        ran, missing, obstacle = _look(model, example_input, findings)
    if missing.keys() >= ORDER:
        tree.read_chains(model, names, findings)
        if all(map(tree.hides_no_dropout, names)):
            missing = {x: why for x, why in missing.items() if x not in ORDER}
    checks = [ran]
    for misuse in m.MISUSES:
        found = [finding.check() for finding in findings.of(misuse)]
        checks += found or [_not_found(misuse, missing.get(misuse, ""))]
    return AuditReport(type(model).__name__, tuple(checks), obstacle)


def _refused(model: Any) -> str:
    """Return what was given, and which network it holds."""
    held = getattr(model, "__dict__", {})
    inside = [name for name, value in held.items() if isinstance(value, nn.Module)]
    said = " ".join(repr(model).split())[:200]
    if not isinstance(model, type) and inside:
        return f"{said}: hand over the network inside it, .{inside[0]}"
    if type(model).__module__.startswith(("skorch.", "pytorch_tabnet.")):
        name = "module_" if hasattr(model, "initialize") else "network"
        return f"{said}: fit it and hand over the network inside it, .{name}"
    return said


def _not_found(misuse: m.Misuse, reason: str) -> Check:
    title = misuse.name, misuse.meaning
    if reason:
        return Check(*title, "not applicable", reason, code=misuse.code)
    return Check(*title, "pass", "none found", code=misuse.code)


Look = tuple[Check, Missing, str]


def _look(model: nn.Module, example: Any, findings: m.Findings) -> Look:
    """Run the model, or a copy; return how that went, what was not looked for, and what stood in
    the way.
    """
    subject = _copy(model)
    if example is not None and any(map(is_lazy, subject.parameters())):
        _raised(Passes(subject, {}, example).rest)  # gives them their shapes
    names = tree.name_modules(subject)
    passes = Passes(subject, names, example)
    try:
        return _run(passes, names, findings)
    finally:
        passes.snapshot.put_back()


def _copy(model: nn.Module) -> nn.Module:
    """Return a copy that shares no module with the model, or the model itself."""
    try:
        copied = copy.deepcopy(model)
    except Exception:  # tensors with a history, files, locks, ...
        return model
    ours = {id(x) for x in reached(model) if isinstance(x, nn.Module)}
    shared = any(id(x) in ours for x in reached(copied) if isinstance(x, nn.Module))
    return model if shared else copied


def _run(passes: Passes, names: tree.Names, findings: m.Findings) -> Look:
    unread = _raised(tree.read_modes, passes.model, names, findings)
    missing = {m.STUCK: _said(unread)} if unread else {}
    if passes.example is None:
        unseen = {*ORDER, m.SHAPE, *PROBES}
        return (
            _ran("not applicable", NO_INPUT),
            missing | dict.fromkeys(unseen, NO_INPUT),
            "",
        )
    trace = Trace(names, findings)
    resting = _raised(passes.traced, trace, False)
    training = _raised(passes.traced, trace, True)
    unseen = set(PROBES) if resting else set(PROBES) - RESTING if training else set()
    unseen |= ORDER | {m.SHAPE} if resting and training else set()
    missing |= dict.fromkeys(unseen, NOT_RUN)
    study = Study(passes, names, findings)
    for misuse, probe in PROBES.items():
        if misuse not in missing and (error := _raised(probe, study)):
            seen = isinstance(error, probes.NotSeenError)
            missing[misuse] = str(error) if seen else _said(error)
    if resting:
        said = f"eval(): {_said(resting)}"
        return _ran("not applicable", said), missing, _obstacle(passes, said)
    if training:  # many a model wants targets, or more data, in training alone
        return _ran("note", f"train(): {_said(training)}"), missing, ""
    return _ran("pass", "in eval() and train()"), missing, ""


def _raised(call: Callable, *args: Any) -> Exception | None:
    try:
        call(*args)
    except Exception as error:
        return error
    return None


def _said(error: Exception | None) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}" if error else ""


def _ran(verdict: Verdict, measured: str) -> Check:
    meaning = "Does the model run in both modes?"
    advice = "What only a run in this mode would show is not looked for."
    return Check(RAN, meaning, verdict, measured, "", advice, RAN_CODE)


def _obstacle(passes: Passes, said: str) -> str:
    """Return what was called, what came back, and the ways out."""
    name, example = type(passes.model).__name__, passes.example
    return (
        f"{name} was called in {said}\n"
        f"The call was model({_shown(example)}).\n"
        "Give an example_input that the model takes in eval(): a tensor is its only argument, "
        "a tuple its arguments in order, and a mapping its arguments by name:\n"
        "    audit_model(model, (x, mask))\n"
        '    audit_model(model, {"x": x, "mask": mask})\n'
        "A model that needs more than that takes a wrapper, an nn.Module whose forward makes the "
        "call."
    )


def _shown(example: Any) -> str:
    def described(x: Tensor) -> "_Words":
        return _Words(
            f"a {str(x.dtype).removeprefix('torch.')} tensor of shape {(*x.shape,)}"
        )

    shown = tree_map_only(Tensor, described, example)
    if isinstance(shown, dict):
        return ", ".join(f"{key}={value!r}" for key, value in shown.items())
    return ", ".join(map(repr, shown if type(shown) is tuple else (shown,)))[:500]


class _Words(str):
    """Words that are shown without quotation marks."""

    __slots__ = ()
    __repr__ = str.__str__
