"""A language model of a GRU, and its training on a text."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.gradient import disconnected_grad
from pytensor.graph.basic import Variable

from companion.checks import Rng, check_count, check_probability, check_rng
from companion.progress import progress_bar
from companion.symbolic.graph import Drawn, select, shared
from companion.symbolic.gru import GRU, Drop, MaskPer
from companion.symbolic.layer import dropout_layer
from companion.symbolic.optimizers import adam


class LanguageModel:
    """Predict the next token of a text: an embedding, a `GRU`, a softmax.

    With ``drop="units"`` the units that the softmax reads are dropped too, as in [1]_.

    Parameters
    ----------
    vocabulary_size, hidden_size : int
        Number of different tokens, and of recurrent units.
    embedding_size : int
        Length of the vector that stands for a token.
    drop : {"units", "weights"}
        What the masks drop: units, or entries of the `GRU`'s `W` and `U`.
    mask_per : {"sequence", "step"}
        One mask for all the steps of a sequence, or a fresh one at every step.
    rng : numpy.random.Generator, int or None
        Draws the parameters, the stretches of text that `fit` picks, and the masks.

    Attributes
    ----------
    params : list of shared variables
        Everything that is learned, float32.

    References
    ----------
    .. [1] Gal and Ghahramani, 2016, section 4.

    Examples
    --------
    >>> model = LanguageModel(vocabulary_size=27, hidden_size=16, rng=0)
    >>> tokens, rng = pt.matrix("tokens", dtype="int32"), pt.random.shared_rng(seed=0)
    >>> next_rng, loss = model.loss(tokens, 0.2, True, rng)
    >>> loss.type.ndim, len(model.params)
    (0, 6)
    """

    def __init__(
        self,
        vocabulary_size: int,
        hidden_size: int,
        *,
        embedding_size: int = 64,
        drop: Drop = "units",
        mask_per: MaskPer = "sequence",
        rng: Rng = None,
    ) -> None:
        self.vocabulary_size = check_count(vocabulary_size, "vocabulary_size")
        self.gru = GRU(embedding_size, hidden_size, drop=drop, mask_per=mask_per, rng=0)
        embedding = np.zeros((vocabulary_size, embedding_size), "float32")
        self.embedding = shared(embedding, "embedding")
        self.V = shared(np.zeros((hidden_size, vocabulary_size), "float32"), "V")
        self.c = shared(np.zeros(vocabulary_size, "float32"), "c")
        self.params = [self.embedding, *self.gru.params, self.V, self.c]
        self._masks = pt.random.shared_rng(seed=0)
        self._optimiser: list[SharedVariable] = []
        self._compiled: dict[tuple[int, int], Callable] = {}
        self.restart(rng)

    def restart(self, rng: Rng = None) -> None:
        """Draw new parameters and forget all training; what was compiled stays.

        Parameters
        ----------
        rng : numpy.random.Generator, int or None
            Separate streams are spawned from it for the weights, the stretches of text that
            `fit` picks, and the masks.

        Examples
        --------
        >>> model = LanguageModel(vocabulary_size=2, hidden_size=4, embedding_size=2, rng=0)
        >>> before = model.V.get_value()
        >>> model.restart(1)
        >>> bool((model.V.get_value() == before).any())
        False
        >>> model.restart(0)
        >>> bool((model.V.get_value() == before).all())
        True
        """
        weights, self._stretches, masks = check_rng(rng).spawn(3)
        for param in self.params:
            bound = 1 if param is self.embedding else self.gru.hidden_size**-0.5
            shape = param.get_value().shape
            param.set_value(weights.uniform(-bound, bound, shape).astype("float32"))
        self._masks.set_value(masks)
        for state in self._optimiser:
            state.set_value(np.zeros_like(state.get_value()))

    def loss(self, tokens: Any, p: Any, train: Any, rng: Variable) -> Drawn:
        """Return the mean loss of predicting each token from those before it.

        Parameters
        ----------
        tokens : symbolic integer array, shape (steps + 1, batch)
            Each column is a stretch of text; its first token is not predicted.
        p : float or symbolic scalar
            The drop probability (not the keep probability!), in [0, 1].
        train : bool or symbolic scalar
            What the other rooms call `training`: whether to draw masks, or to scale by
            ``1 - p`` what they would act on.
        rng : symbolic generator
            From ``pt.random.shared_rng``, or the `next_rng` of another layer.

        Returns
        -------
        next_rng : symbolic generator
            The state after the draws. At test time nothing is drawn and the state is the same.
        loss : symbolic scalar
            In nats per token; divide by ``log(2)`` for bits.

        Raises
        ------
        ValueError
            If `p` is outside [0, 1] or NaN, `p` or `train` is not a scalar, or `tokens` does not
            have 2 axes.
        TypeError
            If `tokens` are not integers, `p` is not a real number, `train` is neither a bool nor
            symbolic, or `rng` is not a symbolic generator.
        """
        tokens = pt.as_tensor_variable(tokens)
        if tokens.ndim != 2:
            raise ValueError(
                f"tokens must have 2 axes, (steps + 1, batch); got {tokens.ndim}"
            )
        if tokens.dtype not in pt.type.integer_dtypes:
            raise TypeError(f"tokens must be integers; got {tokens.dtype}")
        rng, states = self.gru(self.embedding[tokens[:-1]], p, train, rng)
        if self.gru.drop == "units":
            shared = () if self.gru.mask_per == "step" else 0
            rng, states = dropout_layer(states, p, train, rng, shared_axes=shared)
        logits = states.reshape((-1, self.gru.hidden_size)) @ self.V + self.c
        logits -= disconnected_grad(logits.max(axis=1, keepdims=True))
        vocabulary = np.arange(self.vocabulary_size, dtype="int32")
        target = select(pt.eq(tokens[1:].reshape((-1, 1)), vocabulary), logits)
        return rng, (pt.log(pt.exp(logits).sum(axis=1)) - target.sum(axis=1)).mean()

    def fit(
        self,
        text: npt.ArrayLike,
        *,
        p: float,
        updates: int,
        batch_size: int = 32,
        steps: int = 64,
        progress: bool = False,
    ) -> float:
        """Train with `adam` on random stretches of a text, from where the last call stopped.

        Parameters
        ----------
        text : array_like of int, shape (n,)
            Tokens, 0 to ``vocabulary_size - 1``.
        p : float
            The drop probability, in [0, 1].
        updates : int
            Steps of the optimiser.
        batch_size, steps : int
            Stretches in a batch, and tokens predicted in each. Every stretch starts from state
            0. The first call with new sizes compiles, which takes half a minute.
        progress : bool
            Show a progress bar; needs tqdm.

        Returns
        -------
        float
            The mean loss of these updates, dropout on, in bits per token.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as above.
        FloatingPointError
            If the loss is no longer finite.

        Examples
        --------
        >>> model = LanguageModel(vocabulary_size=2, hidden_size=4, embedding_size=2, rng=0)
        >>> model.fit([0, 1] * 50, p=1.5, updates=100)
        Traceback (most recent call last):
            ...
        ValueError: p is a drop probability in [0, 1]; got 1.5
        """
        p, updates = check_probability(p), check_count(updates, "updates")
        batch_size = check_count(batch_size, "batch_size")
        steps = check_count(steps, "steps")
        text = self._check_tokens(text, steps + 1)
        train = self._training(steps, batch_size)
        stretch, losses = np.arange(steps + 1)[:, None], []
        for update in (
            progress_bar(updates, unit="update") if progress else range(updates)
        ):
            start = self._stretches.integers(len(text) - steps, size=batch_size)
            losses.append(float(train(text[start + stretch], p)))
            if not np.isfinite(losses[-1]):
                raise FloatingPointError(f"update {update}: the loss is {losses[-1]}")
        return float(np.mean(losses) / np.log(2))

    def bits(self, text: npt.ArrayLike, p: float) -> float:
        """Return the loss on a text with dropout off, in bits per token.

        Parameters
        ----------
        text : array_like of int, shape (n,)
            Tokens; read in 16 stretches of equal length, each from state 0.
        p : float
            The drop probability used in training.

        Returns
        -------
        float
            ``log2`` of the perplexity.

        Raises
        ------
        ValueError, TypeError
            If `text` or `p` is not as above.

        Examples
        --------
        >>> model = LanguageModel(vocabulary_size=2, hidden_size=4, embedding_size=2, rng=0)
        >>> model.bits([0, 1, 0.5], p=0.2)
        Traceback (most recent call last):
            ...
        TypeError: a text must be integers; got float64
        """
        p, text = check_probability(p), self._check_tokens(text, 32)
        rows = len(text) // 16
        columns = text[: 16 * rows].reshape(16, rows).T
        return float(self._evaluation(columns, p) / np.log(2))

    def _training(self, steps: int, batch_size: int) -> Callable:
        """One compiled function: it draws masks, returns the loss, and updates everything."""
        if (steps, batch_size) not in self._compiled:
            # Known sizes make the graph smaller, and quicker to compile.
            tokens = pt.matrix("tokens", dtype="int32", shape=(steps + 1, batch_size))
            p = pt.scalar("p", dtype="float64")
            next_masks, loss = self.loss(tokens, p, True, self._masks)
            updates = adam(loss, self.params)
            self._optimiser += [
                state for state, _ in updates if state not in self.params
            ]
            self._compiled[steps, batch_size] = pytensor.function(
                [tokens, p], loss, updates=[*updates, (self._masks, next_masks)]
            )
        return self._compiled[steps, batch_size]

    @cached_property
    def _evaluation(self) -> Callable:
        tokens = pt.matrix("tokens", dtype="int32", shape=(None, 16))
        p = pt.scalar("p", dtype="float64")
        return pytensor.function(
            [tokens, p], self.loss(tokens, p, False, self._masks)[1]
        )

    def _check_tokens(
        self, text: npt.ArrayLike, shortest: int
    ) -> npt.NDArray[np.int32]:
        tokens = np.asarray(text)
        if tokens.dtype.kind not in "iu":
            raise TypeError(f"a text must be integers; got {tokens.dtype}")
        if tokens.ndim != 1 or len(tokens) < shortest:
            raise ValueError(
                f"a text must have 1 axis and at least {shortest} tokens; "
                f"got shape {tokens.shape}"
            )
        if tokens.min() < 0 or tokens.max() >= self.vocabulary_size:
            raise ValueError(
                f"tokens must be 0 to {self.vocabulary_size - 1}; "
                f"got {tokens.min()} to {tokens.max()}"
            )
        return tokens.astype(np.int32)
