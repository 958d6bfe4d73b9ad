"""Dropout as first published, on a symbolic graph: PyTensor, Theano's maintained successor.

Nothing here computes. Each function adds to a graph that ``pytensor.function`` compiles later.
A layer that draws takes the state of a generator, made with ``pt.random.shared_rng(seed=0)``,
and returns the next state beside its output. Hand that on to the next layer, and the last one to
``updates={rng: next_rng}``: without it every call repeats the same masks.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from companion.masks import Rng, check_axes, check_probability, check_rng

try:
    import numba
    import pytensor
    import pytensor.tensor as pt
    from pytensor.compile.sharedvalue import SharedVariable
    from pytensor.gradient import disconnected_grad
    from pytensor.graph.basic import Apply, Constant, Variable
    from pytensor.graph.op import Op
    from pytensor.ifelse import ifelse
    from pytensor.link.numba.dispatch.basic import (
        numba_njit,
        register_funcify_default_op_cache_key,
    )
    from pytensor.tensor.random.type import RandomGeneratorType
except ImportError:
    raise ImportError(
        'companion.symbolic needs PyTensor: pip install "dropout-companion[pytensor]"'
    ) from None

Drop = Literal["units", "weights"]
MaskPer = Literal["sequence", "step"]
Drawn: TypeAlias = tuple[Variable, Variable]  # the generator's next state, the result


def bernoulli_mask(shape: Sequence[Any], p: Any, rng: Variable) -> Drawn:
    """Draw which units are kept, in the graph: each one with probability ``1 - p``.

    Parameters
    ----------
    shape : sequence of int or symbolic integer scalar
        Shape of the mask.
    p : float or symbolic scalar
        The drop probability (not the keep probability!), in [0, 1]. A number is checked now, a
        symbolic scalar whenever the compiled function is called.
    rng : symbolic generator
        From ``pt.random.shared_rng``, or the `next_rng` of another layer.

    Returns
    -------
    next_rng : symbolic generator
        The state after the draw. For ``p == 0`` nothing is drawn and the state is the same.
    mask : symbolic bool array, shape `shape`
        True where a unit is kept.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1] or NaN, or is not a scalar.
    TypeError
        If `p` is not a real number or `rng` is not a symbolic generator.

    See Also
    --------
    companion.masks.bernoulli_mask : the same in NumPy.

    Examples
    --------
    >>> rng = pt.random.shared_rng(seed=0)
    >>> next_rng, mask = bernoulli_mask((5,), 0.5, rng)
    >>> draw = pytensor.function([], mask, updates={rng: next_rng})
    >>> draw().dtype
    dtype('bool')
    """
    return _draw(tuple(shape), _check_p(p), _check_generator(rng))


def _draw(shape: Sequence[Any], p: Variable, rng: Variable) -> Drawn:
    if isinstance(p, Constant):
        if p.data == 0:
            return rng, pt.ones(shape, dtype=bool)
        next_rng, uniform = _uniform(shape, rng)
        return next_rng, uniform >= p
    # Where p turns out to be 0 the draw is of no numbers, on Numba and on C alike.
    size = pt.prod(pt.stack(shape)) if shape else pt.constant(1)
    drawn = pt.switch(p > 0, size, 0)
    next_rng, uniform = _uniform((drawn,), rng)
    mask = pt.concatenate([uniform >= p, pt.ones(size - drawn, dtype=bool)])
    return next_rng, mask.reshape(shape)


def _uniform(shape: Sequence[Any], rng: Variable) -> Drawn:
    # In float32 a draw could round up to 1, and a unit with p = 1 would be kept.
    return pt.random.uniform(size=shape, dtype="float64", rng=rng, return_next_rng=True)


def dropit(
    x: Any, p: Any, rng: Variable, *, shared_axes: int | Sequence[int] = ()
) -> Drawn:
    """Drop units of `x`, and do not scale: dropout as first published, in training.

    Parameters
    ----------
    x : symbolic array of float16, float32 or float64
        Activations, any shape.
    p : float or symbolic scalar
        The drop probability (not the keep probability!), in [0, 1].
    rng : symbolic generator
        See `bernoulli_mask`.
    shared_axes : int or sequence of int
        Axes along which one draw is shared: 0 gives every time step of a sequence one mask.

    Returns
    -------
    next_rng : symbolic generator
        The state after the draw.
    y : symbolic array
        Shape and dtype of `x`: each unit is `x`, or 0 whatever `x` was.

    Raises
    ------
    ValueError
        If `p` is outside [0, 1] or NaN, or not a scalar, or an axis is out of range. A symbolic
        `p` is checked whenever the compiled function is called.
    TypeError
        If `x` is not floating, `p` is not a real number, or `rng` is not a symbolic generator.

    Notes
    -----
    The default backend, Numba, has no float16.

    References
    ----------
    .. [1] Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
       Overfitting", JMLR 15, 2014, section 4.

    Examples
    --------
    >>> x = pt.vector("x", dtype="float32")
    >>> rng = pt.random.shared_rng(seed=1)
    >>> next_rng, y = dropit(x, 0.5, rng)
    >>> train = pytensor.function([x], y, updates={rng: next_rng})
    >>> train([1, 2, 3, 4])
    array([1., 2., 0., 4.], dtype=float32)
    >>> train([1, 2, 3, 4])
    array([0., 0., 3., 0.], dtype=float32)
    """
    x, p, rng = _check_floating(x), _check_p(p), _check_generator(rng)
    return _drop(x, p, rng, shared_axes)


def _drop(
    x: Any, p: Variable, rng: Variable, shared_axes: int | Sequence[int]
) -> Drawn:
    shared = check_axes(shared_axes, x.ndim)
    shape = [1 if axis in shared else n for axis, n in enumerate(tuple(x.shape))]
    next_rng, mask = _draw(shape, p, rng)
    return next_rng, _select(mask, x)


def dont_dropit(x: Any, p: Any) -> Variable:
    """Multiply by ``1 - p``: the same layer at test time.

    Parameters
    ----------
    x : symbolic array of float16, float32 or float64
        Activations, any shape, or the weights that read them.
    p : float or symbolic scalar
        The drop probability used in training, in [0, 1].

    Returns
    -------
    symbolic array
        Shape and dtype of `x`. All zeros for ``p == 1``.

    Raises
    ------
    ValueError, TypeError
        As `dropit`.

    References
    ----------
    .. [1] Srivastava et al., 2014, figure 2, where p is the probability of keeping a unit.

    Examples
    --------
    >>> x = pt.vector("x", dtype="float32")
    >>> dont_dropit(x, 0.25).eval({x: [4, 8]})
    array([3., 6.], dtype=float32)
    """
    x, p = _check_floating(x), _check_p(p)
    # float16 would round a factor of 0.9 to 0.8999, and the mean with it.
    factor = pt.cast(1 - p, np.promote_types(x.dtype, "float32").name)
    return _select(p < 1, pt.cast(x * factor, x.dtype))


def dropout_layer(
    x: Any, p: Any, train: Any, rng: Variable, *, shared_axes: int | Sequence[int] = ()
) -> Drawn:
    """Choose between `dropit` and `dont_dropit` when the compiled function runs.

    Parameters
    ----------
    x, p, rng, shared_axes
        See `dropit`.
    train : bool or symbolic scalar
        True or 1 in training, False or 0 at test time. A Python bool settles it now.

    Returns
    -------
    next_rng : symbolic generator
        The state after the draw. At test time nothing is drawn and the state is the same.
    y : symbolic array
        Shape and dtype of `x`.

    Raises
    ------
    ValueError, TypeError
        As `dropit`; and if `train` is neither a bool nor a symbolic scalar.

    Notes
    -----
    ``ifelse`` alone does not keep the generator still at test time: Numba, the default backend,
    computes both branches and cannot pass a generator through either. Here testing sets p to 0
    for the draw, and a draw with p = 0 is of no numbers, on Numba and on C alike.

    Examples
    --------
    >>> x, train = pt.vector("x", dtype="float32"), pt.scalar("train", dtype="bool")
    >>> rng = pt.random.shared_rng(seed=1)
    >>> next_rng, y = dropout_layer(x, 0.5, train, rng)
    >>> f = pytensor.function([x, train], y, updates={rng: next_rng})
    >>> f([1, 2, 3, 4], True)
    array([1., 2., 0., 4.], dtype=float32)
    >>> f([1, 2, 3, 4], False)
    array([0.5, 1. , 1.5, 2. ], dtype=float32)
    """
    x, p, train = _check_floating(x), _check_p(p), _check_flag(train)
    p_drawn = _if_training(train, p, pt.constant(0.0))
    next_rng, dropped = _drop(x, p_drawn, _check_generator(rng), shared_axes)
    if isinstance(train, bool):
        return next_rng, dropped if train else dont_dropit(x, p)
    return next_rng, ifelse(train, dropped, dont_dropit(x, p))


class GRU:
    """A layer of gated recurrent units with dropout on its units or on its weights.

    With ``r``, ``z`` and ``n`` the reset gate, the update gate and the candidate::

        r = sigmoid(x W_r + h U_r + b_r)
        z = sigmoid(x W_z + h U_z + b_z)
        n = tanh(x W_n + r * (h U_n) + b_n)
        h = (1 - z) * n + z * h

    Dropout acts on what the gates read, `x` and the `h` before each `U`, or on `W` and `U`
    themselves. The last line, which carries the memory, is never masked.

    Parameters
    ----------
    input_size, hidden_size : int
        Number of input and of recurrent units.
    drop : {"units", "weights"}
        What the masks drop: units, as in [1]_, or entries of `W` and `U`, which is DropConnect.
    mask_per : {"sequence", "step"}
        One mask for all the steps of a sequence, as in [1]_, or a fresh one at every step.
        Masks of units are drawn for each sequence of the batch; a mask of weights serves all.
    rng : numpy.random.Generator, int or None
        Draws the initial weights, uniform within ``1 / sqrt(hidden_size)``.
    dtype : {"float32", "float64"}
        Of the weights, and so of the inputs.

    Attributes
    ----------
    W, U, b : shared variables of shape (input_size, 3 * hidden_size),
        (hidden_size, 3 * hidden_size) and (3 * hidden_size,), in the order r, z, n.
    params : list
        All three.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer, or an option is none of the above.

    References
    ----------
    .. [1] Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent
       Neural Networks", NeurIPS 2016, section 4.
    .. [2] Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for
       Statistical Machine Translation", EMNLP 2014, section 2.3; here the reset gate acts after
       the product with `U`, as in cuDNN and PyTorch.

    Examples
    --------
    >>> x = pt.tensor3("x", dtype="float32")
    >>> rng = pt.random.shared_rng(seed=0)
    >>> next_rng, states = GRU(4, 3, rng=0)(x, 0.5, True, rng)
    >>> states.type.ndim, states.dtype
    (3, 'float32')
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        drop: Drop = "units",
        mask_per: MaskPer = "sequence",
        rng: Rng = None,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        self.input_size = _check_size(input_size, "input_size")
        self.hidden_size = _check_size(hidden_size, "hidden_size")
        self.drop = _check_option(drop, get_args(Drop), "drop")
        self.mask_per = _check_option(mask_per, get_args(MaskPer), "mask_per")
        self.dtype = _check_option(dtype, ("float32", "float64"), "dtype")
        rng, bound, width = check_rng(rng), hidden_size**-0.5, 3 * hidden_size
        self.W = _uniform_weights(rng, bound, (input_size, width), dtype, "W")
        self.U = _uniform_weights(rng, bound, (hidden_size, width), dtype, "U")
        self.b = _uniform_weights(rng, bound, (width,), dtype, "b")
        self.params = [self.W, self.U, self.b]

    def __call__(self, x: Any, p: Any, train: Any, rng: Variable) -> Drawn:
        """Add the layer to a graph.

        Parameters
        ----------
        x : symbolic array, shape (steps, batch, input_size)
            The sequences, in the dtype of the weights.
        p, train, rng
            See `dropout_layer`.

        Returns
        -------
        next_rng : symbolic generator
            The state after the draws.
        states : symbolic array, shape (steps, batch, hidden_size)
            The recurrent units after each step; before the first they are 0.

        Raises
        ------
        ValueError, TypeError
            As `dropout_layer`; and if `x` has the wrong rank or dtype.
        """
        x, p, train = _check_floating(x), _check_p(p), _check_flag(train)
        if x.ndim != 3:
            raise ValueError(
                f"x must have 3 axes, (steps, batch, input_size); got {x.ndim}"
            )
        if x.dtype != self.dtype:
            raise TypeError(f"x must be {self.dtype}, as the weights; got {x.dtype}")
        steps, batch, _ = tuple(x.shape)
        drawn = steps if self.mask_per == "step" else 1
        W, U = self.W, self.U
        # Every mask is drawn before the scan: through a draw inside it, PyTensor has a gradient
        # only if the scan returns its masks as well.
        if self.drop == "units":
            shared = () if self.mask_per == "step" else 0
            rng, x = dropout_layer(x, p, train, rng, shared_axes=shared)
            shape = (drawn, batch, self.hidden_size)
            rng, kept = _draw(shape, _if_training(train, p, pt.constant(0.0)), rng)
            per_step = pt.broadcast_to(kept, (steps, batch, self.hidden_size))
        else:
            rng, W = dropout_layer(_repeat(W, drawn), p, train, rng)
            rng, dropped = dropout_layer(_repeat(U, drawn), p, train, rng)
            per_step = _repeat(dropped[0], steps) if drawn == 1 else dropped
        scale = pt.cast(_if_training(train, 1.0, 1 - p), self.dtype)

        def step(from_input: Any, per_step: Any, h: Any, *U: Any) -> Variable:
            if self.drop == "units":
                from_state = _select(per_step, h * scale) @ U[0]
            else:
                from_state = h @ per_step
            x_r, x_z, x_n = self._gates(from_input)
            h_r, h_z, h_n = self._gates(from_state)
            r, z = pt.sigmoid(x_r + h_r), pt.sigmoid(x_z + h_z)
            n = pt.tanh(x_n + r * h_n)
            return n + z * (h - n)

        states = pytensor.scan(
            step,
            sequences=[x @ W + self.b, per_step],
            outputs_info=[pt.zeros((batch, self.hidden_size), dtype=self.dtype)],
            non_sequences=[U] if self.drop == "units" else [],
            return_updates=False,
        )
        return rng, states

    def _gates(self, x: Any) -> Any:
        return pt.split(x, [self.hidden_size] * 3, axis=1)


