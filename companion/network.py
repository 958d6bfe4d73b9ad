"""A multilayer perceptron in NumPy, small enough to read, that trains with either dropout."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from companion import inverted, standard
from companion.masks import Rng, bernoulli_mask, check_probability, check_rng, select

Array = npt.NDArray[np.float64]
Masks = Sequence[npt.NDArray[np.bool_] | None]

# The function, and its derivative written with the value of the function *before* any mask.
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (lambda z: np.maximum(z, 0), lambda h: (h > 0).astype(h.dtype)),
    "tanh": (np.tanh, lambda h: 1 - h**2),
    "logistic": (lambda z: 0.5 * (1 + np.tanh(0.5 * z)), lambda h: h * (1 - h)),
    "identity": (lambda z: z, np.ones_like),
}


@dataclass
class History:
    """What `MLP.fit` measured after each epoch, dropout off: one number an epoch.

    Losses are mean cross-entropies in nats, accuracies fractions in [0, 1]. The validation
    lists stay empty if no validation set was given.

    Examples
    --------
    >>> History().train_loss
    []
    """

    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)


class MLP:
    """Fully connected layers, dropout after the input and each hidden activation, softmax.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of the input, of each hidden layer, and of the output (the number of classes).
    p : float or sequence of float
        Drop probability of the hidden units, one for all layers or one a layer.
    input_p : float
        Drop probability of the inputs.
    convention : {"inverted", "standard"}
        Scale the kept units by ``1 / (1 - p)`` in training, or all of them by ``1 - p`` after it.
    activation : {"relu", "tanh", "logistic", "identity"}
        Activation of the hidden layers.
    rng : numpy.random.Generator, int or None
        Separate streams are spawned from it for the initial weights, the order of the batches
        and the masks. Two networks made from one seed start equal and see the same batches,
        whatever their `p`.

    Attributes
    ----------
    weights : list of numpy.ndarray, float64
        One matrix a layer, shape (units in, units out). He's initialisation [2]_ for relu,
        Glorot's [3]_ for the others.
    biases : list of numpy.ndarray, float64
        One vector a layer, shape (units out,). Small and random at first, so that no unit
        starts on the kink of a ReLU.
    p : tuple of float
        Drop probability of each hidden layer.

    Raises
    ------
    ValueError
        If a probability, a size, the convention or the activation is not one of those allowed.
    TypeError
        If a probability is not a real number, a size not an int, or `rng` is none of the above.

    References
    ----------
    .. [1] Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
       Overfitting", JMLR 15, 2014, sections 4 and 5.
    .. [2] He et al., "Delving Deep into Rectifiers", ICCV 2015, equation 10.
    .. [3] Glorot and Bengio, "Understanding the Difficulty of Training Deep Feedforward Neural
       Networks", AISTATS 2010, equation 16.

    Examples
    --------
    >>> X, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    >>> net = MLP([2, 16, 2], p=0.1, activation="tanh", rng=0)
    >>> history = net.fit(X, y, epochs=300, learning_rate=0.1, batch_size=4)
    >>> net.predict(X)
    array([0, 1, 1, 0])
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        *,
        p: Any = 0.5,
        input_p: float = 0.0,
        convention: Literal["inverted", "standard"] = "inverted",
        activation: Literal["relu", "tanh", "logistic", "identity"] = "relu",
        rng: Rng = None,
    ) -> None:
        self.layer_sizes = _check_sizes(layer_sizes)
        hidden = len(self.layer_sizes) - 2
        if np.ndim(p) == 0:
            check_probability(p)  # also where there is no hidden layer to use it
        self.p = tuple(check_probability(value) for value in _one_each("p", p, hidden))
        self.input_p = check_probability(input_p, "input_p")
        self.convention = _check_choice(
            "convention", convention, ("inverted", "standard")
        )
        self.activation = _check_choice("activation", activation, tuple(ACTIVATIONS))
        init_rng, self._batch_rng, self._mask_rng = check_rng(rng).spawn(3)
        self.weights: list[Array] = []
        for fan_in, fan_out in zip(
            self.layer_sizes, self.layer_sizes[1:], strict=False
        ):
            variance = 2 / fan_in if activation == "relu" else 2 / (fan_in + fan_out)
            self.weights.append(
                init_rng.normal(0, np.sqrt(variance), (fan_in, fan_out))
            )
        # A ReLU has no slope at exactly 0, where a unit with a zero bias and dropped inputs sits.
        self.biases: list[Array] = [
            init_rng.normal(0, 0.01, size) for size in self.layer_sizes[1:]
        ]

    @property
    def parameters(self) -> list[Array]:
        """The arrays themselves: first weights, first biases, second weights, and so on."""
        return [
            array
            for pair in zip(self.weights, self.biases, strict=True)
            for array in pair
        ]

    def draw_masks(
        self, n_samples: int, *, rng: Rng = None
    ) -> list[npt.NDArray[np.bool_] | None]:
        """Draw a mask a sample and unit: for the input, then for each hidden layer.

        Parameters
        ----------
        n_samples : int
            Rows of each mask.
        rng : numpy.random.Generator, int or None
            None takes the network's own stream.

        Returns
        -------
        list of numpy.ndarray of bool, shape (n_samples, units), or None
            None for a layer that drops nothing.

        Examples
        --------
        >>> [m if m is None else m.shape for m in MLP([4, 3, 2], rng=0).draw_masks(5)]
        [None, (5, 3)]
        """
        rng = self._mask_rng if rng is None else check_rng(rng)
        return [
            bernoulli_mask((n_samples, units), p, rng=rng) if p > 0 else None
            for units, p in zip(self.layer_sizes, (self.input_p, *self.p), strict=False)
        ]

    def _forward(
        self, X: Array, masks: Masks | None
    ) -> tuple[list[Array], list[Array], Array]:
        """Units before dropout, units after it (what each layer reads), and the logits."""
        if masks is not None and len(masks) != len(self.weights):
            raise ValueError(
                f"masks must hold {len(self.weights)} entries; got {len(masks)}"
            )
        activate, _ = ACTIVATIONS[self.activation]
        before: list[Array] = []
        after: list[Array] = []
        units = X
        for i, p in enumerate((self.input_p, *self.p)):
            before.append(units)
            if masks is not None:
                units = self._drop(units, masks[i], p)
            elif self.convention == "standard":
                units = standard.dropout(units, p, training=False)
            after.append(units)
            units = units @ self.weights[i] + self.biases[i]
            if i < len(self.p):
                units = activate(units)
        return before, after, units

    def _drop(
        self, units: Array, mask: npt.NDArray[np.bool_] | None, p: float
    ) -> npt.NDArray:
        """Apply a drawn mask; being linear, it is its own backward pass."""
        if self.convention == "inverted":
            return inverted.dropout_backward(units, mask, p)
        return units if mask is None else select(units, mask)

    def logits(self, X: npt.ArrayLike, *, masks: Masks | None = None) -> Array:
        """Return what the softmax is taken of.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
        masks : sequence as from `draw_masks`, optional
            Run the thinned networks these masks leave, as in training. None: dropout is off.

        Returns
        -------
        numpy.ndarray of float64, shape (n_samples, n_classes)

        Examples
        --------
        >>> MLP([4, 3, 2], rng=0).logits(np.zeros((1, 4))).shape
        (1, 2)
        """
        return self._forward(self._check_X(X), masks)[2]

    def predict_proba(self, X: npt.ArrayLike, *, masks: Masks | None = None) -> Array:
        """Return the softmax of `logits`: shape (n_samples, n_classes), rows that sum to 1.

        Examples
        --------
        >>> MLP([4, 3, 2], rng=0).predict_proba(np.zeros((1, 4))).shape
        (1, 2)
        """
        return np.exp(_log_softmax(self.logits(X, masks=masks)))

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Return the most probable class of each row, dropout off: shape (n_samples,).

        Examples
        --------
        >>> MLP([4, 3, 2], rng=0).predict(np.zeros((2, 4))).shape
        (2,)
        """
        return self.logits(X).argmax(axis=1)

    def evaluate(self, X: npt.ArrayLike, y: npt.ArrayLike) -> tuple[float, float]:
        """Return mean cross-entropy (nats) and accuracy, dropout off.

        Examples
        --------
        >>> loss, accuracy = MLP([4, 3, 2], rng=0).evaluate(np.zeros((2, 4)), [0, 1])
        >>> accuracy
        0.5
        """
        X, y = self._check(X, y)
        scores = _log_softmax(self.logits(X))
        loss = -scores[np.arange(len(y)), y].mean()
        return float(loss), float((scores.argmax(axis=1) == y).mean())

    def loss_and_grad(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        masks: Masks | None = None,
        rng: Rng = None,
    ) -> tuple[float, list[Array]]:
        """Return the training loss under one draw of masks, and its exact gradient.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
        y : array_like of int, shape (n_samples,)
            Classes, 0 to ``n_classes - 1``.
        masks : sequence as from `draw_masks`, optional
            The draw to use. None: draw one.
        rng : numpy.random.Generator, int or None
            Where to draw from. None takes the network's own stream.

        Returns
        -------
        loss : float
            Mean cross-entropy of the thinned networks, in nats.
        gradients : list of numpy.ndarray
            One array for each of `parameters`, in that order.

        Notes
        -----
        The derivative of the activation is taken at the value the unit had *before* its mask.
        Reading it off the masked value instead is a common mistake: a dropped tanh unit would
        claim the slope 1 and a kept one, once scaled, a slope that belongs to another input.

        Examples
        --------
        >>> net = MLP([4, 3, 2], rng=0)
        >>> loss, gradients = net.loss_and_grad(np.zeros((2, 4)), [0, 1])
        >>> [g.shape for g in gradients]
        [(4, 3), (3,), (3, 2), (2,)]
        """
        X, y = self._check(X, y)
        rows = np.arange(len(y))
        if masks is None:
            masks = self.draw_masks(len(X), rng=rng)
        before, after, logits = self._forward(X, masks)
        log_p = _log_softmax(logits)
        loss = float(-log_p[rows, y].mean())

        _, derivative = ACTIVATIONS[self.activation]
        delta = np.exp(log_p)
        delta[rows, y] -= 1
        delta /= len(X)
        gradients: list[Array] = []
        for i in reversed(range(len(self.weights))):
            gradients = [after[i].T @ delta, delta.sum(axis=0), *gradients]
            if i:
                delta = self._drop(delta @ self.weights[i].T, masks[i], self.p[i - 1])
                delta *= derivative(before[i])
        return loss, gradients

    def fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        epochs: int = 100,
        batch_size: int = 32,
        optimizer: Literal["sgd", "adam"] = "sgd",
        learning_rate: Any = 0.01,
        momentum: float = 0.9,
        validation: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        progress: bool = False,
    ) -> History:
        """Train on mini-batches, from the present parameters on.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
        y : array_like of int, shape (n_samples,)
            Classes, 0 to ``n_classes - 1``.
        epochs : int
            Passes over the data, in a new random order each.
        batch_size : int
            Samples a step; the last step of an epoch may have fewer.
        optimizer : {"sgd", "adam"}
            Gradient descent with momentum, or Adam [1]_ with its published defaults.
        learning_rate : float or sequence of float
            One for all, or one for each of `parameters`.
        momentum : float
            In [0, 1), for "sgd".
        validation : (X, y), optional
            Measured after each epoch, never trained on.
        progress : bool
            Show a progress bar; needs tqdm.

        Returns
        -------
        History
            Loss and accuracy after each epoch, dropout **off**, on both sets.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as above, or `X` or `y` does not fit the network.
        FloatingPointError
            If the loss is no longer finite: the learning rate is too high.

        References
        ----------
        .. [1] Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015,
           algorithm 1.

        Examples
        --------
        >>> X, y = np.array([[0.0], [1.0]]), np.array([0, 1])
        >>> history = MLP([1, 8, 2], p=0, rng=0).fit(X, y, epochs=50, optimizer="adam")
        >>> history.train_accuracy[-1]
        1.0
        """
        X, y = self._check(X, y)
        if validation is not None:
            if len(validation) != 2:
                raise ValueError(
                    f"validation must be a pair (X, y); got {len(validation)} items"
                )
            validation = self._check(*validation)
        _check_count("epochs", epochs)
        _check_count("batch_size", batch_size)
        if not isinstance(momentum, Real) or not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1); got {momentum!r}")
        rates = _check_rates(learning_rate, len(self.parameters))
        _check_choice("optimizer", optimizer, ("sgd", "adam"))
        step = _adam(rates) if optimizer == "adam" else _sgd(rates, momentum)
        history = History()
        for _ in epoch_bar(epochs) if progress else range(epochs):
            order = self._batch_rng.permutation(len(X))
            with np.errstate(over="ignore", invalid="ignore"):  # _record says it better
                for start in range(0, len(X), batch_size):
                    batch = order[start : start + batch_size]
                    step(self.parameters, self.loss_and_grad(X[batch], y[batch])[1])
                self._record(history, X, y, validation)
        return history

    def _record(
        self, history: History, X: Array, y: npt.NDArray, validation: Any
    ) -> None:
        loss, accuracy = self.evaluate(X, y)
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"the training loss is {loss}: lower the learning rate"
            )
        history.train_loss.append(loss)
        history.train_accuracy.append(accuracy)
        if validation is not None:
            loss, accuracy = self.evaluate(*validation)
            history.val_loss.append(loss)
            history.val_accuracy.append(accuracy)

    def _check_X(self, X: npt.ArrayLike) -> Array:
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 2 or X.shape[1] != self.layer_sizes[0] or len(X) == 0:
            raise ValueError(
                f"X must have shape (n_samples > 0, {self.layer_sizes[0]}); got {X.shape}"
            )
        if not np.isfinite(X).all():
            raise ValueError("X must be finite; got NaN or infinity in it")
        return X

    def _check(
        self, X: npt.ArrayLike, y: npt.ArrayLike
    ) -> tuple[Array, npt.NDArray[np.integer]]:
        X, y = self._check_X(X), np.asarray(y)
        if y.ndim != 1 or y.dtype.kind not in "iu":
            raise ValueError(
                f"y must be a vector of ints; got shape {y.shape}, dtype {y.dtype}"
            )
        if len(X) != len(y):
            raise ValueError(f"X has {len(X)} samples, y has {len(y)}")
        if y.min() < 0 or y.max() >= self.layer_sizes[-1]:
            raise ValueError(
                f"y must hold classes 0 to {self.layer_sizes[-1] - 1}; got {y.min()} to {y.max()}"
            )
        return X, y


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


Step = Callable[[list[Array], list[Array]], None]


def _sgd(rates: list[float], momentum: float) -> Step:
    velocities: list[Array] = []

    def step(parameters: list[Array], gradients: list[Array]) -> None:
        if not velocities:
            velocities.extend(np.zeros_like(array) for array in parameters)
        for array, v, g, rate in zip(
            parameters, velocities, gradients, rates, strict=True
        ):
            v *= momentum
            v -= rate * g
            array += v

    return step


def _adam(rates: list[float], beta1: float = 0.9, beta2: float = 0.999) -> Step:
    firsts: list[Array] = []
    seconds: list[Array] = []
    t = 0

    def step(parameters: list[Array], gradients: list[Array]) -> None:
        nonlocal t
        t += 1
        if not firsts:
            firsts.extend(np.zeros_like(array) for array in parameters)
            seconds.extend(np.zeros_like(array) for array in parameters)
        for array, m, v, g, rate in zip(
            parameters, firsts, seconds, gradients, rates, strict=True
        ):
            m += (1 - beta1) * (g - m)
            v += (1 - beta2) * (g**2 - v)
            array -= rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + 1e-8)

    return step


def epoch_bar(epochs: int) -> Iterable[int]:
    """Count epochs with a progress bar.

    Examples
    --------
    >>> len(epoch_bar(3))
    3
    """
    try:
        from tqdm import trange
    except ImportError:
        raise ImportError(
            'progress=True needs tqdm: pip install "dropout-companion[data]"'
        ) from None
    return trange(epochs, desc="training", unit="epoch")


def _check_sizes(layer_sizes: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(layer_sizes)
    if len(sizes) < 2:
        raise ValueError(
            f"layer_sizes needs an input and an output at least; got {layer_sizes}"
        )
    for size in sizes:
        _check_count("each of layer_sizes", size)
    return sizes


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an int; got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
    return value


def _check_rates(learning_rate: Any, count: int) -> list[float]:
    rates = _one_each("learning_rate", learning_rate, count)
    if not all(isinstance(rate, Real) and rate > 0 for rate in rates):
        raise ValueError(f"learning_rate must be positive; got {learning_rate!r}")
    return rates


def _one_each(name: str, value: Any, count: int) -> list[float]:
    values = list(value) if np.ndim(value) else [value] * count
    if len(values) != count:
        raise ValueError(
            f"{name} must be one number, or one for each of {count}; got {value}"
        )
    return values
