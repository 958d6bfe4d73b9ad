"""The checks of a multilayer perceptron of scikit-learn that was given dropout."""

from typing import TYPE_CHECKING, Any

import numpy as np

from companion.audit.chance import correlation, overlap_p, two_sided
from companion.audit.gradient import gradient_error
from companion.audit.report import AuditReport
from companion.audit.runner import Checks, Result, run_checks
from companion.audit.state import global_states
from companion.checks import check_inside, check_probability

from scipy import stats  # isort: skip

if TYPE_CHECKING:
    from companion.audit.watched import Subject

CHECKS = Checks()


@CHECKS.add(
    "trains", "A small network is fitted, and predicts finite numbers.", "DR401"
)
def trains(s: "Subject") -> Result:
    if not np.isfinite(s.predicted(s.fitted())).all():
        raise ValueError("predictions are not finite")
    return Result("pass", "yes")


@CHECKS.add(
    "backward",
    "The gradient equals central differences of the model's own loss in training.",
    "DR402",
)
def gradient(s: "Subject") -> Result:
    errors = {
        name: max(gradient_error(s, name, s.seed + i) for i in range(3))
        for name in ("relu", "tanh", "logistic", "identity")
    }
    said = ", ".join(f"{error:.1g} {name}" for name, error in errors.items())
    if max(errors.values()) <= 1e-6:
        return Result("pass", f"relative error {said}", "1e-06")
    why = (
        "scikit-learn reads slopes off the stored activations: a mask put there changes them, and "
        "the error that comes back passes no mask or no scale. Training follows another slope."
    )
    return Result("fail", f"relative error {said}", "1e-06", why)


@CHECKS.add("drop rate", "A hidden unit is dropped with probability p.", "DR403")
def drop_rate(s: "Subject") -> Result:
    masks = s.masks().kept
    n, kept = masks.size, int(masks.sum())
    low, high = stats.binom.ppf([s.level / 2, 1 - s.level / 2], n, s.p) / n
    measured, bound = f"{1 - kept / n:.4f}", f"{low:.3f} to {high:.3f}"
    if two_sided(stats.binom(n, 1 - s.p), kept) < s.level:
        why = f"p = {s.p} was asked for: results are those of another p."
        return Result("fail", measured, bound, why)
    return Result("pass", measured, bound)


@CHECKS.add(
    "survivors' scale",
    "Kept units are multiplied by 1/(1-p), as nothing is scaled at the end.",
    "DR404",
)
def scale(s: "Subject") -> Result:
    scales = s.masks().scales
    scales = scales[np.isfinite(scales)]  # with no unit kept there is no scale to see
    found, wanted = float(np.median(scales)), 1 / (1 - s.p)
    uneven = np.quantile(np.abs(scales / found - 1), 0.9)
    if abs(found / wanted - 1) > 1e-3 or uneven > 1e-3:
        why = f"The output layer sees {found * (1 - s.p):.3g} of what it gets at inference."
        return Result("fail", f"{found:.4g}", f"{wanted:.4g}", why)
    return Result("pass", f"{found:.4g}", f"{wanted:.4g}")


@CHECKS.add(
    "samples independent", "Every sample of a batch has a mask of its own.", "DR405"
)
def samples_independent(s: "Subject") -> Result:
    batch = 4
    dropped = ~s.masks(batch).kept
    n, lost, expected = dropped.size, int(dropped.sum()), s.p**batch
    measured = f"{lost / n:.3f} of the units dropped for all {batch} samples"
    if two_sided(stats.binom(n, expected), lost) < s.level:
        why = (
            "One mask for a whole batch: the noise of the gradient does not average out over the "
            "batch, and each step trains one thinned network."
        )
        return Result("fail", measured, f"{expected:.3f}", why)
    return Result("pass", measured, f"{expected:.3f}")


@CHECKS.add(
    "fresh mask every call",
    "The next step draws again, and so does the next partial_fit.",
    "DR406",
)
def fresh_mask(s: "Subject") -> Result:
    masks = s.masks().kept
    steps = masks[:-1:2], masks[1::2]
    measured = f"correlation {correlation(*steps):+.3f}"
    if overlap_p(*steps) < s.level:
        why = "A mask that comes again and again makes one smaller network, and averages nothing."
        return Result("fail", measured, "0", why)
    if overlap_p(*s.masks_of_calls()) < s.level:
        why = "Each call of partial_fit starts the same masks again: the seed is used anew."
        return Result("fail", "the masks of partial_fit repeat", "others", why)
    return Result("pass", measured, "0")


