"""A recurrent layer with dropout, on its units or on its weights."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import pytensor
import pytensor.tensor as pt
from pytensor.graph.basic import Variable

from companion.checks import Rng, check_count, check_option, check_rng
from companion.symbolic.checks import check_flag, check_floating, check_p
from companion.symbolic.graph import Drawn, if_training, select, shared
from companion.symbolic.layer import draw_mask, dropout_layer

Drop = Literal["units", "weights"]
MaskPer = Literal["sequence", "step"]


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
        If a size is not an int of 1 or more, or an option is none of the above.

    Notes
    -----
    In PyTensor's mode "JAX" the inputs must have sizes that are known, as in
    ``pt.tensor(dtype="float32", shape=(steps, batch, input_size))``.

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
        self.input_size = check_count(input_size, "input_size")
        self.hidden_size = check_count(hidden_size, "hidden_size")
        self.drop = check_option(drop, get_args(Drop), "drop")
        self.mask_per = check_option(mask_per, get_args(MaskPer), "mask_per")
        self.dtype = check_option(dtype, ("float32", "float64"), "dtype")
        generator, bound = check_rng(rng), hidden_size**-0.5

        def weights(name: str, *shape: int) -> Any:
            return shared(generator.uniform(-bound, bound, shape).astype(dtype), name)

        self.W = weights("W", input_size, 3 * hidden_size)
        self.U = weights("U", hidden_size, 3 * hidden_size)
        self.b = weights("b", 3 * hidden_size)
        self.params = [self.W, self.U, self.b]

    def __call__(self, x: Any, p: Any, train: Any, rng: Variable) -> Drawn:
        """Add the layer to a graph.

        Parameters
        ----------
        x : symbolic array, shape (steps, batch, input_size)
            The sequences, in the dtype of the weights.
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
        states : symbolic array, shape (steps, batch, hidden_size)
            The recurrent units after each step; before the first they are 0.

        Raises
        ------
        ValueError
            If `p` is outside [0, 1] or NaN, `p` or `train` is not a scalar, or `x` does not have
            3 axes.
        TypeError
            If `x` has another dtype than the weights, `p` is not a real number, `train` is
            neither a bool nor symbolic, or `rng` is not a symbolic generator.
        """
        x, p, train = check_floating(x), check_p(p), check_flag(train)
        if x.ndim != 3:
            raise ValueError(
                f"x must have 3 axes, (steps, batch, input_size); got {x.ndim}"
            )
        if x.dtype != self.dtype:
            raise TypeError(f"x must be {self.dtype}, as the weights; got {x.dtype}")
        # Either way every mask is drawn before the scan: through a draw inside it, PyTensor has a
        # gradient only if the scan returns its masks as well.
        if self.drop == "units":
            return self._drop_units(x, p, train, rng)
        return self._drop_weights(x, p, train, rng)

    def _drop_units(self, x: Any, p: Variable, train: Any, rng: Variable) -> Drawn:
        steps, batch, _ = tuple(x.shape)
        shared_axes = () if self.mask_per == "step" else 0
        rng, x = dropout_layer(x, p, train, rng, shared_axes=shared_axes)
        mask_shape = (self._masks_in(steps), batch, self.hidden_size)
        p_drawn = if_training(train, p, pt.constant(0.0))
        rng, masks = draw_mask(mask_shape, p_drawn, rng)
        masks = pt.broadcast_to(masks, (steps, batch, self.hidden_size))
        scale = pt.cast(if_training(train, 1.0, 1 - p), self.dtype)

        def step(from_input: Any, mask: Any, h: Any, U: Any, scale: Any) -> Variable:
            return self._next(from_input, select(mask, h * scale) @ U, h)

        return rng, self._scan(
            step, [x @ self.W + self.b, masks], batch, [self.U, scale]
        )

    def _drop_weights(self, x: Any, p: Variable, train: Any, rng: Variable) -> Drawn:
        steps, batch, _ = tuple(x.shape)
        masks = self._masks_in(steps)
        rng, dropped_W = dropout_layer(_repeat(self.W, masks), p, train, rng)
        rng, dropped_U = dropout_layer(_repeat(self.U, masks), p, train, rng)
        dropped_U = pt.broadcast_to(dropped_U, (steps, *self.U.type.shape))

        def step(from_input: Any, U: Any, h: Any) -> Variable:
            return self._next(from_input, h @ U, h)

        return rng, self._scan(step, [x @ dropped_W + self.b, dropped_U], batch)

    def _masks_in(self, steps: Any) -> Any:
        return steps if self.mask_per == "step" else 1

    def _next(self, from_input: Any, from_state: Any, h: Any) -> Variable:
        x_r, x_z, x_n = self._gates(from_input)
        h_r, h_z, h_n = self._gates(from_state)
        r, z = pt.sigmoid(x_r + h_r), pt.sigmoid(x_z + h_z)
        n = pt.tanh(x_n + r * h_n)
        return n + z * (h - n)

    def _gates(self, x: Any) -> Any:
        return pt.split(x, [self.hidden_size] * 3, axis=1)

    def _scan(
        self, step: Callable, sequences: list, batch: Any, constants: Sequence = ()
    ) -> Variable:
        return pytensor.scan(
            step,
            sequences=sequences,
            outputs_info=[pt.zeros((batch, self.hidden_size), dtype=self.dtype)],
            non_sequences=constants,
            return_updates=False,
        )


def _repeat(weights: Any, times: Any) -> Variable:
    return pt.broadcast_to(weights, (times, *weights.type.shape))
