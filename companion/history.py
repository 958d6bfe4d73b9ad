"""What a training run measured after each epoch."""

import math
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["History"]


@dataclass
class History:
    """Loss and accuracy after each epoch, dropout off: one number for each epoch.

    Losses are mean cross-entropies in nats, accuracies fractions in [0, 1]. The validation
    lists stay empty if no validation set was given.

    Examples
    --------
    >>> History().train_loss
    []
    """

    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)

    def record(
        self, part: Literal["train", "val"], loss: float, accuracy: float
    ) -> None:
        """Add what an epoch measured; FloatingPointError if the loss is not finite.

        Examples
        --------
        >>> history = History()
        >>> history.record("val", loss=0.5, accuracy=0.9)
        >>> history.val_loss, history.val_accuracy
        ([0.5], [0.9])
        """
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the {part} loss is {loss}: lower the learning rate"
            )
        getattr(self, f"{part}_loss").append(loss)
        getattr(self, f"{part}_accuracy").append(accuracy)
