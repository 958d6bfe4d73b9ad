"""The quiz after each chapter: well made, and it works without a script."""

import re
from collections import Counter
from pathlib import Path

import pytest
from conftest import build_alone

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted(path.stem for path in (ROOT / "book").glob("[01]*.ipynb"))
SOME = "book/02_scaling.html"


def questions(pages, chapter):
    _, page = pages[f"book/{chapter}.html"]
    return page.select("fieldset.question")


def place_of_the_right_answer(question):
    (place,) = [
        i
        for i, answer in enumerate(question.select(".answer"))
        if answer.select(".feedback > .right")
    ]
    return place


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_has_three_to_five_questions_before_its_last_section(pages, chapter):
    assert 3 <= len(questions(pages, chapter)) <= 5
    _, page = pages[f"book/{chapter}.html"]
    sections = page.select("article section > section:has(> h2)")
    quiz = [section["id"] == "quiz" for section in sections]
    assert quiz == [False] * (len(quiz) - 2) + [True, False]
    assert sections[-2].select("fieldset.question") == questions(pages, chapter)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_answer_has_its_feedback_and_one_of_them_is_right(pages, chapter):
    for question in questions(pages, chapter):
        assert question.legend.text.endswith("?")
        # What MathJax makes of a formula has no name that a screen reader could say.
        assert not question.select("legend .math, label .math"), question.legend.text
        answers = question.select(".answer")
        assert len(answers) >= 3, question.legend.text
        for answer in answers:
            assert len(answer.select("label > input[type=radio]")) == 1
            assert answer.label.text.strip()
            (said,) = answer.select(".feedback[role=status] > div")
            verdict = {"right": "Right. ", "wrong": "Not quite. "}[said["class"][0]]
            text = said.text.strip()
            assert text.startswith(verdict)
            assert len(text) > len(verdict) + 20, text
        place_of_the_right_answer(question)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_buttons_of_a_question_are_one_group(pages, chapter):
    groups = [
        {button["name"] for button in question.select("input")}
        for question in questions(pages, chapter)
    ]
    assert all(len(group) == 1 for group in groups)
    assert len(set.union(*groups)) == len(groups)


def test_neither_place_nor_length_gives_the_right_answer_away(pages):
    longest, places = 0, Counter()
    for chapter in CHAPTERS:
        here = [place_of_the_right_answer(q) for q in questions(pages, chapter)]
        assert len(set(here)) > 1, chapter
        places.update(here)
        for question, place in zip(questions(pages, chapter), here, strict=True):
            lengths = [len(label.text) for label in question.select("label")]
            longest += lengths.index(max(lengths)) == place
    assert max(places.values()) <= places.total() / 2, places
    assert longest <= places.total() / 2


GOOD = """\
:::{admonition} What is $1 + 1$?
:class: dropdown question

- [ ] $1$

  That is *one*.
- [x] `2`

  Count.

  Twice.
:::
"""


def build(folder, source, builder):
    """One page with one question, by Sphinx."""
    (folder / "conf.py").write_text(
        "extensions = ['myst_parser', 'quiz']\n"
        "myst_enable_extensions = ['colon_fence', 'dollarmath']\n"
    )
    (folder / "index.md").write_text(f"# Page\n\n{source}")
    return build_alone(folder, builder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[ ]", "[x]", "2 are marked [x]: What is 1 + 1?"),
        ("[x]", "[ ]", "0 are marked [x]: What is 1 + 1?"),
        ("[ ] ", "", "an answer has no [ ] or [x]: 1"),
        ("\n\n  That is *one*.", "", "an answer has no feedback: [ ] 1"),
        ("- [ ]", "Well?\n\n- [ ]", "this is not: What is 1 + 1?"),
    ],
    ids=["two right", "none right", "no mark", "no feedback", "two paragraphs"],
)
def test_a_question_that_is_badly_made_stops_the_build(tmp_path, old, new, said):
    done = build(tmp_path, GOOD.replace(old, new, 1), "html")
    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.parametrize(
    ("builder", "file", "written"),
    [
        ("html", "index.html", ["<em>one</em>", r"\(1 + 1\)", ">2</span></code>"]),
        ("text", "index.txt", ["* 1\n", "**Not quite.** That is", "**Right.** Count."]),
        ("latex", "*.tex", [r"\item", "{Not quite.} That is", "{Right.} Count."]),
    ],
    ids=["html", "text", "latex"],
)
def test_a_question_can_be_read_in_every_format(tmp_path, builder, file, written):
    done = build(tmp_path, GOOD, builder)
    assert done.returncode == 0, done.stderr
    (page,) = (tmp_path / "out").glob(file)
    assert not [part for part in written if part not in page.read_text()]


