"""Figures: each is drawn by a doctest; here is what they promise beside their looks."""

import io
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.lib.pretty import pretty
from matplotlib.colors import to_hex

from companion import counter, plots
from companion.network import MLP


def test_a_figure_is_not_left_open_for_a_notebook_to_show_twice():
    figure = plots.survivors([3, 5, 4], n=8, p=0.5)
    assert plt.get_fignums() == []
    assert figure.axes


def test_a_drawing_that_fails_leaves_nothing_open():
    with pytest.raises(ValueError, match="zip"):
        plots.feature_maps({"two": np.ones((2, 4, 4)), "three": np.ones((3, 4, 4))})
    assert plt.get_fignums() == []


def test_feature_maps_share_a_scale_from_zero_or_symmetric_about_it():
    one, two = np.ones((2, 4, 4)), np.zeros((2, 4, 4))
    for first, lowest in ((one, 0), (-one, -1)):
        figure = plots.feature_maps({"one": first, "two": two})
        limits = {image.get_clim() for ax in figure.axes for image in ax.get_images()}
        assert limits == {(lowest, 1)}


def test_the_style_is_left_as_it_was():
    plt.rcdefaults()
    before = dict(plt.rcParams)
    plots.mask_grid({"a mask": np.eye(3, dtype=bool)})
    assert dict(plt.rcParams) == before


def test_gradients_that_pass_have_another_colour_than_those_that_fail():
    (ax,) = plots.gradient_errors({"right": 1e-9, "wrong": 0.5}, bound=1e-6).axes
    colours = [to_hex(bar.get_facecolor()) for bar in ax.patches]
    assert colours == [plots.GREY.lower(), plots.PURPLE.lower()]


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


def test_memory_draws_the_mean_of_the_networks_of_each_way_and_what_guessing_gives():
    shares = {"none": [[0.2, 0.4], [1.0, 0.8]], "units": [[0.3, 0.3], [0.5, 0.7]]}
    (ax,) = plots.memory([0, 50], shares, chance=0.25).axes
    none, units, guessing = ax.lines
    for line, means in ((none, [0.3, 0.9]), (units, [0.3, 0.6])):
        assert line.get_xdata().tolist() == [0, 50]
        assert line.get_ydata().tolist() == pytest.approx(means)
    assert (none.get_color(), units.get_color()) == (plots.WITHOUT, plots.WITH)
    assert set(guessing.get_ydata()) == {0.25}


def test_layer_in_two_modes_marks_the_dropout_box_alone_in_the_colour_of_the_mode():
    figure = plots.layer_in_two_modes()
    modes = {"train()": (plots.WITH, "-"), "eval()": (plots.WITHOUT, "--")}
    grey = plots.GREY, "-"
    for ax, (mode, own) in zip(figure.axes, modes.items(), strict=True):
        texts = [text for text in ax.texts if text.get_text()]
        boxes = [text for text in texts if text.get_bbox_patch()]
        title, note = (text for text in texts if not text.get_bbox_patch())
        assert title.get_text() == mode
        assert title.get_color() == note.get_color() == own[0]
        shown = [
            (
                box.get_text(),
                to_hex(box.get_bbox_patch().get_edgecolor()).upper(),
                box.get_bbox_patch().get_linestyle(),
            )
            for box in boxes
        ]
        expected = {"Linear": grey, "ReLU": grey, "Dropout": own}
        order = "Linear", "ReLU", "Dropout", "Linear"
        assert shown == [(name, *expected[name]) for name in order]
        assert note.get_position()[0] == boxes[2].get_position()[0]
        arrows = [text.arrow_patch for text in ax.texts if not text.get_text()]
        ends = [(arrow.patchA, arrow.patchB) for arrow in arrows]
        assert ends == list(pairwise(box.get_bbox_patch() for box in boxes))
    masked, handed_on = (ax.texts[-1].get_text() for ax in figure.axes)
    assert "mask" in masked
    assert "mask" not in handed_on


