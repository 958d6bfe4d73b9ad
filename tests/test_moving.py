"""The figures that move: they answer mouse and keyboard, and their numbers are the companion's."""

import importlib.util
import json
import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from companion import inverted, standard
from companion.network import MLP

ROOT = Path(__file__).parents[1]
STORED = json.loads((ROOT / "reproduce" / "moving_figures.json").read_text())
PAGES = {
    "network": "01_masks",
    "moments": "03_inverted_dropout",
    "distribution": "03_inverted_dropout",
    "curves": "04_does_it_help",
}


@pytest.fixture
def opened(site, browser):
    """Open a figure as a file, in a fresh window, and return the figure."""
    windows, errors = [], []

    def open_figure(name, **options):
        windows.append(browser.new_context(**options))
        page = windows[-1].new_page()
        page.on("pageerror", lambda error: errors.append(error))
        address = (site / "book" / f"{PAGES[name]}.html").as_uri()
        page.goto(address, wait_until="domcontentloaded")
        return page.locator(f"figure#moving-{name}")

    yield open_figure
    for window in windows:
        window.close()
    assert errors == []


def drawn(figure):
    """The figure, drawn for the width it has: the browser tells it of that in a frame."""
    wait = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))"
    figure.page.evaluate(wait)
    return figure


def move(figure, p):
    figure.get_by_role("slider").fill(str(p))


def press(figure, name):
    figure.get_by_role("button", name=name, exact=True).click()


def picture_of(figure):
    return figure.locator(".moving-picture > svg")


def values(figure):
    """Every number of the table at full precision, by row and column."""
    cells = "cells => cells.map(c => [c.dataset.name, Number(c.dataset.value)])"
    pairs = figure.locator("td[data-value]").evaluate_all(cells)
    assert np.isfinite([value for _, value in pairs]).all(), pairs
    plain = str.maketrans({"\N{NO-BREAK SPACE}": " ", "\N{MINUS SIGN}": "-"})
    return {name.translate(plain): value for name, value in pairs}


def uniform(seed):
    """What the generator of moving.js gives: mulberry32, in the arithmetic of 32 bits."""
    state, mask = seed, 2**32 - 1
    while True:
        state = (state + 0x6D2B79F5) & mask
        bits = (state ^ state >> 15) * (1 | state) & mask
        bits = (bits + ((bits ^ bits >> 7) * (61 | bits) & mask) & mask) ^ bits
        yield (bits ^ bits >> 14) / 2**32


# All of them


def test_a_page_with_a_moving_figure_gets_its_script_and_numbers_and_no_other_does(
    site,
):
    for path in (site / "book").glob("*.html"):
        page = path.read_text(encoding="utf-8")
        wanted = {name for name in PAGES if PAGES[name] == path.stem}
        assert set(re.findall(r'<figure[^>]* id="moving-(\w+)"', page)) == wanted
        assert ("_static/moving.js" in page) == bool(wanted), path
        assert ("_static/moving.css" in page) == bool(wanted), path
        found = re.findall(r'<script id="moving-data"[^>]*>(.*?)</script>', page)
        assert len(found) == bool(wanted), path
        for text in found:
            assert json.loads(text).keys() == wanted
            assert len(text) <= 30_000


def test_the_numbers_of_a_figure_are_its_settings_and_its_runs():
    place = ROOT / "book" / "_ext" / "moving.py"
    spec = importlib.util.spec_from_file_location("moving", place)
    moving = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(moving)
    names = ["network", "curves"]
    numbers = moving.numbers(names)
    assert list(numbers) == names
    for name in names:
        runs = numbers[name].pop("runs")
        assert runs == [run for run in STORED["runs"] if run["figure"] == name]
        assert numbers[name] == STORED["settings"][name]


