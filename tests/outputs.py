"""Execute notebooks and store the outputs that changed; all others stay as they are.

`python tests/outputs.py 01_masks` does it for `book/01_masks.ipynb` and prints which cells it
stored. What is a change nbval's rules say, `nbval_sanitize.cfg`: the last digits of a claim are
none. A picture is another one if its text is, or if it looks different: somewhere the mean of 8 by
8 pixels moved by more than an eighth of the way from black to white, which what shifts by a single
pixel does not. So another FreeType or another processor changes no picture. The program says where
pixels differ by less, and `--pictures` stores these too.
"""

import argparse
import base64
import io
import re
from copy import deepcopy
from pathlib import Path

import nbformat
import numpy as np
from matplotlib.image import imread
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbval.plugin import coalesce_streams, get_sanitize_patterns

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
PATTERNS = get_sanitize_patterns((ROOT / "tests/nbval_sanitize.cfg").read_text())
BLOCK, SEEN = 8, 1 / 8


def sanitized(value):
    """What nbval compares of a text."""
    if isinstance(value, str):
        for pattern, replacement in PATTERNS:
            value = re.sub(pattern, replacement, value)
    return value


def words(output):
    """What nbval compares of an output."""
    parts = output.get("data") or {output.get("name"): output.get("text")}
    return output.output_type, {
        kind: sanitized(value) for kind, value in parts.items() if kind != "image/png"
    }


def distance(stored, fresh):
    """How different the pictures of two outputs look, from 0 to 1."""
    pngs = [output.get("data", {}).get("image/png") for output in (stored, fresh)]
    if pngs[0] == pngs[1]:
        return 0.0
    if None in pngs:
        return 1.0
    one, two = (imread(io.BytesIO(base64.b64decode(png))) for png in pngs)
    if one.shape != two.shape:
        return 1.0
    edges = [(0, -size % BLOCK) for size in one.shape[:2]] + [(0, 0)]
    apart = np.pad(one - two, edges)
    blocks = apart.reshape(len(apart) // BLOCK, BLOCK, -1, BLOCK, apart.shape[2])
    alone = np.abs(apart).max() / BLOCK**2  # lest what moves within a block be nothing
    return float(max(alone, np.abs(blocks.mean(axis=(1, 3))).max()))


def same(stored, fresh, seen):
    return words(stored) == words(fresh) and distance(stored, fresh) <= seen


def settle(cell, fresh, seen):
    """Give a cell the fresh outputs that are no stored ones; return whether there is any.

    Return also how different the pictures look of which the stored one was kept.
    """
    before = coalesce_streams(deepcopy(cell.outputs))
    pairs = [
        (next((old for old in before if same(old, new, seen)), new), new)
        for new in coalesce_streams(fresh.outputs)
    ]
    after = [kept for kept, _ in pairs]
    changed = after != before
    if changed:
        cell.outputs = after
    cell.execution_count = fresh.execution_count
    for output in cell.outputs:
        if "execution_count" in output:
            output.execution_count = fresh.execution_count
    return changed, max((distance(*pair) for pair in pairs), default=0.0)


def execute(notebook, folder):
    """Run a notebook in a kernel of its own, as nbval and the build of the book do."""
    where = {"metadata": {"path": folder}}
    NotebookClient(notebook, resources=where).execute()


def update(path, seen=SEEN):
    """Execute a notebook and store what changed; return a line for each cell that did."""
    before = path.read_text(encoding="utf-8")
    stored = nbformat.reads(before, as_version=4)
    fresh = deepcopy(stored)
    execute(fresh, path.parent)
    lines = []
    for cell, run in zip(stored.cells, fresh.cells, strict=True):
        if cell.cell_type != "code":
            continue
        changed, slightly = settle(cell, run, seen)
        name = f"[{run.execution_count}] {cell.source.partition(chr(10))[0]}"
        if changed:
            lines.append(f"stored {name}")
        elif slightly:
            lines.append(f"left   {name}: a picture that differs by {slightly:.1g}")
    if path.read_text(encoding="utf-8") != before:
        raise SystemExit(f"{path} was edited while it ran: nothing is stored")
    write(stored, path)
    return lines


def write(notebook, path):
    """Put a notebook in the place of a file, whole or not at all."""
    beside = path.with_suffix(".tmp")
    try:
        nbformat.write(notebook, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def main(arguments=None, book=BOOK):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", help="such as 01_masks")
    parser.add_argument(
        "--pictures", action="store_true", help="store all pictures that differ"
    )
    options = parser.parse_args(arguments)
    known = {path.stem: path for path in sorted(book.glob("*.ipynb"))}
    for name in options.names:
        if name not in known:
            parser.error(f"there is no notebook {name!r}, but {', '.join(known)}")
    for name in options.names:
        print(name, flush=True)
        try:
            lines = update(known[name], 0 if options.pictures else SEEN)
        except (CellExecutionError, DeadKernelError) as error:
            raise SystemExit(f"{error}\n{known[name]} is left as it was") from None
        print("\n".join(f"  {line}" for line in lines or ["nothing changed"]))


if __name__ == "__main__":
    main()
