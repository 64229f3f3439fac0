"""What the sixteen measures refuse: shapes, kinds of data, NaN, axes, parameters out of range."""

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

from skdict.metrics import gini, n_near_zeros, neg_lp, neg_lp_minus, neg_tanh, pq_mean, u_theta
from skdict.metrics.sparsity import MEASURES, _vectors

all_measures = pytest.mark.parametrize("measure", MEASURES.values(), ids=list(MEASURES))

SHAPES = [(0, 3), (3, 0), (0,), (0, 0)]


@all_measures
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_empty_input_is_refused(measure, shape, xp):
    # would catch an empty result, the maximum of nothing and a mean of no entries
    for axis in (0, 1):
        with pytest.raises(ValueError, match=f"^{measure.__name__}: Z is empty, shape .*Pass"):
            measure(xp.zeros(shape), axis=axis)
        if len(shape) == 2:
            with pytest.raises(ValueError, match=f"^{measure.__name__}: Z is empty, shape .*Pass"):
                measure(sp.csr_array(shape), axis=axis)


BAD = [
    (np.ones((2, 2, 2)), ValueError, r"3 dimension\(s\), shape \(2, 2, 2\)"),
    (3.0, ValueError, r"0 dimension\(s\)"),
    ([[1.0, 2.0], [3.0]], ValueError, "rows of equal length"),
    (np.ones((2, 2), dtype=complex), TypeError, "dtype complex128, and real numbers are needed"),
    (np.ones(2, dtype=complex), TypeError, "dtype complex128"),
    (sp.csr_array(np.eye(2) * 1j), TypeError, "dtype complex128"),
    ([["a", "b"]], TypeError, "dtype <U1"),
    (["a", "b"], TypeError, "dtype <U1"),
    ("abc", TypeError, "dtype <U3"),
    (np.array([[1, None]]), TypeError, "dtype object"),
    (None, TypeError, "dtype object"),
]


@all_measures
@pytest.mark.parametrize("bad, error, message", BAD)
def test_bad_input_is_refused_by_name(measure, bad, error, message):
    # would catch complex codes of which the real part is measured, and nameless messages
    with pytest.raises(error, match=f"^{measure.__name__}: Z .*{message}"):
        measure(bad)


@all_measures
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_and_infinity_are_refused(measure, bad, dtype, monkeypatch):
    # would catch NaN that compares as zero, in the last of several blocks or among duplicates
    monkeypatch.setattr(_vectors, "BLOCK_ENTRIES", 3)
    Z = np.ones((70, 3), dtype=dtype)
    Z[-1, -1] = bad
    containers = [np.asarray, sp.csr_array, sp.csc_matrix, sp.coo_array]
    if dtype == "float16":  # which scipy has no sparse matrices of
        containers = [np.asarray]
    for container in containers:
        for axis in (0, 1):
            with pytest.raises(ValueError, match=f"^{measure.__name__}: Z contains NaN or inf"):
                measure(container(Z), axis=axis)
    with pytest.raises(ValueError, match=f"^{measure.__name__}: Z contains NaN or inf"):
        measure(Z[-1])


@all_measures
@pytest.mark.parametrize(
    "axis, error",
    [
        (2, ValueError),
        (-1, ValueError),
        (None, TypeError),
        ("rows", TypeError),
        (1.0, TypeError),
        (True, TypeError),
        ((0, 1), TypeError),
    ],
)
def test_axis_is_checked(measure, axis, error):
    # would catch -1 for the last axis, None for the flattened matrix, True for 1
    for Z in (np.eye(3), np.ones(3), sp.csr_array(np.eye(3))):
        with pytest.raises(error, match=f"^{measure.__name__}: axis=.*Choose 1, rows, or 0") as e:
            measure(Z, axis=axis)
        assert f"axis={axis!r}" in str(e.value)


