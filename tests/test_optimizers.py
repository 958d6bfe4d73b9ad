"""One step of descent for each array, in place, by its own gradient and rate."""

import numpy as np
import pytest

from companion.optimizers import adam, sgd


@pytest.mark.parametrize(
    "make", [lambda: sgd([0.1, 0.1], 0.9), lambda: adam([0.1] * 2)]
)
@pytest.mark.parametrize("missing", ["gradient", "array"])
def test_every_array_needs_a_gradient(make, missing):
    arrays, gradients = [np.ones(2), np.ones(3)], [np.ones(2), np.ones(3)]
    (gradients if missing == "gradient" else arrays).pop()
    with pytest.raises(ValueError, match="zip"):
        make()(arrays, gradients)


@pytest.mark.parametrize("make", [sgd, adam])
def test_every_array_needs_a_rate(make):
    step = make([0.1], 0.9)
    with pytest.raises(ValueError, match="zip"):
        step([np.ones(2), np.ones(3)], [np.ones(2), np.ones(3)])
