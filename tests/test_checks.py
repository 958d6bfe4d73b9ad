"""What an argument must be: each check gives the value back, or an error that quotes it."""

import math
from fractions import Fraction

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.array_utils import normalize_axis_tuple
from scipy import sparse

from companion import checks, inverted, masks, standard
from companion.network import MLP

FORMATS = ["bsr", "coo", "csc", "csr", "dia", "dok", "lil"]
ANYTHING = st.one_of(st.integers(-6, 6), st.lists(st.integers(-6, 6), max_size=4))


@given(axes=ANYTHING, ndim=st.integers(0, 5))
def test_axes_are_those_of_numpy(axes, ndim):
    """NumPy's own functions take the same axes, refuse the same, and count them alike."""
    try:
        expected = normalize_axis_tuple(axes, ndim)
    except ValueError:
        with pytest.raises(ValueError, match="shared_axes must") as caught:
            checks.check_axes(axes, ndim)
        assert f"got {axes}" in str(caught.value)
    else:
        assert checks.check_axes(axes, ndim) == expected


@given(p=st.floats(allow_nan=True, allow_infinity=True))
def test_a_probability_is_in_0_to_1(p):
    if 0 <= p <= 1:
        assert checks.check_probability(p) == p
    else:
        with pytest.raises(ValueError, match=r"^input_p is a drop.*; got "):
            checks.check_probability(p, "input_p")


@pytest.mark.parametrize("p", [1, np.float16(0.25), Fraction(1, 3)], ids=repr)
def test_a_probability_comes_back_as_a_float(p):
    found = checks.check_probability(p)
    assert type(found) is float
    assert found == float(p)


TAKES_AN_ARRAY = {
    "inverted": lambda x: inverted.dropout(x, 0.5),
    "inverted, p = 0": lambda x: inverted.dropout(x, 0),
    "inverted, at inference": lambda x: inverted.dropout(x, 0.5, training=False),
    "apply_mask": lambda x: inverted.apply_mask(x, np.True_, 0.5),
    "backward": lambda x: inverted.dropout_backward(x, None, 0.5),
    "standard": lambda x: standard.dropout(x, 0.5, training=True),
    "standard, at test time": lambda x: standard.dropout(x, 0.5, training=False),
    "scale_weights": lambda x: standard.scale_weights(x, 0.5),
    "select": lambda x: masks.select(x, np.True_),
    "fit": lambda x: MLP([3, 2]).fit(x, [0, 1, 1]),
    "labels": lambda x: MLP([3, 2]).fit(np.eye(3), x),
    "predict": lambda x: MLP([3, 2]).predict(x),
}
every_function = pytest.mark.parametrize(
    "call", TAKES_AN_ARRAY.values(), ids=TAKES_AN_ARRAY
)


@every_function
@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("form", FORMATS)
def test_sparse_arrays_are_refused_with_the_way_out(form, kind, call):
    x = getattr(sparse, f"{form}_{kind}")(np.eye(3))
    with pytest.raises(TypeError, match=rf"sparse {form}_{kind}: use \w+\.toarray\(\)"):
        call(x)


@every_function
def test_masked_elements_are_refused_and_not_read_as_numbers(call):
    with pytest.raises(TypeError, match=r"must not be masked.*: use \w+\.filled\("):
        call(np.ma.masked_equal(np.eye(3), 0))


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("kind", [np.ma.masked_array, np.matrix, pandas.DataFrame])
def test_other_kinds_of_array_are_read_as_arrays(kind):
    y = inverted.dropout(kind(np.eye(3)), 0.5, rng=1)
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, inverted.dropout(np.eye(3), 0.5, rng=1))


def test_a_table_with_words_in_it_is_refused():
    with pytest.raises(TypeError, match="got object"):
        inverted.dropout(pandas.DataFrame({"a": [1.0], "b": ["b"]}), 0.5)


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.1, math.nan])
def test_inside_leaves_out_the_ends(value):
    with pytest.raises(ValueError, match=f"alpha must lie between.*got {value!r}$"):
        checks.check_inside(value, "alpha")