def adam(
    loss: Variable, params: Sequence[SharedVariable], learning_rate: float = 0.002
) -> list[tuple[SharedVariable, Variable]]:
    """Return one step of Adam as pairs for the ``updates`` of ``pytensor.function``.

    Parameters
    ----------
    loss : symbolic scalar
        What to make smaller.
    params : sequence of shared variables
        What to change, all of one floating dtype.
    learning_rate : float
        The step size, called alpha in [1]_.

    Returns
    -------
    list of (shared variable, its next value)
        The parameters, and the optimiser's own state.

    References
    ----------
    .. [1] Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1
       and the reordering at the end of section 2.

    Examples
    --------
    >>> w = pytensor.shared(np.float64(1.0))
    >>> step = pytensor.function([], w, updates=adam(w**2, [w], learning_rate=0.1))
    >>> _ = step()
    >>> float(w.get_value().round(6))
    0.9
    """
    dtype = params[0].dtype
    rate, beta1, beta2, epsilon = np.array([learning_rate, 0.9, 0.999, 1e-8], dtype)
    one = np.ones((), dtype)
    t = pytensor.shared(np.zeros((), dtype), name="t")
    rate = rate * pt.sqrt(one - beta2 ** (t + one)) / (one - beta1 ** (t + one))
    updates = [(t, t + one)]
    for param, grad in zip(params, pt.grad(loss, params), strict=True):
        m, v = (_shared(np.zeros_like(param.get_value()), name) for name in "mv")
        next_m = beta1 * m + (one - beta1) * grad
        next_v = beta2 * v + (one - beta2) * grad**2
        change = rate * next_m / (pt.sqrt(next_v) + epsilon)
        updates += [(m, next_m), (v, next_v), (param, param - change)]
    return updates


