"""Layers of Keras on two back ends, and of KerasHub."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from audit_world import framework_steps as steps
from audit_world.cases import Case, Verdict
from audit_world.numpy_steps import figures

PRINT = "print((y == 0).mean(), y.max(), y.mean())"
RIGHT = "keras/src/layers/regularization/"
HUB = "keras_hub/src/models/"


def keras_truth(
    backend: str, make: Callable[..., Any], key: str, shape: tuple[int, ...]
) -> dict[str, Any]:
    os.environ["KERAS_BACKEND"] = backend
    step = partial(steps.keras_step, lambda p: make(**{key: p}))
    return figures(steps.narrow(step), shape=shape)


def of_keras(
    backend: str,
    layer: str,
    expected: Verdict,
    confirmed: str,
    shape: tuple[int, ...] = (),
    **arguments: Any,
) -> Case:
    words = ", ".join(f"{k}={v!r}" for k, v in {"rate": 0.3, **arguments}.items())
    sizes = shape or (1000, 100)
    lines = f"""import os
os.environ["KERAS_BACKEND"] = "{backend}"
import keras, numpy as np
layer = keras.layers.{layer}({words}, seed=0)
y = keras.ops.convert_to_numpy(layer(np.ones({sizes}), training=True))
{PRINT}"""
    make = partial(steps.keras, backend, layer, **arguments)
    options = {"shape": (16, *shape[1:])} if shape else {}
    name = f"{layer}, {backend}" + ("".join(f", {k}" for k in arguments))
    truth = partial(keras_truth, backend, make, "rate", shape)
    return Case(
        "keras",
        name,
        partial(make, rate=0.5),
        expected,
        truth,
        lines,
        confirmed,
        options,
    )


def of_keras_hub(
    module: str, layer: str, key: str, expected: Verdict, confirmed: str, p: float = 0.3
) -> Case:
    lines = f"""import os
os.environ["KERAS_BACKEND"] = "torch"
import keras, numpy as np
from keras_hub.src.models.{module}.{module}_layers import {layer}
keras.utils.set_random_seed(0)
y = keras.ops.convert_to_numpy({layer}({key}={p})(np.ones((10_000, 1)), training=True))
{PRINT}"""
    make = partial(steps.keras_hub, "torch", module, layer)
    return Case(
        "keras-hub",
        f"{layer} of {module}",
        partial(make, **{key: 0.3}),
        expected,
        partial(keras_truth, "torch", make, key, (20_000, 4)),
        lines,
        confirmed,
    )


CASES = [
    *(
        case
        for backend in ("torch", "jax")
        for case in (
            of_keras(backend, "Dropout", "pass", RIGHT + "dropout.py:102: right"),
            of_keras(
                backend,
                "Dropout",
                "pass",
                RIGHT + "dropout.py:102: one mask for all steps of a sample",
                (500, 4, 100),
                noise_shape=(None, 1, None),
            ),
            of_keras(
                backend,
                "SpatialDropout1D",
                "pass",
                RIGHT + "spatial_dropout.py:66: whole channels, which come last",
                (500, 4, 100),
            ),
            of_keras(
                backend,
                "SpatialDropout2D",
                "pass",
                RIGHT + "spatial_dropout.py:118: whole channels, which come last",
                (500, 4, 4, 100),
            ),
            of_keras(
                backend,
                "AlphaDropout",
                "pass",
                RIGHT + "alpha_dropout.py:57-75: right; rate = 1, at which "
                "no variance can be kept, is taken, and a ZeroDivisionError in the call (line 68)",
            ),
            of_keras(
                backend,
                "GaussianDropout",
                "pass",
                RIGHT + "gaussian_dropout.py:45: right; rate = 1, at which "
                "the noise has no end, is taken, and a ZeroDivisionError in the call",
            ),
        )
    ),
    of_keras_hub(
        "mit",
        "DropPath",
        "rate",
        "edge",
        f"{HUB}mit/mit_layers.py:281-289: right; rate = 1 gives 0 / 0: NaN; no rate is refused",
    ),
    of_keras_hub(
        "swin_transformer",
        "DropPath",
        "drop_prob",
        "edge",
        f"{HUB}swin_transformer/swin_transformer_layers.py:129-137: right; 1 gives 0 / 0: NaN; no "
        "rate is refused",
    ),
    of_keras_hub(
        "mobilenetv5",
        "DropPath",
        "drop_prob",
        "edge",
        f"{HUB}mobilenetv5/mobilenetv5_layers.py:24-33: right, p = 1 included; no rate is refused",
    ),
    of_keras_hub(
        "dinov2",
        "DINOV2DropPath",
        "rate",
        "fail",
        f"{HUB}dinov2/dinov2_layers.py:535-537: keep + uniform is never floored, so nothing is "
        "dropped and each path is multiplied by a number between 1 and (1 + keep) / keep",
        p=0.1,
    ),
    of_keras_hub(
        "dinov3",
        "DINOV3DropPath",
        "rate",
        "fail",
        f"{HUB}dinov3/dinov3_layers.py:529-531: the same as in dinov2",
        p=0.1,
    ),
]
