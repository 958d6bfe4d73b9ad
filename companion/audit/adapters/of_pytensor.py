"""Compiled functions of PyTensor."""

from contextlib import suppress
from typing import Any

import numpy as np

from companion.audit.adapters.base import FrameworkAdapter, Make, is_a


class PyTensorFunction(FrameworkAdapter):
    """A compiled function of `x`, of `x` and `p`, or of `x`, `p` and a training flag."""

    takes = "a compiled PyTensor function of x, of x, p or of x, p, training"

    def __init__(self, function: Any, made_by: Make | None = None) -> None:
        from pytensor.tensor.random.type import RandomGeneratorType

        self.function, self.name = function, "compiled PyTensor function"
        inputs = [i.variable.type for i in function.maker.inputs if not i.implicit]
        self.dtypes = (inputs[0].dtype,)
        self.sets_p, self.has_inference = len(inputs) > 1, len(inputs) > 2
        self.signature = f"f({', '.join(['x', 'p', 'training'][: len(inputs)])})"
        self.streams = [
            shared
            for shared in function.get_shared()
            if isinstance(shared.type, RandomGeneratorType)
        ]
        self.with_gradient: Any = None
        with suppress(Exception):  # a graph that cannot be differentiated
            self.with_gradient = _with_gradient(function)
        self.has_backward = self.with_gradient is not None

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        return is_a(candidate, "pytensor.compile.executor", "Function")

    def seed(self, seed: int) -> None:
        children = np.random.SeedSequence(seed).spawn(len(self.streams))
        for stream, child in zip(self.streams, children, strict=True):
            stream.set_value(np.random.default_rng(child))

    def state(self) -> Any:
        return [stream.get_value().bit_generator.state for stream in self.streams]

    def _given(self, x: Any, p: float, training: bool) -> list[Any]:
        return [x, p, training][: 1 + self.sets_p + self.has_inference]

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        return self.function(*self._given(x, p, training))

    def gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        y, dx, _ = self.with_gradient(*self._given(x, p, True), grad, grad)
        return y, dx

    def second_gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        y, _, second = self.with_gradient(*self._given(x, p, True), grad, grad)
        return y, second


def _with_gradient(function: Any) -> Any:
    """Compile the graph of a function once more, with the gradient and the second one.

    The graph that a function keeps is the one made fast: what was fused in it is taken apart,
    and what writes in place does not, as neither can be differentiated.
    """
    import pytensor

    graph = function.maker.fgraph
    y, *new_states = _rewritten(graph, graph.inputs)
    explicit = [i.variable for i in function.maker.inputs if not i.implicit]
    updated = [i.variable for i in function.maker.inputs if i.update is not None]
    cotangent, other = y.type("cotangent"), y.type("other")
    dx = pytensor.grad(None, explicit[0], known_grads={y: cotangent})
    second = pytensor.grad(None, cotangent, known_grads={dx: other})
    return pytensor.function(
        [*explicit, cotangent, other],
        [y, dx, second],
        updates=dict(zip(updated, new_states, strict=True)),
        on_unused_input="ignore",
        mode=function.maker.mode,
    )


def _rewritten(graph: Any, inputs: Any) -> list[Any]:
    """Return the outputs of a graph for other inputs, with every node made plain."""
    plain = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.toposort():
        given = [plain.get(v, v) for v in node.inputs]
        plain.update(zip(node.outputs, _plain(node.op, given), strict=True))
    return [plain.get(v, v) for v in graph.outputs]


def _plain(op: Any, inputs: list[Any]) -> list[Any]:
    """Return what an operation computes of its inputs, out of place and step by step."""
    from pytensor.compile.builders import OpFromGraph
    from pytensor.scalar.basic import Composite, ScalarConstant, ScalarOp
    from pytensor.tensor import as_tensor_variable
    from pytensor.tensor.elemwise import Elemwise

    if isinstance(op, ScalarOp):  # a step of one that was fused
        inputs = [
            as_tensor_variable(v.data) if isinstance(v, ScalarConstant) else v
            for v in inputs
        ]
        op = Elemwise(op)
    if isinstance(op, OpFromGraph) and op.destroy_map:  # a draw that writes in place
        return _rewritten(op.fgraph, inputs)
    if isinstance(op, Elemwise):
        if isinstance(op.scalar_op, Composite):
            return _rewritten(op.scalar_op.fgraph, inputs)
        op = Elemwise(op.scalar_op)
    elif getattr(op, "inplace", False):
        op = type(op)(**{**op._props_dict(), "inplace": False})
    return list(op.make_node(*inputs).outputs)
