"""A multilayer perceptron in NumPy, small enough to read, that trains with either dropout."""

from collections.abc import Sequence
from itertools import chain, pairwise
from numbers import Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from companion import standard
from companion.activations import ACTIVATIONS, log_softmax
from companion.checks import (
    Rng,
    check_count,
    check_each,
    check_labels,
    check_option,
    check_pair,
    check_positive,
    check_probability,
    check_rng,
    check_samples,
    check_sizes,
)
from companion.history import History
from companion.inverted import apply_mask
from companion.masks import bernoulli_mask, select
from companion.optimizers import adam, sgd
from companion.progress import progress_bar as epoch_bar

__all__ = ["ACTIVATIONS", "MLP", "History", "epoch_bar"]

Array = npt.NDArray[np.float64]
CONVENTIONS = ("inverted", "standard")
Masks = Sequence[npt.NDArray[np.bool_] | None]


class MLP:
    """Fully connected layers, dropout after the input and each hidden activation, softmax.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of the input, of each hidden layer, and of the output (the number of classes).
    p : float or sequence of float
        Drop probability of the hidden units, one for all layers or one for each.
    input_p : float
        Drop probability of the inputs.
    convention : {"inverted", "standard"}
        Scale the kept units by ``1 / (1 - p)`` in training, or all of them by ``1 - p`` after it.
    activation : {"relu", "tanh", "logistic", "identity"}
        Activation of the hidden layers.
    rng : numpy.random.Generator, int or None
        Separate streams are spawned from it for the initial weights, the order of the batches
        and the masks: networks of one seed start equal and see the same batches for any `p`.

    Attributes
    ----------
    weights : list of numpy.ndarray, float64
        One matrix for each layer, shape (units in, units out). He's initialisation [2]_ for relu,
        Glorot's [3]_ for the others.
    biases : list of numpy.ndarray, float64
        One vector for each layer, shape (units out,). Small and random at first.
    p : tuple of float
        Drop probability of each hidden layer.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of the above.

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
        self.layer_sizes = check_sizes(layer_sizes)
        hidden = len(self.layer_sizes) - 2
        if np.ndim(p) == 0:
            check_probability(p)  # also where there is no hidden layer to use it
        self.p = tuple(check_probability(value) for value in check_each(p, hidden, "p"))
        self.input_p = check_probability(input_p, "input_p")
        self.convention = check_option(convention, CONVENTIONS, "convention")
        self.activation = check_option(activation, tuple(ACTIVATIONS), "activation")
        init_rng, self._batch_rng, self._mask_rng = check_rng(rng).spawn(3)
        self.weights: list[Array] = []
        for fan_in, fan_out in pairwise(self.layer_sizes):
            variance = 2 / fan_in if activation == "relu" else 2 / (fan_in + fan_out)
            spread = np.sqrt(variance)
            self.weights.append(init_rng.normal(0, spread, (fan_in, fan_out)))
        # A ReLU has no slope at exactly 0, where a unit with a zero bias and dropped inputs sits.
        self.biases = [init_rng.normal(0, 0.01, n) for n in self.layer_sizes[1:]]

    @property
    def parameters(self) -> list[Array]:
        """The arrays themselves: first weights, first biases, second weights, and so on."""
        return [*chain.from_iterable(zip(self.weights, self.biases, strict=True))]

    def draw_masks(
        self, n_samples: int, *, rng: Rng = None
    ) -> list[npt.NDArray[np.bool_] | None]:
        """Draw masks, one for each sample: of the input, then of each hidden layer.

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
        rates = zip(self.layer_sizes[:-1], (self.input_p, *self.p), strict=True)
        return [
            bernoulli_mask((n_samples, units), p, rng=rng) if p > 0 else None
            for units, p in rates
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
            return apply_mask(units, mask, p)
        return units if mask is None else select(units, mask)

    def hidden(self, X: npt.ArrayLike, *, masks: Masks | None = None) -> list[Array]:
        """Return the activations of each hidden layer, before its own dropout.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
        masks : sequence as from `draw_masks`, optional
            Those of the thinned networks, as in training. None: dropout is off.

        Returns
        -------
        list of numpy.ndarray of float64, shape (n_samples, units)

        Examples
        --------
        >>> [h.shape for h in MLP([4, 3, 2], rng=0).hidden(np.zeros((5, 4)))]
        [(5, 3)]
        """
        return self._forward(check_samples(X, self.layer_sizes[0]), masks)[0][1:]

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
        return self._forward(check_samples(X, self.layer_sizes[0]), masks)[2]

    def predict_proba(self, X: npt.ArrayLike, *, masks: Masks | None = None) -> Array:
        """Return the softmax of `logits`: shape (n_samples, n_classes), rows that sum to 1.

        Examples
        --------
        >>> MLP([4, 3, 2], rng=0).predict_proba(np.zeros((1, 4))).shape
        (1, 2)
        """
        return np.exp(log_softmax(self.logits(X, masks=masks)))

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
        >>> MLP([4, 3, 2], rng=0).evaluate(np.zeros((2, 4)), [0, 1])[1]
        0.5
        """
        X, y = self._check(X, y)
        log_p = log_softmax(self._forward(X, None)[2])
        loss = -log_p[np.arange(len(y)), y].mean()
        return float(loss), float((log_p.argmax(axis=1) == y).mean())

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
        >>> loss, gradients = MLP([4, 3, 2], rng=0).loss_and_grad(np.zeros((2, 4)), [0, 1])
        >>> [g.shape for g in gradients]
        [(4, 3), (3,), (3, 2), (2,)]
        """
        X, y = self._check(X, y)
        if masks is None:
            masks = self.draw_masks(len(X), rng=rng)
        rows = np.arange(len(y))
        before, after, logits = self._forward(X, masks)
        log_p = log_softmax(logits)
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
            Samples in a step; the last step of an epoch may have fewer.
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
        .. [1] Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.

        Examples
        --------
        >>> X, y = np.array([[0.0], [1.0]]), np.array([0, 1])
        >>> history = MLP([1, 8, 2], p=0, rng=0).fit(X, y, epochs=50, optimizer="adam")
        >>> history.train_accuracy[-1]
        1.0
        """
        X, y = self._check(X, y)
        measured: dict[Any, Any] = {"train": (X, y)}
        if validation is not None:
            measured["val"] = self._check(*check_pair(validation, "validation"))
        check_count(epochs, "epochs")
        check_count(batch_size, "batch_size")
        if not isinstance(momentum, Real) or not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1); got {momentum!r}")
        rates = check_each(learning_rate, len(self.parameters), "learning_rate")
        rates = [check_positive(rate, "learning_rate") for rate in rates]
        check_option(optimizer, ("sgd", "adam"), "optimizer")
        step = adam(rates) if optimizer == "adam" else sgd(rates, momentum)
        history = History()
        for _ in epoch_bar(epochs) if progress else range(epochs):
            order = self._batch_rng.permutation(len(X))
            with np.errstate(over="ignore", invalid="ignore"):  # `record` says it
                for start in range(0, len(X), batch_size):
                    batch = order[start : start + batch_size]
                    step(self.parameters, self.loss_and_grad(X[batch], y[batch])[1])
                for part, pair in measured.items():
                    history.record(part, *self.evaluate(*pair))
        return history

    def _check(
        self, X: npt.ArrayLike, y: npt.ArrayLike
    ) -> tuple[Array, npt.NDArray[np.integer]]:
        X = check_samples(X, self.layer_sizes[0])
        return X, check_labels(y, len(X), self.layer_sizes[-1])
