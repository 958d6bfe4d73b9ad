"""The audit of dropouts of other frameworks: a right one and four wrong ones for each."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
from dropouts import SMALL, adapt, checked, verdict

from companion.audit import audit

CHECKS = {
    "rate": "drop rate",
    "scale": "survivors' scale",
    "mode": "inference",
    "gradient": "backward",
}


def dropout(draw, where, stopped):
    """Return a function that makes `f(x, p, training, key)`, with one thing wrong in it."""

    def making(wrong):
        def f(x, p, training, key):
            if not 0 <= p <= 1:
                raise ValueError(p)
            if wrong == "mode":
                training = True
            if not training or p == 0:
                return x + 0
            if p == 1:
                return x * 0
            mask = draw(x, key) >= p + 0.02 * (wrong == "rate")
            scale = 1 if wrong == "scale" else 1 / (1 - p)
            y = where(mask, x * scale, x * 0)
            return x + stopped(y - x) if wrong == "gradient" else y

        return f

    return making


def array_api_strict(wrong):
    xp = pytest.importorskip("array_api_strict")
    make = dropout(
        lambda x, rng: xp.asarray(rng.random(x.shape)), xp.where, lambda x: x
    )

    class Layer:
        def __call__(self, x, p, training, rng):
            y = make(wrong)(x, p, training, rng)
            self.slope = xp.where(x != 0, y / x, x)
            return y

        def backward(self, grad):
            return grad if wrong == "gradient" else grad * self.slope

    return Layer()


def mlx(wrong):
    mx = pytest.importorskip("mlx.core")
    make = dropout(
        lambda x, key: mx.random.uniform(shape=x.shape, key=key),
        mx.where,
        mx.stop_gradient,
    )
    f = make(wrong)

    def of_mlx(x: mx.array, p, training, key):
        return f(x, p, training, key)

    return of_mlx


def mlx_layer(wrong):
    f, nn = mlx(wrong), pytest.importorskip("mlx.nn")

    class Layer(nn.Module):
        def __init__(self, p):
            super().__init__()
            self.p = p

        def __call__(self, x):
            return f(x, self.p, self.training, None)

    return Layer if wrong else nn.Dropout


def tinygrad(wrong):
    Tensor = pytest.importorskip("tinygrad").Tensor
    make = dropout(
        lambda x, key: Tensor.rand(*x.shape).contiguous(),
        Tensor.where,
        Tensor.detach,
    )
    f = make(wrong)

    def of_tinygrad(x: Tensor, p, training):
        return f(x, p, training, None)

    return of_tinygrad if wrong else Tensor.dropout


def jax(wrong):
    jax = pytest.importorskip("jax")
    return dropout(
        lambda x, key: jax.random.uniform(key, x.shape),
        jax.numpy.where,
        jax.lax.stop_gradient,
    )(wrong)


def haiku(wrong):
    f, hk = jax(wrong), pytest.importorskip("haiku")

    def transformed(x, rate, is_training):
        return f(x, rate, is_training, hk.next_rng_key())

    return hk.transform(transformed)


def haiku_function(wrong):
    f, hk = jax(wrong), pytest.importorskip("haiku")

    def key_first(rng, rate, x, is_training=True):
        return f(x, rate, is_training, rng)

    return key_first if wrong else hk.dropout


def equinox(wrong):
    f, eqx = jax(wrong), pytest.importorskip("equinox")

    class Layer(eqx.Module):
        p: float = 0.5
        inference: bool = False

        def __call__(self, x, *, key):
            return f(x, self.p, not self.inference, key)

    return Layer if wrong else eqx.nn.Dropout(0.3)


def flax_linen(wrong):
    f, nn = jax(wrong), pytest.importorskip("flax.linen")

    class Layer(nn.Module):
        rate: float = 0.5

        @nn.compact
        def __call__(self, x, train):
            return f(x, self.rate, train, self.make_rng("masks"))

    return Layer if wrong else nn.Dropout(0.3)


def flax_nnx(wrong):
    f, nnx = jax(wrong), pytest.importorskip("flax.nnx")

    class Layer(nnx.Module):
        def __init__(self, rate, rngs):
            self.rate, self.rngs, self.deterministic = rate, rngs, False

        def __call__(self, x):
            return f(x, self.rate, not self.deterministic, self.rngs.dropout())

    rngs = nnx.Rngs(0)
    return Layer(0.5, rngs) if wrong else nnx.Dropout(0.3, rngs=rngs)


KINDS = {
    array_api_strict: "ArrayAPIFunction",
    mlx: "MLXFunction",
    mlx_layer: "MLXFunction",
    tinygrad: "TinygradFunction",
    jax: "JAXFunction",
    haiku: "HaikuTransform",
    haiku_function: "JAXFunction",
    equinox: "EquinoxLayer",
    flax_linen: "FlaxLinenModule",
    flax_nnx: "FlaxNNXModule",
}
of_each = pytest.mark.parametrize("of", KINDS, ids=lambda of: of.__name__)


@of_each
def test_each_is_recognised(of):
    assert type(adapt(of(""), 0.5)).__name__ == KINDS[of]


@of_each
def test_a_right_one_passes_but_for_edges(of):
    report = audit(of(""), shape=SMALL)
    assert report.passed is not None, str(report)
    assert report.core == (), str(report)
    assert verdict(report, "backward").verdict == "pass"


@pytest.mark.parametrize("wrong", CHECKS)
@of_each
def test_what_is_wrong_is_caught(of, wrong):
    report = checked(of(wrong), CHECKS[wrong])
    assert verdict(report, CHECKS[wrong]).verdict == "fail", str(report)


def test_jax_in_double_precision():
    """The switch belongs to a thread; the audit runs in the one that turned it."""
    module = pytest.importorskip("jax")
    assert adapt(jax(""), 0.5).dtypes[0] == "float32"
    with module.enable_x64():
        report = checked(jax(""), "backward", "dtype and layout")
    assert report.passed, str(report)
    assert verdict(report, "backward").bound == "1e-06"


def test_a_rate_can_be_read_and_set_in_every_layer():
    for of in (equinox, flax_linen, flax_nnx):
        adapter = adapt(of(""), 0.5)
        assert (adapter.rate, adapter.sets_p) == (0.3, True)


def test_a_stream_of_flax_goes_on_when_another_p_is_asked_for():
    nnx = pytest.importorskip("flax.nnx")
    adapter = adapt(nnx.Dropout, 0.5)
    x = adapter.array(np.ones(SMALL), "float32")
    first = adapter.values(adapter(x, 0.5))
    adapter(x, 0.9)
    assert (first != adapter.values(adapter(x, 0.5))).any()


# Keras has one backend a process

KERAS = """
import keras
import {backend}
from dropouts import checked, verdict
from companion.audit import audit

