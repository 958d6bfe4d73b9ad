"""How the layers of each framework are called, as steps: see numpy_steps.

The framework's own names are used; `gradient` is its own automatic differentiation.
"""

import importlib
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from audit_world.numpy_steps import Array, Back, Step
from audit_world.sources import load_file, stub

Call = Callable[[Any], Any]


def _module(name: str) -> Any:
    return importlib.import_module(name)


# JAX


def _in_jax(call: Call, x: Array) -> tuple[Array, Back]:
    jax = _module("jax")
    y, back = jax.vjp(call, jax.numpy.asarray(x))
    return np.asarray(y), lambda grad: np.asarray(
        back(jax.numpy.asarray(grad, y.dtype))[0]
    )


def _key() -> Any:
    return _module("jax").random.key(int(np.random.randint(2**31)))  # noqa: NPY002


def equinox(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    layer = _module("equinox").nn.Dropout(p)
    return _in_jax(partial(layer, key=_key(), inference=not training), x)


def nnx(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    module = _module("flax.nnx")
    seed = int(np.random.randint(2**31))  # noqa: NPY002

    def call(a: Any) -> Any:
        return module.Dropout(p, rngs=module.Rngs(seed))(a, deterministic=not training)

    return _in_jax(call, x)


def linen(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    layer, rngs = _module("flax.linen").Dropout(p), {"dropout": _key()}
    return _in_jax(
        lambda a: layer.apply({}, a, deterministic=not training, rngs=rngs), x
    )


def haiku(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    key, dropout = _key(), _module("haiku").dropout
    return _in_jax(lambda a: dropout(key, p, a) if training else a, x)


def stax(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    module, key = _module("jax.example_libraries.stax"), _key()
    _, layer = module.Dropout(p, "train" if training else "test")
    return _in_jax(lambda a: layer((), a, rng=key), x)


# Keras


def keras(backend: str, layer: str, **arguments: Any) -> Any:
    """Return a layer of Keras on a back end, chosen before Keras is imported."""
    os.environ["KERAS_BACKEND"] = backend
    return getattr(_module("keras").layers, layer)(**arguments)


def keras_hub(backend: str, module: str, layer: str, **arguments: Any) -> Any:
    os.environ["KERAS_BACKEND"] = backend
    file = f"keras_hub/src/models/{module}/{module}_layers.py"
    package = load_file(file, "tensorflow", "tensorflow_text")
    return getattr(package, layer)(**arguments)


def keras_step(
    make: Callable[[float], Any], x: Array, p: float, training: bool
) -> tuple[Array, Back]:
    layer = make(p)
    if os.environ["KERAS_BACKEND"] == "jax":
        jax = _module("jax")
        jax.clear_caches()
        seen, back = jax.vjp(partial(layer, training=training), jax.numpy.asarray(x))
        return np.asarray(seen), lambda g: np.asarray(
            back(jax.numpy.asarray(g, seen.dtype))[0]
        )
    torch = _module("torch")
    tensor = torch.tensor(x, requires_grad=True)
    y = layer(tensor, training=training)

    def back_in_torch(grad: Array) -> Array:
        y.backward(torch.tensor(grad, dtype=y.dtype))
        return tensor.grad.numpy()

    return y.detach().numpy(), back_in_torch


# Others


def thinc(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    model = _module("thinc.api").Dropout(p)
    model.initialize()
    return model(x, is_train=training)


def tinygrad(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    os.environ["DEV"] = "CPU:X86"  # needs no compiler
    module = _module("tinygrad")
    module.Tensor.manual_seed(int(np.random.randint(2**31)))  # noqa: NPY002
    tensor = module.Tensor(x)
    with module.Context(TRAINING=int(training)):
        y = tensor.dropout(p)

    def back(grad: Array) -> Array:
        (y * module.Tensor(grad)).sum().backward()
        return np.zeros_like(grad) if tensor.grad is None else tensor.grad.numpy()

    return y.numpy(), back


def mlx(
    x: Array, p: float, training: bool, name: str = "Dropout"
) -> tuple[Array, Back]:
    core, nn = _module("mlx.core"), _module("mlx.nn")
    layer, seed = getattr(nn, name)(p), int(np.random.randint(2**31))  # noqa: NPY002
    layer.train(training)

    def call(a: Any) -> Any:
        core.random.seed(seed)
        return layer(a)

    array = core.array(x)

    def back(grad: Array) -> Array:
        return np.array(core.vjp(call, [array], [core.array(grad)])[1][0])

    return np.array(call(array)), back


def mlx_2d(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    return mlx(x, p, training, "Dropout2d")


def paddle(
    x: Array, p: float, training: bool, name: str = "Dropout", **more: Any
) -> tuple[Array, Back]:
    module = _module("paddle")
    module.seed(int(np.random.randint(2**31)))  # noqa: NPY002
    layer = getattr(module.nn, name)(p, **more)
    layer.train() if training else layer.eval()
    tensor = module.to_tensor(x, stop_gradient=False)
    y = layer(tensor)

    def back(grad: Array) -> Array:
        y.backward(module.to_tensor(grad))
        return tensor.grad.numpy()

    return y.numpy(), back


def paddle_2d(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    return paddle(x, p, training, "Dropout2D")


def paddle_alpha(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    return paddle(x, p, training, "AlphaDropout")


def paddle_downscaled(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    return paddle(x, p, training, mode="downscale_in_infer")


def tensorlayerx() -> Any:
    """Return the package on PyTorch, beside stubs of what it reads pictures with."""
    os.environ["TL_BACKEND"] = "torch"
    if "tensorlayerx" not in sys.modules:
        stub("cv2", "torchvision")
    for name, kind in {"int": int, "float": float}.items():
        setattr(np, name, kind)
    return _module("tensorlayerx")


def tensorlayerx_weights(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    """The input plays the weights: with the identity in front, the layer returns them."""
    torch, nn = _module("torch"), tensorlayerx().nn
    seed = int(np.random.randint(2**31))  # noqa: NPY002
    layer = nn.DropconnectLinear(1 - p, x.shape[1], b_init=None, in_features=x.shape[0])
    layer.set_train() if training else layer.set_eval()
    del layer.weights
    layer.weights = torch.tensor(x, requires_grad=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        y = layer.forward(torch.eye(x.shape[0], dtype=layer.weights.dtype))

    def back(grad: Array) -> Array:
        y.backward(torch.tensor(grad, dtype=y.dtype))
        return layer.weights.grad.numpy()

    return y.detach().numpy(), back


def narrow(step: Step) -> Step:
    """The same on float32, which is what the framework computes in."""

    def called(x: Array, p: float, training: bool) -> tuple[Array, Back]:
        return step(x if x.dtype == np.float16 else x.astype(np.float32), p, training)

    return called
