"""The tests of teaching libraries on wrong dropouts: restated as they are, stored as they came."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
STORED = json.loads((ROOT / "reproduce" / "audit_world" / "graders.json").read_text())
ROWS = {row["name"]: row for row in STORED["runs"]}
QUICK = (
    "MiniTorch",
    "TinyTorch",
    "Deep Learning Systems",
    "DeepLearning",
    "Dive",
    "MLAB",
)


@pytest.fixture
def program(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "reproduce")
    return importlib.import_module("audit_world.graders")


def test_sixty_wrong_dropouts_have_a_name_each_and_twelve_are_wrong_at_the_edges(
    program,
):
    assert len({wrong.name for wrong in program.WRONG}) == len(program.WRONG) == 60
    assert sum(wrong.edge for wrong in program.WRONG) == 12


def test_what_is_stored_is_what_the_program_would_run(program):
    keys = "name", "kind", "edge"
    assert STORED["settings"]["wrong"] == [
        {k: getattr(w, k) for k in keys} for w in program.WRONG
    ]
    assert STORED["settings"]["seeds"] == list(program.SEEDS)
    assert list(ROWS) == list(program.graders())
    for name, about in program.graders().items():
        assert ROWS[name] | about == ROWS[name]


@pytest.mark.parametrize("name", [n for n in ROWS if n.startswith(QUICK)])
def test_a_quick_grader_catches_what_is_stored(program, name):
    passed = {c: program.graded(name, c) for c in program.CANDIDATES}
    assert program.row(program.graders()[name], passed) == ROWS[name]


def test_every_grader_passes_a_right_dropout_but_one_that_asks_for_no_scale(program):
    (failing,) = [name for name, row in ROWS.items() if not row["passes"]["right"]]
    assert failing.startswith("CMU")
    assert program.graded(failing, "right") == [False]
    assert program.graded(failing, "unscaled") == [True]
    assert set(ROWS[failing]["caught"]) == {w.name for w in program.WRONG} - {
        "unscaled"
    }


def test_graders_with_stored_numbers_fail_a_right_dropout_that_draws_in_another_way():
    other = {
        name for name, row in ROWS.items() if not row["passes"]["right, otherwise"]
    }
    assert other == {name for name, row in ROWS.items() if row.get("stored")}
    assert len(other) == 4


def test_a_turned_draw_gives_the_numbers_that_the_courses_print(program):
    """Homework 2's first example, and problem 151's: as published, to four digits."""
    exercises, right = program.exercises, program.right()
    state, _, rng = exercises.legacy(12)
    x = state.randint(0, 100, (2, 3)) / 20
    expected = [[6.8182, 0, 0], [0.1818, 0, 6.0909]]
    np.testing.assert_allclose(right(x, 0.45, True, rng), expected, atol=5e-5)
    *_, rng = exercises.legacy(42)
    y = right(np.array([[1.0, 2.0], [3.0, 4.0]]), 0.2, True, rng)
    np.testing.assert_allclose(y, [[1.25, 0], [3.75, 5]])
