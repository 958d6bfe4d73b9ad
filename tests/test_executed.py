"""A build that executes notebooks stops if one of them was not."""

import executed
import nbformat
import pytest
import yaml
from conftest import ROOT, build_alone

RUN = {"method": "force", "runtime": 2.5}


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (RUN, ""),
        (None, "was not executed"),
        (RUN | {"method": "cache"}, "came from a cache"),
        (RUN | {"runtime": 0.01}, "was executed in no time: 0.01 s"),
    ],
)
def test_a_run_that_shows_nothing_is_told_from_one_that_does(run, said):
    assert executed.fault(run) == said


@pytest.mark.parametrize(
    ("mode", "passes"), [("force", True), ("auto", False), ("off", True)]
)
def test_a_page_with_stored_outputs_stops_a_build_that_executes(tmp_path, mode, passes):
    """In the mode "auto" MyST-NB executes no notebook that has all its outputs."""
    cell = nbformat.v4.new_code_cell("1 + 1", execution_count=1)
    cell.outputs = [nbformat.v4.new_output("stream", text="2")]
    title = nbformat.v4.new_markdown_cell("# A page")
    notebook = nbformat.v4.new_notebook(cells=[title, cell])
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "python"}
    nbformat.write(notebook, tmp_path / "index.ipynb")
    (tmp_path / "conf.py").write_text(
        f"extensions = ['myst_nb', 'executed']\nnb_execution_mode = '{mode}'\n"
    )
    done = build_alone(tmp_path)
    assert (done.returncode == 0) is passes, done.stderr
    assert ("a notebook was not executed" in done.stderr) is not passes


def test_the_book_is_built_with_every_notebook_executed():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["execute"]["execute_notebooks"] == "force"
    assert "executed" in config["sphinx"]["config"]["extensions"]
