"""A notebook's code as a list of statements, and which of them depends on which."""

import ast
import json
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .sites import BOUNDS, is_claim, mutants


@dataclass(frozen=True)
class Statement:
    cell: int
    place: int  # in its cell
    node: ast.stmt

    @cached_property
    def loads(self) -> set[str]:
        """The names that it reads; what stands in the bound of a claim does not count."""
        names = {node for node in _walk(self.node) if isinstance(node, ast.Name)}
        changed = {n.target for n in _walk(self.node) if isinstance(n, ast.AugAssign)}
        return {n.id for n in names if isinstance(n.ctx, ast.Load) or n in changed}

    @cached_property
    def binds(self) -> set[str]:
        """The names that have a new value after it."""
        return set(_bound(self.node))

    @cached_property
    def stores(self) -> set[str]:
        """The names whose values it makes or may change."""
        names = set(self.binds)
        if isinstance(self.node, ast.FunctionDef | ast.ClassDef):
            return names
        for node in ast.walk(self.node):
            changed: list[ast.AST] = []
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                changed = [node.func]  # net.fit(...) changes net
            elif isinstance(node, ast.Attribute | ast.Subscript):
                changed = [node] if isinstance(node.ctx, ast.Store) else []
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                changed = [] if is_claim(node.value) else list(node.value.args)
            for part in changed:
                while isinstance(part, ast.Attribute | ast.Subscript):
                    part = part.value
                names |= {part.id} if isinstance(part, ast.Name) else set()
        return names


def _bound(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.comprehension | ast.Lambda):
            yield from _bound(child)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        bound = (
            isinstance(child, ast.keyword) and child.arg in BOUNDS and is_claim(node)
        )
        if not bound:
            yield from _walk(child)


class Chapter:
    """The code cells of a notebook, as a list of statements."""

    def __init__(self, path: Path, name: str):
        self.name = name
        cells = json.loads(path.read_text())["cells"]
        self.cells = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
        self.statements = [
            Statement(i, j, node)
            for i, source in enumerate(self.cells)
            for j, node in enumerate(ast.parse(source).body)
        ]
        imports = (ast.Import, ast.ImportFrom)
        self.modules = {
            name
            for s in self.statements
            for node in ast.walk(s.node)
            if isinstance(node, imports)
            for name in Statement(0, 0, node).binds
        }

    def file(self, cell: int) -> str:
        return f"{self.name}[{cell}]"

    def code(self, i: int, source: str | None = None) -> types.CodeType:
        """The code of a statement, maybe from a changed source of its cell."""
        s = self.statements[i]
        node = s.node if source is None else ast.parse(source).body[s.place]
        return compile(ast.Module([node], []), self.file(s.cell), "exec")

    def after(self, first: set[int]) -> set[int]:
        """The statements that some others can affect, with these."""
        affected, names = set(), set()
        for i, s in enumerate(self.statements):
            if i in first or s.loads & names:
                affected.add(i)
                names |= s.stores - self.modules
        return affected

    def before(self, i: int) -> list[int]:
        """The statements that a claim's measured value depends on, the nearest first."""
        wanted, found = self.statements[i].loads - self.modules, []
        for j in reversed(range(i)):
            s = self.statements[j]
            if isinstance(s.node, ast.Import | ast.ImportFrom):
                continue
            if (s.stores - self.modules) & wanted and not is_claim(
                getattr(s.node, "value", None)
            ):
                found.append(j)
                if isinstance(s.node, ast.Assign | ast.FunctionDef | ast.ClassDef):
                    wanted -= s.binds
                wanted |= s.loads - self.modules
        return found

    def mutants(self, within: set[int], *, in_claims: bool = False) -> list[tuple]:
        """Each mutant of some statements, with its statement."""
        found = []
        for cell, source in enumerate(self.cells):
            places = {
                self.statements[i].place: i
                for i in within
                if self.statements[i].cell == cell
            }
            if places:
                found += [
                    (mutant, places[mutant.statement])
                    for mutant in mutants(source, self.file(cell), in_claims=in_claims)
                    if mutant.statement in places
                ]
        return found
