"""How each NumPy package is called: a step takes (x, p, training) and returns the result and a
function that takes a gradient back.

Most of these packages draw from NumPy's global generator, as PyTorch's layers draw from
PyTorch's, and some are older than NumPy 2: `OnNumPy` seeds the first and puts it back, and `old`
gives the second the names that are gone.
"""

import collections
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Back = Callable[[Array], Any]
Step = Callable[[Array, float, bool], tuple[Any, Back]]


def old(name: str) -> Any:
    """Import a module that was written before NumPy 2 and Python 3.10."""
    for missing, present in {"int": int, "float_": np.float64}.items():
        setattr(np, missing, present)
    vars(collections)["Hashable"] = importlib.import_module("collections.abc").Hashable
    return importlib.import_module(name)


class OnNumPy:
    """A step as `f(x, p, training, rng)`, whose backward pass is that of the last call."""

    def __init__(self, step: Step) -> None:
        self.step, self.__name__ = step, step.__name__

    def __call__(
        self, x: Array, p: float, training: bool, rng: np.random.Generator
    ) -> Any:
        before = np.random.get_state()  # noqa: NPY002
        np.random.seed(int(rng.integers(2**32)))  # noqa: NPY002
        try:
            result, self.back = self.step(x, p, training)
        finally:
            np.random.set_state(before)  # noqa: NPY002
        return result

    def backward(self, grad: Array) -> Any:
        return self.back(grad)


