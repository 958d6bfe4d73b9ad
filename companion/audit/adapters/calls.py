"""How a function is called: which of its parameters is p, which the mode, which the generator."""

import copy
import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

RATES = (  # what p is called in the world
    "p", "rate", "drop_prob", "dropout_prob", "drop_rate", "dropout_rate", "dropout_p",
    "dropprob", "drop_p", "p_drop", "prob_drop", "dropout_probability", "drop_probability",
    "prob", "probability", "dropout", "dropout_ratio", "drop_ratio", "ratio", "drop",
    "chance", "r",
)  # fmt: skip
KEEPS = ("keep_prob", "keep_probability", "keep_rate", "keep_p", "keep")  # 1 - p
MODES = ("training", "train", "is_training", "is_train", "train_mode", "mode")
RESTS = ("deterministic", "inference", "is_test", "test", "eval_mode")
STREAMS = ("rng", "generator", "random_state", "key", "seed")


class Call(NamedTuple):
    """Names of the parameters of a function; a role without one is None, or goes by position."""

    by_position: bool
    rate: str | None = None
    mode: str | None = None
    rests: bool = False  # the mode is True at inference
    stream: str | None = None
    required: int = 0


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function; none if it does not tell, as builtins do."""
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def call_of(function: Any) -> Call:
    """Return how to call a function on an array: by names in use, else in the order x, p, mode.

    Examples
    --------
    >>> call_of(lambda x, drop_prob, deterministic: x)[1:4]
    ('drop_prob', 'deterministic', True)
    """
    given = parameters(function)
    required = [
        name
        for name, parameter in given.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    first, *others = given or [""]
    rate = _first_of((*RATES, *KEEPS), others)
    mode = _first_of((*MODES, *RESTS), others)
    stream = _first_of(STREAMS, others)
    unnamed = set(required) - {first, rate, mode, stream}
    positional = [
        name
        for name in required
        if given[name].kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    if not given or (unnamed and len(positional) in (3, 4)):
        return Call(True, required=len(positional))
    return Call(False, rate, mode, mode in RESTS, stream, len(required))


def _first_of(names: tuple[str, ...], among: list[str]) -> str | None:
    return next((name for name in names if name in among), None)


def told(name: str, p: float) -> float:
    """Return what a parameter of this name is given for a drop probability, or the other way."""
    return 1 - p if name in KEEPS else p


def named_rate(thing: Any) -> str | None:
    """Return the attribute that holds a layer's rate, by the names in use."""
    for name in (*RATES, *KEEPS):
        with suppress(Exception):  # a property may raise
            value: Any = getattr(thing, name, None)
            number = isinstance(value, float | int) and not isinstance(value, bool)
            if number and 0 <= value <= 1:
                return name
    return None


def can_set(thing: Any, name: str) -> bool:
    """Return True if an attribute may be written."""
    try:
        setattr(thing, name, getattr(thing, name))
    except Exception:
        return False
    return True


def made(cls: type, p: float, arguments: Mapping[str, Any]) -> Any:
    """Make a layer of a class for a p: by its name where that is known, else in first place."""
    rate = _first_of((*RATES, *KEEPS), list(parameters(cls)))
    if rate is not None and rate not in arguments:
        return cls(**{rate: told(rate, p), **arguments})
    return cls(p, **arguments)


def copied(thing: Any) -> Any:
    """Return a deep copy, or the thing itself where there is none."""
    try:
        return copy.deepcopy(thing)
    except Exception:
        return thing


def words(function: Any) -> Iterator[str]:
    """Yield the names of the parameters of a function, each with the default it has."""
    for name, parameter in parameters(function).items():
        default = parameter.default
        yield name if default is parameter.empty else f"{name}={default!r}"
