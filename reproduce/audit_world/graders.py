"""How many wrong dropouts do the tests of teaching libraries and courses catch?

The plan, fixed before the first run. Thirteen graders (exercises.py), each with the same sixty
wrong dropouts (wrong.py) and with two right ones, which it should pass: one that keeps where a
uniform draw reaches p, and one that draws whole numbers instead. A grader whose draws have no seed
of their own is run with the seeds 0 to 4, and has caught what it caught with three or more of
them; every count is stored. A grader that fails the first right dropout has no count: its failures
say nothing. The last row is `companion.audit.audit`, told that units are to be dropped, with the
seeds 0 to 4.

After a look at the first run three things were mended in how graders are restated, and no count
moved by more than two: what a dropout returns is no longer compared with an input that it has
changed where theirs is compared with stored numbers; one that draws from NumPy's global stream gets
their seed; and where a gradient is asked for by itself, for a mask that is given, it is a new layer
that is asked. Zeros at inference at p = 1 went from the core to the edges, where the audit has it.

A grader is there to teach. It has to be short, to say what went wrong, and to let every right
answer of a beginner pass; it cannot know the mistake that nobody made. What it does not catch here
is no fault of it, and the sixty were chosen to try an audit.

Not here: fastbook, LLMs-from-scratch, "Neural Networks: Zero to Hero" and micrograd have no test of
a dropout that a reader wrote. EECS 498 of Michigan asks what CS231n asks, in PyTorch. Other
copies of CMU's homework were not to be had, nor the tests that courses keep to themselves.

From the checkout, with the project's own environment::

    PYTHONPATH=.:reproduce .venv/bin/python -m audit_world.graders

The results stand in graders.json beside this file. A grader that is in it already is not run again;
delete the file to begin again.
"""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from runs import save as store
from tqdm import tqdm

from audit_world import exercises
from audit_world.exercises import Make
from audit_world.wrong import WRONG, right, right_otherwise
from companion.audit import audit


class Source(NamedTuple):
    """Where a grader stands, and what it looks at."""

    grader: exercises.Grader
    name: str
    repository: str
    commit: str
    file: str
    licence: str
    looks_at: str
    random: bool  # whether it draws without a seed of its own
    stored: bool = False  # whether it compares with stored numbers


NONE = "none stated"
SOURCES = [
    Source(
        exercises.minitorch, "MiniTorch, module 4", "minitorch/Module-4", "476a46c18cf6",
        "tests/test_nn.py", NONE,
        "one element each at p = 0, at p = 1, and at rest at p = 1", True,
    ),
    Source(
        exercises.tinytorch, "TinyTorch, module 3", "MLSysBook/TinyTorch", "02364f800abc",
        "src/03_layers/03_layers.py", "MIT",
        "inference, p = 0, p = 1, the number kept of 1,000, their scale, p refused", False,
    ),
    Source(
        exercises.cs231n, "CS231n 2026, assignment 2", "cs231n/cs231n.github.io", "3d84654b1460",
        "assignments/2026/assignment2.zip: Dropout.ipynb", "MIT (the site)",
        "means and shares of zeros at three rates, by eye; the gradient by differences", False,
    ),
    Source(
        exercises.needle, "Deep Learning Systems, homework 2", "dlsyscourse/hw2", "f4c994506f2c",
        "tests/hw2/test_nn_and_optim.py", NONE,
        "stored numbers: six elements forward, six backward", False, True,
    ),
    Source(
        exercises.deeplearning_ai, "DeepLearning.AI, course 2, week 1",
        "a public copy", "3b8731ebb2fa",
        "week-1/a2-regularization/public_tests.py", NONE,
        "stored numbers: two dropouts in a network, forward and backward", False, True,
    ),
    Source(
        exercises.dezero, "Deep Learning from Scratch 3, step 54",
        "oreilly-japan/deep-learning-from-scratch-3", "b5f3cf12a9e4",
        "tests/test_dropout.py", "MIT",
        "p = 0, inference, the gradient by differences at three rates", True,
    ),
    Source(
        exercises.arena, "ARENA 1, week 2, day 2", "arena-v1", "093233d8aded",
        "w2d2/utils.py", NONE,
        "inference, p = 0, the share dropped and the scale at three rates", True,
    ),
    Source(
        exercises.mlab, "MLAB, week 1, day 1", "redwoodresearch/mlab", "46ddd05839ae",
        "days/w1d1/day1_tests.py", NONE,
        "the scale, and the number of zeros, of up to 125 elements; inference", False,
    ),
    Source(
        exercises.girafe, "girafe-ai ML course, assignment 5",
        "girafe-ai/ml-course", "b57d7c8df19b",
        "homeworks/assignment0_05_nn_from_scratch/test_modules.ipynb", "MIT",
        "the scale, the gradient's scale and zeros, inference, p = 0, a whole row or column", False,
    ),
    Source(
        exercises.erlangen, "FAU Deep Learning, exercise 3", "a public copy", "24ca5127be27",
        "src_to_implement/NeuralNetworkTests.py", NONE,
        "the scale, the mean, inference, the gradient's zeros, and it by differences", True,
    ),
    Source(
        exercises.deep_ml, "Deep-ML, problem 151", "Open-Deep-ML/DML-OpenProblem", "04708b485a05",
        "questions/151_dropout-layer/tests.json", "Educational Use Only 1.0",
        "stored numbers: four elements; a second mask, the mean, p refused", False, True,
    ),
    Source(
        exercises.d2l, "Dive into Deep Learning, 5.6", "d2l-ai/d2l-en", "23d7a5aeccee",
        "chapter_multilayer-perceptrons/dropout.md", "CC BY-SA 4.0; code: modified MIT",
        "sixteen printed numbers at p = 0, 0.5 and 1, by eye", True,
    ),
    Source(
        exercises.carnegie_mellon, "CMU 11-785, homework 1, bonus", "a public copy", "db456afead9b",
        "tests/nn/test_dropout.py", NONE,
        "stored numbers: 1,280 elements forward, and backward without the scale", False, True,
    ),
]  # fmt: skip

