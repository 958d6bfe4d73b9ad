"""The counter-based generator: its published answers, where its bits come from, their statistics.

The bounds of the statistics are such that a right program leaves each of them once in a million
times: 4.9 standard errors for one number, 6.5 for the largest of 16,384. With the fixed keys used
here it never does.
"""

import math
from fractions import Fraction
from functools import partial
from statistics import NormalDist

import golden
import numpy as np
import pytest

from companion import counter
from companion.counter import (
    FOLD_STREAM,
    MASK_STREAM,
    ROUNDING_STREAM,
    ROUNDS,
    TILE,
    bernoulli_mask,
    fold_in,
    half_words,
    philox4x32,
    scale_of,
    threshold_of,
)
from companion.counter.quality import avalanche, largest_z

KEY = 0x9D3C_51B7_0E86_F24A

# Random123, tests/kat_vectors: rounds, counter and key, answer
KNOWN_ANSWERS = """
7  00000000 00000000 00000000 00000000 00000000 00000000  5f6fb709 0d893f64 4f121f81 4f730a48
7  ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff  5207ddc2 45165e59 4d8ee751 8c52f662
7  243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0  4dfccaba 190a87f0 c47362ba b6b5242a
10 00000000 00000000 00000000 00000000 00000000 00000000  6627e8d5 e169c58d bc57ac4c 9b00dbd8
10 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff  408f276d 41c83b0e a20bc7c6 6d5451fd
10 243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0  d16cfe09 94fdcceb 5001e420 24126ea1
"""


@pytest.mark.parametrize("line", KNOWN_ANSWERS.strip().splitlines())
def test_philox_gives_the_published_answers(line):
    rounds, *words = line.split()
    *words, k0, k1 = (int(word, 16) for word in [*words[:4], *words[6:], *words[4:6]])
    inputs, answer, key = words[:4], words[4:], k0 | k1 << 32
    assert philox4x32(inputs, key, int(rounds)).tolist() == answer
    assert golden.philox(tuple(inputs), key, int(rounds)) == tuple(answer)


def test_philox_takes_counters_of_any_shape():
    counters = np.arange(24, dtype=np.uint32).reshape(2, 3, 4)
    words = philox4x32(counters, KEY)
    assert words.shape == (2, 3, 4)
    assert words.dtype == np.uint32
    assert words[1, 2].tolist() == list(golden.philox((20, 21, 22, 23), KEY))
    assert counters.ravel().tolist() == list(range(24))


@pytest.mark.parametrize("shape", [(), (3,), (4, 5)])
def test_philox_refuses_what_is_not_four_words(shape):
    with pytest.raises(
        ValueError, match=rf"four words.*got shape \({str(shape)[1:-1]}"
    ):
        philox4x32(np.zeros(shape, np.uint32), KEY)


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


# The key


@pytest.mark.parametrize(
    "use",
    [
        partial(philox4x32, [0, 0, 0, 0]),
        partial(half_words, 3),
        partial(bernoulli_mask, 3, 0.5),
        partial(bernoulli_mask, 0, 0),
        fold_in,
        partial(fold_in, 7),
    ],
)
@pytest.mark.parametrize(
    ("key", "error", "words"),
    [
        (
            2**64,
            ValueError,
            "64 bits, from -2\\*\\*63 to 2\\*\\*64 - 1; got 18446744073709551616",
        ),
        (-(2**63) - 1, ValueError, "got -9223372036854775809"),
        (True, TypeError, "int of 64 bits; got True"),
        (1.0, TypeError, "got 1.0"),
        ("7", TypeError, "got '7'"),
        (None, TypeError, "got None"),
    ],
)
def test_what_is_no_key_is_refused(use, key, error, words):
    with pytest.raises(error, match=words):
        use(key)


@pytest.mark.parametrize("key", [-1, -(2**63), 5, np.int64(-3), np.uint64(2**64 - 1)])
def test_a_key_is_read_modulo_2_to_the_64(key):
    same = int(key) % 2**64
    np.testing.assert_array_equal(half_words(9, key), half_words(9, same))
    assert fold_in(key) == same
    assert fold_in(7, key) == fold_in(7, same)


