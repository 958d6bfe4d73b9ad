"""Mutants of the package and of the chapters against the claims of the chapters.

A chapter runs statement by statement in one process. Before the first statement that a mutant
can reach, the process forks, and the fork goes on with the mutant to the last claim in question.
"""

import ast
import gc
import importlib
import linecache
import os
import random
import sys
import time
import types
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import forks
from .notebook import Chapter
from .sites import Mutant, is_claim
from .suite import enter

Record = dict[str, Any]


class Run:
    """A chapter under way in this process."""

    def __init__(self, chapter: Chapter, copy: Path):
        enter(copy)
        os.chdir(copy / "book")
        self.chapter, self.copy = chapter, copy
        self.namespace = types.ModuleType("__main__")
        sys.modules["__main__"] = self.namespace
        for cell, source in enumerate(chapter.cells):
            lines = source.splitlines(keepends=True)
            linecache.cache[chapter.file(cell)] = len(source), None, lines, ""
        self.events: list[tuple[str, str]] = []
        from companion import claims

        assert Path(claims.__file__).is_relative_to(copy), claims.__file__
        original = claims.claim

        def claim(name, *args, **kwargs):
            try:
                original(name, *args, **kwargs)
            except AssertionError:
                self.events.append((name, "failed"))
            except Exception:
                self.events.append((name, "raised"))
            else:
                self.events.append((name, "held"))

        claims.claim = claim

    def step(self, i: int, code: types.CodeType | None = None) -> bool:
        """Run a statement; say whether the chapter would go on after it."""
        s, statements = self.chapter.statements[i], self.chapter.statements
        try:
            exec(code or self.chapter.code(i), self.namespace.__dict__)
        except Exception:
            if not (isinstance(s.node, ast.Expr) and is_claim(s.node.value)):
                return False
            self.events.append((self.name_of(s.node.value), "raised"))
        is_last = i + 1 == len(statements) or statements[i + 1].cell != s.cell
        if is_last and (pyplot := sys.modules.get("matplotlib.pyplot")):
            pyplot.close("all")
        return True

    def name_of(self, call: ast.Call) -> str:
        name = ast.Expression(call.args[0])
        return eval(compile(name, "claim", "eval"), self.namespace.__dict__)

    def swap(self, mutant: Mutant) -> bool:
        """Give the functions of a changed file their new code."""
        path = self.copy / mutant.file
        module = mutant.file.removesuffix(".py").removesuffix("/__init__")
        importlib.import_module(module.replace("/", "."))
        changed = compile(mutant.apply(path.read_text()), str(path), "exec")
        new = {(c.co_qualname, c.co_firstlineno): c for c in _codes(changed)}
        swapped = False
        for f in gc.get_objects():
            if type(f) is types.FunctionType and f.__code__.co_filename == str(path):
                code = new.get((f.__code__.co_qualname, f.__code__.co_firstlineno))
                if code and code != f.__code__:
                    f.__code__ = code
                    swapped = True
        return swapped


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes(constant)


def record(chapter: Chapter, copy: Path):
    """The job that runs a chapter as it is: its claims, times, and lines of the package."""

    def work() -> Record:
        import coverage

        watch = coverage.Coverage(
            data_file=None, config_file=False, include=[f"{copy}/companion/*"]
        )
        watch.start()
        run, claims, seconds = Run(chapter, copy), {}, []
        for i in range(len(chapter.statements)):
            watch.switch_context(str(i))
            began = time.perf_counter()
            if not run.step(i):
                return {"error": f"statement {i} of cell {chapter.statements[i].cell}"}
            seconds.append(time.perf_counter() - began)
            claims |= {
                name: [i, status]
                for name, status in run.events
                if name not in claims or status != "held"
            }
        watch.stop()
        data, lines = watch.get_data(), {}
        for file in data.measured_files():
            name = Path(file).relative_to(copy).as_posix()
            lines[name] = {
                line: sorted(int(c) for c in contexts if c)
                for line, contexts in data.contexts_by_lineno(file).items()
            }
        return {"claims": claims, "seconds": seconds, "lines": lines}

    return work


def reached(mutant: Mutant, recorded: Record) -> set[int]:
    """The statements of a chapter that run a mutant's line."""
    if not mutant.inside:
        return set()
    first, last = mutant.reach
    return {
        i
        for line, places in recorded["lines"].get(mutant.file, {}).items()
        if first <= int(line) <= last
        for i in places
    }


@dataclass(frozen=True)
class Trial:
    """A mutant in a chapter: of the package, of the chapter, or of a claim's own call."""

    mutant: Mutant
    kind: str
    first: int  # statement
    affected: frozenset[str]  # claims
    needed: bool = False  # even if its claims were all seen to fail