def test_repeated_predictions_put_every_answer_above_its_sample():
    runs = {"on": [[0.9, 0.2, 0.1], [0.8, 0.6, 0.1]], "off": [[0.7, 0.4, 0.1]]}
    figure = plots.repeated_predictions(runs, "probability")
    on, off = figure.axes
    assert [ax.get_title() for ax in (on, off)] == ["on", "off"]
    assert [ax.get_xlabel() for ax in (on, off)] == ["sample", "sample"]
    assert [ax.get_ylabel() for ax in (on, off)] == ["probability", ""]
    np.testing.assert_array_equal(on.lines[0].get_xdata(), [1, 2, 3, 1, 2, 3])
    np.testing.assert_array_equal(on.lines[0].get_ydata(), np.ravel(runs["on"]))
    np.testing.assert_array_equal(off.lines[0].get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(off.lines[0].get_ydata(), runs["off"][0])
    assert on.lines[0].get_color() != off.lines[0].get_color()
    for ax in (on, off):
        low, high = ax.get_ylim()
        assert low < 0 < 1 < high
        assert all(tick == round(tick) for tick in ax.get_xticks())


def test_variance_shift_draws_every_seed_and_what_theory_gives_once_each_in_the_legend():
    p, expected = [0, 0.2, 0.5], [1, 0.8, 0.5]
    ratios = {"before": [[1, 0.81, 0.5], [1, 0.79, 0.49]], "after": [[1, 1.01, 0.99]]}
    figure = plots.variance_shift(p, ratios, expected)
    (ax,) = figure.axes
    first, second, after, theory, one = ax.lines
    for line in (first, second, after, theory):
        np.testing.assert_array_equal(line.get_xdata(), p)
    for line, values in zip((first, second), ratios["before"], strict=True):
        np.testing.assert_array_equal(line.get_ydata(), values)
    np.testing.assert_array_equal(after.get_ydata(), ratios["after"][0])
    np.testing.assert_array_equal(theory.get_ydata(), expected)
    np.testing.assert_array_equal(one.get_ydata(), [1, 1])
    assert first.get_color() == second.get_color() != after.get_color()
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown == ["before", "after", "expected"]
    assert ax.get_ylim()[0] == 0


def test_places_stand_below_their_layers_with_every_pair_the_mean_and_its_errors():
    layers, label = ["input", "output"], "loss, with minus without"
    differences = {"a": [0.1, 0.2, 0.3], "b": [-1.0, 0.0, -2.0]}
    figure = plots.places(layers, differences, label, errors=2)
    top, ax = figure.axes
    names = [text for text in top.texts if text.get_text()]
    assert [text.get_text() for text in names] == layers
    assert [text.get_position()[0] for text in names] == list(ax.get_xticks())
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b"]
    assert ax.get_ylabel() == label
    *drawn, zero = ax.lines
    for x, (values, triple) in enumerate(
        zip(differences.values(), (drawn[:3], drawn[3:]), strict=True)
    ):
        dots, bar, mean = triple
        np.testing.assert_array_equal(dots.get_ydata(), values)
        assert np.abs(dots.get_xdata() - x).max() < 0.5
        error = np.std(values, ddof=1) / np.sqrt(3)
        reach = np.mean(values) + np.array([-2, 2]) * error
        np.testing.assert_allclose(bar.get_ydata(), reach)
        np.testing.assert_allclose(mean.get_ydata(), [np.mean(values)])
        assert mean.get_color() == plots.WITH
    np.testing.assert_array_equal(zero.get_ydata(), [0, 0])
    assert zero.get_color() == plots.WITHOUT


def test_places_need_differences_for_each_layer():
    with pytest.raises(ValueError, match="got 1 and 2"):
        plots.places(["input", "output"], {"a": [0.1, 0.2]}, "loss")


def test_variance_shift_has_no_colour_of_networks_without_dropout():
    figure = plots.variance_shift([0.5], {"before": [[1]], "behind": [[1]]}, [1])
    before, behind = figure.axes[0].lines[:2]
    assert before.get_color() == plots.WITH
    assert behind.get_color() not in (plots.WITH, plots.WITHOUT)


@pytest.mark.parametrize(
    "draw",
    [
        plots.layer_in_two_modes,
        lambda: plots.repeated_predictions({"on": [[0.9, 0.2]]}, "probability"),
        lambda: plots.variance_shift([0, 0.5], {"before": [[1, 0.5]]}, [1, 0.5]),
    ],
    ids=["layer_in_two_modes", "repeated_predictions", "variance_shift"],
)
def test_figures_are_in_the_house_style_and_leave_nothing_behind(draw):
    plt.rcdefaults()
    before = dict(plt.rcParams)
    figure = draw()
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == before
    assert figure.get_dpi() == plots.STYLE["figure.dpi"]
    assert figure.get_figwidth() == plots.WIDTH


def test_paired_differences_draw_every_split_the_mean_and_the_interval():
    gained = {"a": [0.1, -0.2, 0.3], "b": [2.0, 3.0, 2.0], "c": [-2.0, -3.0, -2.0]}
    intervals = {"c": (-2.5, -1.5), "b": (1.5, 2.5), "a": (-0.3, 0.4)}
    figure = plots.paired_differences(gained, intervals, "points")
    assert figure.get_dpi() == plots.STYLE["figure.dpi"]
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "c"]
    assert np.abs(ax.get_yticks() - [0, 1, 2]).max() < 0.5
    assert ax.yaxis_inverted()  # the first row on top
    assert ax.get_xlabel() == "points"
    *rows, zero = ax.lines
    assert list(zero.get_xdata()) == [0, 0]
    for row, name in enumerate(gained):
        splits, interval, mean = rows[3 * row : 3 * row + 3]
        assert list(splits.get_xdata()) == gained[name]
        assert len(set(splits.get_ydata())) == 3  # equal values are seen apart
        assert np.abs(splits.get_ydata() - row).max() < 0.5
        assert tuple(interval.get_xdata()) == intervals[name]
        assert mean.get_xdata() == pytest.approx([np.mean(gained[name])])
        assert {*interval.get_ydata(), *mean.get_ydata()} == {row}
        filled = "white" if name == "a" else plots.BLACK  # which misses zero
        assert mean.get_markerfacecolor() == filled


