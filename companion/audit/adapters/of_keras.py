"""Layers of Keras, on any of its backends."""

import random
from contextlib import suppress
from typing import Any

import numpy as np

from companion.audit.adapters.base import Array, FrameworkAdapter, Make, is_a
from companion.audit.adapters.calls import RATES, copied
from companion.audit.adapters.of_jax import OnJAX
from companion.audit.adapters.of_torch import OnTorch


class KerasLayer(FrameworkAdapter):
    """A layer called with `training=`; made anew, from its configuration, for each seed and p."""

    takes = "a layer of Keras"
    signature = "layer(x, training=training)"
    backend = ""

    def __init__(self, layer: Any, made_by: Make | None = None) -> None:
        self.config: dict[str, Any] = {}
        with suppress(Exception):  # a layer that does not say how it was made
            self.config = layer.get_config()
        self.own_stream = "seed" in self.config
        self.layers: dict[tuple[float, str], Any] = {}
        super().__init__(layer)
        self.given, self.made_by = copied(layer), made_by
        self.attribute = next(filter(self._is_rate, RATES), None)
        if self.attribute is not None:
            self.rate = float(self.config[self.attribute])
        self.remade = self._can_remake()
        first, others = layer.compute_dtype, ("float32", "float16", "bfloat16")
        self.dtypes = (first, *(d for d in others if self.remade and d != first))
        self.sets_p = bool(made_by or (self.remade and self.attribute))
        self.seed(0)

    def _is_rate(self, name: str) -> bool:
        value = self.config.get(name)
        return isinstance(value, float | int) and not isinstance(value, bool)

    def _can_remake(self) -> bool:
        with suppress(Exception):  # a configuration without all that it is made with
            type(self.given).from_config(self.config)
            return True
        return False

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        if not is_a(candidate, "keras", "Layer"):
            return False
        import keras

        return cls.backend in ("", keras.backend.backend())

    def array(self, values: Array, dtype: str) -> Any:
        import keras

        return keras.ops.convert_to_tensor(values.copy(), dtype=dtype)

    def values(self, array: Any) -> Array:
        import keras

        if not keras.ops.is_tensor(array):
            raise TypeError(f"it returned {type(array).__name__}, not a tensor")
        if self.dtype(array) == "bfloat16":
            array = keras.ops.cast(array, "float32")
        return np.array(keras.ops.convert_to_numpy(array), dtype=float)

    def dtype(self, array: Any) -> str:
        import keras

        return keras.backend.standardize_dtype(array.dtype)

    def reversed(self, array: Any) -> Any:
        import keras

        return keras.ops.transpose(array)

    def layout(self, array: Any) -> Any:
        return None

    def seed(self, seed: int) -> None:
        import keras

        self.started = seed
        if self.own_stream:
            self.config["seed"] = seed
            self.layers.clear()
            return
        others = random.getstate(), np.random.get_state()  # noqa: NPY002
        keras.utils.set_random_seed(seed)
        keras.random.uniform((1,))  # makes Keras's generator, with a number of random's
        random.setstate(others[0])
        np.random.set_state(others[1])  # noqa: NPY002
        for layer in self.layers.values():
            self._start(layer)

    def _start(self, layer: Any) -> Any:
        for i, stream in enumerate(_streams(layer)):
            stream.assign([self.started + i, 0])
        return layer

    def state(self) -> Any:
        streams = [s for layer in self.layers.values() for s in _streams(layer)]
        return [self.values(stream.value).tolist() for stream in streams]

    def layer_with(self, p: float, dtype: str) -> Any:
        """Return the layer with a rate, in a dtype."""
        if (p, dtype) not in self.layers:
            self.layers[p, dtype] = self._start(self._made(p, dtype))
        return self.layers[p, dtype]

    def _made(self, p: float, dtype: str) -> Any:
        if not self.remade:
            return self.given if self.made_by is None else self.made_by(p)
        config = {**self.config, "dtype": dtype}
        if self.attribute is not None:
            config[self.attribute] = p
        return type(self.given).from_config(config)

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        return self.layer_with(p, self.dtype(x))(x, training=training)


def _streams(layer: Any) -> list[Any]:
    """Return the states of a layer's generators: each a seed, and how much was drawn with it."""
    return [v for v in layer.variables if v.name == "seed_generator_state"]


class KerasOnTorch(KerasLayer, OnTorch):
    """On PyTorch."""

    backend = "torch"


class KerasOnJAX(KerasLayer, OnJAX):
    """On JAX; what it draws with does not depend on x, and is not traced."""

    backend = "jax"

    def pull(self, x: Any, p: float) -> Any:
        import jax

        return jax.vjp(lambda x: self(x, p), x)


class KerasOnTensorFlow(KerasLayer):
    """On TensorFlow."""

    backend = "tensorflow"
    has_backward = True

    def gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            y = self(x, p)
        dx = tape.gradient(y, x, output_gradients=grad, unconnected_gradients="zero")
        return y, dx

    def second_gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        with tf.GradientTape() as outer:
            outer.watch(grad)
            y, dx = self.gradient(x, p, grad)
        return y, outer.gradient(dx, grad, output_gradients=grad)