@pytest.mark.parametrize("name", PAGES)
def test_without_scripts_and_on_paper_the_still_picture_is_there(name, opened):
    still = opened(name, java_script_enabled=False)
    expect(still.locator("img")).to_be_visible()
    expect(still.locator(".moving")).to_have_count(0)

    moves = opened(name)
    expect(picture_of(moves)).to_be_visible()
    expect(moves.locator("img")).to_be_hidden()
    moves.page.emulate_media(media="print")
    expect(moves.locator("img")).to_be_visible()
    expect(moves.locator(".moving")).to_be_hidden()


@pytest.mark.parametrize("name", PAGES)
def test_the_first_view_is_the_same_every_time(name, opened):
    first, again = (drawn(opened(name)).locator(".moving") for _ in range(2))
    assert first.inner_html() == again.inner_html()


@pytest.mark.parametrize("name", PAGES)
def test_the_slider_moves_by_mouse_and_by_keyboard(name, opened):
    figure = opened(name)
    slider = figure.get_by_role("slider", name="drop probability p")
    low, high, step = (
        float(slider.get_attribute(part)) for part in ("min", "max", "step")
    )
    box = slider.bounding_box()
    slider.click(position={"x": 1, "y": box["height"] / 2})
    assert float(slider.input_value()) == low
    before = values(figure)
    slider.press("ArrowRight")
    assert float(slider.input_value()) == pytest.approx(low + step)
    assert values(figure) != before
    slider.press("End")
    assert float(slider.input_value()) == pytest.approx(high)
    at_the_end = values(figure)
    slider.press("Home")
    assert values(figure) == before != at_the_end


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [390, 1280])
def test_everything_can_be_read_and_touched(name, width, opened):
    figure = drawn(opened(name, viewport={"width": width, "height": 800}))
    page = figure.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = "all => all.map(t => parseFloat(getComputedStyle(t).fontSize))"
    assert min(figure.locator("svg text").evaluate_all(sizes)) >= 11
    shrunk = "s => s.getBoundingClientRect().width / s.viewBox.baseVal.width"
    assert picture_of(figure).evaluate(shrunk) == pytest.approx(1)
    inside = """svg => [...svg.querySelectorAll("text")].filter(text => {
        const [a, b] = [text, svg].map(e => e.getBoundingClientRect());
        return a.left < b.left - 1 || a.right > b.right + 1
            || a.top < b.top - 1 || a.bottom > b.bottom + 1;
    }).map(text => text.textContent)"""
    assert picture_of(figure).evaluate(inside) == []
    for control in figure.locator("button:visible, input").all():
        assert control.bounding_box()["height"] >= 44


@pytest.mark.parametrize("name", PAGES)
def test_a_screen_reader_hears_the_picture_and_one_sentence_at_rest(name, opened):
    figure = opened(name)
    line = figure.locator("[aria-live=polite]")
    expect(line).to_have_text(re.compile(r"^[^.]*(\.\d[^.]*)*\.$"))
    before = line.inner_text()
    slider = figure.get_by_role("slider")
    for _ in range(2):
        slider.press("ArrowLeft")
    expect(line).not_to_have_text(before)
    p = float(slider.input_value())
    expect(line).to_contain_text(f"p = {p:.2f}")
    title, text = picture_of(figure).locator("title, desc").all()
    assert text.text_content() == line.inner_text()
    picture = figure.get_by_role("img")
    expect(picture).to_have_accessible_name(
        f"{title.text_content()} {text.text_content()}"
    )


# The network


def handmade(p):
    fixed = STORED["settings"]["network"]
    net = MLP([2, 6, 1], p=p)
    net.weights = [np.array(W) for W in fixed["weights"]]
    net.biases = [np.array(b) for b in fixed["biases"]]
    return net, np.array([fixed["input"]])


def mask_of(figure):
    mask = picture_of(figure).get_attribute("data-mask")
    return np.array([unit == "1" for unit in mask])