def figures(
    step: Step, p: float = 0.3, n: int = 1000, shape: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Measure a step on ones: what is dropped, kept, at rest, and what the gradient does."""
    x = np.ones(shape or (n, n // 2))
    np.random.seed(0)  # noqa: NPY002
    with np.errstate(all="ignore"):
        result, back = step(x, p, True)
        y, gradient = (
            np.asarray(result, float),
            np.asarray(back(np.ones_like(x)), float),
        )
        again = np.asarray(step(x, p, True)[0], float)
        rest = np.asarray(step(x, p, False)[0], float)
        kept = y[y != 0]
        return {
            "p": p,
            "dropped": round(float(np.mean(y == 0)), 4),
            "kept x": [round(float(kept.min()), 3), round(float(kept.max()), 3)],
            "mean": round(float(y.mean()), 4),
            "two masks agree": round(float(np.mean((y == 0) == (again == 0))), 3),
            "at rest": round(float(rest.mean()), 3),
            "input is kept at rest": bool((rest == x).all()),
            "gradient is the factor": bool(np.allclose(gradient, y)),
            "p = 1": _said(step, 1.0, x[:20]),
            "p = -0.1": _said(step, -0.1, x[:20]),
            "p = nan": _said(step, float("nan"), x[:20]),
            "gradient at p = 1": _said(step, 1.0, x[:20], back=True),
            "float16 becomes": _dtype(step, x[:2].astype(np.float16), p),
        }


def _said(step: Step, p: float, x: Array, back: bool = False) -> str:
    """Return the values that come out, or the error."""
    try:
        y, backward = step(x, p, True)
        seen = np.asarray(backward(np.ones_like(x)) if back else y, float)
    except Exception as error:
        return type(error).__name__
    return ", ".join(sorted({f"{value:.3g}" for value in np.unique(seen)}))


def _dtype(step: Step, x: Array, p: float) -> str:
    try:
        return str(np.asarray(step(x, p, True)[0]).dtype)
    except Exception as error:
        return type(error).__name__


# Layers with a forward and a backward pass of their own


def caspian(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    layer = importlib.import_module("caspian.layers").Dropout(p)
    return layer.forward(x, training), layer.backward


def numpy_ml(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    nets = old("numpy_ml.neural_nets")
    layer = nets.wrappers.Dropout(nets.layers.Flatten("first"), p)
    if not training:
        layer.freeze()
    return layer.forward(x), lambda grad: layer.backward(grad.copy())


def kronyx(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    layer = importlib.import_module("kronyx.layers").Dropout(p)
    return layer.forward(x, training), layer.backward


def kerasn(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    layer = importlib.import_module("kerasN.layers").Dropout(p)
    return layer.forward(x, training), layer.backward


def tinytorch(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    layer = importlib.import_module("tinytorch.layers").Dropout(p)
    layer.training = training
    return layer.forward(x), layer.backward


def blocknn(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    layer = importlib.import_module("blocknn.layers").Dropout(p)
    return layer.forward(x, training), layer.backward


def maji(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    layer = importlib.import_module("maji.neural_network").Dropout(p)
    layer.forward(x, training)

    def back(grad: Array) -> Array:
        layer.backward(grad)
        return layer.dinputs

    return layer.output, back


def mpneuralnetwork(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    layer = importlib.import_module("mpneuralnetwork.layers").Dropout(p)
    return layer.forward(x, training), layer.backward


def neuralnetlib(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    seed = int(np.random.randint(2**31))  # noqa: NPY002
    layer = importlib.import_module("neuralnetlib.layers").Dropout(p, random_state=seed)
    return layer.forward_pass(x, training), layer.backward_pass


def neuralnetlib_adaptive(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    seed = int(np.random.randint(2**31))  # noqa: NPY002
    module = importlib.import_module("neuralnetlib.layers")
    layer = module.Dropout(p, adaptive=True, random_state=seed)
    return layer.forward_pass(x, training), layer.backward_pass


def neuralflow(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    layer = importlib.import_module("neuralflow.model").Dropout(p)
    layer.train_flg = training
    return layer(x), layer._backward


class NoUpdate:
    """An optimiser of nano-keras that leaves the weights as they are."""

    def apply_gradients(
        self, weight_grad: Any, bias_grad: Any, weights: Any, biases: Any
    ) -> tuple[Any, Any]:
        return weights, biases


class Identity:
    """An activation of nano-keras that does nothing."""

    def apply_activation(self, x: Array) -> Array:
        return x

    def compute_derivative(self, x: Array) -> Array:
        return np.ones_like(x)


def nano_keras(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    """Dropout is a dense layer here: it is given the identity as weights, one layer a row."""
    module, units = old("nano_keras.layers"), x.shape[-1]
    rows = []
    for _ in x:
        layer = module.Dropout(units, Identity(), p)
        layer.weights, layer.biases = np.eye(units), np.zeros(units)
        layer.inputs, layer.outputs = np.empty((1, units)), np.empty((1, units))
        rows.append(layer)
    y = np.stack([layer(row, training) for layer, row in zip(rows, x, strict=True)])

    def back(grad: Array) -> Array:
        pairs = zip(rows, grad.copy(), strict=True)
        return np.stack(
            [layer.backpropagate(row, [NoUpdate()]) for layer, row in pairs]
        )

    return y, back


# Layers on tensors with automatic differentiation


def neograd(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    nets = importlib.import_module("neograd.nn.layers")
    tensor = importlib.import_module("neograd").tensor(x, requires_grad=True)
    layer = nets.Dropout(1 - p)
    layer.eval = not training
    y = layer(tensor)

    def back(grad: Array) -> Array:
        y.backward(grad)
        return tensor.grad

    return y.data, back


def dezero(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    package = old("dezero")
    variable = package.Variable(x)
    with package.using_config("train", training):
        y = old("dezero.functions").dropout(variable, p)

    def back(grad: Array) -> Array:
        y.grad = package.Variable(grad)
        y.backward()
        return variable.grad.data

    return y.data, back


def dpln(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    """There is no mode to set: neither the layer nor a model has a flag for it."""
    tensor = importlib.import_module("dpln").Tensor(x, requires_grad=True)
    y = importlib.import_module("dpln.nn").Dropout(p)(tensor)

    def back(grad: Array) -> Array:
        y.backward(type(tensor)(grad))
        return tensor.grad.data

    return y.data, back


def neutro(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    autograd = importlib.import_module("neutro.autograd")
    layer = importlib.import_module("neutro.layers").Dropout(p)
    tensor = autograd.Tensor(x)
    with autograd.GradientTape() as tape:
        tape.watch(tensor)
        y = layer.forward(tensor, training=training)

    def back(grad: Array) -> Array:
        with tape:
            total = (y * autograd.Tensor(grad)).sum()
        tape.gradient(total, [tensor])
        return tensor.grad

    return y.data, back


def mayini(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    return _by_modules("mayini.nn", "mayini.tensor", x, p, training)


def neuroforge(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    module = "neuroforge.nn.layers.dropout", "neuroforge.core.tensor"
    return _by_modules(*module, x, p, training)


def _by_modules(
    layers: str, tensors: str, x: Array, p: float, training: bool
) -> tuple[Array, Back]:
    """Call a layer in the manner of PyTorch, whose `backward` takes the gradient."""
    layer = importlib.import_module(layers).Dropout(p)
    tensor = importlib.import_module(tensors).Tensor(x, requires_grad=True)
    layer.train() if training else layer.eval()
    y = layer(tensor)

    def back(grad: Array) -> Array:
        y.backward(grad)
        return np.asarray(getattr(tensor.grad, "data", tensor.grad))

    return y.data, back


def minigrad(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    return _by_sum("minigrad.nn.dropout", "minigrad.tensor", x, p, training)


def minigrad_2d(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    return _by_sum(
        "minigrad.nn.dropout", "minigrad.tensor", x, p, training, "Dropout2D"
    )


def euclid(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    layers = "euclid.neural_network.layers.dropout"
    return _by_sum(layers, "euclid.core.tensor", x, p, training)


def nnetflow(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    return _by_sum("nnetflow.layers", "nnetflow.engine", x, p, training)


def mangograd(x: Array, p: float, training: bool) -> tuple[Array, Back]:
    return _by_sum("mangograd.nn", "mangograd.tensor", x, p, training)


def _by_sum(
    layers: str,
    tensors: str,
    x: Array,
    p: float,
    training: bool,
    name: str = "Dropout",
) -> tuple[Array, Back]:
    """Call a layer in the manner of PyTorch, whose `backward` starts at a scalar."""
    layer = getattr(importlib.import_module(layers), name)(p)
    kind = importlib.import_module(tensors).Tensor
    try:
        tensor, by = kind(x, requires_grad=True), {"requires_grad": False}
    except TypeError:  # every tensor has a gradient
        tensor, by = kind(x), {}
    layer.training = training
    y = layer(tensor)

    def back(grad: Array) -> Array:
        (y * kind(grad, **by)).sum().backward()
        return np.asarray(getattr(tensor.grad, "data", tensor.grad))

    return y.data, back