@pytest.mark.parametrize("value", [1e-9, 0.5, 1 - 1e-9])
def test_inside_gives_the_value_back(value):
    assert checks.check_inside(value, "alpha") == value


@pytest.mark.parametrize("value", [1, 7, np.int64(3)])
def test_a_count_comes_back_as_an_int(value):
    found = checks.check_count(value, "steps")
    assert type(found) is int
    assert found == value


@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-2, ValueError), (1.0, TypeError), (True, TypeError)],
)
def test_a_count_is_an_int_of_1_or_more(value, error):
    with pytest.raises(error, match=f"^steps must be .*; got {value!r}$"):
        checks.check_count(value, "steps")


def test_an_option_is_one_of_those_named():
    assert checks.check_option("b", ("a", "b"), "way") == "b"
    with pytest.raises(ValueError, match=r"^way must be one of a, b; got 'c'$"):
        checks.check_option("c", ("a", "b"), "way")


@pytest.mark.parametrize(
    ("value", "expected"), [(2, [2, 2, 2]), ((1, 2, 3), [1, 2, 3]), ([4] * 3, [4] * 3)]
)
def test_one_value_serves_all_or_there_is_one_for_each(value, expected):
    assert checks.check_each(value, 3, "p") == expected


@pytest.mark.parametrize("value", [[], [1, 2], [1, 2, 3, 4]])
def test_as_many_values_as_needed(value):
    with pytest.raises(ValueError, match="p must be one number, or one for each of 3"):
        checks.check_each(value, 3, "p")


@pytest.mark.parametrize("value", [0, -1.0, math.nan, "1", None, 1j])
def test_a_rate_is_a_positive_number(value):
    with pytest.raises(ValueError, match=r"^rate must be positive; got "):
        checks.check_positive(value, "rate")


def test_a_positive_number_comes_back():
    assert checks.check_positive(np.float32(0.5), "rate") == 0.5


@pytest.mark.parametrize("sizes", [[], [3]])
def test_a_network_has_two_layers_or_more(sizes):
    with pytest.raises(ValueError, match="an input and an output at least; got"):
        checks.check_sizes(sizes)


def test_sizes_come_back_as_a_tuple():
    assert checks.check_sizes([3, np.int64(2)]) == (3, 2)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_pair_is_two(count):
    with pytest.raises(ValueError, match=rf"a pair \(X, y\); got {count} items"):
        checks.check_pair([0] * count, "validation")


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(3), r"\(n_samples > 0, 3\); got \(3,\)"),
        (np.zeros((2, 4)), r"got \(2, 4\)"),
        (np.zeros((0, 3)), r"got \(0, 3\)"),
        ([[0, math.nan, 0]], "must be finite"),
        ([[0, math.inf, 0]], "must be finite"),
    ],
)
def test_samples_are_finite_rows_of_features(X, message):
    with pytest.raises(ValueError, match=message):
        checks.check_samples(X, n_features=3)


@pytest.mark.parametrize("X", [[[1j, 0, 0]], np.ones((1, 3), "c8")])
def test_complex_samples_are_refused_and_keep_their_imaginary_part(X):
    with pytest.raises(TypeError, match=r"^X must be real; got complex"):
        checks.check_samples(X, n_features=3)


def test_samples_come_back_in_float64():
    X = checks.check_samples(np.ones((1, 3), np.float32), n_features=3)
    assert X.dtype == np.float64
    assert X.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([[0], [1]], r"vector of ints; got shape \(2, 1\)"),
        ([0.0, 1.0], "vector of ints; got shape .* dtype float64"),
        ([0], "X has 2 samples, y has 1"),
        ([0, 1, 2], "X has 2 samples, y has 3"),
        ([-1, 0], "classes 0 to 2; got -1 to 0"),
        ([0, 3], "classes 0 to 2; got 0 to 3"),
    ],
)
def test_labels_are_a_class_for_each_sample(y, message):
    with pytest.raises(ValueError, match=message):
        checks.check_labels(y, n_samples=2, n_classes=3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_labels_come_back(dtype):
    y = np.array([0, 2], dtype)
    assert checks.check_labels(y, n_samples=2, n_classes=3) is y