@all_measures
def test_axis_is_given_by_name(measure):
    # would catch measure(Z, 0), which reads as a parameter
    with pytest.raises(TypeError, match="positional"):
        measure(np.eye(3), 0)
    assert measure(np.eye(3), axis=np.int64(0)).shape == (3,)


RANGES = [  # parameter, values out of its range, values inside
    (n_near_zeros, "eps", [-1e-9, -1], [0, 5e-324, 1e30]),
    (neg_lp, "p", [0, 1, -0.5, 1.5], [0.01, 0.999]),
    (neg_tanh, "a", [0, -1.0], [1, 1e308, 1e-308, 1e30]),
    (neg_tanh, "b", [0, -0.5], [1, 1e308, 1e-308, 1e30]),
    (u_theta, "theta", [0, 1, -0.1, 1.1, 50], [1e-300, 0.999]),
    (neg_lp_minus, "p", [0, 0.5, 2], [-1, -1e-300, -300]),
    (pq_mean, "p", [2, 2.5], [-300, 0, 1, 1.999]),
    (pq_mean, "q", [0, -1], [0.501, 1, 300]),
]
all_ranges = pytest.mark.parametrize(
    "measure, name, bad, good", RANGES, ids=[f"{row[0].__name__}-{row[1]}" for row in RANGES]
)


@all_ranges
def test_parameters_out_of_range_are_refused(measure, name, bad, good):
    # would catch NaN, which compares false with everything, and percent in place of shares
    for value in (*bad, math.nan, math.inf, -math.inf, np.float64("nan")):
        with pytest.raises(ValueError) as e:
            measure(np.eye(3), **{name: value})
        message = str(e.value)
        assert message.startswith(f"{measure.__name__}: {name}={value!r} is out of range. Choose ")


@all_ranges
def test_parameters_that_are_no_numbers_are_refused(measure, name, bad, good):
    # would catch text that Python cannot compare, True read as 1, and an array of exponents
    for value in ("0.5", None, True, np.True_, 0.5j, [0.5], np.array([0.5])):
        with pytest.raises(TypeError) as e:
            measure(np.eye(3), **{name: value})
        message = str(e.value)
        assert message.startswith(f"{measure.__name__}: {name}={value!r} is no number. Choose ")


@all_ranges
def test_numbers_of_any_kind_are_parameters(measure, name, bad, good):
    # would catch a check for Python's float alone, and refusals at the ends of a range
    for value in good:
        expected = measure(np.eye(3), **{name: float(value)})
        for number in (value, np.float64(value), Fraction(value)):
            assert_array_equal(measure(np.eye(3), **{name: number}), expected)
    single = np.float32(good[-1])
    expected = measure(np.eye(3), **{name: float(single)})
    assert_array_equal(measure(np.eye(3), **{name: single}), expected)


@pytest.mark.parametrize("p, q", [(1, 1), (2, 1), (-1, -0.5), (0, 0), (0.5, 0.5), (3, 2.5)])
def test_exponents_of_the_pq_mean_are_ordered(p, q):
    # would catch p = q, which is -1 whatever the codes are, and a measure turned upside down
    with pytest.raises(ValueError, match=r"^pq_mean: [pq]=.* range. Choose (p < q=|q > 0)"):
        pq_mean(np.eye(3), p=p, q=q)


def test_python_numbers_outside_float64_are_refused():
    # would catch an OverflowError or a division by zero from deep inside, and a q that is not named
    for call in (
        lambda: n_near_zeros([1.0], eps=10**400),
        lambda: neg_lp([1.0], p=Fraction(1, 10**400)),
    ):
        with pytest.raises(ValueError, match="out of range"):
            call()
    with pytest.raises(ValueError, match=r"p=0\.5 is out of range. Choose p < q=0\.25"):
        pq_mean(np.eye(3), q=0.25)


def test_an_empty_vector_is_refused():
    # would catch a message about a shape that the user did not pass
    with pytest.raises(ValueError, match=r"gini: Z is empty, shape \(0,\)"):
        gini([])
