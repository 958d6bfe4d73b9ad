"""The figures that move: they answer mouse and keyboard, and their numbers are the companion's."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import yaml
from playwright.sync_api import expect, sync_playwright

from companion import inverted
from companion.network import MLP

ROOT = Path(__file__).parents[1]
STORED = json.loads((ROOT / "reproduce" / "moving_figures.json").read_text())
PAGES = {"network": "01_masks"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the HTML, built from the stored outputs, without executing them."""
    folder = tmp_path_factory.mktemp("site")
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = "off"
    extensions = config["sphinx"]["local_extensions"]
    for name, place in extensions.items():
        extensions[name] = str(ROOT / place)
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", ROOT, "-q", "-W", "-n", "--keep-going"]
    command += ["--config", folder / "_config.yml", "--toc", "_toc.yml"]
    command += ["--path-output", folder]
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build" / "html"


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"no Chromium found (looked for {', '.join(names)})")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(site, browser):
    """Open a figure as a file, in a fresh window, and return the figure."""
    windows, errors = [], []

    def open_figure(name, **options):
        windows.append(browser.new_context(**options))
        page = windows[-1].new_page()
        page.on("pageerror", lambda error: errors.append(error))
        page.goto((site / "book" / f"{PAGES[name]}.html").as_uri())
        return page.locator(f"figure#moving-{name}")

    yield open_figure
    for window in windows:
        window.close()
    assert errors == []


def move(figure, p):
    figure.get_by_role("slider").fill(str(p))


def press(figure, name):
    figure.get_by_role("button", name=name, exact=True).click()


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
    expect(moves.locator("svg")).to_be_visible()
    expect(moves.locator("img")).to_be_hidden()
    moves.page.emulate_media(media="print")
    expect(moves.locator("img")).to_be_visible()
    expect(moves.locator(".moving")).to_be_hidden()


@pytest.mark.parametrize("name", PAGES)
def test_the_first_view_is_the_same_every_time(name, opened):
    first, again = (opened(name).locator(".moving") for _ in range(2))
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
    figure = opened(name, viewport={"width": width, "height": 800})
    page = figure.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = "all => all.map(t => parseFloat(getComputedStyle(t).fontSize))"
    assert min(figure.locator("svg text").evaluate_all(sizes)) >= 11
    shrunk = "s => s.getBoundingClientRect().width / s.viewBox.baseVal.width"
    assert figure.locator(".moving-picture svg").evaluate(shrunk) == pytest.approx(1)
    inside = """svg => [...svg.querySelectorAll("text")].filter(text => {
        const [a, b] = [text, svg].map(e => e.getBoundingClientRect());
        return a.left < b.left - 1 || a.right > b.right + 1
            || a.top < b.top - 1 || a.bottom > b.bottom + 1;
    }).map(text => text.textContent)"""
    assert figure.locator(".moving-picture > svg").evaluate(inside) == []
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
    title, text = figure.locator(".moving-picture > svg > :is(title, desc)").all()
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
    mask = figure.locator(".moving-picture > svg").get_attribute("data-mask")
    return np.array([unit == "1" for unit in mask])


@pytest.mark.parametrize("p", [0, 0.3, 0.5, 0.9])
def test_the_network_computes_what_the_companion_does(p, opened):
    figure = opened("network")
    move(figure, p)
    net, x = handmade(p)
    hidden = np.maximum(x @ net.weights[0] + net.biases[0], 0)[0]
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


def test_masks_come_by_themselves_only_when_asked(opened):
    figure = opened("network")
    figure.page.clock.install()
    masks = [mask_of(figure).tolist()]

    def wait():
        figure.page.clock.run_for(3000)
        masks.append(mask_of(figure).tolist())
        return masks[-1] != masks[-2]

    assert not wait()
    press(figure, "Play")
    expect(figure.locator(".moving-line")).to_have_attribute("aria-live", "off")
    assert wait()
    press(figure, "Pause")
    expect(figure.locator(".moving-line")).to_have_attribute("aria-live", "polite")
    assert not wait()


def test_nothing_plays_for_a_reader_who_wants_no_motion(opened):
    figure = opened("network", reduced_motion="reduce")
    expect(figure.get_by_role("button")).to_have_text(["Next mask"])
    figure.page.clock.install()
    figure.page.emulate_media(reduced_motion="no-preference")
    press(figure, "Play")
    figure.page.emulate_media(reduced_motion="reduce")
    before = mask_of(figure)
    figure.page.clock.run_for(3000)
    np.testing.assert_array_equal(mask_of(figure), before)