class Layer(keras.layers.Dropout):
    wrong = ""
    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(rate + 0.02 if self.wrong == "rate" else rate, seed=seed, **kwargs)
        self.asked = rate
    def get_config(self):
        return {{**super().get_config(), "rate": self.asked}}
    def call(self, x, training=False):
        y = super().call(x, training=training or self.wrong == "mode")
        if self.wrong == "scale" and training:
            y = y * (1 - self.rate)
        if self.wrong == "gradient" and training:
            y = x + keras.ops.stop_gradient(y - x)
        return y

report = audit(keras.layers.Dropout(0.3), shape={shape})
assert not report.core and report.passed is not None, str(report)
assert verdict(report, "backward").verdict == "pass", str(report)
for wrong, name in {checks}.items():
    kind = type("Layer", (Layer,), {{"wrong": wrong}})
    report = checked(kind(0.5), name)
    assert verdict(report, name).verdict == "fail", str(report)

class Unseeded(keras.layers.Layer):
    def __init__(self, drop_prob=0.5, **kwargs):
        super().__init__(**kwargs)
        self.drop_prob = drop_prob
    def get_config(self):
        return {{**super().get_config(), "drop_prob": self.drop_prob}}
    def call(self, x, training=False):
        if not training or self.drop_prob == 0:
            return x
        shape = (x.shape[0], *[1] * (len(x.shape) - 1))
        keep = keras.random.uniform(shape) >= self.drop_prob
        return keras.ops.where(keep, x / (1 - self.drop_prob), 0 * x)

report = checked(Unseeded(0.3), "drop rate", "seedable", "global state left alone", p=0.3)
assert report.passed, str(report)
"""


@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_keras(backend, tmp_path):
    for needed in ("keras", backend):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"could not find {needed}")
    code = KERAS.format(backend=backend, shape=SMALL, checks=CHECKS)
    home = os.environ | {
        "KERAS_BACKEND": backend,
        "KERAS_HOME": str(tmp_path),
        "PYTHONPATH": os.path.dirname(__file__),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=home
    )
    assert done.returncode == 0, done.stderr