RESULTS = Path(__file__).with_suffix(".json")
COMMAND = "PYTHONPATH=.:reproduce .venv/bin/python -m audit_world.graders"
WHAT = "sixty wrong dropouts before the tests of teaching libraries"
AUDIT = "companion.audit"
SEEDS = range(5)
RIGHT: dict[str, Make] = {"right": right, "right, otherwise": right_otherwise}
CANDIDATES: dict[str, Make] = RIGHT | {wrong.name: wrong.make for wrong in WRONG}


def passes(source: Source, make: Make, seed: int) -> bool:
    """Whether a grader has no complaint."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        with np.errstate(all="ignore"):
            return all(bool(asserted) for asserted in source.grader(make, seed))
    except Exception:  # a test that raises has failed
        return False
    finally:
        np.random.set_state(before)  # noqa: NPY002


def graded(name: str, candidate: str) -> list[bool]:
    """For each seed, whether a grader, or the audit, passes a candidate."""
    make = CANDIDATES[candidate]
    if name == AUDIT:
        reports = [audit(make(), kind="units", seed=seed) for seed in SEEDS]
        return [report.passed is not False for report in reports]
    (source,) = [source for source in SOURCES if source.name == name]
    return [passes(source, make, seed) for seed in (SEEDS if source.random else [0])]


def row(about: dict[str, Any], passed: dict[str, list[bool]]) -> dict[str, Any]:
    """Return what is stored of one grader: whom it passes, and whom it has caught how often."""
    caught = {name: p.count(False) for name, p in passed.items()}
    seeds = len(passed["right"])
    control = caught["right"] == 0
    often = [w for w in WRONG if caught[w.name] > seeds / 2]
    by_seed = [sum(not passed[w.name][i] for w in WRONG) for i in range(seeds)]
    return about | {
        "passes": {name: caught[name] == 0 for name in RIGHT},
        "catches": len(often) if control else None,
        "catches_core": sum(not w.edge for w in often) if control else None,
        "catches_by_seed": by_seed if control else None,
        "caught": [w.name for w in often],
        "in_some_seeds": {n: c for n, c in caught.items() if 0 < c < seeds},
    }


def graders() -> dict[str, dict[str, Any]]:
    """Return what is known of each grader before it is run, by its name."""
    known = {source.name: source._asdict() for source in SOURCES}
    for about in known.values():
        del about["grader"]
    return known | {AUDIT: {"name": AUDIT, "looks_at": "its checks", "random": True}}


def save(stored: dict[str, dict[str, Any]]) -> None:
    wrong = [{"name": w.name, "kind": w.kind, "edge": w.edge} for w in WRONG]
    settings = {"seeds": list(SEEDS), "wrong": wrong}
    in_order = [stored[name] for name in graders() if name in stored]
    store(RESULTS, WHAT, in_order, settings, ("numpy", "scipy"), COMMAND)


def main() -> None:
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    before = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    stored = {row["name"]: row for row in before}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for name, about in graders().items():
            if name in stored:
                continue
            found = pool.map(partial(graded, name), CANDIDATES)
            passed = list(tqdm(found, name, len(CANDIDATES)))
            stored[name] = row(about, dict(zip(CANDIDATES, passed, strict=True)))
            save(stored)


if __name__ == "__main__":
    main()