class LanguageModel:
    """Predict the next token of a text: an embedding, a `GRU`, a softmax.

    With ``drop="units"`` the units that the softmax reads are dropped too, as in [1]_.

    Parameters
    ----------
    vocabulary_size, hidden_size : int
        Number of different tokens, and of recurrent units.
    embedding_size : int
        Length of the vector that stands for a token.
    drop, mask_per, rng
        See `GRU`.

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
        self.vocabulary_size = _check_size(vocabulary_size, "vocabulary_size")
        self.gru = GRU(embedding_size, hidden_size, drop=drop, mask_per=mask_per, rng=0)
        self.embedding = _zeros(
            (vocabulary_size, embedding_size), "float32", "embedding"
        )
        self.V = _zeros((hidden_size, vocabulary_size), "float32", "V")
        self.c = _zeros((vocabulary_size,), "float32", "c")
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
        p, train, rng
            See `dropout_layer`.

        Returns
        -------
        next_rng : symbolic generator
            The state after the draws.
        loss : symbolic scalar
            In nats a token; divide by ``log(2)`` for bits.

        Raises
        ------
        ValueError, TypeError
            As `dropout_layer`; and if `tokens` has the wrong rank or is not of integers.
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
        target = _select(pt.eq(tokens[1:].reshape((-1, 1)), vocabulary), logits)
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
            0. The first call with a pair of them compiles, which takes half a minute.
        progress : bool
            Show a progress bar; needs tqdm.

        Returns
        -------
        float
            The mean loss of these updates, dropout on, in bits a token.

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
        p, updates = check_probability(p), _check_size(updates, "updates")
        batch_size = _check_size(batch_size, "batch_size")
        steps = _check_size(steps, "steps")
        text = self._check_tokens(text, steps + 1)
        train = self._training(steps, batch_size)
        stretch, losses = np.arange(steps + 1)[:, None], []
        for update in _bar(updates) if progress else range(updates):
            start = self._stretches.integers(len(text) - steps, size=batch_size)
            losses.append(float(train(text[start + stretch], p)))
            if not np.isfinite(losses[-1]):
                raise FloatingPointError(f"update {update}: the loss is {losses[-1]}")
        return float(np.mean(losses) / np.log(2))

    def bits(self, text: npt.ArrayLike, p: float) -> float:
        """Return the loss on a text with dropout off, in bits a token.

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


