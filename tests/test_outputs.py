"""Stored outputs: only what changed is replaced, and never by half of it."""

import base64
import io
import re
from copy import deepcopy

import nbformat
import numpy as np
import outputs
import pytest
from matplotlib.image import imsave
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output


def displayed(text, **data):
    return new_output("display_data", {"text/plain": text, **data})


def picture(pixels):
    file = io.BytesIO()
    imsave(file, pixels, cmap="gray", vmin=0, vmax=1, format="png")
    return base64.b64encode(file.getvalue()).decode()


def settled(stored, fresh, seen=outputs.SEEN):
    cell = new_code_cell(outputs=deepcopy(stored), execution_count=1)
    result = outputs.settle(cell, new_code_cell(outputs=fresh, execution_count=2), seen)
    assert cell.execution_count == 2
    return cell.outputs, *result


def measured(value, name="a"):
    return displayed(f"\N{CHECK MARK} {name} (measured {value}; at least 0)")


def test_last_digits_of_a_claim_and_of_a_loss_are_no_change():
    old = [measured(1.25), new_output("stream", name="stdout", text="loss ≈0.31\n")]
    new = [measured(1.26), new_output("stream", name="stdout", text="loss ≈0.32\n")]
    assert settled(old, new) == (old, False, 0)


def test_a_bystander_stays_where_its_neighbours_change():
    old = [measured(1, "a"), measured(2, "b")]
    new = [measured(1.1, "new"), measured(1.2, "a"), displayed("other")]
    assert settled(old, new) == ([new[0], old[0], new[2]], True, 0)


def test_an_output_that_is_gone_is_not_kept():
    assert settled([displayed("a"), displayed("b")], [displayed("b")])[:2] == (
        [displayed("b")],
        True,
    )


def test_the_same_text_in_two_pieces_is_left_in_two():
    old = [new_output("stream", name="stdout", text=text) for text in ("a\n", "b\n")]
    assert settled(old, [new_output("stream", name="stdout", text="a\nb\n")]) == (
        old,
        False,
        0,
    )


def test_standard_error_is_not_standard_output():
    old, new = (
        [new_output("stream", name=name, text="a")] for name in ("stdout", "stderr")
    )
    assert settled(old, new)[:2] == (new, True)


def test_a_result_that_is_kept_has_the_new_number_of_its_cell():
    old, new = (
        [new_output("execute_result", {"text/plain": "≈0.5"}, execution_count=count)]
        for count in (1, 2)
    )
    kept, changed, _ = settled(old, new)
    assert (kept[0].execution_count, changed) == (2, False)


def test_a_result_is_not_what_a_cell_displays():
    old, new = (
        [new_output(kind, {"text/plain": "a"})]
        for kind in ("display_data", "execute_result")
    )
    kept, changed, _ = settled(old, new)
    assert (kept[0].output_type, changed) == ("execute_result", True)


@pytest.mark.parametrize(
    ("shift", "changed"), [(0, False), (1, False), (4, True)], ids=str
)
def test_a_picture_that_shifts_by_a_pixel_is_the_same(shift, changed):
    pixels = np.ones((30, 43))
    pixels[:, 5:12] = 0
    old = [displayed("a line", **{"image/png": picture(pixels)})]
    new = [
        displayed("a line", **{"image/png": picture(np.roll(pixels, shift, axis=1))})
    ]
    kept, replaced, slightly = settled(old, new)
    assert (kept, replaced) == (new if changed else old, changed)
    assert slightly == pytest.approx(1 / 8 if shift == 1 else 0, abs=1e-6)
    assert settled(old, new, seen=0)[:2] == (new, shift > 0)


def test_a_mark_at_the_lower_right_edge_is_seen():
    pixels = np.ones((30, 43))
    marked = pixels.copy()
    marked[26:, 40:] = 0
    old, new = (
        [displayed("a", **{"image/png": picture(image)})] for image in (pixels, marked)
    )
    assert settled(old, new)[:2] == (new, True)


def test_a_picture_with_another_text_or_size_is_replaced():
    white = picture(np.ones((16, 16)))
    old = [displayed("one line", **{"image/png": white})]
    for text, size in (("two lines", 16), ("one line", 17)):
        new = [displayed(text, **{"image/png": picture(np.ones((size, 16)))})]
        assert settled(old, new)[:2] == (new, True)
    without = [displayed("one line")]
    assert settled(old, without)[:2] == (without, True)
    assert settled(without, old)[:2] == (old, True)


