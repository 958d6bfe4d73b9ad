"""Break the package and the chapters in small ways, and list what nothing notices.

Run it as `make mutants`. What was tried is kept in `_build/mutants`, and not tried again while
nothing it depends on has changed.
"""

import argparse
import hashlib
import json
import math
import random
import signal
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from . import chapters, forks, suite
from .notebook import Chapter
from .sites import Mutant, mutants

ROOMS = (
    "masks inverted standard checks claims activations optimizers history network nn"
)
ROOMS += " training estimators audit symbolic data"


def room_of(file: str) -> str:
    return Path(file).parts[1].removesuffix(".py")


class Kept:
    """Results as lines of JSON; each holds for one state of the files that it depends on."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self.results = {tuple(line["key"]): line for line in map(json.loads, lines)}

    def get(self, *key):
        return self.results.get(key)

    def put(self, *key, **result) -> dict:
        line = self.results[key] = {"key": key, **result}
        with self.path.open("a") as file:
            print(json.dumps(line), file=file)
        return line


class Try:
    """The mutants of one state of the checkout, and what notices them."""

    def __init__(self, root: Path, folder: Path, workers: int):
        self.tree = suite.copy_tree(root, folder / "tree")
        self.copies = [
            suite.copy_tree(self.tree, folder / f"copy{i}") for i in range(workers)
        ]
        self.kept = root / "_build" / "mutants"
        listed = self.tree / "tests" / "equivalent.toml"
        self.equivalent = (
            tomllib.loads(listed.read_text())["mutant"] if listed.exists() else []
        )

    def files_of(self, room: str) -> list[str]:
        package = self.tree / "companion"
        paths = [package / f"{room}.py", *sorted((package / room).rglob("*.py"))]
        return [p.relative_to(self.tree).as_posix() for p in paths if p.exists()]

    def mutants(self, rooms: list[str]) -> dict[str, list[Mutant]]:
        """All mutants of each room but those known to change nothing."""
        nothing = {(e["file"], e["before"], e["after"]) for e in self.equivalent}
        return {
            room: [
                m
                for file in self.files_of(room)
                for m in mutants((self.tree / file).read_text(), file)
                if (m.file, m.before, m.after) not in nothing
            ]
            for room in rooms
        }

    def state(self, *names: str) -> str:
        """A digest of files, and of the Python files in folders."""
        paths = [self.tree / name for name in names]
        files = [f for p in paths for f in ([p] if p.is_file() else p.rglob("*.py"))]
        content = b"".join(file.read_bytes() for file in sorted(files))
        return hashlib.sha256(content).hexdigest()[:16]

    def size(self, files: tuple[str, ...]) -> int:
        return -sum((self.tree / file).stat().st_size for file in files)

    def run(self, jobs: list, what: str):
        """Run jobs with a bar; each is prepared with a copy that is as the checkout."""

        def prepared(prepare):
            def in_copy(worker: int):
                copy = self.copies[worker]
                for file in (self.tree / "companion").rglob("*.py"):
                    place = copy / file.relative_to(self.tree)
                    if place.read_bytes() != file.read_bytes():
                        place.write_bytes(file.read_bytes())
                return prepare(copy)

            return in_copy

        ready = [(label, prepared(prepare), limit) for label, prepare, limit in jobs]
        done = forks.results(ready, len(self.copies), self.tree.parent)
        return tqdm(done, what, total=len(jobs), smoothing=0.1)

    def record_tests(self, rooms: list[str]) -> dict[str, dict]:
        """Time every test of the rooms, and list the lines of the package that it runs."""
        kept, recorded, jobs = Kept(self.kept / "tests.jsonl"), {}, []
        groups = [tuple(files) for room in rooms if (files := self.files_of(room))]
        for room in rooms:
            tests = sorted((self.tree / "tests").glob(f"test_{room}*.py"))
            groups += [(test.relative_to(self.tree).as_posix(),) for test in tests]
        for files in sorted(dict.fromkeys(groups), key=self.size):  # the longest first
            key = " ".join(files), self.state("companion", *files)
            if known := kept.get(*key):
                recorded |= known["tests"]
            else:
                jobs.append((key, lambda copy, f=files: suite.record(copy, f), 3600))
        for key, result, _ in self.run(jobs, "recording tests"):
            if result is None or result == forks.LATE:
                print(f"\nnot recorded: {key[0]}")
                continue
            for test in result["failed"]:
                print(f"\nfails without a mutant: {test}")
            recorded |= kept.put(*key, **result)["tests"]
        return recorded

    def try_tests(self, chosen: list[Mutant], recorded: dict) -> dict[Mutant, str]:
        """The test that kills each mutant, or "time"; "" if none does."""
        kept, outcome, jobs = Kept(self.kept / "mutants.jsonl"), {}, []
        everything = self.state("companion", "tests")
        for m in chosen:
            own = self.state(m.file)
            if known := kept.get(m.key, own) or kept.get(m.key, everything):
                outcome[m] = known["killed"]
                continue
            orders = suite.stages(m, recorded, f"tests/test_{room_of(m.file)}")
            jobs.append((m, *orders))
        for stage in ("those that run the line", "all of the room"):
            again, todo = [], []
            for m, tests, rest in jobs:
                limit = 60 + 5 * sum(recorded[test]["seconds"] for test in tests)
                todo.append(((m, rest), self.breaking(m, tests), limit))
            for (m, rest), result, seconds in self.run(todo, stage):
                killed = {forks.LATE["late"]: "time"}.get(
                    result == forks.LATE, "broke down" if result is None else result
                )
                if not killed and rest:
                    again.append((m, rest, []))
                    continue
                outcome[m] = killed
                key = m.key, self.state(m.file) if killed else everything
                kept.put(*key, killed=killed, seconds=round(seconds, 1))
            jobs = again
        return outcome

    def breaking(self, mutant: Mutant, tests: list[str]):
        def prepare(copy: Path):
            source = (self.tree / mutant.file).read_text()
            (copy / mutant.file).write_text(mutant.apply(source))
            return suite.try_tests(copy, tests)

        return prepare

    def record_chapters(self, names: list[str]) -> dict[Chapter, dict]:
        """Run the chapters as they are."""
        kept, recorded, jobs = Kept(self.kept / "chapters.jsonl"), {}, []
        for name in names:
            file = f"book/{name}.ipynb"
            chapter = Chapter(self.tree / file, name)
            key = name, self.state("companion", file)
            if known := kept.get(*key):
                recorded[chapter] = known["record"]
            else:
                job = lambda copy, c=chapter: chapters.record(c, copy)  # noqa: E731
                jobs.append(((chapter, key), job, 1200))
        for (chapter, key), result, _ in self.run(jobs, "recording chapters"):
            if not result or "claims" not in result:
                print(f"\nnot recorded: {chapter.name}: {result}")
                continue
            recorded[chapter] = kept.put(*key, record=result)["record"]
        return recorded

    def walk(self, plans: dict, what: str, enough: int) -> dict[str, list[dict]]:
        """What each mutant does to the claims of each chapter."""
        kept, results, jobs = Kept(self.kept / "walks.jsonl"), {}, []
        longest = sorted(plans.items(), key=lambda plan: -sum(plan[1][0]["seconds"]))
        for chapter, (recorded, trials, undecided) in longest:
            tried = [(t.mutant.key, t.kind, t.needed) for t in trials]
            plan = hashlib.sha256(
                repr((tried, sorted(undecided), enough)).encode()
            ).hexdigest()
            state = self.state("companion", f"book/{chapter.name}.ipynb")
            key = chapter.name, state, plan[:16]
            if known := kept.get(*key):
                results[chapter.name] = known["results"]
            elif trials:
                args = chapter, recorded, trials, undecided, enough
                job = lambda copy, args=args: chapters.walk(*args, copy)  # noqa: E731
                jobs.append((key, job, 3600 * 3))
        for key, result, _ in self.run(jobs, what):
            if result is None or result == forks.LATE:
                print(f"\nno result: {key[0]}")
                continue
            results[key[0]] = kept.put(*key, results=result)["results"]
        return results

    def try_chapters(
        self,
        names: list[str],
        package: list[Mutant],
        needed: set[Mutant],
        every: list[Mutant],
        number: int,
        seed: int,
    ) -> dict:
        """Which mutants make which claims fail, at random first and then on purpose.

        A broken `claim` says nothing about a claim: that room is left out.
        """
        package = [m for m in package if room_of(m.file) != "claims"]
        every = [m for m in every if room_of(m.file) != "claims"]
        rng = random.Random(seed)
        recorded = self.record_chapters(names)
        plans = {}
        share = {c: len(r["claims"]) for c, r in recorded.items()}
        for chapter, record in recorded.items():
            count = round(number * share[chapter] / sum(share.values()))
            trials = chapters.sampled(chapter, record, count, rng)
            for m in package:
                if starts := chapters.reached(m, record):
                    made = chapters.trial(
                        chapter, record, m, "package", starts, m in needed
                    )
                    trials.append(made)
            holds = {n for n, (_, how) in record["claims"].items() if how == "held"}
            plans[chapter] = record, trials, holds
        found = [self.walk(plans, "chapters", 8)]
        for chapter, (record, _, holds) in plans.items():
            tried = found[0].get(chapter.name, [])
            left = holds - {name for result in tried for name in result["failed"]}
            trials = chapters.directed(chapter, record, left, every, 8, rng)
            plans[chapter] = record, trials, left
        found.append(self.walk(plans, "chapters, claims that held", 1000))
        return {
            chapter.name: {
                "claims": record["claims"],
                "results": [r for part in found for r in part.get(chapter.name, [])],
            }
            for chapter, record in recorded.items()
        }


def sample(found: dict[str, list[Mutant]], number: int, seed: int) -> list[Mutant]:
    """Some mutants of each room: as many as the root of its size says."""
    weights = {room: math.sqrt(len(ways)) for room, ways in found.items()}
    rng = random.Random(seed)
    chosen = []
    for room, ways in found.items():
        share = round(number * weights[room] / sum(weights.values()))
        chosen += rng.sample(ways, min(len(ways), share))
    return chosen


def report_tests(outcome: dict[Mutant, str], by_claims: dict[str, list[str]]) -> None:
    """How many were killed in each room, and every one that was not."""
    tried: Counter = Counter(room_of(m.file) for m in outcome)
    killed = {m for m, test in outcome.items() if test or by_claims.get(m.key)}
    counts: Counter = Counter(room_of(m.file) for m in killed)
    for room, count in tried.items():
        print(f"{room:<14}{counts[room]:>5} of{count:>5} killed")
    print(f"{'all':<14}{len(killed):>5} of{tried.total():>5} killed")
    claims = [m for m in killed if not outcome[m]]
    print(f"of these, {len(claims)} by the chapters' claims alone")
    alive = sorted(set(outcome) - killed, key=lambda m: (m.file, m.start, m.text))
    for m in claims + alive:
        how = (
            "survived" if m not in killed else f"killed by {by_claims[m.key][0]} alone"
        )
        print(f"\n{how}: {m.file}:{m.line}\n  - {m.before}\n  + {m.after}")


def report_chapters(found: dict) -> None:
    """How each claim was killed, and every one that was not."""
    how: dict[str, Counter] = {}
    red, slow = [], 0.0
    for chapter in found.values():
        red += [n for n, (_, status) in chapter["claims"].items() if status != "held"]
        how |= {name: Counter() for name in chapter["claims"] if name not in red}
        for result in chapter["results"]:
            slow += result["seconds"]
            for name in set(result["failed"]) & set(how):
                how[name][result["kind"]] += 1
    results = [r for chapter in found.values() for r in chapter["results"]]
    print(f"\n{len(results)} runs of chapters with a mutant, {slow / 60:.0f} minutes")
    for kind, words in (
        ("package", "of the package"),
        ("chapter", "of the chapter's code"),
        ("own", "of the claim's own call"),
    ):
        count = sum(1 for kinds in how.values() if kinds[kind])
        print(f"{count:>5} of{len(how):>5} claims fail by a mutant {words}")
    alive = [name for name, kinds in how.items() if not kinds]
    print(f"{len(how) - len(alive):>5} of{len(how):>5} claims fail by some mutant")
    lost = {name for result in results for name in result.get("lost", [])}
    alive = [name for name in alive if name not in lost]
    print(f"{len(how) - len(alive):>5} of{len(how):>5}, or lose what they measure")
    only = [n for n, kinds in how.items() if kinds["own"] and len(kinds) == 1]
    for title, names in (
        ("red without a mutant", red),
        ("fail by mutants of their own call alone", only),
        ("never fail", alive),
    ):
        if names:
            print(f"\n{title}:\n  " + "\n  ".join(names))


def main() -> None:
    parser = argparse.ArgumentParser("make mutants", description=__doc__)
    parser.add_argument(
        "--rooms", nargs="+", default=ROOMS.split(), help="of companion"
    )
    parser.add_argument(
        "--number", type=int, default=300, help="mutants of the package"
    )
    parser.add_argument("--at", nargs="+", help="all of FILE:LINE instead")
    parser.add_argument("--chapters", nargs="*", help="names; all if not given")
    parser.add_argument(
        "--inside", type=int, default=100, help="mutants of the chapters"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    root = Path(__file__).parents[2]
    parser.add_argument("--root", type=Path, default=root, help="of the checkout")
    parser.add_argument("--list", action="store_true", help="show them, try nothing")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and end the forks
    with tempfile.TemporaryDirectory() as folder:
        attempt = Try(given.root, Path(folder), given.workers)
        found = attempt.mutants(given.rooms)
        every = [m for ways in found.values() for m in ways]
        chosen = sample(found, given.number, given.seed)
        if given.at:
            chosen = [m for m in every if f"{m.file}:{m.line}" in given.at]
        if given.list:
            print(*(m.key for m in chosen), sep="\n")
            return
        suite.load_heavy(attempt.tree)
        outcome = attempt.try_tests(chosen, attempt.record_tests(given.rooms))
        names = given.chapters
        if names is None:
            names = sorted(p.stem for p in (attempt.tree / "book").glob("*.ipynb"))
        survivors = {m for m, killed in outcome.items() if not killed}
        args = names, chosen, survivors, every, given.inside, given.seed
        claims = attempt.try_chapters(*args)
    by_claims = {
        r["mutant"]: r["failed"]
        for chapter in claims.values()
        for r in chapter["results"]
        if r["kind"] == "package" and r["failed"]
    }
    report_tests(outcome, by_claims)
    report_chapters(claims)


if __name__ == "__main__":
    main()