class _CheckProbability(Op):  # type: ignore[misc]
    """The identity, for a drop probability in [0, 1]; raises for any other."""

    __props__ = ()

    def make_node(self, p: Variable) -> Apply:
        return Apply(self, [p], [p.type()])

    def perform(self, node: Apply, inputs: Any, output_storage: Any) -> None:
        check_probability(inputs[0].item())
        output_storage[0][0] = inputs[0].copy()

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> Any:
        return output_gradients

    def infer_shape(self, fgraph: Any, node: Apply, input_shapes: Any) -> Any:
        return input_shapes


@register_funcify_default_op_cache_key(_CheckProbability)  # type: ignore[untyped-decorator]
def _numba_check_probability(op: Op, node: Apply, **kwargs: Any) -> tuple[Any, int]:
    @numba_njit
    def check(p):  # type: ignore[no-untyped-def]
        with numba.objmode():
            check_probability(p.item())
        return p.copy()  # what reads it may write over it

    return check, 1


def _bar(updates: int) -> Iterable[int]:
    try:
        from tqdm import trange
    except ImportError:
        raise ImportError(
            'progress=True needs tqdm: pip install "dropout-companion[data]"'
        ) from None
    return trange(updates, desc="training", unit="update")


def _select(mask: Any, x: Any) -> Variable:
    # A product with the mask would let NaN through a dropped unit.
    return pt.switch(mask, x, np.zeros((), x.dtype))


