"""Speed of MLPDropoutClassifier: an epoch, against scikit-learn's own model and against skorch."""

from functools import partial

import numpy as np
import sklearn
import torch
from side_by_side import medians
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier
from torch import nn

from companion.estimators import MLPDropoutClassifier

SAMPLES, BATCH, ROUNDS = 20_000, 200, 9


def in_skorch() -> NeuralNetClassifier:
    network = nn.Sequential(
        *(nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(256, 10),
    )
    return NeuralNetClassifier(
        network,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        batch_size=BATCH,
        max_epochs=1,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )


def print_epochs(dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(0)
    X = rng.random((SAMPLES, 784)).astype(dtype)
    y = np.arange(SAMPLES) % 10
    ours = partial(MLPDropoutClassifier, (256, 256), batch_size=BATCH)
    models = {
        "MLPClassifier": MLPClassifier((256, 256), batch_size=BATCH),
        "MLPDropoutClassifier, no dropout": ours(dropout=0),
        "MLPDropoutClassifier": ours(),
        "  and input_dropout=0.2": ours(input_dropout=0.2),
        '  mask_per="batch"': ours(mask_per="batch"),
    }
    if dtype is np.float32:
        models["skorch, nn.Dropout"] = in_skorch()
    runs = {
        name: partial(
            model.partial_fit,
            X,
            y,
            **({} if "skorch" in name else {"classes": range(10)}),
        )
        for name, model in models.items()
    }
    times, ratios = medians(runs, ROUNDS)
    print(f"\n{dtype.__name__:<38}{'s an epoch':>14}{'time / none':>14}")
    for name, took, ratio in zip(runs, times, ratios, strict=True):
        print(f"  {name:<36}{took:>14.2f}{ratio:>14.2f}")


def main() -> None:
    torch.set_num_threads(1)
    print(
        f"784-256-256-10, {SAMPLES:,} samples in batches of {BATCH}, Adam, one thread"
    )
    print(f"medians of {ROUNDS} rounds; scikit-learn {sklearn.__version__}")
    print_epochs(np.float32)
    print_epochs(np.float64)


if __name__ == "__main__":
    main()
