"""Does dropout help scikit-learn's multilayer perceptron, and does tuned weight decay do as well?

Three data sets that ship with scikit-learn, five-fold stratified cross-validation repeated six
times, and four models on the same splits: neither, dropout of 0.5, the best `alpha` of five and
the best `dropout` of five, both chosen inside each training part by three-fold cross-validation.
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
REPEATS = range(6)
DATA = ("digits", "breast_cancer", "wine")
MODELS = ("neither", "dropout 0.5", "tuned alpha", "tuned dropout")
SETTINGS: dict[str, Any] = {
    "hidden_layer_sizes": [128, 128],
    "batch_size": 64,
    "max_iter": 100,
    "alpha": [1e-4, 1e-2, 1e-1, 1.0, 10.0],
    "dropout": [0.0, 0.1, 0.25, 0.5, 0.75],
    "folds": 5,
    "inner_folds": 3,
}


def candidate(model: str, seed: int) -> Any:
    fixed = ("hidden_layer_sizes", "batch_size", "max_iter")
    network = MLPDropoutClassifier(
        dropout=0.5 if model == "dropout 0.5" else 0.0,
        n_iter_no_change=SETTINGS["max_iter"],  # every network trains for as long
        random_state=seed,
        **{name: SETTINGS[name] for name in fixed},
    )
    pipeline = make_pipeline(StandardScaler(), network)
    if not model.startswith("tuned"):
        return pipeline
    name = model.removeprefix("tuned ")
    folds = StratifiedKFold(SETTINGS["inner_folds"], shuffle=True, random_state=seed)
    grid = {f"mlpdropoutclassifier__{name}": SETTINGS[name]}
    return GridSearchCV(pipeline, grid, scoring="neg_log_loss", cv=folds)


def run(data: str, model: str, repeat: int) -> Run:
    X, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    folds = StratifiedKFold(SETTINGS["folds"], shuffle=True, random_state=repeat)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # max_iter is meant
        scores = cross_validate(
            candidate(model, repeat),
            *(X.astype(np.float32), y),
            cv=folds,
            scoring=("accuracy", "neg_log_loss"),
            return_estimator=True,
        )
    measured = {
        "accuracy": scores["test_accuracy"].round(6).tolist(),
        "log_loss": (-scores["test_neg_log_loss"]).round(6).tolist(),
    }
    if model.startswith("tuned"):
        best = [search.best_params_ for search in scores["estimator"]]
        measured["chosen"] = [value for params in best for value in params.values()]
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
