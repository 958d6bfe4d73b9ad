"""What the tests of teaching libraries and courses assert of a dropout that a reader has written.

Each grader is restated here in our own words: the same inputs, rates, seeds and bounds, and the
same order of calls. `SOURCES` in graders.py says where it stands. None of their code is copied. A
reader's class is made anew wherever their test makes one, and raising anything counts as failing,
as it does there.

CS231n's cells and d2l's print, and assert nothing: what a careful reader would see in the print is
put as a bound, and it is ours. Four graders compare with stored numbers, which are those of one way
to draw: keep where NumPy's legacy uniform u is at most 1 - p. `Turned` gives a candidate 1 - u, so
that one that keeps where its draw is at least p gets the very mask. MLAB's expects the masks of
PyTorch's seeds 0 to 9, within five zeros.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from audit_world.wrong import Array, Candidate

Make = Callable[[], Candidate]


class Turned(np.random.Generator):
    """NumPy's legacy stream of numbers, each uniform u as 1 - u."""

    def random(self, *args: Any, **kwargs: Any) -> Any:
        return 1 - super().random(*args, **kwargs)


class Given(np.random.Generator):
    """A generator whose next uniform numbers are given: 1 where the mask keeps, 0 where not."""

    def __init__(self, masks: list[Array]) -> None:
        super().__init__(np.random.MT19937(0))
        self.masks = iter(masks)

    def random(self, *args: Any, **kwargs: Any) -> Any:
        return next(self.masks).astype(float)


class OfTorch(np.random.Generator):
    """A generator whose uniform numbers are torch.rand's."""

    def __init__(self) -> None:
        super().__init__(np.random.MT19937(0))

    def random(self, size: Any = (), *args: Any, **kwargs: Any) -> Any:
        return torch.rand(tuple(np.atleast_1d(size))).numpy().astype(float)


def legacy(seed: int) -> tuple[Any, np.random.Generator, Turned]:
    """Seed NumPy's global stream; return its functions, and two generators of the same stream."""
    np.random.seed(seed)  # noqa: NPY002
    state: Any = np.random.mtrand._rand
    bits = state._bit_generator
    return state, np.random.Generator(bits), Turned(bits)


def refuses(make: Make, p: float) -> bool:
    """Whether it raises a ValueError for a rate, when made or called."""
    try:
        make()(np.ones(4), p, True, np.random.default_rng(0))
    except ValueError:
        return True
    return False


def numerical(f: Callable[[Array], Array], x: Array, grad: Array, step: float) -> Array:
    """Return the gradient of sum(f(x) * grad) by central differences, moving x itself."""
    slope = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        before = x[i]
        ends = []
        for moved in (before + step, before - step):
            x[i] = moved
            ends.append(np.copy(f(x)))
        x[i] = before
        slope[i] = ((ends[0] - ends[1]) * grad).sum() / (2 * step)
    return slope


Grader = Callable[[Make, int], Iterator[Any]]  # yields what it asserts


def minitorch(make: Make, seed: int) -> Iterator[Any]:
    """Hypothesis draws the inputs, 100 of up to four axes; one element of each is looked at."""
    draws = np.random.default_rng(seed)
    dropout, rng = make(), np.random.default_rng(seed + 1)

    def one(y: Array) -> tuple[int, ...]:
        return tuple(int(draws.integers(n)) for n in y.shape)

    for _ in range(100):
        x = draws.uniform(-100, 100, draws.integers(1, 4, draws.integers(1, 5)))
        for p, training, factor in ((0.0, True, 1), (1.0, True, 0), (1.0, False, 1)):
            q = dropout(x, p, training, rng)
            i = one(q)
            yield q[i] == x[i] * factor


def tinytorch(make: Make, seed: int) -> Iterator[Any]:
    x = np.array([1, 2, 3, 4], np.float32)
    dropout, (_, rng, _) = make(), legacy(42)
    yield np.array_equal(x, dropout(x, 0.5, False, rng))
    yield np.array_equal(x, make()(x, 0.0, True, rng))
    yield np.allclose(make()(x, 1.0, True, rng), 0)
    y = dropout(np.ones(1000, np.float32), 0.5, True, legacy(42)[1])
    yield abs(np.count_nonzero(y) - 500) < 3 * 250**0.5
    yield np.allclose(y[y != 0], 2)
    yield refuses(make, -0.1)
    yield refuses(make, 1.1)


def cs231n(make: Make, seed: int) -> Iterator[Any]:
    """By eye: means within 1% and shares within 0.01, where both print as equal to two digits."""
    state, rng, _ = legacy(231)
    dropout, x = make(), state.randn(500, 500) + 10
    for keep in (0.25, 0.4, 0.7):
        y = dropout(x, 1 - keep, True, rng)
        at_rest = dropout(x, 1 - keep, False, rng)
        yield abs(y.mean() / x.mean() - 1) < 0.01
        yield abs((y == 0).mean() - (1 - keep)) < 0.01
        yield abs(at_rest.mean() / x.mean() - 1) < 1e-6
        yield (at_rest == 0).mean() == 0
    state, *_ = legacy(231)
    x = state.randn(10, 10) + 10
    grad = state.randn(*x.shape)

    def forward(x: Array) -> Array:
        return dropout(x, 0.8, True, legacy(123)[1])

    forward(x)
    dx = dropout.backward(grad)
    slope = numerical(forward, x, grad, 1e-5)
    size = np.maximum(1e-8, np.abs(dx) + np.abs(slope))
    yield (np.abs(dx - slope) / size).max() < 1e-9


