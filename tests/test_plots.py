"""Figures: each is drawn by a doctest; here is what they promise beside their looks."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from companion import plots
from companion.network import History


def test_a_figure_is_not_left_open_for_a_notebook_to_show_twice():
    figure = plots.survivors([3, 5, 4], n=8, p=0.5)
    assert plt.get_fignums() == []
    assert figure.axes


def test_a_drawing_that_fails_leaves_nothing_open():
    with pytest.raises(ValueError, match="zip"):
        plots.feature_maps({"two": np.ones((2, 4, 4)), "three": np.ones((3, 4, 4))})
    assert plt.get_fignums() == []


def test_the_style_is_left_as_it_was():
    plt.rcdefaults()
    before = dict(plt.rcParams)
    plots.mask_grid({"a mask": np.eye(3, dtype=bool)})
    assert dict(plt.rcParams) == before


def test_training_curves_need_a_validation_set():
    with pytest.raises(ValueError, match="no validation loss"):
        plots.training_curves({"without": [History([1, 0.1], [0, 1])]})


@pytest.mark.parametrize("colour", [plots.BLUE, plots.ORANGE, plots.GREEN, plots.GREY])
def test_lines_stand_out_from_the_white_ground(colour):
    """Contrast of at least 3 to 1, the WCAG 2.2 bound for graphics (criterion 1.4.11)."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(
        channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
    )
    assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 3


def test_language_models_draw_a_line_a_label_and_the_training_text():
    run = {"update": [100, 200], "train": [4.0, 3.0], "held_out": [4.2, 3.8]}
    other = {"update": [100, 200], "train": [4.0, 3.0], "held_out": [4.0, 3.6]}
    figure = plots.language_models({"a text": {"none": [run, other], "some": [run]}})
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_allclose(lines["none"], [4.1, 3.7])
    np.testing.assert_allclose(lines["some"], run["held_out"])
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == ["none", "some", "training text"]


def test_memory_puts_the_first_share_at_step_one():
    figure = plots.memory({"one mask": [0.5, 0.4]}, [0.5, 0.25])
    shares, expected = figure.axes[0].lines
    np.testing.assert_array_equal(shares.get_xdata(), [1, 2])
    np.testing.assert_array_equal(expected.get_ydata(), [0.5, 0.25])
