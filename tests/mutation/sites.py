"""The small ways in which a line of Python can be wrong."""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

SWAPS = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.Mult],
    ast.Pow: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.BitXor: [ast.BitOr],
    ast.LShift: [ast.RShift],
    ast.RShift: [ast.LShift],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
}
ALIAS = ast.Name | ast.Attribute | ast.Constant | ast.Subscript | ast.BinOp | ast.BitOr
ALIAS |= ast.Load | ast.Tuple  # what a name for a type consists of, like str | None
COSMETIC = {"stacklevel", "strict"}  # keywords that change no result
SEEDS = {"rng", "seed", "random_state"}  # another seed is no fault
SEEDERS = {"default_rng", "manual_seed", "seed", "Generator", "RandomState"}
BOUNDS = {"at_most", "at_least", "between", "equals", "stored"}  # of a claim


@dataclass(frozen=True)
class Mutant:
    """One change of one place: the text from `start` to `end`, in bytes, becomes `text`."""

    file: str
    line: int
    start: int
    end: int
    text: str
    before: str  # the line as it is
    after: str  # and as it becomes
    reach: (
        tuple[int, int] | None
    )  # the lines whose run means that it mattered; None: import
    inside: bool  # the body of a function, not what runs on import
    statement: int  # index of the statement of the module that holds it

    @property
    def key(self) -> str:
        return f"{self.file}:{self.line}:{self.start} {self.before} -> {self.after}"

    def apply(self, source: str) -> str:
        raw = source.encode()
        return (raw[: self.start] + self.text.encode() + raw[self.end :]).decode()


def is_claim(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "claim"
    )


def mutants(source: str, file: str, *, in_claims: bool = False) -> list[Mutant]:
    """Every mutant of a source, in order.

    Left alone are what no test could notice or should hold fast: docstrings and other text,
    annotations, ``__all__``, blocks for type checkers, what a ``raise`` says, and the bounds
    of claims. Calls of `claim` are changed only where `in_claims`.

    Examples
    --------
    >>> for mutant in mutants("def half(x):\\n    return x / 2 if x > 0 else x", "toy.py"):
    ...     print(mutant.after)
    return None
    return (x * 2) if x > 0 else x
    return x / 3 if x > 0 else x
    return x / 1 if x > 0 else x
    return x / 2 if (x >= 0) else x
    return x / 2 if (x <= 0) else x
    return x / 2 if x > 1 else x
    return x / 2 if x > -1 else x
    """
    raw = source.encode()
    starts = [0, *accumulate(map(len, raw.splitlines(keepends=True)))]
    found = []
    for i, statement in enumerate(ast.parse(source).body):
        for node, text, reach, inside in changes(statement, None, False, in_claims):
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            if isinstance(node, ast.keyword) and raw[end : end + 1] == b",":
                end += 1
            # No line below moves.
            lost = "\n" * (raw[start:end].count(b"\n") - text.count("\n"))
            text = f"{text[:-1]}{lost})" if text.startswith("(") else text + lost
            row = starts[node.lineno - 1]
            before = raw[row:].partition(b"\n")[0].decode().strip()
            changed = raw[row:start] + text.encode() + raw[end:].partition(b"\n")[0]
            after = changed.partition(b"\n")[0].decode().strip()
            where = node.lineno, start, end, text, before, after
            found.append(Mutant(file, *where, reach, inside, i))
    return sorted(found, key=lambda mutant: mutant.start)


def changes(node, reach, inside, in_claims) -> Iterator:
    """The changes at a node and below: what is replaced, by which text, and who meets it."""
    if _is_left_alone(node) or (is_claim(node) and not in_claims):
        return
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        begin, end = node.body[0].lineno, node.end_lineno
        head = (node.lineno, begin - 1) if inside else (begin, end)
        for part in [*node.decorator_list, *_defaults(node.args)]:
            yield from changes(part, head, inside, in_claims)
        for part in node.body:
            yield from changes(part, reach, True, in_claims)
        return
    if inside and isinstance(node, ast.stmt):
        rest = getattr(node, "body", None)
        reach = node.lineno, (rest[0].lineno - 1 if rest else node.end_lineno)
        reach = reach[0], max(reach)
    for text in _texts(node):
        yield node, text, reach, inside
    test = getattr(
        node, "test", None
    )  # of if, while, assert; what compares has its own
    if test is not None and not isinstance(test, (ast.Compare, ast.UnaryOp)):
        yield test, f"(not ({ast.unparse(test)}))", reach, inside
    if isinstance(node, ast.Call) and not is_claim(node):
        for keyword in node.keywords:
            cosmetic = keyword.arg in (None, *COSMETIC)
            if not cosmetic and not _is_left_alone(keyword):
                yield keyword, "", reach, inside
    for child in _children(node):
        yield from changes(child, reach, inside, in_claims)


def _is_left_alone(node) -> bool:
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.JoinedStr)):
        return True
    if isinstance(node, ast.keyword) and node.arg in SEEDS:
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        return name in SEEDERS and all(isinstance(a, ast.Constant) for a in node.args)
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        name = node.targets[0].id
        is_alias = isinstance(node.value, (ast.BinOp, ast.Subscript)) and all(
            isinstance(part, ALIAS) for part in ast.walk(node.value)
        )
        return name == "__all__" or (is_alias and name.title() == name)
    return False


def _defaults(arguments):
    return [*arguments.defaults, *filter(None, arguments.kw_defaults)]


def _children(node):
    if isinstance(node, ast.Raise):  # what an error says is free
        return
    if isinstance(node, ast.AnnAssign):
        yield from filter(None, [node.value])
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "ctx", "op", "ops"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if is_claim(node) and isinstance(child, ast.keyword):
                continue
            if isinstance(child, ast.arguments):  # of a lambda
                yield from _defaults(child)
            elif isinstance(child, ast.AST):
                yield child


def _texts(node) -> Iterator[str]:
    """What may stand in a node's place."""
    kind = type(node)
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            for other in SWAPS[type(op)]:
                ops = [*node.ops[:i], other(), *node.ops[i + 1 :]]
                yield _bracketed(node, ops=ops)
    elif isinstance(node, (ast.BinOp, ast.BoolOp)):
        for other in SWAPS.get(type(node.op), []):
            yield _bracketed(node, op=other())
    elif isinstance(node, ast.AugAssign):
        for other in SWAPS.get(type(node.op), []):
            yield ast.unparse(_with(node, op=other()))
        yield "pass"
    elif isinstance(node, ast.UnaryOp):
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            value = -node.operand.value
            yield f"({value + 1})"
            yield f"({value - 1})"
        elif not isinstance(node.op, ast.UAdd):
            yield f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield str(not node.value)
        elif isinstance(node.value, (int, float)):
            yield f"{node.value + 1}"
            yield f"{node.value - 1}"
    elif isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield "return None"
    elif isinstance(node, ast.Raise) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        if not is_claim(getattr(node, "value", None)):
            yield "pass"
    elif isinstance(node, ast.Assign) and not any(
        isinstance(part, ast.Name) for part in node.targets
    ):
        if isinstance(node.targets[0], (ast.Attribute, ast.Subscript)):
            yield "pass"
    elif kind in (ast.Break, ast.Continue):
        yield "pass"


def _with(node, **fields):
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _bracketed(node, **fields) -> str:
    return f"({ast.unparse(_with(node, **fields))})"