@pytest.mark.parametrize("p", [0, 0.3, 0.5, 0.9])
def test_the_network_computes_what_the_companion_does(p, opened):
    figure = opened("network")
    move(figure, p)
    net, x = handmade(p)
    hidden = net.hidden(x)[0][0]
    random = uniform(1)
    for _ in range(5):
        mask = mask_of(figure)
        np.testing.assert_array_equal(mask, np.array(list(islice(random, 6))) >= p)
        shown = values(figure)
        assert shown["network: scale 1/(1 - p)"] == pytest.approx(1 / (1 - p))
        assert shown["network: units kept"] == mask.sum()
        training = net.logits(x, masks=[None, mask[None]]).item()
        assert shown["network: output in training"] == pytest.approx(training)
        test = net.logits(x).item()
        assert shown["network: output at test time"] == pytest.approx(test)
        scaled = inverted.dropout(hidden, p, mask=mask)
        units = figure.locator(".kept-value").all_text_contents()
        both = [*scaled[mask], *hidden]
        assert list(map(float, units)) == pytest.approx(both, abs=0.0501)
        assert figure.locator("circle.dropped").count() == (~mask).sum()
        press(figure, "Next mask")


def test_a_mask_without_a_survivor_leaves_the_bias(opened):
    figure = opened("network")
    move(figure, 0.9)
    for _ in range(30):
        if not mask_of(figure).any():
            break
        press(figure, "Next mask")
    assert mask_of(figure).tolist() == [False] * 6
    bias = STORED["settings"]["network"]["biases"][1][0]
    assert values(figure)["network: output in training"] == bias
    expect(figure.locator("[aria-live]").last).to_contain_text("drops all units")
    assert figure.locator(".path").count() == 18  # those of the other network


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_keyboard_asks_for_the_next_mask(key, opened):
    figure = opened("network")
    before = mask_of(figure)
    figure.get_by_role("button", name="Next mask").press(key)
    assert (mask_of(figure) != before).any()


def stop_the_clock(page):
    """From here on, time passes for the page only in `run_for`."""
    page.clock.install(time=0)
    page.reload(wait_until="domcontentloaded")
    page.clock.pause_at(3_600_000)


def changes_in_three_seconds(figure):
    before = mask_of(figure).tolist()
    figure.page.clock.run_for(3000)
    return mask_of(figure).tolist() != before


def test_masks_come_by_themselves_only_when_asked(opened):
    figure = opened("network")
    stop_the_clock(figure.page)
    assert not changes_in_three_seconds(figure)
    press(figure, "Play")
    expect(figure.locator(".moving-line")).to_have_attribute("aria-live", "off")
    assert changes_in_three_seconds(figure)
    press(figure, "Pause")
    expect(figure.locator(".moving-line")).to_have_attribute("aria-live", "polite")
    assert not changes_in_three_seconds(figure)


def test_nothing_plays_for_a_reader_who_wants_no_motion(opened):
    figure = opened("network", reduced_motion="reduce")
    expect(figure.get_by_role("button")).to_have_text(["Next mask"])
    figure.page.emulate_media(reduced_motion="no-preference")
    stop_the_clock(figure.page)
    press(figure, "Play")
    assert changes_in_three_seconds(figure)
    figure.page.emulate_media(reduced_motion="reduce")
    expect(figure.get_by_role("button")).to_have_text(["Next mask"])  # a frame later
    assert not changes_in_three_seconds(figure)


# The distribution


def one_unit():
    (unit,) = (run for run in STORED["runs"] if run["figure"] == "distribution")
    return np.array(unit["hidden"]), np.array(unit["weights"])