def needle(make: Make, seed: int) -> Iterator[Any]:
    """Stored numbers, for 2 x 3 elements."""
    for p, backward in ((0.45, False), (0.26, True)):
        state, _, rng = legacy(12)
        x = (state.randint(0, 100, (2, 3)) / 20).astype(np.float32)
        again = np.random.RandomState(12)
        again.randint(0, 100, (2, 3))
        scaled = (again.random_sample((2, 3)) <= 1 - p) / (1 - p)
        expected, dropout = scaled if backward else x * scaled, make()
        y = dropout(x, p, True, rng)
        y = dropout.backward(np.ones_like(y)) if backward else y
        yield np.allclose(y, expected, rtol=1e-5, atol=1e-5)


def deeplearning_ai(make: Make, seed: int) -> Iterator[Any]:
    """Stored numbers: two dropouts in a network of three layers, forward and backward."""
    state = np.random.RandomState(1)
    X = state.randn(3, 5)
    sizes = ((2, 3), (3, 2), (1, 3))
    (W1, b1), (W2, b2), (W3, _) = (
        (state.randn(*s), state.randn(s[0], 1)) for s in sizes
    )
    u = np.random.RandomState(1)
    kept = [u.random_sample((n, 5)) <= 0.7 for n in (2, 3)]
    dropout, (_, _, rng) = make(), legacy(1)
    A = X
    for W, b, mask in ((W1, b1, kept[0]), (W2, b2, kept[1])):
        A = np.maximum(W @ A + b, 0)
        expected = A * mask / 0.7
        A = dropout(A, 1 - 0.7, True, rng)
        yield np.allclose(A, expected)
    for layer, W in ((1, W3), (0, W2)):  # backward, for masks that are given
        mask = state.random_sample((W.shape[1], 5)) < 0.8
        dropout = make()
        dropout(np.ones(mask.shape), 1 - 0.8, True, Given([mask]))
        dA = W.T @ state.randn(W.shape[0], 5) * (1 + layer)
        yield np.allclose(dropout.backward(dA), dA * mask / 0.8)


def dezero(make: Make, seed: int) -> Iterator[Any]:
    draws = np.random.default_rng(seed)
    x = draws.normal(size=(100, 100))
    dropout, rng = make(), np.random.default_rng(seed + 1)
    yield np.array_equal(dropout(x, 0.0, True, rng), x)
    yield np.array_equal(dropout(x, 0.5, False, rng), x)
    for p, shape in ((0.5, (10, 10)), (0.99, (10, 20)), (0.0, (10, 10))):
        x = draws.normal(size=shape)

        def f(x: Array, p: float = p) -> Array:
            return dropout(x, p, True, legacy(0)[1])

        slope = numerical(f, x, np.ones(shape), 1e-4)
        f(x)
        dx = dropout.backward(np.ones(shape))
        yield np.allclose(slope, dx, atol=1e-5, rtol=1e-4)


def arena(make: Make, seed: int) -> Iterator[Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, 4)).astype(np.float32)
    yield np.allclose(make()(x, 0.1, False, rng), x, rtol=1.3e-6, atol=1e-5)
    for p in (0.0, 0.1, 0.5, 0.9):
        x = rng.random((1000, 1000), np.float32)
        y = make()(x, p, True, rng)
        if p == 0:
            yield np.allclose(y, x, rtol=1.3e-6, atol=1e-5)
            continue
        dropped = (np.abs(y) < 0.001).mean()
        scaled = (np.abs(y / x - 1 / (1 - p)) < 0.001).mean()
        yield abs(dropped - p) < 0.01
        yield dropped + scaled > 0.995


def mlab(make: Make, seed: int) -> Iterator[Any]:
    """Ten cases by PyTorch's seeds 0 to 9; up to 5 zeros more or fewer than expected."""
    dropout = make()
    for case in range(10):
        torch.manual_seed(case)
        state = np.random.RandomState(case)
        shape = list(state.randint(3, 6, state.choice([1, 2, 3])))
        p = float(np.round(state.rand() * 0.6 + 0.2, 2))
        training = bool(state.randint(0, 2))
        x = (torch.randn(shape) * 10).round().numpy()
        y = dropout(x, p, training, OfTorch())
        if not training:
            yield np.allclose(y, x)
            continue
        zero = y == 0
        yield np.allclose(y[~zero], x[~zero] / (1 - p))
        yield abs(zero.sum() - p * x.size) <= 5


