"""Layers and functions on arrays of JAX: Flax, Equinox, Haiku, and JAX alone."""

import dataclasses
import functools
import inspect
import sys
from contextlib import suppress
from typing import Any

import numpy as np

from companion.audit.adapters.base import Array, FrameworkAdapter, Make, is_a
from companion.audit.adapters.calls import (
    MODES,
    RATES,
    RESTS,
    STREAMS,
    call_of,
    named_rate,
    parameters,
)
from companion.audit.adapters.of_numpy import Function
from companion.audit.adapters.origin import is_of


class OnJAX(FrameworkAdapter):
    """What all that runs on JAX has in common: arrays, keys, and gradients of pure functions."""

    has_backward = True

    def __init__(self, candidate: Any, made_by: Make | None = None) -> None:
        import jax

        super().__init__(candidate, made_by)
        wide = ("float64",) if jax.config.jax_enable_x64 else ()
        self.dtypes = (*wide, "float32", "bfloat16", "float16")
        self.seed(0)

    def array(self, values: Array, dtype: str) -> Any:
        import jax.numpy as jnp

        return jnp.array(values, dtype=dtype)

    def values(self, array: Any) -> Array:
        import jax

        if not isinstance(array, jax.Array):
            raise TypeError(f"it returned {type(array).__name__}, not an array of JAX")
        return np.array(array).astype(float)

    def layout(self, array: Any) -> Any:
        return None

    def seed(self, seed: int) -> None:
        import jax

        self.key, self.calls = jax.random.key(seed), 0

    def state(self) -> Any:  # the caller's key is not changed by whoever draws with it
        import jax

        return jax.random.key_data(self.key).tolist()

    def next_key(self) -> Any:
        """Return the key of the next call."""
        import jax

        self.calls += 1
        return jax.random.fold_in(self.key, self.calls)

    def apply(self, x: Any, p: float, training: bool, key: Any) -> Any:
        """Call the implementation with a key."""
        raise NotImplementedError

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        return self.apply(x, p, training, self.next_key())

    def pull(self, x: Any, p: float) -> Any:
        """Call it in training; return the result, and the function from its cotangent to x's."""
        import jax

        key = self.next_key()
        return jax.vjp(lambda x: self.apply(x, p, True, key), x)

    def gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        y, pull = self.pull(x, p)
        return y, pull(grad.astype(y.dtype))[0]

    def second_gradient(self, x: Any, p: float, grad: Any) -> tuple[Any, Any]:
        import jax

        y, pull = self.pull(x, p)
        _, again = jax.vjp(lambda cotangent: pull(cotangent)[0], grad.astype(y.dtype))
        return y, again(grad)[0]


class JAXFunction(OnJAX, Function):
    """`f(x, p, training, key)`, by the names it has for them, or Haiku's `f(rng, rate, x)`."""

    takes = "a function f(x, p, training, key) of JAX"

    def __init__(self, function: Any, made_by: Make | None = None) -> None:
        super().__init__(_with_x_first(function), made_by)

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        if "jax" not in sys.modules or not callable(candidate):
            return False
        return "key" in parameters(candidate) or is_of(
            candidate, "jax", "jaxlib", "flax", "haiku", "equinox"
        )

    def stream(self) -> Any:
        return self.given

    def apply(self, x: Any, p: float, training: bool, key: Any) -> Any:
        self.given = key
        return Function.__call__(self, x, p, training)


def _with_x_first(function: Any) -> Any:
    """Return a function with its key or rate behind the array."""
    given = parameters(function)
    known = {*RATES, *MODES, *RESTS, *STREAMS}
    if next(iter(given), "") not in known or known >= set(given):
        return function
    x = next(name for name in given if name not in known)

    @functools.wraps(function)
    def reordered(array: Any, **named: Any) -> Any:
        return function(**{x: array}, **named)

    others = [q.replace(kind=q.KEYWORD_ONLY) for name, q in given.items() if name != x]
    first = given[x].replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
    reordered.__signature__ = inspect.Signature([first, *others])  # type: ignore[attr-defined]
    return reordered


class HaikuTransform(JAXFunction):
    """What `hk.transform` makes of `f(x, p, training)`: its `apply`, without parameters."""

    takes = "a transformed function of Haiku"

    def __init__(self, transformed: Any, made_by: Make | None = None) -> None:
        names = list(parameters(transformed.apply))
        with_state = names[1] == "state"
        own = names.index("rng") + 1

        def applied(x: Any, *given: Any, key: Any, **named: Any) -> Any:
            held: list[Any] = [{}, {}] if with_state else [{}]
            y = transformed.apply(*held, key, x, *given, **named)
            return y[0] if with_state else y

        inner = list(parameters(transformed.apply).values())[own:]
        key = inspect.Parameter("key", inspect.Parameter.KEYWORD_ONLY)
        applied.__signature__ = inspect.Signature([*inner, key])  # type: ignore[attr-defined]
        applied.__name__ = "transformed function"
        super().__init__(applied, made_by)

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        return any(
            is_a(candidate, "haiku", kind) and "rng" in parameters(candidate.apply)
            for kind in ("Transformed", "TransformedWithState")
        )