@pytest.mark.parametrize("p", [0, 0.3, 0.5, 0.8])
def test_the_distribution_is_that_of_the_companion_under_the_same_masks(p, opened):
    figure = opened("distribution")
    move(figure, p)
    hidden, weights = one_unit()
    random = uniform(2)
    for _ in range(2):
        coins = np.array(list(islice(random, 4000 * 32))).reshape(4000, 32)
        thinned = np.where(coins >= p, hidden, 0) @ weights
        ways = {
            "no scaling": (thinned, hidden @ weights),
            "scaled at test time": (
                thinned,
                standard.dropout(hidden, p, training=False) @ weights,
            ),
            "inverted dropout": (
                np.array([inverted.dropout(hidden, p, mask=m) for m in coins >= p])
                @ weights,
                inverted.dropout(hidden, p, training=False) @ weights,
            ),
        }
        shown = values(figure)
        for name, (training, test) in ways.items():
            expected = {
                "mean in training": training.mean(),
                "standard deviation": training.std(),
                "at test time": test,
                "ratio": test / training.mean(),
            }
            for column, value in expected.items():
                at = f"{name}: {column}"
                assert shown.pop(at) == pytest.approx(value, abs=1e-9), at
        assert shown == {}
        press(figure, "New masks")


@pytest.mark.parametrize("p", [0, 0.5, 0.8])
def test_the_distribution_has_the_moments_of_theory(p, opened):
    figure = opened("distribution")
    move(figure, p)
    products = np.multiply(*one_unit())
    deviation = np.sqrt(p * (1 - p) * (products**2).sum())
    shown = values(figure)
    for name, scale in (("no scaling", 1), ("inverted dropout", 1 / (1 - p))):
        bound = 5 * scale * deviation / np.sqrt(4000) + 1e-9
        mean = scale * (1 - p) * products.sum()
        assert shown[f"{name}: mean in training"] == pytest.approx(mean, abs=bound)
        spread = shown[f"{name}: standard deviation"]
        assert spread == pytest.approx(scale * deviation, abs=bound)


