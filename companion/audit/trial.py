"""Find out how a candidate is called: with which arrays, of what shape, dtype and p."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import prod
from time import perf_counter
from typing import Any

import numpy as np

from companion.audit.adapters import Adapter, adapters_of
from companion.audit.adapters.calls import made, words
from companion.audit.runner import LateError, said
from companion.audit.subject import Subject

SHAPES = ((64, 256), (16, 32, 64), (8, 16, 14, 14), (4, 8, 6, 6, 6))


class ObstacleError(Exception):
    """The candidate could not be called; says what was tried, and the ways out."""


def prepare(
    candidate: Any,
    p: float | None,
    shape: tuple[int, ...] | None,
    *,
    dtypes: Sequence[str] | None,
    arguments: Mapping[str, Any] | None,
    **options: Any,
) -> Subject:
    """Return the subject of an audit, after a first call that went well.

    Raises
    ------
    ObstacleError
        If there is none.
    TypeError
        If the candidate is of no kind that can be called at all.
    """
    asked = 0.5 if p is None else p
    tried = _Tried()
    for adapter in _adapters(candidate, asked, arguments or {}, tried):
        for one in [shape] if shape else SHAPES:
            for dtype in dtypes or adapter.dtypes:
                seconds = tried.call(adapter, one, dtype, asked)
                if seconds is not None:
                    usable = list(dtypes or adapter.dtypes)
                    usable = usable[usable.index(dtype) :]
                    seen = {"seconds": seconds, "first": tried.seen(asked)}
                    subject = _subject(adapter, p, one, usable, options | seen)
                    if tried.same_shape or subject.family.kind == "weights":
                        return subject
        adapter.put_back()
    raise ObstacleError(tried.report(candidate))


def _adapters(
    candidate: Any, p: float, arguments: Mapping[str, Any], tried: "_Tried"
) -> Iterator[Adapter]:
    """Yield what may speak to the candidate; note in `tried` what could not be made."""
    make = None
    if isinstance(candidate, type):
        cls = candidate

        def make(p: float) -> Any:
            return made(cls, p, arguments)

        try:
            candidate = make(p)
        except Exception as error:
            tried.not_made(cls, p, arguments, error)
            return
    elif arguments:
        name = getattr(candidate, "__name__", type(candidate).__name__)
        candidate = partial(candidate, **arguments)
        candidate.__name__ = name
    found = adapters_of(candidate, make)
    while True:
        try:
            adapter = next(found)
        except StopIteration:
            return
        except Exception as error:
            if not callable(candidate):
                raise
            tried.first = (
                tried.first or f"It could not be made ready. {_plainly(error)}"
            )
            return
        yield adapter


class _Tried:
    """The first call that failed, for a message; others seldom say more."""

    def __init__(self) -> None:
        self.first, self.same_shape = "", True

    def seen(self, p: float) -> tuple[np.ndarray, np.ndarray, float] | None:
        """Return input, result and p of a first call that went well, if it was the first at all."""
        return None if self.first else (*self.last, p)

    def not_made(
        self, cls: type, p: float, arguments: Mapping[str, Any], error: Exception
    ) -> None:
        given = ", ".join([f"{p:g}", *(f"{k}={v!r}" for k, v in arguments.items())])
        has = ", ".join(words(cls))
        self.first = (
            f"The class could not be made: {cls.__name__}({given}) raised {said(error)}. "
            f"Its parameters: {has or 'unknown'}."
        )

    def call(
        self, adapter: Adapter, shape: tuple[int, ...], dtype: str, p: float
    ) -> float | None:
        """Call it; return the seconds of a later call, or None if it does not go."""
        kind = "array"
        try:
            numbers = np.random.default_rng(0).uniform(0.5, 1.5, shape)
            x = adapter.array(numbers, dtype)
            kind = type(x).__name__
            given = adapter.values(x)  # before the call, which may write to it
            adapter.seed(0)
            y = adapter(x, p)
            values = adapter.values(y)
            self.last = given, values
            self.same_shape = values.shape == shape
            if not self.same_shape:
                self.first = self.first or (
                    f"{self._called(adapter, kind, shape, dtype, p)} It returned the shape "
                    f"{values.shape}."
                )
            if values.shape[:-1] != shape[:-1]:
                return None
            return min(_seconds(adapter, x, p) for _ in range(3))
        except (KeyboardInterrupt, LateError):
            raise
        except BaseException as error:
            called = self._called(adapter, kind, shape, dtype, p)
            self.first = self.first or f"{called} {_plainly(error)}"
            return None

    def _called(
        self,
        adapter: Adapter,
        kind: str,
        shape: tuple[int, ...],
        dtype: str,
        p: float,
    ) -> str:
        return (
            f"I called {adapter.signature} with a {dtype} {kind} of shape {shape}, in training, "
            f"at p = {p:g}."
        )

    def report(self, candidate: Any) -> str:
        """Return what was tried, and what else can be."""
        name = getattr(candidate, "__name__", type(candidate).__name__)
        return "\n".join(
            [
                self.first,
                "Ways out:",
                "  shape=(16, 32, 64) where it needs other axes; batch_axis=1 where the samples "
                "are not first;",
                '  dtypes=("float32",) where it wants a dtype; arguments={"name": value} for what '
                "it must be given besides p;",
                "  or two lines around it, which return one array of the shape of x:",
                "    def mine(x, p, training):",
                f"        return {name}(...)",
                "    audit(mine)",
            ]
        )


def _seconds(adapter: Adapter, x: Any, p: float) -> float:
    start = perf_counter()
    adapter(x, p)
    return perf_counter() - start


def _plainly(error: BaseException) -> str:
    """Say what came back; arguments that do not fit are said without Python's words for it."""
    text = said(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return "It has other parameters than these."
    return (
        f"It raised {text}"
        if not text.startswith("TypeError: it returned")
        else text[11:]
    )


def _subject(
    adapter: Adapter,
    p: float | None,
    shape: tuple[int, ...],
    dtypes: Sequence[str],
    options: Mapping[str, Any],
) -> Subject:
    """Settle p: as asked, or the layer's own, or estimated."""
    subject = partial(Subject, adapter, shape=shape, dtypes=dtypes, **options)
    if (
        adapter.sets_p
        and adapter.rate is not None
        and not _obeys(adapter, shape, dtypes[0])
    ):
        adapter.sets_p = False
    if p is None and not adapter.sets_p:
        if adapter.rate is not None and 0 < adapter.rate < 1:
            return subject(p=adapter.rate)
        estimate = _estimated(adapter, shape, dtypes[0])
        if 0 < estimate < 1:
            return subject(p=estimate, estimated=True)
    return subject(p=0.5 if p is None else p)


def _estimated(adapter: Adapter, shape: tuple[int, ...], dtype: str) -> float:
    """Return the p that the scale tells, if the share that is dropped agrees, else that share."""
    ratios = _ratios(adapter, shape, dtype, 0.5)
    kept = ratios[ratios != 0]
    share = 1 - kept.size / ratios.size
    told = 1 - 1 / kept.mean() if kept.size else 1.0
    away = 6 * (share * (1 - share) / ratios.size) ** 0.5
    return float(round(told, 9) if abs(told - share) < away else round(share, 4))


def _obeys(adapter: Adapter, shape: tuple[int, ...], dtype: str) -> bool:
    """Return True if another p changes how much is dropped."""
    low, high = (_dropped(adapter, shape, dtype, p) for p in (0.05, 0.95))
    return abs(high - low) > 0.3 or low == high == 0


def _dropped(adapter: Adapter, shape: tuple[int, ...], dtype: str, p: float) -> float:
    return float((_ratios(adapter, shape, dtype, p) == 0).mean())


def _ratios(
    adapter: Adapter, shape: tuple[int, ...], dtype: str, p: float
) -> np.ndarray:
    """Return what units were multiplied by in some calls."""
    numbers = np.random.default_rng(0).uniform(0.5, 1.5, shape)
    values = adapter.values(adapter.array(numbers, dtype))

    def output() -> np.ndarray:
        x = adapter.array(numbers, dtype)  # anew, as it may be written to
        return adapter.values(adapter(x, p))

    adapter.seed(1)
    calls = max(32, min(256, 2**16 // prod(shape)))
    outputs = [output() for _ in range(calls)]
    same = outputs[0].shape == values.shape
    return np.array([y / values if same else y for y in outputs])
