"""The bar that long work shows."""

from collections.abc import Iterable

__all__ = ["progress_bar"]


def progress_bar(count: int, unit: str = "epoch") -> Iterable[int]:
    """Count from 0 to ``count - 1`` behind a progress bar; needs tqdm.

    Examples
    --------
    >>> len(progress_bar(3))
    3
    """
    try:
        from tqdm import trange
    except ImportError:
        raise ImportError(
            'progress=True needs tqdm: pip install "dropout-companion[data]"'
        ) from None
    return trange(count, desc="training", unit=unit)
