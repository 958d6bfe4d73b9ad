"""The pictures that stand outside of a notebook: on the first page, in the readme and on cards.

Run it with ``make notebooks``, behind the notebooks, one of which holds the first picture.
"""

import base64
from pathlib import Path

import nbformat
import numpy as np

from companion import plots

BOOK = Path(__file__).parents[1] / "book"


def from_notebook(chapter: str, figure: str) -> bytes:
    """The picture that a chapter stores under the name of a figure."""
    for cell in nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4).cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == figure:
            for output in cell.outputs:
                if picture := output.get("data", {}).get("image/png"):
                    return base64.b64decode(picture)
    raise LookupError(f"{chapter} has no figure {figure}")


def main() -> None:
    static = BOOK / "_static"
    (static / "why.png").write_bytes(from_notebook("01_masks", "fig-why"))
    masks = np.unpackbits(np.arange(240, 256, dtype=np.uint8)[:, None], axis=1)
    thinned = plots.thinned_networks([2, 4, 1], masks[::-1, 4:] == 1)
    thinned.savefig(static / "thinned.png")


if __name__ == "__main__":
    main()