def test_pairs_are_joined_and_their_colours_are_those_of_without_and_with():
    without, with_dropout = [0.3, 0.5, 0.4], [0.2, 0.4, 0.1]
    figure = plots.pairing(without, with_dropout, "loss")
    ax = figure.axes[-1]
    joined = [line for line in ax.lines if list(line.get_xdata()) == [0, 1]]
    pairs = zip(without, with_dropout, strict=True)
    assert [tuple(line.get_ydata()) for line in joined] == list(pairs)
    for runs, colour in ((without, plots.WITHOUT), (with_dropout, plots.WITH)):
        lines = [line for line in ax.lines if line.get_color() == colour]
        assert [list(line.get_ydata()) for line in lines] == [
            runs,
            pytest.approx([np.mean(runs)]),
        ]


def test_two_groups_have_the_standard_error_of_each_mean_and_no_line_between():
    without, with_dropout = [0.3, 0.5, 0.4], [0.2, 0.4, 0.1]
    groups, _ = plots.pairing(without, with_dropout, "loss").axes
    assert not any(list(line.get_xdata()) == [0, 1] for line in groups.lines)
    for runs, bars in zip((without, with_dropout), groups.containers, strict=True):
        (segment,) = bars[2][0].get_segments()
        error = np.std(runs, ddof=1) / np.sqrt(3)
        assert segment[:, 1] == pytest.approx(
            [np.mean(runs) - error, np.mean(runs) + error]
        )


def test_detection_draws_shares_in_percent_with_two_standard_errors():
    (ax,) = plots.detection([0, 0.1, 0.2], [0, 20, 40], [1000, 40, 40]).axes
    line, _, (bars,) = ax.containers[0]
    assert list(line.get_xdata()) == [0, 0.1, 0.2]
    assert list(line.get_ydata()) == [0, 50, 100]
    heights = [np.ptp(segment[:, 1]) for segment in bars.get_segments()]
    assert heights == pytest.approx([0, 400 * np.sqrt(0.25 / 40), 0])
    assert (ax.get_xlabel(), ax.get_ylabel()) == (
        "drop probability too high by",
        "audits that fail (%)",
    )


