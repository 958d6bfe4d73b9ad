"""What only several passes of a model show: each probe compares some and notes what it finds."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch.nn.modules.batchnorm import _NormBase

from companion.audit import misuses as m
from companion.audit.compare import Call, dropped, parting, same_input, split
from companion.audit.passes import Draw, Passes, Record
from companion.audit.tree import ROOT, Names, rate

MANY = 48  # passes where random numbers are drawn and nothing differs yet
SOME = 12  # passes, when two are alike that should not be
SURE = 24  # bits of chance: once in 16 million times they repeat themselves
GLOBAL = ("random", "numpy.random", "torch")
KEPT = "A mask is kept from call to call"
DRAWN = "It draws the same numbers in the next pass"
BY_KEY = "Its masks have a name, key=, and repeat until another is assigned"
FIXED = "It drops the same units in every pass, from whatever seed"
CACHED = "What a training pass drew changes the answers of the next eval()"
ENDED = "After a pass in eval(), training drops nothing any more"
LEFT_ON = "left it in training mode after eval(): the next pass is another, in this"
LEFT_OFF = "left it in eval() though it dropped in this pass: the next one drops nothing, in this"


class NotSeenError(Exception):
    """What a probe looks for cannot be seen in this model."""


class Study:
    """Passes that several probes look at, each made once."""

    def __init__(self, passes: Passes, names: Names, findings: m.Findings) -> None:
        self.passes, self.names, self.findings = passes, names, findings
        self.axes: dict[int, bool] | None = None  # see `batches`

    @cached_property
    def rested(self) -> list[Record]:
        return [self.passes.rest(seed) for seed in (0, 1)]

    @cached_property
    def trained(self) -> list[Record]:
        return [self.passes.train(seed) for seed in (1, 2)]

    @property
    def is_random(self) -> bool:
        """Whether training passes from two seeds differ."""
        return _parted(*self.trained) is not None


def _parted(a: Record, b: Record) -> Call | None:
    return parting(a.root, b.root)


def find_active(study: Study) -> None:
    """Compare passes in eval() from other seeds."""
    first, second = study.rested
    place, seed = _parted(first, second), 2
    while not place and first.drew and seed < MANY:
        place, seed = _parted(first, study.passes.rest(seed)), seed + 1
    known = study.findings.of(m.ACTIVE) + study.findings.of(m.STUCK)
    if place and place.path not in {finding.path for finding in known}:
        study.findings.add(m.ACTIVE, place.path, m.PART)


def find_moved(study: Study) -> None:
    """Look which buffers a pass in eval() changes: running statistics, or what answers read."""
    first = study.rested[0]
    running = [
        x for x in first.moved if isinstance(x[0], _NormBase) or "running" in x[1]
    ]
    if first.moved and not running:
        study.passes.rest(0)
        if _parted(first, study.passes.rest(0, fresh=False)):
            running = first.moved
    for module in dict.fromkeys(module for module, _ in running):
        moved = ", ".join(name for owner, name in running if owner is module)
        study.findings.add(m.MOVED, study.names[module], f"Its {moved}")


def find_modes(study: Study) -> None:
    """Look which modules a pass leaves in the other mode."""
    for module, mode in study.rested[0].modes.items():
        if mode:
            study.findings.add(m.MODES, study.names[module], LEFT_ON)
            return
    for record in study.trained[:1]:
        dropped = {call.module for call in record.root.all() if call.training}
        for module, mode in record.modes.items():
            if not mode and module in dropped and rate(module) > 0:
                study.findings.add(m.MODES, study.names[module], LEFT_OFF)


def find_reset(study: Study) -> None:
    """Look whether generators end in the same place, wherever they began."""
    for training, (a, b) in ((False, study.rested), (True, study.trained)):
        for name in GLOBAL:
            if a.states[name] == b.states[name]:
                study.findings.add(m.RESET, _setting(study, training, name), name)


def _setting(study: Study, training: bool, name: str) -> str:
    """Return the innermost place where a generator is set."""
    a, b = (study.passes.run(training, seed, states=True) for seed in (1, 2))
    calls = zip(a.root.all(), b.root.all(), strict=False)
    return next((x.path for x, y in calls if _meet(x, y, name)), ROOT)


def _meet(a: Call, b: Call, name: str) -> bool:
    """Whether a generator stood in two places before a call, and stands in one after it."""
    begins, ends = (a.begins, b.begins), (a.ends, b.ends)
    if a.path != b.path or not all((*begins, *ends)):
        return False
    return begins[0][name] != begins[1][name] and ends[0][name] == ends[1][name]


def find_repeats(study: Study) -> None:
    """Look whether training passes in a row draw the same numbers, or give the same outputs."""
    first, resting = study.passes.train(1), study.rested[0].draws
    second = study.passes.train(None, fresh=False, again=True)
    found = False
    for a, b in zip(first.draws, second.draws, strict=False):
        if a.bits >= SURE and _alike(a, b) and not any(_alike(a, c) for c in resting):
            said, verdict = (BY_KEY, "note") if a.named else (DRAWN, "fail")
            study.findings.add(m.REPEATS, a.path, said, verdict)  # type: ignore[arg-type]
            found = True
    if found or _parted(first, second):
        return
    if not study.is_random:
        _find_fixed(study, first)
        return
    seeded = [study.passes.train(seed) for seed in range(2, SOME)]
    place = next(filter(None, (_parted(first, other) for other in seeded)))
    study.passes.train(1)
    going_on = (study.passes.train(None, fresh=False, again=True) for _ in seeded)
    if all(_parted(first, other) for other in seeded) and not any(
        _parted(first, other) for other in going_on
    ):
        study.findings.add(m.REPEATS, place.path, KEPT)


def _find_fixed(study: Study, trained: Record) -> None:
    """Look whether training drops at all, though all passes are one."""
    if (place := _parted(study.rested[0], trained)) and place.path not in _named(
        trained
    ):
        other = next(x for x in trained.root.all() if x.path == place.path)
        if any(0 < share < 1 for share in map(dropped, *split(place, other))):
            study.findings.add(m.REPEATS, place.path, FIXED)


def _named(record: Record) -> set[str]:
    return {draw.path for draw in record.draws if draw.named}


def _alike(a: Draw, b: Draw) -> bool:
    return (a.path, a.name) == (b.path, b.name) and torch.equal(a.values, b.values)


def find_carried(study: Study) -> None:
    """Look whether a pass in one mode changes those in the other."""
    passes, rested = study.passes, study.passes.rest(0)
    if _parted(rested, passes.rest(0, fresh=False)):
        return  # it goes on from call to call, as a recurrent network that keeps its state
    first, turned = study.trained[0], _parted(*study.trained)
    passes.rest(0)
    try:
        passes.train(1, fresh=False)
    except Exception as error:  # which a pass in training alone did not raise
        said = (
            f"After a pass in eval(), training raises {type(error).__name__}: {error}"
        )
        study.findings.add(m.CARRIED, ROOT, said)
        return
    passes.rest(0)
    passes.snapshot.put_back_statistics()
    if turned and _parted(first, passes.train(1, fresh=False)):
        later = [_in_turn(passes, True, seed) for seed in range(1, SOME)]
        if not any(_parted(later[0], other) for other in later):
            study.findings.add(m.CARRIED, turned.path, ENDED)
    after = _in_turn(passes, False, 1)
    place = _parted(rested, after)
    if place and _parted(after, _in_turn(passes, False, 2)):
        study.findings.add(m.CARRIED, place.path, CACHED)


def _in_turn(passes: Passes, training: bool, seed: int) -> Record:
    """Run in the other mode, put statistics back, and run in this one."""
    passes.run(not training, 0 if training else seed)
    passes.snapshot.put_back_statistics()
    return passes.run(training, seed if training else 0, fresh=False)


def find_checkpoint(study: Study) -> None:
    """Run backward, and compare what is computed again with what was computed at first."""
    record = study.passes.train(1, backward=True)
    said = " ".join(str(record.error).split())
    if record.error and "checkpoint" in said.lower():
        path = study.names[study.passes.model]
        study.findings.add(
            m.CHECKPOINT, path, f"The backward pass raised: {said[:200]}"
        )
        return
    for call in record.again:
        before = [x for x in record.root.all() if x.module is call.module]
        alike = [x for x in before if same_input(x, call, early=True)]
        places = [parting(x, call, early=True) for x in alike]
        if before and not alike:
            study.findings.add(m.CHECKPOINT, call.path, "It is given another input")
            return
        if alike and (place := places[0]) and all(places):
            study.findings.add(m.CHECKPOINT, place.path, "It gives another output")
            return
    for draw in record.drawn_again:
        same = [x for x in record.draws if (x.path, x.name) == (draw.path, draw.name)]
        if same and not any(_alike(x, draw) for x in same):
            study.findings.add(m.CHECKPOINT, draw.path, "It draws other numbers")
            return


Probe = Callable[[Study], None]
RESTING: dict[m.Misuse, Probe] = {m.ACTIVE: find_active, m.MOVED: find_moved}
TRAINING: dict[m.Misuse, Probe] = {
    m.REPEATS: find_repeats,
    m.RESET: find_reset,
    m.CARRIED: find_carried,
    m.CHECKPOINT: find_checkpoint,
    m.MODES: find_modes,
}
