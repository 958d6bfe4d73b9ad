"""The notebooks themselves: executed, complete, and compared in earnest by nbval."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
# Tags that keep nbval from comparing an output. None is needed so far.
ALLOWED_IGNORES = 0


def code_cells(path):
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def test_there_are_chapters():
    assert [path.stem[:2] for path in NOTEBOOKS] == [
        *("01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12"),
        *("a1", "a2", "a3", "a4"),
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_was_executed_once_and_in_order(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_error_or_warning_is_stored(path):
    for cell in code_cells(path):
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", output.text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_is_left_to_do(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not re.search(r"\b(TODO|FIXME|XXX)\b", cell.source), cell.source


def test_no_output_escapes_comparison():
    ignoring = [
        (path.name, tag)
        for path in NOTEBOOKS
        for cell in code_cells(path)
        for tag in [
            *cell.metadata.get("tags", []),
            *re.findall(r"(?i)#\s*nbval.*", cell.source),
        ]
        if "nbval" in tag.lower() or tag == "raises-exception"
    ]
    assert len(ignoring) <= ALLOWED_IGNORES, ignoring


LESSONS = [path for path in NOTEBOOKS if path.stem[0] in "01"]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_chapter_has_a_figure_claims_citations_and_solved_exercises(path):
    notebook = nbformat.read(path, as_version=4)
    prose = "\n".join(
        cell.source for cell in notebook.cells if cell.cell_type == "markdown"
    )
    outputs = str([cell.get("outputs") for cell in notebook.cells])
    assert "image/png" in outputs
    assert outputs.count("✓") >= 10
    assert "](https://" in prose
    exercises = re.findall(r":label: (ex-\S+)", prose)
    assert len(exercises) >= 2
    assert re.findall(r"\{solution-start\} (ex-\S+)", prose) == exercises


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_solution_holds_an_executed_claim(path):
    inside, solutions = None, {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            if inside:
                solutions[inside] |= "✓" in str(cell.outputs)
            continue
        for start, end in re.findall(
            r"\{solution-start\} (\S+)|(\{solution-end\})", cell.source
        ):
            if start:
                inside = start
                solutions[inside] = False
            elif end:
                inside = None
    assert solutions
    assert all(solutions.values()), solutions


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_has_a_text_for_who_cannot_see_it(path):
    for cell in code_cells(path):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            alt = cell.metadata["mystnb"]["image"]["alt"]
            assert len(alt) > 60
            assert ".png" not in alt


@pytest.mark.parametrize(
    ("old", "new", "passes"),
    [
        ("bytes alone: 0.2969", "bytes alone: 0.2969", True),
        ("bytes alone: 0.2969", "bytes alone: 0.2970", False),
        ("8000 plain, 1000 in bytes", "8000 plain, 2000 in bytes", False),
        ("Figure size 728x728", "Figure size 728x729", False),
        ("(measured 8; exactly 8)", "(measured 7; exactly 8)", True),
        ("(measured 8; exactly 8)", "(measured 8; exactly 9)", False),
    ],
)
def test_nbval_compares_stored_outputs(tmp_path, old, new, passes):
    """One stored output of a copy is corrupted, and nbval must notice that one and no other."""
    folder = tmp_path / "book"
    folder.mkdir()
    path = folder / "copy.ipynb"
    notebook = nbformat.read(ROOT / "book" / "a1_the_draw.ipynb", as_version=4)
    changed = 0
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            held = output.setdefault("data", {}) if "data" in output else output
            for key in ("text", "text/plain"):
                if old in held.get(key, ""):
                    held[key] = held[key].replace(old, new)
                    changed += 1
    assert changed == 1
    nbformat.write(notebook, path)
    shutil.copy(ROOT / "tests" / "nbval_sanitize.cfg", folder)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--nbval",
    ]
    command += [
        "--nbval-current-env",
        "--nbval-sanitize-with",
        "nbval_sanitize.cfg",
        path.name,
    ]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    failed = re.findall(r"(\d+) failed", done.stdout)
    assert (done.returncode, failed) == ((0, []) if passes else (1, ["1"])), done.stdout
