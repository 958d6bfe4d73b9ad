"""A claim holds and says so, or fails and says why."""

import json
import math

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from companion.claims import Stored, claim, stored

HOLDS = [
    (1, {"at_most": 1}, "measured 1; at most 1"),
    (0.99, {"at_most": 1}, "measured 0.99; at most 1"),
    (1, {"at_least": 1}, "measured 1; at least 1"),
    (1.01, {"at_least": 1}, "measured 1.01; at least 1"),
    (0, {"at_most": 0}, "measured 0; at most 0"),
    (1, {"between": (1, 2)}, "measured 1; between 1 and 2"),
    (2, {"between": (1, 2)}, "measured 2; between 1 and 2"),
    (7, {"equals": 7}, "measured 7; exactly 7"),
    (0, {"equals": False}, "measured 0; exactly False"),
    ("relu", {"equals": "relu"}, "measured relu; exactly relu"),
    (4.35 * 100, {"equals": 4.35 * 100}, "measured 435; exactly 435"),
    (0.123456, {"at_most": 0.25}, "measured 0.12346; at most 0.25"),
    (
        np.float32(0.5),
        {"between": (np.float64(0.25), 1)},
        "measured 0.5; between 0.25 and 1",
    ),
    (np.float64(1e-9), {"at_most": 1e-6}, "measured 1e-09; at most 1e-06"),
    (np.array(0.5), {"at_least": 0.5}, "measured 0.5; at least 0.5"),
    (np.float64(3), {"equals": 3}, "measured 3; exactly 3"),
    (1.0078125, {"equals": 1.0078125}, "measured 1.0078125; exactly 1.0078125"),
    (1, {"between": (0.9975, 1.0025)}, "measured 1; between 0.9975 and 1.0025"),
    (np.int64(123456), {"equals": 123456}, "measured 123456; exactly 123456"),
    (np.bool_(True), {"equals": True}, "measured True; exactly True"),
    (np.dtype("f4"), {"equals": np.float32}, "measured float32; exactly "),
]
FAILS = [
    (1.001, {"at_most": 1}, "measured 1.001; at most 1"),
    (0.999, {"at_least": 1}, "measured 0.999; at least 1"),
    (-1, {"at_least": 0}, "measured -1; at least 0"),
    (0.9, {"between": (1, 2)}, "measured 0.9; between 1 and 2"),
    (2.1, {"between": (1, 2)}, "measured 2.1; between 1 and 2"),
    (6, {"equals": 7}, "measured 6; exactly 7"),
    ("tanh", {"equals": "relu"}, "measured 'tanh'; exactly 'relu'"),
    (1.00001, {"at_most": 1.0}, "measured 1.00001; at most 1.0"),
    ([math.nan], {"equals": [math.nan]}, "measured [nan]; exactly [nan]"),
    (np.float32(2), {"at_most": 1}, "measured 2.0; at most 1"),
    (math.nan, {"at_most": math.inf}, "measured nan; at most inf"),
    (math.nan, {"at_least": -math.inf}, "measured nan; at least -inf"),
    (
        math.nan,
        {"between": (-math.inf, math.inf)},
        "measured nan; between -inf and inf",
    ),
    (math.nan, {"equals": math.nan}, "measured nan; exactly nan"),
    (np.float64(np.nan), {"at_most": 1}, "measured nan; at most 1"),
    (1, {"at_most": math.nan}, "measured 1; at most nan"),
]


@pytest.mark.parametrize(("measured", "bound", "figures"), HOLDS)
def test_a_claim_that_holds_prints_one_line(measured, bound, figures, capsys):
    assert claim("units-survive", measured, **bound) is None
    out, err = capsys.readouterr()
    assert out.startswith(f"✓ units-survive ({figures}")
    assert out.endswith(")\n")
    assert (out.count("\n"), err) == (1, "")


@pytest.mark.parametrize(("measured", "bound", "figures"), FAILS)
def test_a_claim_that_fails_quotes_name_value_and_bound(
    measured, bound, figures, capsys
):
    with pytest.raises(AssertionError) as caught:
        claim("units-survive", measured, **bound)
    assert str(caught.value) == f"units-survive ({figures})"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("bounds", "named"),
    [({}, "none"), ({"at_most": 1, "at_least": 0}, r"\['at_most', 'at_least'\]")],
)
def test_a_claim_needs_exactly_one_bound(bounds, named):
    with pytest.raises(TypeError, match=f"exactly one of .*; got {named}"):
        claim("units-survive", 0.5, **bounds)


def test_none_can_be_claimed(capsys):
    claim("nothing-dropped", None, equals=None)
    assert "measured None; exactly None" in capsys.readouterr().out


def test_an_array_is_not_one_value():
    with pytest.raises(TypeError, match=r"got an array of \(3,\)"):
        claim("units-survive", np.ones(3), equals=np.ones(3))


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    yield InteractiveShell.instance(
        config=Config({"HistoryManager": {"enabled": False}})
    )
    InteractiveShell.clear_instance()


@pytest.mark.usefixtures("notebook")
def test_in_a_notebook_a_claim_shows_one_escaped_line_that_a_link_leads_to():
    with capture_output() as captured:
        claim("p-small", "<b>", equals="<b>")
    (output,) = captured.outputs
    assert captured.stdout == ""
    assert output.data == {
        "text/plain": "✓ p-small (measured <b>; exactly <b>)",
        "text/html": '<div class="claim" id="check-p-small">✓ p-small '
        '<span class="claim-figures">(measured &lt;b&gt;; exactly &lt;b&gt;)</span></div>',
    }


@pytest.mark.usefixtures("notebook")
def test_in_a_notebook_a_claim_that_fails_shows_nothing():
    with capture_output() as captured, pytest.raises(AssertionError):
        claim("units-survive", 0.5, at_least=1)
    assert captured.outputs == []


RESULT = Stored("a <toy>", "2026-11-28", 12.4, {"python": "3.11"}, {}, [{}, {}, {}])
TOLD = "a <toy>: 3 runs, 12 minutes, on 2026-11-28, with python 3.11"


def test_a_claim_of_a_stored_result_says_what_was_run_and_when(capsys):
    claim("gain", 1, at_least=1, stored=RESULT)
    line = f"✓ gain (measured 1; at least 1) stored: {TOLD}\n"
    assert capsys.readouterr().out == line


@pytest.mark.usefixtures("notebook")
def test_in_a_notebook_a_stored_result_is_marked():
    with capture_output() as captured:
        claim("gain", 1, at_least=1, stored=RESULT)
    markup = captured.outputs[0].data["text/html"]
    told = TOLD.replace("<toy>", "&lt;toy&gt;")
    assert markup.endswith(f' <span class="claim-stored">stored: {told}</span></div>')


@pytest.mark.parametrize(("minutes", "said"), [(0.2, "a minute"), (1.6, "2 minutes")])
def test_a_stored_result_says_how_long_it_took(minutes, said):
    assert f": 1 runs, {said}, on" in str(Stored("a toy", "", minutes, {}, {}, [{}]))


def test_stored_results_are_read_with_what_else_is_in_the_file_left_out(tmp_path):
    fields = {"what": "a toy", "date": "2026-11-28", "minutes": 2, "versions": {}}
    fields |= {"settings": {"p": 0.5}, "runs": [{"seed": 0}]}
    path = tmp_path / "toy.json"
    path.write_text(json.dumps(fields | {"command": "make reproduce"}))
    assert stored(path) == Stored(**fields)
    path.write_text(json.dumps({"what": "a toy"}))
    with pytest.raises(KeyError, match="date"):
        stored(path)