def test_the_bars_are_all_masks_and_the_lines_stand_at_mean_and_test(opened):
    figure = opened("distribution")
    shown = values(figure)
    rows = figure.locator(".moving-picture svg svg")
    expect(rows).to_have_count(3)
    expect(figure.get_by_text("share of masks", exact=True)).to_have_count(1)
    ticks = figure.locator(".moving-picture text.end").evaluate_all(
        "all => all.map(t => [+t.textContent, +t.getAttribute('y')])"
    )
    zero, *_, last = np.array(ticks[: len(ticks) // 3])
    whole = (zero[1] - last[1]) / (last[0] - zero[0])  # the height of all masks
    for row, name in enumerate(
        ("no scaling", "scaled at test time", "inverted dropout")
    ):
        area = rows.nth(row)
        width, height = (float(area.get_attribute(n)) for n in ("width", "height"))
        bars = area.locator("rect.bar").evaluate_all(
            "all => all.map(b => ['x', 'width', 'height'].map(n => +b.getAttribute(n)))"
        )
        left, size, tall = np.array(bars).T
        at = (left + size / 2) / width * 32 - 4  # the axis goes from -4 to 28
        mean = shown[f"{name}: mean in training"]
        assert (at * tall).sum() / tall.sum() == pytest.approx(mean, abs=0.05)
        assert tall.max() <= height
        assert tall.sum() == pytest.approx(whole)
        for line, value in (("mean", mean), ("test", shown[f"{name}: at test time"])):
            (x,) = re.match(
                r"M([\d.]+) ", area.locator(f".{line}").get_attribute("d")
            ).groups()
            assert float(x) / width * 32 - 4 == pytest.approx(value, abs=0.01)


# Mean and variance


def kept_so_far(seed, draws, p):
    return np.array(list(islice(uniform(seed), draws))) >= p


@pytest.mark.parametrize("p", [0, 0.5, 0.8, 0.9])
def test_running_mean_and_variance_are_those_of_the_companion(p, opened):
    figure = opened("moments")
    move(figure, p)
    x, draws = STORED["settings"]["moments"]["x"], 1000
    for more in ("1 draw", "100 draws", "10,000 draws", None):
        y = inverted.dropout(np.full(draws, x), p, mask=kept_so_far(10, draws, p))
        theory = x**2 * p / (1 - p)
        fourth = p * x**4 + (1 - p) * (x * p / (1 - p)) ** 4
        error_of_variance = np.sqrt(max(0, fourth - theory**2) / draws)
        shown = values(figure)
        assert shown == pytest.approx(
            {
                "mean: so far": y.mean(),
                "mean: in theory": x,
                "mean: two standard errors": 2 * np.sqrt(theory / draws),
                "variance: so far": y.var(),
                "variance: in theory": theory,
                "variance: two standard errors": 2 * error_of_variance,
            },
            abs=1e-9,
        )
        bound = 2.5 * shown["mean: two standard errors"] + 1e-12
        assert abs(shown["mean: so far"] - x) <= bound
        # At p = 1/2 all deviations are of one size and the standard error vanishes.
        bound = 2.5 * shown["variance: two standard errors"] + 0.01 * theory
        assert abs(shown["variance: so far"] - theory) <= bound
        if more:
            press(figure, more)
            draws += int(more.split()[0].replace(",", ""))


def test_draws_start_again_one_by_one_with_new_masks(opened):
    figure = opened("moments")
    picture = picture_of(figure)
    press(figure, "Start again")
    expect(picture).to_have_attribute("data-draws", "0")
    expect(figure.get_by_role("row", name="mean")).to_contain_text(
        "not yet1.000not yet"
    )
    expect(figure.locator(".moving-line")).to_contain_text("No draw yet")
    assert "NaN" not in figure.inner_html()
    figure.get_by_role("button", name="1 draw", exact=True).press("Enter")
    expect(picture).to_have_attribute("data-draws", "1")
    figure.get_by_role("button", name="100 draws").press("Space")
    kept = kept_so_far(11, 101, 0.8).mean()
    assert values(figure)["mean: so far"] == pytest.approx(5 * kept)


def test_draws_end_where_the_axis_does(opened):
    figure = opened("moments")
    for _ in range(11):
        press(figure, "10,000 draws")
    assert picture_of(figure).get_attribute("data-draws") == "100000"
    mean = kept_so_far(10, 100_000, 0.8).mean() / 0.2
    assert values(figure)["mean: so far"] == pytest.approx(mean)


# The curves


@pytest.mark.parametrize("p", [0, 0.1, 0.3, 0.5, 0.8])
def test_the_curves_are_those_that_are_stored(p, opened):
    figure = opened("curves")
    move(figure, p)
    runs = {run["p"]: run for run in STORED["runs"] if run["figure"] == "curves"}
    shown = values(figure)
    for name, run in (("no dropout", runs[0]), (f"p = {p:.2f}", runs[p])):
        expected = {
            "lowest validation loss": min(run["val_loss"]),
            "at epoch": np.argmin(run["val_loss"]) + 1,
            "last validation loss": run["val_loss"][-1],
            "last training loss": run["train_loss"][-1],
        }
        for column, value in expected.items():
            assert shown.pop(f"{name}: {column}") == value
    assert shown == {}
    training, validation = figure.locator(".moving-picture svg svg").all()
    line = heights(validation, "with", lambda share: 0.7 * share)
    np.testing.assert_allclose(line[10:], runs[p]["val_loss"][10:], atol=2e-3)
    line = heights(training, "with", lambda share: 1e-3 * 3000**share)
    np.testing.assert_allclose(line, runs[p]["train_loss"], rtol=0.02)
    line = heights(validation, "without", lambda share: 0.7 * share)
    np.testing.assert_allclose(line[10:], runs[0]["val_loss"][10:], atol=2e-3)


def heights(area, look, value):
    """What a line says at each of its points; `value` reads its axis, from 0 to 1."""
    course = area.locator(f"path.{look}").get_attribute("d")
    down = [float(y) for y in re.findall(r"[ML]\S+ (-?[\d.]+)", course)]
    return value(1 - np.array(down) / float(area.get_attribute("height")))


@pytest.mark.parametrize("name", PAGES)
def test_no_end_of_the_slider_gives_a_number_that_is_none(name, opened):
    figure = opened(name)
    slider = figure.get_by_role("slider")
    for key in ("Home", "End"):
        slider.press(key)
        assert not re.search("NaN|Infinity|∞", figure.inner_html())