class _Layer(OnJAX):
    """A layer that is a dataclass: with another rate it is another layer."""

    def __init__(self, layer: Any, made_by: Make | None = None) -> None:
        super().__init__(layer, made_by)
        self.layer, self.made_by = layer, made_by
        self.call = call_of(layer)
        self.attribute = named_rate(layer)
        if self.attribute is not None:
            self.rate = float(getattr(layer, self.attribute))
        self.p = self.rate
        self.sets_p = self.attribute is not None or made_by is not None

    def layer_with(self, p: float) -> Any:
        """Return the layer with a rate."""
        if self.sets_p and p != self.p:
            changed = self.made_by or self.changed
            self.layer, self.p = changed(p), p
        return self.layer

    def changed(self, p: float) -> Any:
        """Return the layer with its rate changed."""
        return dataclasses.replace(self.layer, **{str(self.attribute): p})


class EquinoxLayer(_Layer):
    """A layer called with `key=`; what is called `inference` in it is set as the mode needs it."""

    takes = "a layer of Equinox"
    signature = "layer(x, key=key)"

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        return is_a(candidate, "equinox", "Module")

    def changed(self, p: float) -> Any:
        import equinox

        with suppress(TypeError):  # __init__ takes something else than the fields
            return super().changed(p)
        attribute = str(self.attribute)
        return equinox.tree_at(lambda layer: getattr(layer, attribute), self.layer, p)

    def apply(self, x: Any, p: float, training: bool, key: Any) -> Any:
        import equinox

        layer = equinox.nn.inference_mode(self.layer_with(p), not training)
        named = {} if self.call.stream is None else {self.call.stream: key}
        mode = self.call.mode
        if mode and parameters(layer)[mode].default is not None:
            named[mode] = training != self.call.rests
        return layer(x, **named)


class FlaxLinenModule(_Layer):
    """A module of Flax's linen, without parameters: `module.apply({}, x, rngs=...)`."""

    takes = "a module of Flax (linen or nnx)"
    signature = "module.apply({}, x, deterministic=..., rngs={'dropout': key})"

    def __init__(self, module: Any, made_by: Make | None = None) -> None:
        super().__init__(module, made_by)
        names = (self.call.mode, *MODES, *RESTS)
        held = (n for n in names if n and isinstance(getattr(module, n, None), bool))
        self.field = next(held, None)
        self.has_inference = bool(self.field or self.call.mode)

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        return is_a(candidate, "flax.linen", "Module")

    def changed(self, p: float) -> Any:
        return self.layer.clone(**{str(self.attribute): p})

    def apply(self, x: Any, p: float, training: bool, key: Any) -> Any:
        module, named = self.layer_with(p), {}
        if self.field is not None:
            module = module.clone(**{self.field: training != (self.field in RESTS)})
        elif self.call.mode is not None:
            named[self.call.mode] = training != self.call.rests
        return module.apply({}, x, rngs={"dropout": key, "params": key}, **named)


class FlaxNNXModule(_Layer):
    """A module of Flax's nnx, which keeps its streams itself, or is given one."""

    takes = FlaxLinenModule.takes
    signature = "module(x)"

    def __init__(self, module: Any, made_by: Make | None = None) -> None:
        from flax import nnx

        self.p = self.rngs = None
        self.layer = nnx.clone(module)
        super().__init__(self.layer, made_by)

    @classmethod
    def recognises(cls, candidate: Any) -> bool:
        return is_a(candidate, "flax.nnx", "Module")

    def seed(self, seed: int) -> None:
        super().seed(seed)
        self._start()

    def _start(self) -> None:
        """Start every stream of the layer, and the one it may be given, from the next key."""
        import jax
        from flax import nnx

        key = self.next_key()
        self.rngs = nnx.Rngs(key)
        streams = nnx.to_flat_state(nnx.state(self.layer, nnx.RngState))
        for i, (_, variable) in enumerate(streams):
            is_key = isinstance(variable, nnx.RngKey)
            variable[...] = jax.random.fold_in(key, i) if is_key else 0
        nnx.update(self.layer, nnx.from_flat_state(streams))

    def state(self) -> Any:
        from flax import nnx

        held = nnx.state((self.layer, self.rngs), nnx.RngCount)
        return [int(count[...]) for _, count in nnx.to_flat_state(held)]

    def changed(self, p: float) -> Any:
        if not 0 <= p <= 1:  # it may be checked when it is made, and not again
            with suppress(TypeError):
                type(self.layer)(p)
        setattr(self.layer, str(self.attribute), p)
        return self.layer

    def layer_with(self, p: float) -> Any:
        before = self.layer
        if super().layer_with(p) is not before:
            self._start()
        return self.layer

    def __call__(self, x: Any, p: float, training: bool = True) -> Any:
        return self._called(self.layer_with(p), self.rngs, x, training)

    def _called(self, layer: Any, rngs: Any, x: Any, training: bool) -> Any:
        from flax import nnx

        (layer.train if training else layer.eval)()
        named = {}
        if self.call.mode is not None:
            named[self.call.mode] = training != self.call.rests
        if "rngs" in parameters(layer) and not nnx.to_flat_state(
            nnx.state(layer, nnx.RngKey)
        ):
            named["rngs"] = rngs
        return layer(x, **named)

    def pull(self, x: Any, p: float) -> Any:
        import jax
        from flax import nnx

        graph, held = nnx.split((self.layer_with(p), self.rngs))

        def pure(x: Any) -> Any:
            layer, rngs = nnx.merge(graph, held, copy=True)
            y = self._called(layer, rngs, x, True)
            return y, nnx.state((layer, rngs))

        y, pull, held = jax.vjp(pure, x, has_aux=True)
        nnx.update((self.layer, self.rngs), held)
        return y, pull
