"""Questions with answers to choose from, and a word on each of the answers.

In a chapter an admonition of the class "question", which JupyterLab shows folded, with one right
answer and anything that MyST knows in the text::

    :::{admonition} By what does inverted dropout multiply a kept unit at *p* = 0.8?
    :class: dropdown question

    - [ ] 0.2

      That is what standard dropout multiplies by, and at test time.
    - [x] 5

      $1/(1 - 0.8) = 5$.
    :::

The style sheet shows the word on an answer when it is chosen; there is no script. Every node is
a kind of list or paragraph, which is what builders other than HTML make of it.
"""

import re
from collections.abc import Callable
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger
from sphinx.writers.html5 import HTML5Translator

warn = getLogger(__name__).warning
MARK = re.compile(r"\[([ x])\]\s*")


class Question(nodes.container):
    """One question with all that belongs to it."""


class Asked(nodes.paragraph):
    """The text of the question."""


class Answers(nodes.bullet_list):
    """All answers of a question."""


class Answer(nodes.list_item):
    """A choice and the feedback on it."""


class Choice(nodes.paragraph):
    """What can be chosen."""


class Feedback(nodes.container):
    """What is said when it has been chosen."""


# A screen reader announces what appears in an element that was there before: hence two of them.
HTML: dict[type[nodes.Element], tuple[str, str]] = {
    Question: ('<fieldset class="question">\n', "</fieldset>\n"),
    Asked: ("<legend>", "</legend>\n"),
    Answers: ("", ""),
    Answer: ('<div class="answer">\n', "</div>\n"),
    Choice: ('<label><input type="radio" name="{name}" /><span>', "</span></label>\n"),
    Feedback: (
        '<div class="feedback" role="status"><div class="{kind}">\n',
        "</div></div>\n",
    ),
}


def ask(app: Sphinx, page: nodes.document) -> None:
    """Make questions of the admonitions of that class."""
    found = [n for n in page.findall(nodes.admonition) if "question" in n["classes"]]
    for number, node in enumerate(found):
        match node.children:
            case [nodes.title() as asked, nodes.bullet_list() as listed]:
                name = f"question-{number}"
                answers = [answer(item, name) for item in listed.children]
            case _:
                warn(
                    "a question is a title and one list of answers; this is not: %s",
                    node.astext(),
                    location=node,
                )
                continue
        right = sum(answer is not None and answer["right"] for answer in answers)
        if right != 1:
            warn(
                "one answer has to be right, and %s are marked [x]: %s",
                right,
                asked.astext(),
                location=node,
            )
        text = Asked("", "", *asked.children)
        node.replace_self(Question("", text, Answers("", *filter(None, answers))))


def answer(item: nodes.Element, name: str) -> Answer | None:
    """An item of the list as an answer, or nothing if it is none."""
    match item.children:
        case [nodes.paragraph() as choice, nodes.paragraph() as first, *more]:
            mark = MARK.match(choice.astext())
        case _:
            warn("an answer has no feedback: %s", item.astext(), location=item)
            return None
    if not mark:
        warn("an answer has no [ ] or [x]: %s", choice.astext(), location=item)
        return None
    choice[0] = nodes.Text(choice[0].astext()[mark.end() :])
    right = mark[1] == "x"
    verdict = nodes.strong("", "Right." if right else "Not quite.")
    first[:0] = [verdict, nodes.Text(" ")]
    return Answer(
        "",
        Choice("", "", *choice.children, name=name),
        Feedback("", first, *more, kind="right" if right else "wrong"),
        right=right,
    )


def write(html: str) -> Callable[[HTML5Translator, nodes.Element], None]:
    def visit(self: HTML5Translator, node: nodes.Element) -> None:
        self.body.append(html.format_map(node.attributes))

    return visit


def setup(app: Sphinx) -> dict[str, Any]:
    for node, (start, end) in HTML.items():
        app.add_node(node, html=(write(start), write(end)))
    app.connect("doctree-read", ask)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
