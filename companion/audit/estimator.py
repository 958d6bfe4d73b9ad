"""The checks of a multilayer perceptron of scikit-learn that was given dropout."""

import copy
import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from companion.audit.adapters import Array
from companion.audit.chance import correlation, overlap_p, two_sided
from companion.audit.report import AuditReport
from companion.audit.runner import Checks, Result, run_checks
from companion.audit.state import global_states
from companion.checks import check_inside, check_probability

from scipy import stats  # isort: skip

UNITS, STEPS = (
    64,
    1000,
)  # hidden units, and updates, of the network whose masks are looked at
STATISTICS = 4  # tests that chance could fail: each gets this share of alpha

CHECKS = Checks()


class Subject:
    """An estimator, and what is seen of its masks while it trains."""

    def __init__(self, estimator: Any, p: float, seed: int, alpha: float) -> None:
        from sklearn.base import clone, is_classifier
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        self.clone, self.classifies = clone, is_classifier(estimator)
        self.parent = MLPClassifier if self.classifies else MLPRegressor
        if not isinstance(estimator, MLPClassifier | MLPRegressor):
            raise TypeError(
                "estimator must be scikit-learn's MLPClassifier or MLPRegressor with a "
                f"parameter for dropout, or its class; got {estimator!r}"
            )
        names = [n for n in estimator.get_params() if "drop" in n and "input" not in n]
        if len(names) != 1:
            raise TypeError(
                "estimator must have one parameter for the dropout of its hidden layers; "
                f"found {', '.join(names) or 'none'} in {type(estimator).__name__}"
            )
        self.estimator, self.name = estimator, names[0]
        self.p, self.seed, self.level = p, seed, alpha / STATISTICS
        self.masks = cache(self._masks)
        rng = np.random.default_rng(seed)
        self.X = rng.normal(size=(STEPS, 5))
        self.y = np.arange(STEPS) % 2 if self.classifies else rng.normal(size=STEPS)

    def make(self, **params: Any) -> Any:
        """Return an unfitted model with one small layer, trained in one pass."""
        small = {
            "hidden_layer_sizes": (UNITS,),
            "activation": "logistic",  # no unit is 0 unless it is dropped
            "solver": "sgd",
            "learning_rate_init": 1e-3
            * (1 - self.p) ** 2,  # 1/(1-p) must not make it diverge
            "alpha": 0.0,
            "batch_size": 1,
            "max_iter": 1,
            "shuffle": False,
            "random_state": self.seed,
            self.name: self.p,
        }
        return self.clone(self.estimator).set_params(**(small | params))

    def few(self, n: int = 20) -> tuple[Array, Array]:
        return self.X[:n], self.y[:n]

    def _masks(self, batch: int = 1) -> tuple[Array, Array]:
        """Train; return what was kept of the hidden layer in each update, and its scale.

        The gradient of the weights out of a unit is 0 if, and only if, no sample of the batch
        kept it. In a network with one layer of hidden units, what the output gets of them is
        their sum of weighted activations times the scale, which can be solved for.
        """
        model, seen = self.make(batch_size=batch), []

        def watch(X: Array, W: list, b: list, output: Array, gradients: list) -> None:
            kept = _kept(gradients)
            hidden = 1 / (1 + np.exp(-(X @ W[0] + b[0])))
            scale = (_logits(model, output) - b[1]) / ((hidden * kept) @ W[1])
            seen.append((kept, np.median(scale)))

        watched(model, watch).fit(self.X, self.y)
        masks, scales = map(np.array, zip(*seen, strict=True))
        return masks, scales


def watched(model: Any, watch: Callable[..., None]) -> Any:
    """Have every update looked at: X, the parameters before, the output, the gradients."""
    backprop, forward = model._backprop, model._forward_pass
    outputs: list[Array] = []

    def forward_spy(*args: Any, **kwargs: Any) -> Any:
        activations = forward(*args, **kwargs)
        outputs.append(activations[-1])
        return activations

    def backprop_spy(X: Array, *args: Any, **kwargs: Any) -> Any:
        before = copy.deepcopy((model.coefs_, model.intercepts_))
        result = backprop(X, *args, **kwargs)
        watch(X, *before, outputs.pop(), result[1])
        return result

    model._backprop, model._forward_pass = backprop_spy, forward_spy
    return model


