"""What the mutation testing finds in a toy: survivors, and a claim that cannot fail."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from mutation.__main__ import report_chapters
from mutation.notebook import Chapter
from mutation.sites import mutants

TESTS = Path(__file__).parent
TOY = '''
"""Half of it."""


def half(x):
    return x / 2


def is_big(x: int | None) -> bool:
    if x is None:
        raise ValueError(f"{x} is not {1 + 1}")
    return x > 1
'''
CLAIMS = """
def claim(name, measured, *, between):
    assert between[0] <= measured <= between[1], name
"""
TEST = """
import pytest

from companion import toy


def test_half():
    assert toy.half(4) == 2


def test_is_big():
    assert toy.is_big(5)
    with pytest.raises(ValueError):
        toy.is_big(None)
"""
CELLS = (
    "from companion import toy\nfrom companion.claims import claim\n",
    "two = toy.half(4)\nfound = [two]",
    "allowed = 3 - 1\nclaim('equals', two, between=(allowed, 2))\n"
    "claim('decoration', len(found), between=(0, 9))\n"
    "claim('own', 3 - 1, between=(2, 2))",
)


def write_notebook(path):
    cells = [{"cell_type": "code", "source": [cell]} for cell in CELLS]
    path.write_text(json.dumps({"cells": cells}))


def after(source, **options):
    return [mutant.after for mutant in mutants(source, "toy.py", **options)]


@pytest.mark.parametrize(
    "source",
    [
        '"""A text."""',
        "import os",
        "Kind = int | None",
        "__all__ = ['half']",
        "x: int | None",
        "rng = np.random.default_rng(1)",
        "x = f(rng=1)",
    ],
)
def test_what_no_test_could_notice_is_left_alone(source):
    assert after(source) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a and b", ["x = (a or b)"]),
        ("x = a * b + c", ["x = (a * b - c)", "x = (a / b) + c"]),
        ("x = c - a / b", ["x = (c + a / b)", "x = c - (a * b)"]),
        ("x[0] = y", ["pass", "x[1] = y", "x[-1] = y"]),
        ("x = y[-1]", ["x = y[(0)]", "x = y[(-2)]"]),
        ("x = not y", ["x = (y)"]),
        ("x += 1", ["x -= 1", "pass", "x += 2", "x += 0"]),
        ("x = f(a, rng=rng)", ["x = f(a, )"]),
        ("raise ValueError(1 + 1)", ["pass"]),
        ("y = 1 if x else 2", ["y = 2 if x else 2", "y = 0 if x else 2"]),
        ("def f(x=True): pass", ["def f(x=False): pass"]),
        ("é = '✓', x < 2", ["é = '✓', (x <= 2)", "é = '✓', (x >= 2)"]),
    ],
)
def test_each_way_to_be_wrong(source, expected):
    assert set(expected) <= set(after(source))


def test_a_mutant_moves_no_line():
    source = "x = (a +\n     b)\nf(c,\n  d)\ny = z[\n1]\n"
    for mutant in mutants(source, "toy.py"):
        changed = mutant.apply(source)
        assert ast.parse(changed).body[-1].lineno == 5
        assert changed.count("\n") == source.count("\n")


def test_a_default_matters_to_whoever_runs_the_function_and_a_line_to_whoever_runs_it():
    source = "def f(x=1):\n    def g(y=2):\n        return y\n    return x + 3"
    reach = {m.after: (m.reach, m.inside) for m in mutants(source, "toy.py")}
    assert reach["def f(x=2):"] == ((2, 4), False)
    assert reach["def g(y=3):"] == ((2, 2), True)
    assert reach["return (x - 3)"] == ((4, 4), True)


def test_bounds_of_claims_are_held_fast():
    source = "claim('a', x + 1, between=(2, 3))"
    assert after(source) == []
    assert len(after(source, in_claims=True)) == 3  # the sum, and two of its 1


def test_a_claim_depends_on_what_computes_its_value_not_on_its_bound(tmp_path):
    write_notebook(tmp_path / "a.ipynb")
    chapter = Chapter(tmp_path / "a.ipynb", "a")
    texts = [ast.unparse(s.node) for s in chapter.statements]
    equals = texts.index("claim('equals', two, between=(allowed, 2))")
    assert [texts[i] for i in chapter.before(equals)] == ["two = toy.half(4)"]
    decoration = equals + 1
    assert [texts[i] for i in chapter.before(decoration)] == [
        "found = [two]",
        "two = toy.half(4)",
    ]
    first = chapter.before(equals)[0]
    assert chapter.after({first}) >= {first, equals, decoration}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    for folder in ("companion", "tests", "book"):
        (root / folder).mkdir()
    (root / "pyproject.toml").touch()
    (root / "companion" / "__init__.py").touch()
    (root / "companion" / "claims.py").write_text(CLAIMS)
    (root / "companion" / "toy.py").write_text(TOY)
    (root / "tests" / "test_toy.py").write_text(TEST)
    write_notebook(root / "book" / "01_toy.ipynb")
    (root / "tests" / "equivalent.toml").write_text(
        '[[mutant]]\nfile = "companion/toy.py"\nbefore = "return x > 1"\n'
        'after = "return x > 2"\nreason = "a toy"\n'
    )
    command = [sys.executable, "-m", "mutation", "--root", str(root)]
    command += ["--rooms", "toy", "claims", "--number", "60"]
    done = subprocess.run(
        command,
        env={"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (root / "companion" / "toy.py").read_text() == TOY
    return done.stdout


def test_survivors_are_listed_and_the_rest_is_killed(report):
    assert "toy               8 of   10 killed" in report
    survivors = [text for text in report.split("\nsurvived: ") if "toy.py" in text[:20]]
    assert len(survivors) == 2
    assert survivors[0].startswith(
        "companion/toy.py:12\n  - return x > 1\n  + return (x >= 1)"
    )
    assert "+ return x > 0" in survivors[1]


def test_what_no_test_runs_survives(report):
    assert "claims            0 of    8 killed" in report


def test_a_claim_that_never_fails_is_listed_even_if_claims_are_broken(report):
    assert report.rstrip().endswith("never fail:\n  decoration")
    assert "fail by mutants of their own call alone:\n  own\n" in report
    assert "    1 of    3 claims fail by a mutant of the package" in report


def test_a_claim_whose_value_cannot_be_computed_is_counted_apart(capsys):
    result = {"failed": [], "lost": ["a"], "kind": "package", "seconds": 1.0}
    claims = {"a": (1, "held"), "b": (2, "held")}
    report_chapters({"toy": {"claims": claims, "results": [result]}})
    said = capsys.readouterr().out
    assert "    0 of    2 claims fail by some mutant" in said
    assert "    1 of    2, or lose what they measure" in said
    assert said.rstrip().endswith("never fail:\n  b")
