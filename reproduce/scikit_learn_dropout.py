"""Does dropout help scikit-learn's multilayer perceptron?

Plan, fixed before the run. Three tables that ship with scikit-learn, of the digits the first 600;
five-fold stratified cross-validation repeated four times, so 20 splits; two models on the same
splits, without dropout and with it. The learning rate of each, and the rate of dropout, are chosen
inside each training part, by the log loss in three inner folds. One comparison on each table, in
accuracy and in log loss, with the standard error that Nadeau and Bengio correct. "Better" or
"worse" takes 4 of them; "no difference" takes that the mean difference and 3 of them either way
stay within 0.5 points of accuracy, or within 5% of the log loss without dropout; everything else
is "could not tell".

The results stand in scikit_learn_dropout.json beside this file. A run that is in it already is
not repeated; delete the file to begin again. Run it with ``make reproduce``.
"""

import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from runs import Run, run_missing
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from companion.estimators import MLPDropoutClassifier

RESULTS = Path(__file__).with_suffix(".json")
WHAT = "scikit-learn's networks, tuned, on three tables"
REPEATS = range(4)
DATA = ("digits", "breast_cancer", "wine")
MODELS = {"without": [], "with dropout": ["dropout"]}
SETTINGS: dict[str, Any] = {
    "hidden_layer_sizes": [128],
    "batch_size": 64,
    "max_iter": 100,
    "samples": 600,
    "learning_rate_init": [2e-3, 8e-3],
    "dropout": [0.25, 0.5, 0.75],
    "folds": 5,
    "inner_folds": 3,
}
BEGINNING: dict[str, Any] = {"epochs": 3}


def grid(model: str) -> dict[str, list[float]]:
    """What is chosen for a model, and from which values."""
    names = [*MODELS[model], "learning_rate_init"]
    return {f"mlpdropoutclassifier__{name}": SETTINGS[name] for name in names}


def pipeline(seed: int, epochs: int | None = None) -> Any:
    epochs = epochs or SETTINGS["max_iter"]
    network = MLPDropoutClassifier(
        dropout=0.0,
        hidden_layer_sizes=SETTINGS["hidden_layer_sizes"],
        batch_size=SETTINGS["batch_size"],
        max_iter=epochs,
        n_iter_no_change=epochs,  # every network trains for as long
        random_state=seed,
    )
    return make_pipeline(StandardScaler(), network)


def run(data: str, model: str, repeat: int, epochs: int | None = None) -> Run:
    """Train one model on five splits, and measure it; with `epochs`, the first curves only."""
    X, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    few = slice(SETTINGS["samples"])  # the first 600 digits, and all of the other two
    X, y = X[few].astype(np.float32), y[few]
    folds = StratifiedKFold(SETTINGS["folds"], shuffle=True, random_state=repeat)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # max_iter is meant
        first = pipeline(repeat, epochs)
        first.set_params(**{name: values[0] for name, values in grid(model).items()})
        curves = [
            first.fit(X[train], y[train])[-1].loss_curve_
            for train, _ in folds.split(X, y)
        ]
        measured = {"first_loss": np.mean(curves, axis=0).round(6).tolist()}
        if epochs:
            return measured
        inner = StratifiedKFold(
            SETTINGS["inner_folds"], shuffle=True, random_state=repeat
        )
        search = GridSearchCV(
            pipeline(repeat), grid(model), scoring="neg_log_loss", cv=inner
        )
        scores = cross_validate(
            *(search, X, y),
            cv=folds,
            scoring=("accuracy", "neg_log_loss"),
            return_estimator=True,
        )
    measured["accuracy"] = scores["test_accuracy"].round(6).tolist()
    measured["log_loss"] = (-scores["test_neg_log_loss"]).round(6).tolist()
    best = [search.best_params_ for search in scores["estimator"]]
    for name in grid(model):
        measured[name.split("__")[1]] = [params[name] for params in best]
    return measured


def wanted_runs() -> list[Run]:
    return [
        {"data": data, "model": model, "repeat": repeat}
        for repeat, data, model in product(REPEATS, DATA, MODELS)
    ]


def main() -> None:
    run_missing(RESULTS, WHAT, wanted_runs(), run, SETTINGS, ("numpy", "sklearn"))


if __name__ == "__main__":
    main()