def _kept(gradients: list) -> Array:
    """Return which hidden units have a gradient on their outgoing weights."""
    return (gradients[1] != 0).any(axis=1)


def _logits(model: Any, output: Array) -> Array:
    return (
        np.log(output / (1 - output)) if model.out_activation_ == "logistic" else output
    )


# Checks


@CHECKS.add("trains", "A small network is fitted, and predicts finite numbers.")
def trains(s: Subject) -> Result:
    X, y = s.few()
    if not np.isfinite(s.make().fit(X, y).predict(X)).all():
        raise ValueError("predictions are not finite")
    return Result("pass", "yes")


@CHECKS.add(
    "backward",
    "The gradient equals central differences of the model's own loss in training.",
)
def gradient(s: Subject) -> Result:
    errors = {
        name: max(_gradient_error(s, name, s.seed + i) for i in range(3))
        for name in ("relu", "tanh", "logistic", "identity")
    }
    measured = "relative error " + ", ".join(
        f"{e:.1g} {name}" for name, e in errors.items()
    )
    if max(errors.values()) <= 1e-6:
        return Result("pass", measured, "1e-06")
    why = (
        "scikit-learn reads slopes off the stored activations: a mask put there changes them, and "
        "the error that comes back passes no mask or no scale. Training follows another slope."
    )
    return Result("fail", measured, "1e-06", why)


def _gradient_error(
    s: Subject, activation: str, seed: int, step: float = 1e-6
) -> float:
    X, y = s.few(12)
    p = min(s.p, 0.5)  # scikit-learn clips the loss of outputs that are far out
    model = s.make(
        **{s.name: p, "hidden_layer_sizes": (6, 5), "activation": activation},
        max_iter=3,
        random_state=seed,
    ).fit(X, y)
    numeric = []
    for array in model.coefs_ + model.intercepts_:
        for index in np.ndindex(array.shape):
            value, losses = array[index], []
            for shift in (step, -step):
                array[index] = value + shift
                losses.append(_step(s, model, X, y)[0])
            array[index] = value
            numeric.append((losses[0] - losses[1]) / (2 * step))
    _, *parts = _step(s, model, X, y)
    analytic = np.concatenate([g.ravel() for part in parts for g in part])
    return float(
        np.linalg.norm(analytic - numeric) / max(float(np.linalg.norm(numeric)), 1e-3)
    )


def _step(s: Subject, model: Any, X: Array, y: Array) -> Any:
    """Return loss and gradients of one update, with the same masks each time."""
    model = copy.deepcopy(model)
    np.random.seed(s.seed)  # noqa: NPY002
    if s.classifies:
        y = model._label_binarizer.transform(y)
    layers = len(model.coefs_)
    given = {
        "X": X,
        "y": y.reshape(len(y), -1),
        "sample_weight": None,
        "activations": [X, *[None] * layers],
        "layer_units": [X.shape[1], *model.hidden_layer_sizes, model.n_outputs_],
    }
    names = list(inspect.signature(model._backprop).parameters)
    if "X" not in names:  # it hands on whatever it gets
        names = list(inspect.signature(s.parent()._backprop).parameters)
    return model._backprop(*(given.get(name, [None] * layers) for name in names))[:3]


@CHECKS.add("drop rate", "A hidden unit is dropped with probability p.")
def drop_rate(s: Subject) -> Result:
    masks, _ = s.masks()
    n, kept = masks.size, int(masks.sum())
    low, high = stats.binom.ppf([s.level / 2, 1 - s.level / 2], n, s.p) / n
    bound = f"{low:.3f} to {high:.3f}"
    if two_sided(stats.binom(n, 1 - s.p), kept) < s.level:
        why = f"p = {s.p} was asked for: results are those of another p."
        return Result("fail", f"{1 - kept / n:.4f}", bound, why)
    return Result("pass", f"{1 - kept / n:.4f}", bound)


