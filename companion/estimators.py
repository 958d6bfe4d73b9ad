"""scikit-learn's multilayer perceptrons with dropout, and with the gradient that belongs to it."""

import inspect
from copy import deepcopy
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from companion import inverted
from companion.checks import check_probability
from companion.masks import bernoulli_mask

__all__ = ["MLPDropoutClassifier", "MLPDropoutRegressor"]

# The methods overridden here are private to scikit-learn. These are their parameters, and the
# versions from OLDEST up to, but not including, TOO_NEW in which they are known to mean the same.
OLDEST, TOO_NEW = (1, 7), (1, 10)
HOOKS = {
    "_validate_params": (),
    "_fit": ("X", "y", "sample_weight", "incremental"),
    "_initialize": ("y", "layer_units", "dtype"),
    "_forward_pass": ("activations",),
    "_compute_loss_grad": (
        *("layer", "sw_sum", "activations"),
        *("deltas", "coef_grads", "intercept_grads"),
    ),
}
NEEDED = (
    "companion.estimators overrides private methods of scikit-learn and needs scikit-learn "
    f"from {OLDEST[0]}.{OLDEST[1]} up to, but not including, {TOO_NEW[0]}.{TOO_NEW[1]}: "
    "pip install 'dropout-companion[scikit-learn]'"
)

try:
    import sklearn
    from scipy import sparse
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.neural_network._base import ACTIVATIONS
    from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
    from sklearn.utils._param_validation import (
        Interval,
        InvalidParameterError,
        StrOptions,
    )
    from sklearn.utils.extmath import safe_sparse_dot
except ImportError as error:
    raise ImportError(NEEDED) from error
if not OLDEST <= tuple(map(int, sklearn.__version__.split(".")[:2])) < TOO_NEW:
    raise ImportError(f"{NEEDED}; found {sklearn.__version__}")


class _Thinned(list):
    """Activations before any mask, which the derivatives are read from, and what they became."""

    def __init__(self, activations: list) -> None:
        super().__init__(activations)
        self.passed_on: list = []
        self.masks: list[npt.NDArray[np.bool_] | None] = []


class _Dropout(BaseMultilayerPerceptron):
    """Dropout for a multilayer perceptron of scikit-learn: overrides its `HOOKS`."""

    def _validate_params(self) -> None:
        super()._validate_params()
        if any(self._drop_probabilities()) and self.solver == "lbfgs":
            raise InvalidParameterError(
                "solver='lbfgs' must find the same loss each time it asks, and dropout draws "
                "new masks; use 'adam' or 'sgd', or no dropout. Got "
                f"dropout={self.dropout!r} and input_dropout={self.input_dropout!r} instead."
            )

    def _fit(self, *args: Any, **kwargs: Any) -> Any:
        self._validate_params()  # scikit-learn does so for the first partial_fit only
        return super()._fit(*args, **kwargs)

    def _initialize(self, *args: Any) -> None:
        super()._initialize(*args)
        # A stream of its own: the batches come in the order they have without dropout, and masks
        # go on where they stopped when partial_fit starts the other one again.
        seed = deepcopy(self._random_state).randint(2**31, size=4)
        self._mask_rng = np.random.default_rng(seed)

    def _forward_pass(self, activations: list) -> list:
        p = self._drop_probabilities()
        if not any(p):
            return super()._forward_pass(activations)
        thinned = _Thinned(activations)
        functions = [self.activation] * (len(self.coefs_) - 1) + [self.out_activation_]
        for i, function in enumerate(functions):
            passed_on, mask = self._drop(thinned[i], p[i])
            thinned.passed_on.append(passed_on)
            thinned.masks.append(mask)
            thinned[i + 1] = safe_sparse_dot(passed_on, self.coefs_[i])
            thinned[i + 1] += self.intercepts_[i]
            ACTIVATIONS[function](thinned[i + 1])
        return thinned

    def _compute_loss_grad(
        self, layer: int, sw_sum: float, activations: list, deltas: list, *grads: list
    ) -> None:
        if isinstance(activations, _Thinned):
            if layer + 1 < len(activations.masks):
                p = self._drop_probabilities()[layer + 1]
                deltas[layer] = inverted.dropout_backward(
                    deltas[layer], activations.masks[layer + 1], p
                )
            activations = activations.passed_on
        super()._compute_loss_grad(layer, sw_sum, activations, deltas, *grads)

    def _drop(self, h: Any, p: float) -> tuple[Any, npt.NDArray[np.bool_] | None]:
        """Drop units of `h`: dense, or the stored elements of a sparse input."""
        shared = (0,) if self.mask_per == "batch" else ()
        if not sparse.issparse(h):
            return inverted.dropout(
                h, p, rng=self._mask_rng, shared_axes=shared, return_mask=True
            )
        h = h.tocsr(copy=True)
        h.sum_duplicates()
        mask = None
        if self.mask_per == "batch":
            columns = bernoulli_mask(h.shape[1], p, rng=self._mask_rng)
            mask = columns[h.indices]
        h.data, mask = inverted.dropout(
            h.data, p, rng=self._mask_rng, mask=mask, return_mask=True
        )
        return h, mask

    def _drop_probabilities(self) -> list[float]:
        """Of the input, then of each hidden layer."""
        name = type(self).__name__
        layers = np.size(self.hidden_layer_sizes)
        dropout = 0 if self.dropout is None else self.dropout
        one = np.asarray(dropout, dtype=object).ndim == 0  # object: lists in a list too
        each: Any = [dropout] * layers if one else dropout
        if len(each) != layers:
            raise InvalidParameterError(
                f"The 'dropout' parameter of {name} must be one number, or one for each of "
                f"{layers} hidden layers. Got {dropout!r} instead."
            )
        try:
            return [
                check_probability(self.input_dropout, "input_dropout"),
                *(check_probability(p, "dropout") for p in each),
            ]
        except (TypeError, ValueError) as error:
            raise InvalidParameterError(f"{name}: {error}") from None