def _if_training(train: Any, then: Any, otherwise: Any) -> Any:
    if isinstance(train, bool):
        return then if train else otherwise
    return pt.switch(train, then, otherwise)


def _repeat(weights: Any, times: Any) -> Variable:
    return pt.broadcast_to(weights, (times, *weights.type.shape))


def _shared(value: Any, name: str) -> SharedVariable:
    return pytensor.shared(value, name=name, shape=value.shape)


def _zeros(shape: tuple[int, ...], dtype: str, name: str) -> SharedVariable:
    return _shared(np.zeros(shape, dtype), name)


def _uniform_weights(
    rng: np.random.Generator,
    bound: float,
    shape: tuple[int, ...],
    dtype: str,
    name: str,
) -> SharedVariable:
    return _shared(rng.uniform(-bound, bound, shape).astype(dtype), name)


def _check_p(p: Any) -> Variable:
    if isinstance(p, Constant):
        p = p.data.item() if p.data.ndim == 0 else p.data
    if not isinstance(p, Variable):
        return pt.constant(check_probability(p), dtype="float64")
    if getattr(p.owner, "op", None) == _CheckProbability():
        return p
    return _CheckProbability()(pt.cast(_check_scalar(p, "p"), "float64"))


def _check_flag(train: Any) -> Any:
    if isinstance(train, (bool, np.bool_)):
        return bool(train)
    if isinstance(train, (int, np.integer)) and train in (0, 1):
        return bool(train)
    if not isinstance(train, Variable):
        raise TypeError(f"train must be a bool or a symbolic scalar; got {train!r}")
    return _check_scalar(train, "train")


def _check_scalar(x: Variable, name: str) -> Variable:
    if getattr(x.type, "dtype", None) not in pt.type.all_dtypes or "complex" in x.dtype:
        raise TypeError(f"{name} must be a real scalar; got {x.type}")
    if x.type.ndim != 0:
        raise ValueError(f"{name} must be a scalar; got {x.type.ndim} axes")
    return x


def _check_generator(rng: Any) -> Variable:
    if isinstance(getattr(rng, "type", None), RandomGeneratorType):
        return rng
    raise TypeError(
        f"rng must be a symbolic generator, from pt.random.shared_rng(seed=0); got {rng!r}"
    )


def _check_floating(x: Any) -> Any:
    x = pt.as_tensor_variable(x)
    if x.dtype not in ("float16", "float32", "float64"):
        raise TypeError(f"dropout needs float16, float32 or float64; got {x.dtype}")
    return x


def _check_size(size: Any, name: str) -> int:
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
        raise TypeError(f"{name} must be an integer; got {size!r}")
    if size < 1:
        raise ValueError(f"{name} must be at least 1; got {size}")
    return int(size)


def _check_option(value: Any, options: Sequence[str], name: str) -> Any:
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(options)}; got {value!r}")
    return value
