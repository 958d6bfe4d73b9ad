"""The counter-based generator: its published answers, where its bits come from, their statistics.

Statistical bounds are 5 standard errors: a right program leaves them once in two million
draws, and with the fixed keys used here never.
"""

import golden
import numpy as np
import pytest

from companion.counter import bernoulli_mask, half_words, threshold_of


@pytest.mark.parametrize("case", golden.masks(), ids=lambda case: case.name)
def test_numpy_gives_the_golden_masks(case):
    if case.start:
        halves = half_words(case.mask.size, case.key, start=case.start)
        mask = (halves >= threshold_of(case.p)).reshape(case.shape)
    else:
        mask = bernoulli_mask(
            case.shape, case.p, case.key, shared_axes=case.shared_axes
        )
    np.testing.assert_array_equal(mask, case.mask)


@pytest.mark.parametrize("case", golden.half_words(), ids=lambda case: case.name)
def test_numpy_gives_the_golden_half_words(case):
    n = len(case.half_words)
    found = half_words(n, case.key, start=case.start, stream=case.stream)
    np.testing.assert_array_equal(found, case.half_words)


def test_golden_file_is_what_its_program_writes():
    assert golden.FILE.read_text() == golden.text()
