"""Layers of Keras."""

from typing import Any

import numpy as np

from companion.audit.adapters.base import Array, FrameworkAdapter, is_a


class KerasLayer(FrameworkAdapter):
    """A layer called with `training=`; made anew, from its configuration, for each seed and p."""

    takes = "a layer of Keras"
    dtypes = ("float32",)

    def __init__(self, layer: Any, made_by: type | None = None) -> None:
        super().__init__(layer)
        self.kind, self.config = type(layer), layer.get_config()
        self.sets_p = "rate" in self.config
        self.seed(0)

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        return is_a(candidate, "keras", "Layer")

    def values(self, array: Any) -> Array:
        on_torch = hasattr(array, "detach")
        return np.array(array.detach() if on_torch else array, dtype=float)

    def dtype(self, array: Any) -> str:
        return str(array.dtype).rpartition(".")[2]

    def reversed(self, array: Any) -> Any:
        return None

    def seed(self, seed: int) -> None:
        self.config["seed"] = seed
        self.layer = self.kind.from_config(self.config)

    def state(self) -> Any:
        generator = getattr(self.layer, "seed_generator", None)
        if generator is None:  # with a rate of 0
            return None
        return self.values(generator.state.value).tolist()

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        if self.sets_p and self.config["rate"] != p:
            self.config["rate"] = p
            self.layer = self.kind.from_config(self.config)
        return self.layer(x, training=training)