@CHECKS.add(
    "survivors' scale",
    "Kept units are multiplied by 1/(1-p), as nothing is scaled at the end.",
)
def scale(s: Subject) -> Result:
    _, scales = s.masks()
    scales = scales[np.isfinite(scales)]  # with no unit kept there is no scale to see
    found, wanted = float(np.median(scales)), 1 / (1 - s.p)
    if (
        abs(found / wanted - 1) > 1e-3
        or np.quantile(np.abs(scales / found - 1), 0.9) > 1e-3
    ):
        why = f"The output layer sees {found * (1 - s.p):.3g} of what it gets at inference."
        return Result("fail", f"{found:.4g}", f"{wanted:.4g}", why)
    return Result("pass", f"{found:.4g}", f"{wanted:.4g}")


@CHECKS.add("samples independent", "Every sample of a batch has a mask of its own.")
def samples_independent(s: Subject) -> Result:
    batch = 4
    masks, _ = s.masks(batch)
    n, lost, expected = masks.size, int((~masks).sum()), s.p**batch
    measured = f"{lost / n:.3f} of the units dropped for all {batch} samples"
    bound = f"{expected:.3f}"
    if two_sided(stats.binom(n, expected), lost) < s.level:
        why = (
            "One mask for a whole batch: the noise of the gradient does not average out over the "
            "batch, and each step trains one thinned network."
        )
        return Result("fail", measured, bound, why)
    return Result("pass", measured, bound)


@CHECKS.add(
    "fresh mask every call",
    "The next step draws again, and so does the next partial_fit.",
)
def fresh_mask(s: Subject) -> Result:
    masks, _ = s.masks()
    steps = masks[:-1:2], masks[1::2]
    found = correlation(*steps)
    if overlap_p(*steps) < s.level:
        why = "A mask that comes again and again makes one smaller network, and averages nothing."
        return Result("fail", f"correlation {found:+.3f}", "0", why)
    first: list[Array] = []
    calls = watched(s.make(), lambda *seen: first.append(_kept(seen[-1])))
    X, y = s.few()
    for _ in range(2):
        calls.partial_fit(
            X, y, **({"classes": [0, 1]} if s.classifies and not first else {})
        )
    calls_masks = np.array(first).reshape(2, -1)
    if overlap_p(*calls_masks) < s.level:
        why = "Each call of partial_fit starts the same masks again: the seed is used anew."
        return Result("fail", "the masks of partial_fit repeat", "others", why)
    return Result("pass", f"correlation {found:+.3f}", "0")


@CHECKS.add("inference", "Predictions are those of the whole network, every time.")
def inference(s: Subject) -> Result:
    X, y = s.few()
    model = s.make(max_iter=3).fit(X, y)
    hidden = 1 / (1 + np.exp(-(X @ model.coefs_[0] + model.intercepts_[0])))
    expected = (hidden @ model.coefs_[1] + model.intercepts_[1])[:, 0]
    predicted = model.predict_proba(X)[:, 1] if s.classifies else model.predict(X)
    found = _logits(model, predicted)
    if not np.allclose(found, expected, rtol=1e-6, atol=1e-9):
        return Result(
            "fail", "something else", "the whole network", "Predictions are noisy."
        )
    return Result("pass", "the whole network", "the whole network")


@CHECKS.add(
    "p = 0",
    "scikit-learn's own model to the last bit, or an error that says it cannot be.",
)
def p_zero(s: Subject) -> Result:
    X, y = s.few()
    try:
        ours = s.make(batch_size=5, max_iter=3, shuffle=True, **{s.name: 0.0}).fit(X, y)
    except ValueError:
        why = "A search over p that starts at 0 stops with an error."
        return Result("note", "refused", "the same", why)
    names = s.parent().get_params()
    theirs = s.parent(**{name: getattr(ours, name) for name in names}).fit(X, y)
    if not all(map(np.array_equal, ours.coefs_, theirs.coefs_)):
        why = "A search over p that starts at 0 compares with another model than scikit-learn's."
        return Result("fail", "another model", "the same", why)
    return Result("pass", "the same", "the same")


