"""Compiled functions of PyTensor."""

from typing import Any

import numpy as np

from companion.audit.adapters.base import FrameworkAdapter, is_a


class PyTensorFunction(FrameworkAdapter):
    """A compiled function of `x`, of `x` and `p`, or of `x`, `p` and a training flag."""

    takes = "a compiled PyTensor function of x, of x, p or of x, p, training"

    def __init__(self, function: Any, made_by: type | None = None) -> None:
        from pytensor.tensor.random.type import RandomGeneratorType

        self.function, self.name = function, "compiled PyTensor function"
        inputs = [i.variable.type for i in function.maker.inputs if not i.implicit]
        self.dtypes = (inputs[0].dtype,)
        self.sets_p, self.has_inference = len(inputs) > 1, len(inputs) > 2
        self.streams = [
            shared
            for shared in function.get_shared()
            if isinstance(shared.type, RandomGeneratorType)
        ]

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        return is_a(candidate, "pytensor.compile.executor", "Function")

    def seed(self, seed: int) -> None:
        children = np.random.SeedSequence(seed).spawn(len(self.streams))
        for stream, child in zip(self.streams, children, strict=True):
            stream.set_value(np.random.default_rng(child))

    def state(self) -> Any:
        return [stream.get_value().bit_generator.state for stream in self.streams]

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        return self.function(*[x, p, training][: 1 + self.sets_p + self.has_inference])