@pytest.fixture(params=[True, False], ids=["with a script", "without"])
def page(browser, pages, request):
    context = browser.new_context(java_script_enabled=request.param)
    page = context.new_page()
    page.goto(pages[SOME][0].as_uri())
    yield page
    context.close()


def shown(page):
    """The feedback that can be seen, anywhere on the page."""
    return page.locator(".feedback > div").filter(visible=True).all_inner_texts()


def test_a_choice_shows_its_feedback_and_no_other(page):
    assert shown(page) == []
    before = []
    for question in page.locator(".question").all():
        for answer in question.locator(".answer").all():
            answer.locator("label > span").click(position={"x": 2, "y": 2})
            said = answer.locator(".feedback > div").inner_text()
            assert re.match(r"(Right|Not quite)\. \w", said)
            assert shown(page) == [*before, said]
        before = shown(page)
    assert len(before) >= 3


def test_the_keyboard_is_enough(page):
    first, second = page.locator(".question").all()[:2]
    first.locator("input").first.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert shown(page) == []
    page.keyboard.press("Space")
    feedback = first.locator(".feedback > div")
    assert shown(page) == [feedback.nth(0).inner_text()]
    for place in (1, 2):
        page.keyboard.press("ArrowDown")
        assert shown(page) == [feedback.nth(place).inner_text()]
    for _ in range(first.locator(".feedback a:visible").count() + 1):
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert shown(page) == [
        feedback.nth(2).inner_text(),
        second.locator(".feedback > div").first.inner_text(),
    ]


def test_all_feedback_is_printed(page):
    page.emulate_media(media="print")
    assert len(shown(page)) == page.locator("input[type=radio]").count()


def test_a_browser_that_cannot_tell_what_is_chosen_shows_all(browser, pages):
    """The style sheet asks whether `:has` is known; here it asks for something unknown."""
    css = (ROOT / "book" / "_static" / "quiz.css").read_text()
    old = css.replace("@supports selector(:has(", "@supports selector(:nowhere(")
    assert old != css
    page = browser.new_page()
    page.route("**/quiz.css*", lambda route: route.fulfill(body=old))
    page.goto(pages[SOME][0].as_uri())
    assert len(shown(page)) == page.locator("input[type=radio]").count()
    page.close()


def test_a_screen_reader_is_told(page):
    """Names are complete; what announces the feedback is there before it."""
    session = page.context.new_cdp_session(page)

    def announced():
        tree = session.send("Accessibility.getFullAXTree")["nodes"]
        nodes = {node["nodeId"]: node for node in tree}

        def text(node):
            if node["role"]["value"] == "StaticText":
                return node["name"]["value"]
            children = [nodes[name] for name in node["childIds"] if name in nodes]
            return "".join(map(text, children))

        return [text(node) for node in tree if node["role"]["value"] == "status"]

    question = page.locator(".question").first
    asked = question.locator("legend").inner_text()
    group = page.get_by_role("group", name=asked, exact=True)
    answer = question.locator("label").nth(1).inner_text()
    quiet = announced()
    assert quiet == [""] * page.locator("input[type=radio]").count()
    group.get_by_role("radio", name=answer, exact=True).check()
    assert announced() == ["", *shown(page), *quiet[2:]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, pages, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(color_scheme=scheme)
    page.goto(pages[SOME][0].as_uri())
    for question in page.locator(".question").all():
        question.locator("input").last.check()
    found = Axe().run(page, context="#quiz").response["violations"]
    assert not [
        (rule["id"], node["html"])
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
    page.close()