def test_a_masked_network_shows_the_scaled_units_and_the_output_of_both_modes():
    net = MLP([2, 3, 1], p=0.5, rng=0)
    net.weights = [np.array([[1.0, 2.0, 0.5], [0.0, 0.0, 0.0]]), np.ones((3, 1))]
    net.biases = [np.zeros(3), np.array([-10.0])]
    figure = plots.masked_network(net, np.ones(2), np.array([True, False, True]))
    training, test = figure.axes
    shown = [[text.get_text() for text in ax.texts] for ax in (training, test)]
    minus = "\N{MINUS SIGN}"
    assert shown[0] == ["1.00", "1.00", "2.00", "1.00", f"{minus}7.00"]
    assert shown[1] == ["1.00", "1.00", "1.00", "2.00", "0.50", f"{minus}6.50"]
    assert (len(training.lines), len(test.lines)) == (6, 9)
    places = [text.get_position() for text in training.texts]
    assert places[2:] == [(1, -1), (1, 1), (2, 0)]  # the dropped unit's place is empty


def test_scalings_draw_every_mask_the_mean_and_the_value_at_test_time():
    sums = {"bare": ([0.0, 1.0, 2.0, 2.0], 2.5), "other": ([4.0, 4.0], 4.0)}
    figure = plots.scalings(sums)
    for ax, (title, (training, test)) in zip(figure.axes, sums.items(), strict=True):
        assert ax.get_title() == title
        shares = np.array([bar.get_height() for bar in ax.patches])
        middles = np.array([bar.get_x() + bar.get_width() / 2 for bar in ax.patches])
        assert shares.sum() == pytest.approx(1)
        assert shares @ middles == pytest.approx(np.mean(training), abs=0.05)
        mean, at_test = (line.get_xdata()[0] for line in ax.lines)
        assert (mean, at_test) == (pytest.approx(np.mean(training)), test)
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(shown) == ["at test time", "its mean", "training"]
    assert figure.get_supylabel() == "share of masks"
    assert len(figure.axes[0].get_yticks()) >= 2


def test_running_moments_are_those_of_the_draws_so_far():
    outputs = np.array([2.0, 0.0, 0.0, 2.0, 2.0])
    figure = plots.running_moments(outputs, x=1.0, p=0.5)
    so_far = [outputs[:n] for n in range(1, 6)]
    for ax, moment, theory in zip(figure.axes, (np.mean, np.var), (1, 1), strict=True):
        expected, seen = ax.lines
        assert set(expected.get_ydata()) == {theory}
        np.testing.assert_allclose(seen.get_ydata(), [moment(y) for y in so_far])
        assert list(seen.get_xdata()) == [1, 2, 3, 4, 5]
        assert ax.get_xscale() == "log"
    (funnel,) = figure.axes[0].collections
    edge = funnel.get_paths()[0].vertices
    assert edge[edge[:, 0] == 4][:, 1].max() == pytest.approx(1 + 2 / np.sqrt(4))


def test_stored_curves_are_dashed_where_a_network_was_trained():
    run = {"train_loss": [1, 0.1], "train_spread": [0.1, 0]}
    run |= {"val_loss": [0.9, 0.4], "val_spread": [0.1, 0.2]}
    training, validation = plots.stored_curves({"a": run}).axes
    for ax, part, line in ((training, "train", "--"), (validation, "val", "-")):
        (curve,) = ax.lines
        assert curve.get_linestyle() == line
        assert list(curve.get_ydata()) == run[f"{part}_loss"]
        band = ax.collections[0].get_paths()[0].vertices[:, 1]
        spread = np.array(run[f"{part}_loss"]) + run[f"{part}_spread"]
        assert band.max() == pytest.approx(spread.max())


def test_reliability_has_a_point_for_each_tenth_that_is_full_enough():
    sure = [0.05, 0.55, 0.58, 0.92, 0.94, 0.96, 1.0]
    right = [True, True, False, True, True, True, False]
    (ax,) = plots.reliability({"a network": (sure, right)}, least=2).axes
    diagonal, line = ax.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    assert line.get_xdata() == pytest.approx([0.565, np.mean(sure[3:])])
    assert line.get_ydata() == pytest.approx([1 / 2, 3 / 4])
    (points,) = ax.collections
    small, large = points.get_sizes()
    assert (small - 10) / (large - 10) == pytest.approx(2 / 4)


def test_both_joints_stand_at_both_hidden_layers():
    (ax,) = plots.two_joints().axes
    marks = [text for text in ax.texts if text.get_text() in ("1", "2")]
    assert sorted(mark.get_text() for mark in marks) == ["1", "1", "2", "2"]
    forward, backward = (
        {m.get_position()[1] for m in marks if m.get_text() == n} for n in "12"
    )
    assert (forward, backward) == ({1}, {0})