@CHECKS.add(
    "inference", "Predictions are those of the whole network, every time.", "DR407"
)
def inference(s: "Subject") -> Result:
    model, bound = s.fitted(max_iter=3), "the whole network"
    found = s.before_output(s.predicted(model))
    if not np.allclose(found, s.whole(model), rtol=1e-6, atol=1e-9):
        return Result("fail", "something else", bound, "Predictions are noisy.")
    return Result("pass", "the whole network", bound)


@CHECKS.add(
    "p = 0",
    "scikit-learn's own model to the last bit, or an error that says it cannot be.",
    "DR408",
)
def p_zero(s: "Subject") -> Result:
    try:
        ours = s.fitted(batch_size=5, max_iter=3, shuffle=True, **{s.name: 0.0})
    except ValueError:
        why = "A search over p that starts at 0 stops with an error."
        return Result("note", "refused", "the same", why)
    same = {name: getattr(ours, name) for name in s.parent().get_params()}
    theirs = s.parent(**same).fit(*s.few())
    if not all(map(np.array_equal, ours.coefs_, theirs.coefs_)):
        why = "A search over p that starts at 0 compares with another model than scikit-learn's."
        return Result("fail", "another model", "the same", why)
    return Result("pass", "the same", "the same")


@CHECKS.add(
    "p = 1",
    "Finite numbers, or an error that says that it cannot be.",
    "DR409",
    edge=True,
)
def p_one(s: "Subject") -> Result:
    try:
        model = s.fitted(**{s.name: 1.0})
    except ValueError:
        return Result("note", "refused", "finite", "p = 1 is not taken.")
    if not all(np.isfinite(a).all() for a in model.coefs_):
        why = "A sweep over p that ends at 1 fills the network with NaN."
        return Result("fail", "NaN or inf", "finite", why)
    return Result("pass", "finite", "finite")


@CHECKS.add(
    "bad p refused", "A p outside [0, 1], or NaN, raises an error.", "DR410", edge=True
)
def bad_p(s: "Subject") -> Result:
    taken = []
    for p in (-0.1, 1.5, float("nan")):
        try:
            s.fitted(**{s.name: p})
        except Exception:
            continue
        taken.append(str(p))
    if taken:
        why = "A slip such as 50 for 50 percent goes unseen."
        return Result("fail", f"took {', '.join(taken)}", "an error", why)
    return Result("pass", "an error", "an error")


@CHECKS.add(
    "dtype and layout",
    "float32 stays float32, as in scikit-learn's model.",
    "DR411",
    edge=True,
)
def dtype_kept(s: "Subject") -> Result:
    X, y = s.few()
    y = y if s.classifies else y.astype(np.float32)
    model = s.make().fit(X.astype(np.float32), y)
    found = ", ".join(sorted({str(a.dtype) for a in model.coefs_}))
    if found != "float32":
        return Result("fail", found, "float32", "Twice the memory, and slower.")
    return Result("pass", "float32", "float32")


@CHECKS.add(
    "seedable",
    "One random_state, one model; another one, another model.",
    "DR412",
    edge=True,
)
def seedable(s: "Subject") -> Result:
    first, again, other = (s.fitted(random_state=n).coefs_[1] for n in (1, 1, 2))
    if not np.array_equal(first, again):
        why = "No run can be repeated: the masks do not come from random_state."
        return Result("fail", "one seed, two models", "one seed, one model", why)
    if np.array_equal(first, other):
        why = "The seed has no effect."
        return Result("fail", "two seeds, one model", "another model", why)
    return Result("pass", "repeatable", "repeatable")


@CHECKS.add(
    "global state left alone",
    "Nobody else's random numbers change.",
    "DR413",
    edge=True,
)
def global_state(s: "Subject") -> Result:
    before = global_states()
    s.fitted()
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
    from companion.audit.watched import Subject  # which needs scikit-learn

    check_inside(check_probability(p), "p")
    check_inside(alpha, "alpha")
    estimator = estimator() if isinstance(estimator, type) else estimator
    subject = Subject(estimator, float(p), seed, alpha)
    return AuditReport(type(estimator).__name__, run_checks(CHECKS, subject))
