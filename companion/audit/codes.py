"""What the code of each check means: why it matters, and how to mend what fails it.

The texts stand in codes.toml. The name of a check and what it asks stand where it is registered.
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_TEXTS = Path(__file__).with_name("codes.toml")


@dataclass(frozen=True)
class Page:
    """What there is to say of one check.

    Attributes
    ----------
    why : str
        What goes wrong where it fails.
    mend : str
        How to mend it.
    wrong, right : str
        A program that fails the check, and the same mended; empty if there is none.
    """

    why: str
    mend: str
    wrong: str = ""
    right: str = ""

    def diff(self) -> str:
        """Return the change from wrong to right, with all lines around it."""
        wrong, right = self.wrong.splitlines(), self.right.splitlines()
        lines = difflib.unified_diff(wrong, right, n=max(len(wrong), 1), lineterm="")
        return "\n".join([*lines][3:])  # without names and places

    def text(self) -> str:
        """Return the page as plain text."""
        return "\n\n".join(filter(None, [self.why, self.mend, self.diff()]))

    def markdown(self) -> str:
        """Return the page as Markdown."""
        diff = f"```diff\n{self.diff()}\n```" if self.wrong else ""
        return "\n\n".join(filter(None, [self.why, self.mend, diff]))


@cache
def pages() -> Mapping[str, Page]:
    """Return the page of every code.

    Examples
    --------
    >>> print(pages()["DR105"].diff())
     def dropout(x, p, training):
    -    return F.dropout(x, p)
    +    return F.dropout(x, p, training)
    """
    texts = tomllib.loads(_TEXTS.read_text(encoding="utf-8"))
    return {
        code: Page(**{name: text.strip("\n") for name, text in page.items()})
        for code, page in texts.items()
    }