def test_no_line_is_left_out_for_want_of_a_colour():
    labels = [f"line {i}" for i in range(6)]
    with pytest.raises(ValueError, match=r"colours for 5 lines; got 6: .*line 5"):
        plots.memory([0, 50], {label: [[0.5], [0.25]] for label in labels}, 0.25)


RUNS = [[1.0, 2.0]]


def ratios(labels):
    return [0, 0.5], dict.fromkeys(labels, RUNS), [1, 1]


@pytest.mark.parametrize(
    ("draw", "room"),
    [
        (lambda lines: plots.memory([0], dict.fromkeys(lines, RUNS), 0.25), 5),
        (lambda lines: plots.variance_shift(*ratios(lines)), 2),
        (lambda lines: plots.repeated_predictions(dict.fromkeys(lines, RUNS), "p"), 5),
        (lambda lines: plots.preactivations(dict.fromkeys(lines, RUNS)), 5),
        (lambda lines: plots.gains(["all"], dict.fromkeys(lines, RUNS), "points"), 3),
    ],
    ids=["memory", "variance_shift", "repeated_predictions", "preactivations", "gains"],
)
def test_what_has_no_look_of_its_own_is_an_error_and_not_left_out(draw, room):
    lines = [f"line {i}" for i in range(room + 1)]
    with pytest.raises(
        ValueError, match=rf"there are (colours|looks) for .*line {room}"
    ):
        draw(lines)
    text = plots.describe(draw(lines[:room]))
    assert all(f'"{line}"' in text for line in lines[:room])


def test_kinds_of_dropout_are_told_from_one_another_by_their_markers():
    methods = ["dropout", "weight decay", "dropout, shared"]
    (ax,) = plots.gains(["all"], dict.fromkeys(methods, RUNS), "points").axes
    looks = [(bars[0].get_color(), bars[0].get_marker()) for bars in ax.containers]
    assert looks == [(plots.WITH, "o"), (plots.PURPLE, "s"), (plots.WITH, "o")]
    filled = [bars[0].get_markerfacecolor() for bars in ax.containers]
    assert filled == [plots.WITH, plots.PURPLE, "white"]
    dropouts = dict.fromkeys((f"dropout {i}" for i in range(3)), RUNS)
    with pytest.raises(ValueError, match=r"2 kinds of dropout .*dropout 2"):
        plots.gains(["all"], dropouts, "points")


def test_a_cell_without_a_column_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        plots.gain_grid({"16 units": [[1, 2], [1, 2]]}, ["100"], "images")


@pytest.mark.parametrize("count", range(1, 10))
def test_every_mask_has_a_panel(count):
    """The grids of panels are at most as wide as the page."""
    for width in (2, 5):
        masks = {f"mask {i}": np.eye(3, width, dtype=bool) for i in range(count)}
        text = plots.describe(plots.mask_grid(masks))
        assert all(f'"{name}"' in text for name in masks)
    networks = plots.thinned_networks([1, 3, 1], np.eye(3, dtype=bool)[[0] * count])
    assert sum(bool(ax.lines) for ax in networks.axes) == count


def test_verdicts_have_a_cell_for_each_check_of_each_audit():
    first = {"drop rate": "pass", "trains": "note"}
    second = {"what is dropped": "fail", "drop rate": "pass", "p = 1": "not applicable"}
    (ax,) = plots.verdicts({"first": first, "second": second}).axes
    rows = [label.get_text() for label in ax.get_yticklabels()]
    assert rows == ["what is dropped", "drop rate", "p = 1", "trains"]
    signs = {text.get_position(): text.get_text() for text in ax.texts}
    columns = [[signs[column, row] for row in range(4)] for column in range(2)]
    assert columns == [["", "✓", "", "•"], ["✗", "✓", "", ""]]
    with pytest.raises(KeyError):
        plots.verdicts({"first": {"drop rate": "fine"}})


def test_tallies_have_a_part_for_each_verdict_one_behind_the_other():
    groups = {"layers": {"passes": 3, "fails": 2}, "models": {"could not run": 1}}
    (ax,) = plots.tallies(groups).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["layers", "models"]
    parts = [(p.get_x(), p.get_width()) for p in ax.patches if p.get_width()]
    assert parts == [(0, 3), (3, 2), (0, 1)]
    assert [t.get_text() for t in ax.texts if t.get_text()] == ["3", "2", "1"]
    with pytest.raises(KeyError):
        plots.tallies({"layers": {"fine": 1}})