def girafe(make: Make, seed: int) -> Iterator[Any]:
    state, rng, _ = legacy(42)

    def draw(low: float, high: float, shape: tuple[int, int] = (2, 4)) -> Array:
        return state.uniform(low, high, shape).astype(np.float32)

    def zero_or(y: Array, x: Array, p: float) -> bool:
        return bool(np.all(np.isclose(y, 0) | np.isclose(y * (1 - p), x)))

    for _ in range(100):
        p = state.uniform(0.3, 0.7)
        layer, x, grad = make(), draw(-5, 5), draw(-5, 5)
        yield zero_or(layer(x, p, True, rng), x, p)
        yield zero_or(layer.backward(grad), grad, p)
        yield np.allclose(layer(x, p, False, rng), x)
        yield np.allclose(make()(x, 0.0, True, rng), x)
        layer, x, grad = make(), draw(5, 10), draw(5, 10)
        y = layer(x, 0.5, True, rng)
        yield np.array_equal(np.isclose(y, 0), np.isclose(layer.backward(grad), 0))
        layer, x = make(), draw(5, 10, (1000, 1))
        yield not np.isclose(layer(x, 0.8, True, rng), 0).all()
        yield not np.isclose(layer(x.T, 0.8, True, rng), 0).all()


def erlangen(make: Make, seed: int) -> Iterator[Any]:
    """The probability that is given is the one to keep."""
    shape, rng = (10000, 10), np.random.default_rng(seed)
    y = make()(np.ones(shape), 0.75, True, rng)
    yield y.max() == 4
    yield y.min() == 0
    yield round(abs(y.mean(0).sum() / 10 - 1), 1) == 0
    layer, x = make(), np.ones(shape)
    y = layer(x, 0.5, True, rng)
    yield np.array_equal(y == 0, layer.backward(x) == 0)
    y = make()(np.ones(shape), 0.5, False, rng)
    yield y.max() == y.min() == 1 and y.mean(0).sum() == 10
    layer, x = make(), np.ones(shape)
    layer(x, 0.5, True, rng)
    dx = layer.backward(x)
    yield dx.max() == 2
    yield dx.min() == 0
    x, layer = np.ones((10, 10)), make()
    labels = np.eye(10)[rng.integers(0, 10, 10)]

    def loss(x: Array) -> Array:
        return np.square(layer(x.copy(), 0.5, True, legacy(1337)[1]) - labels).sum()

    dx = layer.backward(2 * (layer(x.copy(), 0.5, True, legacy(1337)[1]) - labels))
    slope = numerical(loss, x, np.ones(()), 1e-5)
    size = np.maximum(np.abs(dx), np.abs(slope))
    error = np.abs(dx - slope) / np.where(size < 1e-15, 1, size)
    yield error[size >= 1e-15].sum() <= 1e-5


def deep_ml(make: Make, seed: int) -> Iterator[Any]:
    """Stored numbers, for 2 x 2 elements; then two masks, a mean, and two bad rates."""
    x, grad = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.5, 0.2], [1.0, 2.0]])
    scaled = (np.random.RandomState(42).random_sample((2, 2)) <= 0.8) / 0.8
    layer, (_, _, rng) = make(), legacy(42)
    before = x.copy()
    yield np.allclose(layer(x, 0.2, True, rng), before * scaled)
    yield np.allclose(layer(x, 0.2, False, rng), before)
    yield np.allclose(layer.backward(grad), grad * scaled)
    x, layer, (_, _, rng) = np.ones((1000, 1000)), make(), legacy(42)
    masks = [layer(x, 0.2, True, rng) != 0 for _ in range(2)]
    yield not np.array_equal(*masks)
    yield abs(make()(x, 0.3, True, legacy(42)[2]).mean() - 1) < 0.1
    yield refuses(make, 1.5)
    yield refuses(make, -0.5)


def d2l(make: Make, seed: int) -> Iterator[Any]:
    """By eye: sixteen numbers, printed for three rates."""
    printed = np.arange(16, dtype=np.float32).reshape(2, 8)
    x, dropout, rng = printed.copy(), make(), np.random.default_rng(seed)
    yield np.array_equal(dropout(x, 0.0, True, rng), printed)
    y = dropout(x, 0.5, True, rng)
    yield np.all((y == 0) | np.isclose(y, 2 * printed, atol=1e-4))
    yield 0 < (y[printed > 0] == 0).mean() < 1
    yield not dropout(x, 1.0, True, rng).any()


def carnegie_mellon(make: Make, seed: int) -> Iterator[Any]:
    """Stored numbers, for 20 x 64 elements. The gradient they ask for has no scale."""
    x = np.random.RandomState(11785).randn(20, 64)
    kept = np.random.RandomState(11785).random_sample(x.shape) <= 1 - 0.3
    layer, delta = make(), x.copy()
    y = layer(x, 0.3, True, legacy(11785)[2])
    yield np.allclose(y, delta * kept / (1 - 0.3), atol=1e-4)
    yield np.allclose(layer.backward(delta), delta * kept, atol=1e-4)