@pytest.fixture
def book(tmp_path):
    """A chapter that was never run, and one."""
    cells = [new_code_cell("a = 2", metadata={"tags": ["check"]}), new_code_cell("a")]
    for name in ("01_masks", "02_scaling"):
        nbformat.write(new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
    return tmp_path


def test_a_chapter_is_run_and_nothing_else_of_it_changes(book, capsys):
    path, other = book / "01_masks.ipynb", book / "02_scaling.ipynb"
    before = nbformat.read(path, as_version=4)
    untouched = other.read_bytes()
    outputs.main(["01_masks"], book)
    assert capsys.readouterr().out == "01_masks\n  stored [2] a\n"
    after = nbformat.read(path, as_version=4)
    assert [cell.execution_count for cell in after.cells] == [1, 2]
    (result,) = after.cells[1].outputs
    assert (result.data, result.execution_count) == ({"text/plain": "2"}, 2)
    for cell in after.cells:
        cell.update(execution_count=None, outputs=[])
    assert after == before  # identifiers, tags and metadata too
    assert other.read_bytes() == untouched
    assert sorted(book.iterdir()) == [path, other]

    stored = path.read_bytes()
    assert stored.startswith(b'{\n "cells"')
    outputs.main(["01_masks"], book)
    assert "nothing changed" in capsys.readouterr().out
    assert path.read_bytes() == stored


def test_a_chapter_runs_in_its_own_folder(book):
    path = book / "01_masks.ipynb"
    source = "from pathlib import Path\nprint(Path.cwd())"
    nbformat.write(new_notebook(cells=[new_code_cell(source)]), path)
    outputs.main(["01_masks"], book)
    (cell,) = nbformat.read(path, as_version=4).cells
    assert cell.outputs[0].text == f"{book}\n"


def test_a_picture_that_hardly_differs_is_told_of_and_stored_if_asked_for(
    book, monkeypatch, capsys
):
    pixels = np.ones((16, 16))
    pixels[:, 3:5] = 0
    stored, fresh = (
        [displayed("a line", **{"image/png": picture(np.roll(pixels, shift))})]
        for shift in (0, 1)
    )
    path = book / "01_masks.ipynb"
    cells = [new_markdown_cell("A line."), new_code_cell("draw()", outputs=stored)]
    nbformat.write(new_notebook(cells=cells), path)

    def draw(notebook, folder):
        notebook.cells[1].update(outputs=deepcopy(fresh), execution_count=1)

    monkeypatch.setattr(outputs, "execute", draw)
    for arguments, line, kept in (
        ([], "left   [1] draw(): a picture that differs by 0.02", stored),
        (["--pictures"], "stored [1] draw()", fresh),
    ):
        outputs.main(["01_masks", *arguments], book)
        assert line in capsys.readouterr().out
        assert nbformat.read(path, as_version=4).cells[1].outputs == kept


def test_a_cell_that_fails_leaves_the_notebook_as_it_was(book):
    path = book / "01_masks.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source = "1 / 0"
    nbformat.write(notebook, path)
    before = path.read_bytes()
    with pytest.raises(SystemExit, match=r"(?s)1 / 0.*ZeroDivisionError.*left as it"):
        outputs.main(["01_masks"], book)
    assert path.read_bytes() == before


def test_a_chapter_that_is_edited_meanwhile_is_left_alone(book, monkeypatch):
    path = book / "01_masks.ipynb"
    monkeypatch.setattr(outputs, "execute", lambda *_: path.write_text("edited"))
    with pytest.raises(SystemExit, match="edited while it ran"):
        outputs.main(["01_masks"], book)
    assert path.read_text() == "edited"


def test_a_file_is_whole_or_as_it_was(book, monkeypatch):
    path = book / "01_masks.ipynb"
    before = path.read_bytes()

    def fail(notebook, to):
        to.write_text("half")
        raise OSError("the disk is full")

    monkeypatch.setattr(nbformat, "write", fail)
    with pytest.raises(OSError, match="full"):
        outputs.write(new_notebook(), path)
    assert path.read_bytes() == before
    assert not path.with_suffix(".tmp").exists()


@pytest.mark.parametrize("names", [["03_inverted"], ["01_masks", "03_inverted"]])
def test_an_unknown_name_is_answered_with_all_that_there_are(names, book, capsys):
    with pytest.raises(SystemExit) as error:
        outputs.main(names, book)
    assert error.value.code == 2
    message = "no notebook '03_inverted', but 01_masks, 02_scaling"
    assert message in capsys.readouterr().err


def pictures():
    """Each picture that the book stores, with the text beside it."""
    for path in sorted(outputs.BOOK.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                if any(kind.startswith("image/") for kind in output.get("data", {})):
                    name = f"{path.stem} [{cell.execution_count}]"
                    yield name, output.data.get("text/plain", "")


def told(text):
    """Whether a text is of a figure and has a line for each of its axes."""
    whole = re.match(r"<Figure size \S+ with (\d+) Axes>\n", text)
    return whole is not None and text.count("\n  ") >= int(whole[1])


def test_every_stored_picture_has_its_text_which_nbval_compares():
    """`companion.plots` gives it: a cell that draws stands behind its import."""
    stored = list(pictures())
    assert len(stored) > 40
    assert [name for name, text in stored if not told(text)] == []