def test_a_gain_has_the_colour_of_what_is_better_only_if_it_is_sure():
    cells = [[5.0, 5.1, 4.9], [-5.0, -5.1, -4.9], [1.0, -1.0, 0.1]]
    (ax,) = plots.gain_grid({"16 units": cells}, ["100", "300", "900"], "images").axes
    colours = [to_hex(patch.get_facecolor()).upper() for patch in ax.patches]
    assert colours == [plots.WITH, plots.WITHOUT, plots.PALE]


def test_a_dot_stands_on_the_highest_mean_of_each_line():
    lines = {"without": [[1.0, 2], [4, 5], [2, 3]], "with": [[6.0, 7], [4, 5], [2, 3]]}
    (ax,) = plots.rate_curves([0.1, 0.2, 0.4], {"digits": lines}, "accuracy").axes
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [dot.get_xydata().tolist() for dot in dots] == [[[0.2, 4.5]], [[0.1, 6.5]]]


def test_bars_of_gains_reach_four_standard_errors():
    (ax,) = plots.gains(["digits"], {"dropout": [[1.0, 2.0, 3.0]]}, "points").axes
    (low, high), _ = sorted(ax.collections[0].get_segments()[0][:, 1]), None
    assert [low, high] == pytest.approx([2 - 4 / 3**0.5, 2 + 4 / 3**0.5])


def told(draw):
    """What is said of axes on which something was drawn."""
    figure, ax = plt.subplots()
    draw(ax)
    plt.close(figure)
    whole, *lines = plots.describe(figure).split("\n  ")
    assert whole == "<Figure size 640x480 with 1 Axes>"
    return lines[0]


@pytest.mark.parametrize(
    ("draw", "text"),
    [
        (lambda ax: None, "nothing"),
        (lambda ax: ax.plot([1, 2, 4], "--o", color=plots.BLUE), 'blue "--o" of 3'),
        (lambda ax: ax.plot(1, "s", color=plots.GREY, mec="k"), 'black "s" of 1'),
        (lambda ax: ax.axvline(3, color="#123456"), '#123456 "-" of 2'),
        (lambda ax: ax.barh([1], [2], facecolor="white"), "white rectangle"),
        (lambda ax: ax.fill_between([0, 1], [0, 1], fc=plots.PURPLE), "purple area"),
        (lambda ax: ax.scatter([1, 2], [3, 4], color=plots.ORANGE), "orange dots of 2"),
        (
            lambda ax: ax.scatter([1, 2, 3], [1, 2, 3], c=["k", "w", "k"]),
            "black or white dots of 3",
        ),
        (lambda ax: ax.vlines([0, 1, 2], 0, 1, color=plots.PALE), "pale bars of 3"),
        (lambda ax: ax.pcolormesh(np.eye(3, 2) == 1), "grid 3 by 2 with sum 2"),
        (lambda ax: ax.imshow([[0.1, 0.2, 0.3]]), "grid 1 by 3"),
        (lambda ax: ax.set(title="one\ntwo", xlabel="a"), 'title "one two"; x "a"'),
        (lambda ax: ax.set(yscale="log", ylabel="b"), 'y "b", log'),
        (lambda ax: ax.set_xticks([0, 1, 2], ["a", "2", "3 c"]), 'x at "a", "3 c"'),
        (lambda ax: ax.text(0, 0, "$h_1$"), 'text "$h_1$"'),
        (lambda ax: ax.text(0, 0, "+0.3\nor so"), "text number"),
        (lambda ax: ax.text(0, 0, "\N{MINUS SIGN}12"), "text number"),
        (lambda ax: ax.annotate("", (0, 0), (1, 1), arrowprops={}), "text arrow"),
    ],
    ids=range(18),
)
def test_what_is_drawn_is_told_in_words_and_counts(draw, text):
    assert told(draw) == text