def _constraints(parent: Any) -> dict[str, list]:
    probability = Interval(Real, 0, 1, closed="both")
    return parent._parameter_constraints | {
        "dropout": [probability, "array-like", None],
        "input_dropout": [probability],
        "mask_per": [StrOptions({"sample", "batch"})],
    }


def _init(parent: Any) -> Any:
    """Every parameter of the parent, whatever its version, and three more, by name only."""

    def __init__(  # noqa: N807
        self: Any,
        *args: Any,
        dropout: Any = 0.5,
        input_dropout: float = 0.0,
        mask_per: str = "sample",
        **kwargs: Any,
    ) -> None:
        parent.__init__(self, *args, **kwargs)
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.mask_per = mask_per

    added = inspect.signature(__init__).parameters.values()
    inherited = inspect.signature(parent.__init__).parameters.values()
    signature = [*inherited, *(p for p in added if p.kind is p.KEYWORD_ONLY)]
    __init__.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    return __init__


class MLPDropoutClassifier(_Dropout, MLPClassifier):
    """scikit-learn's `MLPClassifier` with dropout: in training only, and with its own gradient.

    The parameters up to `dropout` are scikit-learn's, which says more of them.

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, alpha, batch_size, max_iter, shuffle, random_state
        The network, and how it is trained.
    learning_rate_init, learning_rate, power_t, momentum, nesterovs_momentum
        The steps. All but the first are for ``solver="sgd"`` alone.
    beta_1, beta_2, epsilon, max_fun
        The first three are for ``solver="adam"`` alone, the last is for ``solver="lbfgs"``.
    tol, n_iter_no_change, early_stopping, validation_fraction, verbose, warm_start
        When training ends, what it prints, and whether it goes on from the last fit.
    dropout : float, array-like of shape (n_layers - 2,) or None
        The drop probability (not the keep probability!) of the hidden units, in [0, 1]: one for
        all hidden layers, or one for each. With 0 or None, and no `input_dropout`, the model is
        scikit-learn's to the last bit.
    input_dropout : float
        The drop probability of the features, in [0, 1].
    mask_per : {"sample", "batch"}
        Draw a mask for every sample, or one that the whole mini-batch shares.

    Attributes
    ----------
    loss_curve_ : list of float
        As scikit-learn's, and so the loss *in training*, dropout on: higher and noisier than the
        loss of the network that predicts. Scores of early stopping are taken with dropout off.

    Raises
    ------
    sklearn.utils._param_validation.InvalidParameterError
        A ValueError and a TypeError, when fitted: if a parameter is not as above, or `solver` is
        "lbfgs", which needs the same loss each time it asks, while there is dropout.

    See Also
    --------
    MLPDropoutRegressor : the same for regression.
    companion.network.MLP : the same idea in NumPy alone, small enough to read.

    Notes
    -----
    `random_state` decides the masks too. They come from a stream of their own, so that the first
    weights and the order of the batches are those of a network without dropout, and they do not
    repeat from one call of `partial_fit`, or of `fit` with `warm_start`, to the next.

    With a mask for each sample, a sample of weight 2 gets one and the same sample twice gets two.
    Weights then mean repetition on average only; with ``mask_per="batch"`` they mean it exactly.

    References
    ----------
    .. [1] Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
       Overfitting", JMLR 15, 2014, sections 4 and 5.1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPDropoutClassifier((32, 32), dropout=[0.1, 0.2], max_iter=1000, random_state=0)
    >>> model.fit(X, y).score(X, y) > 0.9
    True
    """

    _parameter_constraints = _constraints(MLPClassifier)
    __init__ = _init(MLPClassifier)


class MLPDropoutRegressor(_Dropout, MLPRegressor):
    """scikit-learn's `MLPRegressor` with dropout: in training only, and with its own gradient.

    The parameters up to `dropout` are scikit-learn's, which says more of them.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}
        What is minimized.
    hidden_layer_sizes, activation, solver, alpha, batch_size, max_iter, shuffle, random_state
        The network, and how it is trained.
    learning_rate_init, learning_rate, power_t, momentum, nesterovs_momentum
        The steps. All but the first are for ``solver="sgd"`` alone.
    beta_1, beta_2, epsilon, max_fun
        The first three are for ``solver="adam"`` alone, the last is for ``solver="lbfgs"``.
    tol, n_iter_no_change, early_stopping, validation_fraction, verbose, warm_start
        When training ends, what it prints, and whether it goes on from the last fit.
    dropout : float, array-like of shape (n_layers - 2,) or None
        The drop probability (not the keep probability!) of the hidden units, in [0, 1]: one for
        all hidden layers, or one for each. With 0 or None, and no `input_dropout`, the model is
        scikit-learn's to the last bit.
    input_dropout : float
        The drop probability of the features, in [0, 1].
    mask_per : {"sample", "batch"}
        Draw a mask for every sample, or one that the whole mini-batch shares.

    See Also
    --------
    MLPDropoutClassifier : the same for classification. Its attributes, errors and notes hold here.

    References
    ----------
    .. [1] Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from
       Overfitting", JMLR 15, 2014, sections 4 and 5.1.

    Examples
    --------
    >>> from sklearn.datasets import make_friedman1
    >>> X, y = make_friedman1(500, random_state=0)
    >>> model = MLPDropoutRegressor(dropout=0.1, max_iter=1000, random_state=0)
    >>> model.fit(X, y).score(X, y) > 0.6
    True
    """

    _parameter_constraints = _constraints(MLPRegressor)
    __init__ = _init(MLPRegressor)