def test_folding_in_draws_from_a_stream_of_its_own():
    low, high = golden.philox((9, 1, FOLD_STREAM, 0), KEY)[:2]
    assert fold_in(KEY, 2**32 + 9) == low + 2**32 * high
    assert len({FOLD_STREAM, MASK_STREAM, ROUNDING_STREAM}) == 3


def test_folding_in_tells_the_order_of_the_numbers():
    assert fold_in(KEY, 1, 2) == fold_in(fold_in(KEY, 1), 2)
    assert len({fold_in(KEY, 1, 2), fold_in(KEY, 2, 1), fold_in(KEY, 1)}) == 3
    with pytest.raises(ValueError, match="each number folded in must be 64 bits"):
        fold_in(KEY, 1, 2**64)


# The positions


@pytest.mark.parametrize("first", [0, 2**32 - 200, 2**35 - 200, 2**36 + 5, 2**67 - 600])
def test_bits_depend_neither_on_n_nor_on_where_a_piece_starts(first):
    whole = half_words(600, KEY, start=first)
    assert whole.tolist() == [golden.half_word(first + i, KEY) for i in range(600)]
    for n in range(301):
        at = n * 37 % 300
        piece = half_words(n, KEY, start=first + at)
        np.testing.assert_array_equal(piece, whole[at : at + n], strict=True)


def test_streams_are_told_apart():
    assert half_words(8, KEY).tolist() == half_words(8, KEY, stream=0).tolist()
    for stream in 1, 2, 2**32 - 1:
        expected = [golden.half_word(i, KEY, stream) for i in range(8)]
        assert half_words(8, KEY, stream=stream).tolist() == expected


@pytest.mark.parametrize(
    "shape", [7, (7,), [2, 3], (2, 3, 4), (2, 0, 3), (), np.int64(5)]
)
@pytest.mark.parametrize("p", [0, 0.3, 1])
def test_mask_is_boolean_and_has_the_shape_asked_for(shape, p):
    mask = bernoulli_mask(shape, p, KEY)
    assert mask.dtype == bool
    assert mask.shape == np.empty(shape).shape
    assert p == 0.3 or (mask == (p == 0)).all()


@pytest.mark.parametrize(
    ("axes", "drawn"),
    [(0, (1, 3, 4)), (-1, (2, 3, 1)), ((0, 2), (1, 3, 1)), ([-3, 1], (1, 1, 4))],
)
def test_along_shared_axes_a_draw_is_repeated(axes, drawn):
    mask = bernoulli_mask((2, 3, 4), 0.5, KEY, shared_axes=axes)
    assert mask.shape == (2, 3, 4)
    assert (mask == bernoulli_mask(drawn, 0.5, KEY)).all()


@pytest.mark.parametrize(("axes", "word"), [(3, "axes of 3"), ((1, -2), "twice")])
def test_axes_that_cannot_be_shared_are_refused(axes, word):
    with pytest.raises(ValueError, match=word):
        bernoulli_mask((2, 3, 4), 0.5, KEY, shared_axes=axes)


# The rate and the scale

RATES = 0, 2**-17, 2**-16, 0.1, 0.3, 1 / 3, 0.5 - 2**-54, 0.5, 0.9, 1 - 2**-53, 1


@pytest.mark.parametrize("p", RATES)
def test_rate_is_p_rounded_down_and_scale_keeps_the_mean_exactly(p, monkeypatch):
    threshold = threshold_of(p)
    assert 0 <= Fraction(p) - Fraction(threshold, 2**16) < Fraction(1, 2**16)
    each_value_once = np.arange(2**16, dtype=np.uint16)
    monkeypatch.setattr(counter, "half_words", lambda n, key: each_value_once)
    kept = int(bernoulli_mask(2**16, p, KEY).sum())
    assert kept == 2**16 - threshold
    assert scale_of(threshold) == (float(Fraction(2**16, kept)) if kept else 0)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_a_rate_is_a_probability(p):
    for use in threshold_of, partial(bernoulli_mask, 3, key=KEY):
        with pytest.raises(ValueError, match=rf"drop probability in \[0, 1\]; got {p}"):
            use(p=p)


