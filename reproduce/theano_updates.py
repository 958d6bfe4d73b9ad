"""What does Theano itself do with a random mask: is it drawn afresh, and does it have a gradient?

Theano is no longer developed and does not run beside this project's packages. This program ran
with Python 3.9, Theano 1.0.5 and NumPy 1.19.5, without a C compiler, in an environment made by

    python3.9 -m venv theano
    theano/bin/pip install "Theano==1.0.5" "numpy<1.20" "scipy<1.6"
    theano/bin/python reproduce/theano_updates.py

so it imports nothing else of the project, and ``make reproduce`` leaves it out. The results stand
in theano_updates.json beside this file.

Fixed before the run: a function with a mask is called 8 times, with both of Theano's generators,
with the mask outside a loop, on the state inside a loop of 5 steps, and on the weights inside that
loop. Each function is compiled with what Theano does if nobody says anything, with the updates that
the loop returned, and with no updates at all. A mask is written down as the number of different
masks that came before it, so 0, 1, 2, ... says that all are different. A gradient is right if it
is within 1e-8 of central differences, relative to its largest entry. It is taken through a loop
that returns the state alone, and through one that returns the masks as well.
"""

import json
import os
import platform
import time
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "masks drawn by Theano 1.0.5"
SETTINGS: dict[str, Any] = {"units": 64, "steps": 5, "calls": 8, "seed": 1, "p": 0.5}
MASKED = "outside", "state", "weights"
GENERATORS = "MRG_RandomStreams", "RandomStreams"
BEGINNING: dict[str, Any] = {"calls": 2, "gradient": False}


def _import() -> tuple[Any, dict[str, Any]]:
    os.environ.setdefault("THEANO_FLAGS", "cxx=")
    theano = import_module("theano")
    rooms = "sandbox.rng_mrg", "tensor.shared_randomstreams"
    generators = {
        name: getattr(import_module(f"theano.{room}"), name)
        for name, room in zip(GENERATORS, rooms)  # noqa: B905, for Python 3.9
    }
    return theano, generators


def run(
    masked: str, generator: str, calls: int = SETTINGS["calls"], gradient: bool = True
) -> dict[str, Any]:
    """Draw masks call after call, with and without updates, and compare the gradient."""
    theano, generators = _import()
    tensor, streams = theano.tensor, generators[generator](SETTINGS["seed"])
    state, weights = tensor.vector("state"), tensor.matrix("weights")

    def draw(like: Any) -> Any:
        keep = 1 - SETTINGS["p"]
        return streams.binomial(n=1, p=keep, size=like.shape, dtype="floatX")

    def step(h: Any, w: Any) -> tuple[Any, Any]:
        mask = draw(h if masked == "state" else w)
        if masked == "state":
            return tensor.dot(h * mask, w), mask
        return tensor.dot(h, w * mask), mask

    def loop(returned: int) -> tuple[list[Any], Any]:
        outputs, updates = theano.scan(
            lambda h, w: list(step(h, w)[:returned]),
            outputs_info=[state, None][:returned],
            non_sequences=weights,
            n_steps=SETTINGS["steps"],
            return_list=True,
        )
        return outputs, updates

    if masked == "outside":
        masks, updates = draw(state), None
        last = {"gradient": tensor.dot(state * masks, weights)}
    else:
        (states, masks), updates = loop(2)
        last = {
            "gradient": loop(1)[0][0][-1],
            "gradient, masks returned": states[-1],
        }

    result: dict[str, Any] = {"floatX": theano.config.floatX}
    kinds: dict[str, dict[str, Any]] = {
        "nothing said": {},
        "no updates": {"no_default_updates": True},
    }
    if updates is not None:
        kinds["updates given"] = {"updates": updates}
    n = SETTINGS["units"]
    for name, options in kinds.items():
        try:
            function = theano.function(
                [state, weights], masks, on_unused_input="ignore", **options
            )
        except theano.gof.MissingInputError as error:
            result[name] = type(error).__name__
        else:
            drawn = [function(np.ones(n), np.eye(n)) for _ in range(calls)]
            steps = 1 if masked == "outside" else SETTINGS["steps"]
            result[name] = _patterns(np.reshape(drawn, (calls * steps, -1)))
    if gradient:
        for name, value in last.items():
            loss = (value**2).sum()
            result[name] = _gradient_error(theano, state, weights, loss)
    return result


def _patterns(masks: np.ndarray) -> list[int]:
    """For each mask, the number of different masks seen before it first came."""
    seen: dict[bytes, int] = {}
    return [seen.setdefault(mask.tobytes(), len(seen)) for mask in masks]


def _gradient_error(theano: Any, state: Any, weights: Any, loss: Any) -> Any:
    try:
        slope = theano.tensor.grad(loss, weights)
    except theano.gradient.NullTypeGradError as error:
        return type(error).__name__
    both = theano.function([state, weights], [loss, slope], no_default_updates=True)
    rng = np.random.RandomState(0)
    h, w, step = rng.randn(6), rng.randn(6, 6), 1e-5
    measured = np.zeros_like(w)
    for i, j in product(range(6), range(6)):
        nudge = np.zeros_like(w)
        nudge[i, j] = step
        measured[i, j] = (both(h, w + nudge)[0] - both(h, w - nudge)[0]) / (2 * step)
    exact = both(h, w)[1]
    return float(abs(measured - exact).max() / abs(exact).max())


def wanted_runs() -> list[dict[str, Any]]:
    return [{"masked": m, "generator": g} for m, g in product(MASKED, GENERATORS)]


def main() -> None:
    theano, _ = _import()
    runs = []
    for key in wanted_runs():
        start = time.perf_counter()
        result = run(**key)
        seconds = round(time.perf_counter() - start, 1)
        runs.append({**key, **result, "seconds": seconds})
    content = {
        "what": WHAT,
        "command": "theano/bin/python reproduce/theano_updates.py",
        "minutes": round(sum(run["seconds"] for run in runs) / 60, 1),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": {
            "python": platform.python_version(),
            "theano": theano.__version__,
            "numpy": np.__version__,
        },
        "settings": SETTINGS,
        "runs": runs,
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
