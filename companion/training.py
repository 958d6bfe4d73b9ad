"""Small training loops for PyTorch networks, repeatable from a seed."""

from collections.abc import Callable
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from companion.checks import check_count
from companion.history import History
from companion.progress import progress_bar

try:
    import torch
except ImportError:
    raise ImportError(
        'companion.training needs PyTorch: pip install "dropout-companion[torch]"'
    ) from None

__all__ = ["evaluate", "fit", "predict", "seeded"]

Made = TypeVar("Made")


def seeded(seed: int, make: Callable[[], Made]) -> Made:
    """Call `make` with PyTorch's generator seeded, and put the generator back afterwards.

    Parameters
    ----------
    seed : int
    make : callable
        Anything that draws from PyTorch's global generator, such as the making of a network.

    Returns
    -------
    object
        What `make` returns.

    Examples
    --------
    >>> a, b = (seeded(0, lambda: torch.nn.Linear(3, 2)) for _ in range(2))
    >>> bool((a.weight == b.weight).all())
    True
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        return make()


def fit(
    network: torch.nn.Module,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    batch_size: int = 256,
    seed: int = 0,
    validation: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    progress: bool = False,
) -> History:
    """Train a classifier on mini-batches, and measure it after each epoch.

    Parameters
    ----------
    network : torch.nn.Module
        Gives logits, shape (n_samples, n_classes). Trained in place, in training mode.
    X : array_like of float32, shape (n_samples, ...)
    y : array_like of int, shape (n_samples,)
        Classes, 0 to ``n_classes - 1``.
    optimizer : torch.optim.Optimizer
        Of the network's parameters.
    epochs, batch_size : int
        At least 1. The last batch of an epoch may be smaller.
    seed : int
        Decides the order of the batches and, through PyTorch's generator, the masks of layers
        that have no generator of their own. The generator is put back afterwards.
    validation : (X, y), optional
        Measured after each epoch, never trained on.
    progress : bool
        Show a progress bar; needs tqdm.

    Returns
    -------
    companion.network.History
        Mean cross-entropy in nats, and accuracy, after each epoch, in evaluation mode.

    Raises
    ------
    ValueError
        If `epochs` or `batch_size` is below 1, `X` and `y` differ in length or are empty, a
        class is negative, or `validation` is not a pair.
    TypeError
        If `y` is not of an integer dtype, or `epochs` or `batch_size` is not an int.
    FloatingPointError
        If a loss is not finite; most often the learning rate is too high.

    Examples
    --------
    >>> network = seeded(0, lambda: torch.nn.Linear(1, 2))
    >>> sgd = torch.optim.SGD(network.parameters(), lr=1.0)
    >>> X, y = torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1])
    >>> fit(network, X, y, optimizer=sgd, epochs=9).train_accuracy[-1]
    1.0
    """
    epochs = check_count(epochs, "epochs")
    batch_size = check_count(batch_size, "batch_size")
    inputs, labels = _pair(X, y)
    measured: dict[Literal["train", "val"], tuple[torch.Tensor, torch.Tensor]]
    measured = {"train": (inputs, labels)}
    if validation is not None:
        if len(validation) != 2:
            raise ValueError(
                f"validation must be a pair (X, y); got {len(validation)} items"
            )
        measured["val"] = _pair(*validation)
    order = torch.Generator().manual_seed(seed)
    history = History()

    def train() -> None:
        for _ in progress_bar(epochs) if progress else range(epochs):
            network.train()
            for batch in torch.randperm(len(inputs), generator=order).split(batch_size):
                optimizer.zero_grad()
                logits = network(inputs[batch])
                loss = torch.nn.functional.cross_entropy(logits, labels[batch])
                if not loss.isfinite():
                    raise FloatingPointError(
                        "the loss is not finite: lower the learning rate"
                    )
                loss.backward()
                optimizer.step()
            for part, pair in measured.items():
                history.record(part, *evaluate(network, *pair))

    seeded(seed, train)
    return history


def evaluate(
    network: torch.nn.Module, X: npt.ArrayLike, y: npt.ArrayLike
) -> tuple[float, float]:
    """Measure a classifier in evaluation mode.

    Parameters
    ----------
    network, X, y
        As for `fit`.

    Returns
    -------
    loss : float
        Mean cross-entropy, in nats.
    accuracy : float
        Fraction of right answers.

    Examples
    --------
    >>> loss, accuracy = evaluate(torch.nn.Identity(), [[0.0, 9.0], [9.0, 0.0]], [1, 1])
    >>> accuracy
    0.5
    """
    inputs, labels = _pair(X, y)
    logits = predict(network, inputs)
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    return loss, (logits.argmax(1) == labels).double().mean().item()


def predict(network: torch.nn.Module, X: npt.ArrayLike) -> torch.Tensor:
    """Return the logits of a network in evaluation mode; every layer's mode is put back.

    Parameters
    ----------
    network : torch.nn.Module
    X : array_like, shape (n_samples, ...)

    Returns
    -------
    torch.Tensor, shape (n_samples, n_classes)

    Examples
    --------
    >>> predict(torch.nn.Dropout(0.5), [[1.0, 2.0]])
    tensor([[1., 2.]])
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            return network(_tensor(X))
    finally:
        for module, training in modes.items():
            module.training = training


def _pair(X: npt.ArrayLike, y: npt.ArrayLike) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, labels = _tensor(X), _tensor(y)
    if len(inputs) != len(labels) or len(inputs) == 0:
        raise ValueError(
            f"X and y must have as many samples, at least 1; "
            f"got {len(inputs)} and {len(labels)}"
        )
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(f"y must hold integer classes; got {labels.dtype}")
    if labels.min() < 0:
        raise ValueError(f"classes are counted from 0; got {labels.min()}")
    return inputs, labels.long()


def _tensor(values: npt.ArrayLike) -> torch.Tensor:
    """A copy of an array, for torch cannot share one that is read-only or reversed."""
    if isinstance(values, np.ndarray):
        return torch.from_numpy(values.copy())
    return torch.as_tensor(values)