# The statistics: each returns how many standard errors its numbers lie from what is right


def chance(count):
    """Return what the largest of `count` standard normal numbers exceeds once in a million."""
    return NormalDist().inv_cdf(1 - 0.5e-6 / count)


def tiles(key, p, *, n=2**13, **where):
    """Return a tile a row: which units are kept, as numbers of mean 0 and variance 1."""
    kept = half_words(n * TILE, key, **where) >= threshold_of(p)
    keep = 1 - threshold_of(p) / 2**16
    z = (kept - keep) / math.sqrt(keep * (1 - keep))
    return z.astype(np.float32).reshape(n, TILE)


def compared(mask, other):
    """Compare each position of a tile with each position of the other's."""
    return mask.T @ other / math.sqrt(len(mask))


def rate():
    """At each rate, of all and of each slot and lane."""
    masks = [tiles(KEY, p) for p in (0.003, 0.1, 0.3, 0.5, 0.9, 0.997)]
    each = [mask.sum(axis=0) / math.sqrt(len(mask)) for mask in masks[1:-1]]
    return [*(mask.sum() / math.sqrt(mask.size) for mask in masks), *np.ravel(each)]


def neighbours():
    """Of units 1 to 300 apart."""
    units = tiles(KEY, 0.1).ravel()
    n = units.size - 300
    return [units[:n] @ units[lag : lag + n] / math.sqrt(n) for lag in range(1, 301)]


def slots_and_lanes():
    mask = tiles(KEY, 0.5, n=2**15)
    return compared(mask, mask)[~np.eye(TILE, dtype=bool)]


def next_tile():
    mask = tiles(KEY, 0.5, n=2**15)
    return compared(mask[:-1], mask[1:])


def far_positions():
    mask = tiles(KEY, 0.5)
    starts = 2**32, 2**35, 2**36, 2**40, 2**60
    return [compared(mask, tiles(KEY, 0.5, start=start)) for start in starts]


def streams():
    mask, *others = (tiles(KEY, 0.5, stream=stream) for stream in range(3))
    return [compared(mask, other) for other in others]


def keys_one_bit_apart():
    mask = tiles(KEY, 0.5, n=2**12)
    keys = [KEY ^ 1 << bit for bit in range(64)]
    return [compared(mask, tiles(key, 0.5, n=2**12)) for key in keys]


def sequential_keys():
    """Of the first 256 units under keys 0, 1, 2, ...: a key a row."""
    masks = np.stack([tiles(key, 0.5, n=2).ravel() for key in range(2**12)])
    pairs = compared(masks, masks)[~np.eye(masks.shape[1], dtype=bool)]
    return [*pairs, *(masks.sum(axis=0) / math.sqrt(len(masks)))]


def folded_keys():
    """Of the bits of keys of one seed and the steps 0, 1, 2, ..."""
    keys = np.array([fold_in(7, step) for step in range(2**12)], np.uint64)
    bits = np.unpackbits(keys.view(np.uint8).reshape(-1, 8), axis=1) * 2.0 - 1
    pairs = compared(bits, bits)[~np.eye(64, dtype=bool)]
    return [*pairs, *(bits.sum(axis=0) / math.sqrt(len(bits)))]