@CHECKS.add("p = 1", "Finite numbers, or an error that says that it cannot be.")
def p_one(s: Subject) -> Result:
    X, y = s.few()
    try:
        model = s.make(**{s.name: 1.0}).fit(X, y)
    except ValueError:
        return Result("note", "refused", "finite", "p = 1 is not taken.")
    if not all(np.isfinite(a).all() for a in model.coefs_):
        why = "A sweep over p that ends at 1 fills the network with NaN."
        return Result("fail", "NaN or inf", "finite", why)
    return Result("pass", "finite", "finite")


@CHECKS.add("bad p refused", "A p outside [0, 1], or NaN, raises an error.")
def bad_p(s: Subject) -> Result:
    taken = []
    for p in (-0.1, 1.5, float("nan")):
        try:
            s.make(**{s.name: p}).fit(*s.few())
        except Exception:
            continue
        taken.append(str(p))
    if taken:
        why = "A slip such as 50 for 50 percent goes unseen."
        return Result("fail", f"took {', '.join(taken)}", "an error", why)
    return Result("pass", "an error", "an error")


@CHECKS.add("dtype and layout", "float32 stays float32, as in scikit-learn's model.")
def dtype_kept(s: Subject) -> Result:
    X, y = s.few()
    y = y if s.classifies else y.astype(np.float32)
    found = {str(a.dtype) for a in s.make().fit(X.astype(np.float32), y).coefs_}
    if found != {"float32"}:
        return Result(
            "fail", ", ".join(sorted(found)), "float32", "Twice the memory, and slower."
        )
    return Result("pass", "float32", "float32")


@CHECKS.add("seedable", "One random_state, one model; another one, another model.")
def seedable(s: Subject) -> Result:
    first, again, other = (
        s.make(random_state=seed).fit(*s.few()).coefs_[1] for seed in (1, 1, 2)
    )
    if not np.array_equal(first, again):
        why = "No run can be repeated: the masks do not come from random_state."
        return Result("fail", "one seed, two models", "one seed, one model", why)
    if np.array_equal(first, other):
        return Result(
            "fail", "two seeds, one model", "another model", "The seed has no effect."
        )
    return Result("pass", "repeatable", "repeatable")


@CHECKS.add("global state left alone", "Nobody else's random numbers change.")
def global_state(s: Subject) -> Result:
    before = global_states()
    s.make().fit(*s.few())
    if global_states() != before:
        why = "Other parts of a program get other random numbers because this one ran."
        return Result("fail", "changed", "unchanged", why)
    return Result("pass", "unchanged", "unchanged")


def audit_estimator(
    estimator: Any, *, p: float = 0.5, seed: int = 0, alpha: float = 1e-6
) -> AuditReport:
    """Check a multilayer perceptron of scikit-learn that was given dropout.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor, or a class derived from one
        With one parameter, its name containing "drop", for the drop probability of the hidden
        units. Copies of it are trained on small data.
    p : float
        The drop probability (not the keep probability!), in (0, 1).
    seed : int
        Decides the data and, as `random_state`, all masks.
    alpha : float
        The probability, at most, that any check fails a right implementation by chance.

    Returns
    -------
    AuditReport

    Raises
    ------
    TypeError
        If `estimator` is not as above.
    ValueError
        If `p` or `alpha` is not in (0, 1).

    Notes
    -----
    Masks are read off the gradients: that of the weights out of a unit is 0 exactly if the unit
    was dropped. So it does not matter where an implementation keeps its masks.

    Examples
    --------
    >>> from companion.estimators import MLPDropoutRegressor
    >>> audit_estimator(MLPDropoutRegressor).passed
    True
    """
    check_probability(p)
    check_inside(p, "p")
    check_inside(alpha, "alpha")
    estimator = estimator() if isinstance(estimator, type) else estimator
    subject = Subject(estimator, float(p), seed, alpha)
    return AuditReport(type(estimator).__name__, run_checks(CHECKS, subject))