def trial(
    chapter: Chapter,
    recorded: Record,
    mutant: Mutant,
    kind: str,
    starts: set[int],
    needed: bool = False,
) -> Trial:
    affected = chapter.after(starts)
    claims = {name for name, (i, _) in recorded["claims"].items() if i in affected}
    return Trial(mutant, kind, min(starts), frozenset(claims), needed)


def walk(
    chapter: Chapter,
    recorded: Record,
    trials: list[Trial],
    undecided: set[str],
    enough: int,
    copy: Path,
):
    """The job that runs a chapter, and before each statement forks for each mutant it meets.

    A mutant is tried if it can reach a claim that was not seen to fail yet, nor to hold in
    spite of `enough` mutants.
    """
    where = {name: i for name, (i, _) in recorded["claims"].items()}
    kinds = ("package", "chapter", "own")

    def onward(run: Run, trial: Trial, last: int):
        def work():
            code = None
            if trial.kind == "package":
                if not run.swap(trial.mutant):
                    return {"not swapped": True}
            else:
                s = chapter.statements[trial.first]
                code = chapter.code(
                    trial.first, trial.mutant.apply(chapter.cells[s.cell])
                )
            run.events.clear()
            for i in range(trial.first, last + 1):
                if not run.step(i, code if i == trial.first else None):
                    return {"events": run.events, "stopped": i}
            return {"events": run.events}

        return work

    def work() -> list[Record]:
        run, results, open_claims = Run(chapter, copy), [], set(undecided)
        held: Counter[str] = Counter()
        logs = copy.parent / f"{Path(chapter.name).stem}"
        logs.mkdir(exist_ok=True)
        order = sorted(trials, key=lambda t: (t.first, kinds.index(t.kind)))
        for i in range(len(chapter.statements)):
            for t in [t for t in order if t.first == i]:
                wanted = t.affected if t.needed else t.affected & open_claims
                if not wanted:
                    continue
                last = max(where[name] for name in wanted)
                limit = 30 + 5 * sum(recorded["seconds"][i : last + 1])
                job = t, lambda _, t=t, last=last: onward(run, t, last), limit
                [(_, result, seconds)] = forks.results([job], 1, logs)
                result = result or {"broken down": True}
                events = result.pop("events", [])
                failed = [n for n, how in events if how != "held" and n in t.affected]
                held.update(n for n, how in events if how == "held" and n in t.affected)
                tired = {name for name, times in held.items() if times >= enough}
                open_claims -= {*failed, *tired}
                ended = result.get("stopped")
                lost = [n for n in t.affected if ended in chapter.before(where[n])]
                results.append(
                    {"mutant": t.mutant.key, "kind": t.kind, "failed": failed}
                    | {"lost": lost, "seconds": round(seconds, 2)}
                    | result
                )
            run.step(i)
        red = [name for name, how in run.events if how != "held"]  # by the clock, maybe
        return [r | {"failed": sorted(set(r["failed"]) - set(red))} for r in results]

    return work


def sampled(
    chapter: Chapter, recorded: Record, number: int, rng: random.Random
) -> list[Trial]:
    """Mutants of the statements on which claims depend."""
    depends = {
        j for i, _ in recorded["claims"].values() for j in (i, *chapter.before(i))
    }
    found = chapter.mutants(depends)
    chosen = rng.sample(found, min(number, len(found)))
    return [trial(chapter, recorded, m, "chapter", {i}) for m, i in chosen]


def directed(
    chapter: Chapter,
    recorded: Record,
    claims: set[str],
    package: list[Mutant],
    number: int,
    rng: random.Random,
) -> list[Trial]:
    """For claims that nothing failed: mutants where their measured values are computed."""
    found: dict[tuple[str, str], Trial] = {}
    for name in sorted(claims):
        at = recorded["claims"][name][0]
        near = [at, *chapter.before(at)]
        own = [("chapter", m, {i}) for j in near[:6] for m, i in chapter.mutants({j})]
        own = rng.sample(own, min(number, len(own)))
        run_here = [
            ("package", m, starts)
            for m in package
            if (starts := reached(m, recorded)) & {*near}
        ]
        own += rng.sample(run_here, min(number // 2, len(run_here)))
        inside = [
            ("own", m, {i})
            for m, i in chapter.mutants({at}, in_claims=True)
            if m not in {m for m, _ in chapter.mutants({at})}
        ]
        own += rng.sample(inside, min(number, len(inside)))
        for kind, mutant, starts in own:
            found[kind, mutant.key] = trial(chapter, recorded, mutant, kind, starts)
    return list(found.values())