def bytes_of_each_slot():
    """Fisher's normal form of chi-square with 255 degrees of freedom."""
    halves = half_words(2**20, KEY).reshape(-1, 8, TILE // 8)
    found = [
        np.bincount(part.ravel(), minlength=256)
        for slot in np.moveaxis(halves, 1, 0)
        for part in (slot & 255, slot >> 8)
    ]
    counts = np.array(found)
    expected = counts.sum(axis=1, keepdims=True) / 256
    chi2 = ((counts - expected) ** 2 / expected).sum(axis=1)
    return np.sqrt(2 * chi2) - math.sqrt(2 * 255 - 1)


STATISTICS = {  # and the most rounds at which each is seen to be wrong
    rate: 3,
    neighbours: 4,
    slots_and_lanes: 5,
    next_tile: 5,
    far_positions: 6,
    streams: 5,
    keys_one_bit_apart: 5,
    sequential_keys: 5,
    folded_keys: 4,
    bytes_of_each_slot: 4,
}


def worst(statistic):
    """Return the largest deviation as a multiple of what chance allows."""
    z = np.hstack([np.ravel(part) for part in statistic()])
    return abs(z).max() / chance(z.size)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_masks_are_as_random_as_dropout_needs(statistic):
    assert worst(statistic) < 1


@pytest.mark.parametrize(("statistic", "rounds"), STATISTICS.items())
def test_the_same_statistics_see_too_few_rounds(statistic, rounds, monkeypatch):
    monkeypatch.setattr(counter, "philox4x32", partial(philox4x32, rounds=rounds))
    assert worst(statistic) > 1


# The number of rounds

RELATED = {  # and the most rounds at which whole blocks of 128 bits are seen to depend
    "the number of ones": 3,
    "other bits of the block": 3,
    "the next block": 5,
    "16 blocks on": 5,
    "2**32 blocks on": 6,
    "the next stream": 5,
    "a key one bit away": 5,
}


@pytest.mark.parametrize("rounds", [ROUNDS, 10])
@pytest.mark.parametrize("key", [0, -1, KEY])
def test_blocks_of_related_inputs_are_independent(key, rounds):
    found = largest_z(key, rounds)
    assert list(found) == list(RELATED)
    assert 3 < max(found.values()) < chance(128**2)  # of so many, one is 3 by chance


@pytest.mark.parametrize(("name", "rounds"), RELATED.items())
def test_with_fewer_rounds_blocks_of_related_inputs_depend(name, rounds):
    assert largest_z(KEY, rounds)[name] > chance(128**2)


@pytest.mark.parametrize("key", [0, -1, KEY])
def test_one_round_fewer_would_not_do(key):
    assert max(largest_z(key, ROUNDS - 1).values()) > chance(128**2)


COUNTERS = np.random.default_rng(0).integers(2**32, size=(2**11, 4), dtype=np.uint32)


@pytest.mark.parametrize("rounds", [ROUNDS, 10])
def test_each_input_bit_flips_each_output_bit_half_the_time(rounds):
    z = (2 * avalanche(COUNTERS, KEY, rounds) - 1) * math.sqrt(len(COUNTERS))
    assert abs(z).max() < chance(z.size)


@pytest.mark.parametrize("rounds", [3, 4, 5, 6])
def test_with_fewer_rounds_some_bits_do_not_spread(rounds):
    z = (2 * avalanche(COUNTERS, KEY, rounds) - 1) * math.sqrt(len(COUNTERS))
    assert abs(z).max() > 2 * chance(z.size)


@pytest.mark.parametrize("bit", [0, 31, 32, 95, 127, 128, 159, 160, 191])
def test_avalanche_names_the_bits_from_the_lowest_on(bit):
    def number(inputs):
        words = [inputs >> 32 * i & 2**32 - 1 for i in range(4)]
        answer = golden.philox(tuple(words), inputs >> 128)
        return sum(word << 32 * i for i, word in enumerate(answer))

    counter_ = sum(int(word) << 32 * i for i, word in enumerate(COUNTERS[0]))
    inputs = counter_ | KEY << 128
    flips = number(inputs) ^ number(inputs ^ 1 << bit)
    shares = avalanche(COUNTERS[:1], KEY)
    assert shares.shape == (192, 128)
    assert shares[bit].tolist() == [flips >> i & 1 for i in range(128)]
