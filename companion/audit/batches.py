"""What batches made on purpose show: of samples that are alike, of others, in another order."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from companion.audit import misuses as m
from companion.audit.compare import Call, axes_of, differ, dropped, parting, split
from companion.audit.passes import Passes, Watch, own, seed_all
from companion.audit.probes import NotSeenError, Probe, Study

SIZES = (5, 7, 11, 13)  # of a batch: one that is no other axis' length
LOOSE = 1e-3  # a product of matrices of other sizes rounds in another order
ALIKE = "Samples that are alike are dropped alike, in pass after pass"
MAYBE = (
    "Along one axis units are dropped alike. If that is the batch, its samples share a mask; if "
    "it is time, that is meant"
)


class Batches:
    """Batches of some size along an axis, made from the example."""

    def __init__(self, example: Any, axis: int) -> None:
        self.example, self.axis = example, axis
        tensors = [x for x in tree_leaves(example) if isinstance(x, Tensor)]
        fitting = [x for x in tensors if x.ndim > axis and x.shape[axis]]
        if not fitting or fitting[0].is_meta:
            raise NotSeenError("no axis of a batch")
        self.given = fitting[0].shape[axis]
        lengths = {size for x in tensors for size in x.shape}
        self.rows = next(size for size in SIZES if size not in lengths)

    def made(self, index: list[int], varied: bool = False) -> Any:
        """Return the example with these of its rows; varied: no two of them are the same."""
        generator = torch.Generator().manual_seed(0)

        def taken(x: Tensor) -> Tensor:
            if x.ndim <= self.axis or x.shape[self.axis] != self.given:
                return x
            every = torch.arange(self.rows, device=x.device) % self.given
            y = x.detach().index_select(self.axis, every)
            if varied and x.is_floating_point():
                noise = torch.rand(y.shape, generator=generator).to(y)
                y = torch.where(y.isfinite(), y * (1 + noise / 4), y)
            return y.index_select(self.axis, torch.tensor(index, device=x.device))

        return tree_map_only(Tensor, taken, self.example)

    def rows_of(self, outputs: list[Tensor], rows: int) -> list[Tensor]:
        """Return the outputs that have this many rows, the rows first."""
        found = []
        for x in outputs:
            for axis in (self.axis, 0):
                if x.ndim > axis and x.shape[axis] == rows:
                    found.append(x.movedim(axis, 0))
                    break
        return found


def find_shared(study: Study) -> None:
    """Train on a batch of one sample again and again: do its rows come out alike?"""
    axis, *_ = _axes(study)
    found = _sharing(study, axis)
    elsewhere = [
        _sharing(study, other)
        for other in ({0, 1} - {axis} if found else ())
        if _answered_alone(study.passes, other) is not None
    ]
    for path in found:
        if all(path in paths for paths in elsewhere):
            study.findings.add(m.SHARED, path, ALIKE)
        else:
            study.findings.add(m.SHARED, path, MAYBE, "note")


def find_dependent(study: Study) -> None:
    """Compare the answers to a sample alone and in a batch."""
    if not any(_axes(study).values()):
        study.findings.add(m.BATCH, study.names[study.passes.model], verdict="note")


def _axes(study: Study) -> dict[int, bool]:
    """Return the axes along which samples lie, up to the first whose samples get an answer that
    is theirs alone, that one first; and whether there is one.
    """
    if study.axes is None:
        study.axes = {}
        for axis in (0, 1):
            alone = _answered_alone(study.passes, axis)
            if alone is not None:
                study.axes = {axis: alone} | study.axes
            if alone:
                break
    if not study.axes:
        raise NotSeenError("no axis of the input is that of a batch")
    return study.axes


def _answered_alone(passes: Passes, axis: int) -> bool | None:
    """Whether eval() answers a sample alone as in a batch; None if no samples lie along an axis.

    Samples in another order get the same answers, in that order.
    """
    try:
        batches = Batches(passes.example, axis)
        order = [*range(batches.rows)]
        turned = [*order[2:], *order[:2]]
        rows, others = (_rows(passes, batches, index) for index in (order, turned))
    except Exception:  # of another length it does not fit
        return None
    if not rows or differ([x[turned] for x in rows], others, LOOSE):
        return None
    try:
        few = _rows(passes, batches, order[:1])
    except Exception:  # some statistics need two
        few = _rows(passes, batches, order[:2])
    return not differ([x[: len(y)] for x, y in zip(rows, few, strict=True)], few, LOOSE)


def _rows(passes: Passes, batches: Batches, index: list[int]) -> list[Tensor]:
    """Return what eval() answers to samples that differ, these of them."""
    record = passes.rest(0, example=batches.made(index, varied=True))
    return batches.rows_of(record.root.outputs, len(index))


def _sharing(study: Study, axis: int) -> list[str]:
    """Return where units are dropped by one mask for all samples."""
    batches = Batches(study.passes.example, axis)
    record = study.passes.rest(
        0, example=batches.made([0] * batches.rows), arguments=True
    )
    found: list[Call] = []
    for call in record.root.all():
        inner = [*call.all()][:-1]
        if call.module is None or any(x in found for x in inner):
            continue
        if _is_shared(study.passes, call, batches.rows):
            found.append(call)
    return [call.path for call in found]


def _is_shared(passes: Passes, call: Call, rows: int) -> bool:
    """Whether a module, called alone on rows that are alike, drops units alike in all of them."""
    if not any(x.is_floating_point() and [*axes_of(x, rows)] for x in call.inputs):
        return False
    ones: list[Call] = []
    for seed in (1, 2):
        try:
            trained = _alone(passes, call, seed)
        except Exception:  # not to be called alone
            return False
        if not _drops_alike(call, trained, rows):
            return False
        ones.append(trained)
    return parting(ones[0], ones[1]) is not None


def _alone(passes: Passes, call: Call, seed: int) -> Call:
    """Train the module of a call, which was in eval(), on what went into it."""
    passes.snapshot.put_back()
    passes.model.train()
    seed_all(seed, passes.snapshot.generators)
    watch = Watch(passes.names)
    args, kwargs = own(call.arguments)
    with torch.no_grad(), watch:
        call.module(*args, **kwargs)
    return watch.stack[0].calls[-1]


def _drops_alike(rest: Call, trained: Call, rows: int) -> bool:
    """Whether what differs first is a mask, the same in all rows."""
    for x, y in zip(*split(rest, trained), strict=False):
        if differ([x], [y]):
            axes = set(axes_of(x, rows))
            return 0 < dropped(x, y) < 1 and bool(axes) and axes <= {*axes_of(y, rows)}
    return False


PROBES: dict[m.Misuse, Probe] = {m.SHARED: find_shared, m.BATCH: find_dependent}
