"""Layers of frameworks other than PyTorch and Keras."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from audit_world import framework_steps as steps
from audit_world.cases import Case, Verdict
from audit_world.numpy_steps import OnNumPy, Step, figures

NARROW = {"dtypes": ("float32",)}
PRINT = "print((y == 0).mean(), y.max(), y.mean())"


def of_jax(
    package: str,
    name: str,
    make: Callable[[], Any],
    step: Step,
    expected: Verdict,
    lines: str,
    confirmed: str,
    **more: Any,
) -> Case:
    truth = partial(figures, steps.narrow(step))
    return Case(package, name, make, expected, truth, lines, confirmed, **more)


def wrapped(
    package: str,
    name: str,
    step: Step,
    expected: Verdict,
    lines: str,
    confirmed: str,
    shape: tuple[int, ...] = (),
    **more: Any,
) -> Case:
    """A function of the framework as `f(x, p, training, rng)`, on float32."""
    truth = partial(figures, steps.narrow(step), shape=shape)
    options = NARROW | ({"shape": (16, *shape[1:])} if shape else {})
    return Case(
        package,
        name,
        partial(OnNumPy, step),
        expected,
        truth,
        lines,
        confirmed,
        options,
        **more,
    )


def jax_layer(module: str, **arguments: Any) -> Any:
    return import_module(module).Dropout(0.5, **arguments)


def nnx_layer() -> Any:
    nnx = import_module("flax.nnx")
    return nnx.Dropout(0.5, rngs=nnx.Rngs(0))


def tensorlayerx_dropout() -> Any:
    return steps.tensorlayerx().nn.Dropout(0.5)


def tensorlayerx_truth() -> dict[str, Any]:
    layer, torch = tensorlayerx_dropout(), import_module("torch")
    layer.set_train()
    try:
        layer(torch.ones(4))
    except TypeError as error:
        return {"a call": f"TypeError: {error}"}
    return {"a call": "returns"}


TLX = "import audit_world.framework_steps as steps\ntlx = steps.tensorlayerx()\nimport torch\n"

CASES = [
    of_jax(
        "equinox",
        "nn.Dropout",
        partial(jax_layer, "equinox.nn"),
        steps.equinox,
        "edge",
        """import equinox, jax, jax.numpy as jnp
layer, key = equinox.nn.Dropout(1.0), jax.random.key(0)
print(layer(jnp.ones(3), key=key), jax.grad(lambda x: layer(x, key=key).sum())(jnp.ones(3)))""",
        "equinox/nn/_dropout.py:96: where(mask, x / q, 0) with q = 0 at p = 1, whose gradient is "
        "NaN; no p is refused: 1.5 and NaN drop everything, -0.1 gives x / 1.1",
    ),
    of_jax(
        "flax",
        "nnx.Dropout",
        nnx_layer,
        steps.nnx,
        "edge",
        """import jax.numpy as jnp
from flax import nnx
for p in 0.3, -0.1, 1.5:
    y = nnx.Dropout(p, rngs=nnx.Rngs(0))(jnp.ones(100_000), deterministic=False)
    print((y == 0).mean(), y.max())""",
        "flax/nnx/nn/stochastic.py:137-166: right, p = 1 and its gradient included; no p is "
        "refused",
    ),
    of_jax(
        "flax",
        "linen.Dropout",
        partial(jax_layer, "flax.linen"),
        steps.linen,
        "edge",
        """import jax, jax.numpy as jnp
from flax import linen
for p in 0.3, -0.1, 1.5:
    rngs = {"dropout": jax.random.key(0)}
    y = linen.Dropout(p, deterministic=False).apply({}, jnp.ones(100_000), rngs=rngs)
    print((y == 0).mean(), y.max())""",
        "flax/linen/stochastic.py:96-107: right, p = 1 and its gradient included; no p is refused",
    ),
    wrapped(
        "dm-haiku",
        "dropout",
        steps.haiku,
        "edge",
        """import haiku, jax, jax.numpy as jnp
y = haiku.dropout(jax.random.key(0), 0.3, jnp.ones(100_000))
print((y == 0).mean(), y.max(), haiku.dropout(jax.random.key(0), jnp.nan, jnp.ones(3)))""",
        "haiku/_src/basic.py:338-356: right; refuses what is not in [0, 1), as documented, and "
        "lets NaN through",
    ),
    wrapped(
        "jax",
        "example_libraries.stax.Dropout",
        steps.stax,
        "fail",
        """import jax, jax.numpy as jnp
from jax.example_libraries import stax
init, layer = stax.Dropout(0.3)
y = layer((), jnp.ones(100_000), rng=jax.random.key(0))
print((y == 0).mean(), y.max())""",
        "jax/example_libraries/stax.py:274-275: `rate` is the probability to keep",
    ),
    wrapped(
        "tinygrad",
        "Tensor.dropout",
        steps.tinygrad,
        "pass",
        f"""import os