def test_what_is_drawn_often_is_counted_and_a_legend_is_read():
    def draw(ax):
        for height in (1, 2):
            ax.plot([0, 1], [height, 0], color="black", label=f"line {height}")
            ax.text(0, height, "same")
        ax.plot([0, 1], color="white")
        ax.legend()

    times = "\N{MULTIPLICATION SIGN}"
    assert told(draw) == (
        f'2 {times} black "-" of 2; white "-" of 2; text 2 {times} "same"; '
        'legend "line 1", "line 2"'
    )


def test_what_stands_around_the_axes_is_told_first():
    figure, axes = plt.subplots(1, 2)
    figure.suptitle("both")
    axes[0].plot([0, 1], color="black", label="a line")
    axes[1].set_title("the second")
    figure.legend()
    plt.close(figure)
    assert plots.describe(figure).splitlines()[1:] == [
        '  text "both"; legend "a line"',
        '  black "-" of 2',
        '  title "the second"',
    ]


def test_a_notebook_stores_the_text_beside_the_picture():
    figure = plots.survivors([3, 5, 4], n=8, p=0.5)
    assert pretty(figure) == plots.describe(figure) != repr(figure)


def test_measured_values_are_not_told():
    texts = {told(lambda ax, y=y: ax.plot([0, y])) for y in (1, 1 + 1e-15, 1000)}
    assert len(texts) == 1


def test_a_text_changes_nothing_in_the_picture():
    mask = np.array([True, False, True])
    pictures = []
    for told in (False, True):
        figure = plots.dropped_layer(np.eye(8), [1.0, 2.0, 0.5], mask)
        if told:
            plots.describe(figure)
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        pictures.append(picture.getvalue())
    assert pictures[0] == pictures[1]


def test_a_round_leads_each_word_to_the_words_that_it_changes():
    (ax,) = plots.philox_round().axes
    boxes = {text.get_bbox_patch(): text for text in ax.texts if text.get_text()}
    arrows = [text.arrow_patch for text in ax.texts if not text.get_text()]
    ways = [(boxes[arrow.patchA], boxes[arrow.patchB]) for arrow in arrows]
    words = [text for text in boxes.values() if text.get_text().startswith("word")]
    before, after = words[:4], words[4:]
    reached = [{word} for word in before]
    for found in reached:
        for _ in range(3):  # to a product, to a XOR, to a word
            found |= {end for start, end in ways if start in found}
    for i, found in enumerate(reached):
        other = np.zeros(4, np.uint32)
        other[i] = 2**31 + 1
        one, two = (counter.philox4x32(w, 7, rounds=1) for w in (other * 0, other))
        assert [word in found for word in after] == list(one != two)
    assert [text.get_text() for text in (*before, *after)] == [
        f"word {i}" for i in (0, 1, 2, 3) * 2
    ]


def test_avalanche_draws_the_ends_and_the_mean_of_each_round_beside_what_chance_allows():
    shares = np.array([[[0.0, 0.2], [0.1, 0.3]], [[0.4, 0.5], [0.5, 0.8]]])
    (ax,) = plots.avalanche(shares, allowed=0.1).axes
    lowest, highest, mean = ax.lines
    for line, values in (
        (lowest, [0, 0.4]),
        (highest, [0.3, 0.8]),
        (mean, [0.15, 0.55]),
    ):
        assert list(line.get_xdata()) == [1, 2]
        assert line.get_ydata() == pytest.approx(values)
    reaches = [segment[:, 1] for segment in ax.collections[0].get_segments()]
    np.testing.assert_allclose(reaches, [[0, 0.3], [0.4, 0.8]])
    (chance,) = ax.patches
    low, height = chance.get_y(), chance.get_height()
    assert (low, low + height) == pytest.approx((0.4, 0.6))


def test_units_are_dropped_below_the_bound_alone_and_hatched():
    (ax,) = plots.bits_and_bound(np.array([9, 5, 6, 4], np.uint16), threshold=6).axes
    kept, dropped = ax.containers
    for bars, units, heights in ((kept, [0, 2], [9, 6]), (dropped, [1, 3], [5, 4])):
        assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx(
            units
        )
        assert [bar.get_height() for bar in bars] == heights
    assert {to_hex(bar.get_facecolor()) for bar in kept} == {plots.KEPT.lower()}
    assert {bar.get_hatch() for bar in dropped} == {"////"}
    (bound,) = ax.lines
    assert set(bound.get_ydata()) == {6}
