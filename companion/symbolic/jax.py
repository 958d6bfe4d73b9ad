"""What the graphs become when PyTensor compiles them for JAX.

JAX must know every shape before it compiles, computes both branches of a choice, and raises no
errors of its own. The rewrites here apply in PyTensor's mode "JAX" and need JAX only there.
"""

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import Output
from pytensor.graph.rewriting.basic import GraphRewriter, dfs_rewriter, node_rewriter
from pytensor.ifelse import IfElse, ifelse
from pytensor.link.jax.ops import JAXOp
from pytensor.tensor.elemwise import CAReduce
from pytensor.tensor.random.type import RandomGeneratorType

from companion.checks import check_probability
from companion.symbolic.checks import CheckProbability
from companion.symbolic.layer import CHOICE, DrawMask, draw_uniform


@node_rewriter([DrawMask])  # type: ignore[untyped-decorator]
def draw_for_all(fgraph: Any, node: Apply) -> list[Variable]:
    """Draw for every unit, and go back to the old state where p is 0."""
    rng, p, *unknown = node.inputs
    next_rng, uniform = draw_uniform(node.op.complete(unknown), _copy_of(rng))
    return [ifelse(p > 0, next_rng, rng), pt.ge(uniform, p)]


@node_rewriter([IfElse])  # type: ignore[untyped-decorator]
def choose_unit_by_unit(fgraph: Any, node: Apply) -> list[Variable] | None:
    """Give the result of a choice a shape that does not hang on the flag."""
    ours = (node.op.name or "").startswith(CHOICE)
    return [pt.switch(*node.inputs)] if ours else None


@node_rewriter([CheckProbability])  # type: ignore[untyped-decorator]
def check_in_python(fgraph: Any, node: Apply) -> list[Variable]:
    """Check p outside the compiled code, which stops with an error that quotes ours."""
    (p,) = node.inputs
    return [JAXOp([p.type], [p.type], _checked)(p)]


def _checked(p: Any) -> tuple[Any]:
    import jax

    return (jax.pure_callback(_check, jax.ShapeDtypeStruct((), p.dtype), p),)


def _check(p: Any) -> np.ndarray:
    check_probability(float(p))
    return np.asarray(p)


class CopyStates(GraphRewriter):  # type: ignore[misc]
    """Copy the states that a function returns as they came; PyTensor cannot replace those."""

    def apply(self, fgraph: Any) -> None:
        for output in fgraph.outputs:
            if output in fgraph.inputs and isinstance(output.type, RandomGeneratorType):
                for client, i in list(fgraph.clients[output]):
                    if isinstance(client.op, Output):
                        fgraph.change_node_input(client, i, _copy_of(output))


def _copy_of(rng: Variable) -> Variable:
    # The state is a dict, and a draw writes the next state into it.
    return JAXOp([rng.type], [rng.type], _copied)(rng)


def _copied(rng: Any) -> tuple[Any]:
    return (dict(rng),)


@node_rewriter([CAReduce])  # type: ignore[untyped-decorator]
def keep_dtype(fgraph: Any, node: Apply) -> list[Variable] | None:
    """Cast a sum back from the dtype it was added up in, as it is on the other backends."""
    (x,), dtype = node.inputs, node.outputs[0].dtype
    acc_dtype = getattr(node.op, "acc_dtype", None)
    if acc_dtype in (None, dtype):
        return None
    return [pt.cast(node.op.clone(dtype=acc_dtype)(x), dtype)]


# The first two before PyTensor puts the graph inside `DrawMask` in its place.
ours = dfs_rewriter(draw_for_all, choose_unit_by_unit, check_in_python)
optdb.register("companion_for_jax", ours, "jax", position=-0.02)
optdb.register("companion_states_for_jax", CopyStates(), "jax", position=-0.02)
optdb.register("companion_sums_for_jax", dfs_rewriter(keep_dtype), "jax", position=100)