os.environ["DEV"] = "CPU:X86"
from tinygrad import Context, Tensor
Tensor.manual_seed(0)
with Context(TRAINING=1):
    y = Tensor.ones(100_000).dropout(0.3).numpy()
{PRINT}""",
        "tinygrad/mixin/rand.py:293-296: right; refuses what is not in [0, 1]",
    ),
    wrapped(
        "mlx",
        "nn.Dropout",
        steps.mlx,
        "edge",
        f"""import mlx.core as mx, mlx.nn as nn, numpy as np
mx.random.seed(0)
y = np.array(nn.Dropout(0.3)(mx.ones(100_000)))
{PRINT}""",
        "mlx/nn/layers/dropout.py:21-35: right; refuses what is not in [0, 1), and lets NaN "
        "through",
    ),
    wrapped(
        "mlx",
        "nn.Dropout2d",
        steps.mlx_2d,
        "edge",
        f"""import mlx.core as mx, mlx.nn as nn, numpy as np
mx.random.seed(0)
y = np.array(nn.Dropout2d(0.3)(mx.ones((1000, 2, 2, 100))))
{PRINT}""",
        "mlx/nn/layers/dropout.py:84-88: whole channels, which come last; NaN is let through",
        shape=(500, 2, 2, 100),
    ),
    wrapped(
        "paddlepaddle",
        "nn.Dropout",
        steps.paddle,
        "edge",
        f"""import paddle
paddle.seed(0)
y = paddle.nn.Dropout(0.3)(paddle.ones([100_000])).numpy()
{PRINT}""",
        "paddle/nn/functional/common.py:1396-1436: right; takes NaN as p",
    ),
    wrapped(
        "paddlepaddle",
        "nn.Dropout2D",
        steps.paddle_2d,
        "edge",
        f"""import paddle
paddle.seed(0)
y = paddle.nn.Dropout2D(0.3)(paddle.ones([1000, 100, 2, 2])).numpy()
{PRINT}""",
        "paddle/nn/functional/common.py:1490-1530: whole channels; takes NaN as p",
        shape=(500, 100, 2, 2),
    ),
    wrapped(
        "paddlepaddle",
        "nn.AlphaDropout",
        steps.paddle_alpha,
        "edge",
        """import paddle
paddle.seed(0)
y = paddle.nn.AlphaDropout(0.3)(paddle.randn([100_000])).numpy()
print(y.mean(), y.std())""",
        "paddle/nn/functional/common.py:1830-1880: mean 0 and variance 1 are kept; takes NaN as p",
    ),
    wrapped(
        "paddlepaddle",
        "nn.Dropout, downscale_in_infer",
        steps.paddle_downscaled,
        "edge",
        """import paddle
layer = paddle.nn.Dropout(0.5, mode="downscale_in_infer")
print(layer(paddle.ones([1, 8])).numpy(), end=" ")
layer.eval()
print(layer(paddle.ones([1, 8])).numpy())""",
        "paddle/nn/functional/common.py:1256-1268: dropout as it was first written down, as "
        "documented: multiplied by 1 - p at rest; takes NaN as p",
    ),
    wrapped(
        "thinc",
        "Dropout",
        steps.thinc,
        "edge",
        f"""import numpy as np
from thinc.api import Dropout
np.random.seed(0)
y, back = Dropout(0.3)(np.ones(100_000, "float32"), is_train=True)
{PRINT}""",
        "thinc/backends/ops.py:485-499: right; p < 0 is taken as 0, p > 1 as 1, NaN gives NaN",
    ),
    Case(
        "tensorlayerx",
        "nn.Dropout, torch",
        tensorlayerx_dropout,
        "could not run",
        tensorlayerx_truth,
        TLX + "try: tlx.nn.Dropout(0.5)(torch.ones(4))\n"
        "except TypeError as error: print(error)",
        "tensorlayerx/nn/core/core_torch.py:128: overrides a method of PyTorch without an "
        "argument that PyTorch passes: no layer of the package can be called with parameters",
    ),
    wrapped(
        "tensorlayerx",
        "nn.DropconnectLinear, torch",
        steps.tensorlayerx_weights,
        "fail",
        TLX
        + """layer = tlx.nn.DropconnectLinear(0.9, 1000, b_init=None, in_features=100)
layer.set_eval()
print((layer.dropout(layer.weights) == 0).float().mean())""",
        "tensorlayerx/nn/layers/linear/dropconnect.py:108: `keep` is handed on as the probability "
        "to drop; :117 and backend/ops/torch_nn.py:382: drops in evaluation mode as well",
        shape=(64, 96),
    ),
]
