"""Small training loops for PyTorch networks, repeatable from a seed."""

from collections.abc import Callable
from typing import TypeVar

import numpy.typing as npt

from companion.network import History, epoch_bar

try:
    import torch
except ImportError:
    raise ImportError(
        'companion.training needs PyTorch: pip install "dropout-companion[torch]"'
    ) from None

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
    with torch.random.fork_rng(devices=[]):
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
        If `epochs` or `batch_size` is below 1, or `X` and `y` differ in length.
    FloatingPointError
        If the loss is no longer finite: the learning rate is too high.

    Examples
    --------
    >>> network = seeded(0, lambda: torch.nn.Linear(1, 2))
    >>> sgd = torch.optim.SGD(network.parameters(), lr=1.0)
    >>> X, y = torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1])
    >>> fit(network, X, y, optimizer=sgd, epochs=9).train_accuracy[-1]
    1.0
    """
    for name, count in (("epochs", epochs), ("batch_size", batch_size)):
        if count < 1:
            raise ValueError(f"{name} must be at least 1; got {count}")
    inputs, labels = _pair(X, y)
    measured = {"train": (inputs, labels)}
    if validation is not None:
        measured["val"] = _pair(*validation)
    order = torch.Generator().manual_seed(seed)
    history = History()

    def train() -> None:
        for _ in epoch_bar(epochs) if progress else range(epochs):
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
                mean_loss, accuracy = evaluate(network, *pair)
                getattr(history, f"{part}_loss").append(mean_loss)
                getattr(history, f"{part}_accuracy").append(accuracy)

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
            return network(torch.as_tensor(X))
    finally:
        for module, training in modes.items():
            module.training = training


def _pair(X: npt.ArrayLike, y: npt.ArrayLike) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, labels = torch.as_tensor(X), torch.as_tensor(y)
    if len(inputs) != len(labels):
        raise ValueError(f"X has {len(inputs)} samples and y has {len(labels)}")
    return inputs, labels
