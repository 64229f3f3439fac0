"""Undefined, infinite and extreme values of the sixteen measures, as their docstrings have them."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skdict.metrics import (
    entropy_gaussian,
    entropy_shannon,
    entropy_shannon_modified,
    gini,
    hoyer,
    kappa_4,
    l2_l1,
    n_near_zeros,
    n_zeros,
    neg_l1,
    neg_log,
    neg_lp,
    neg_lp_minus,
    neg_tanh,
    pq_mean,
    u_theta,
)

nan, inf, log = math.nan, math.inf, math.log
EXTREMES = [  # measure, of zeros (N = 4), of 3 3 3 3, of 0 0 -3 0, of the single 3
    (n_zeros, {}, 4, 0, 3, 0),
    (n_near_zeros, {"eps": 3}, 4, 4, 4, 1),
    (neg_l1, {}, 0, -12, -3, -3),
    (neg_lp, {"p": 0.5}, 0, -48, -3, -3),
    (l2_l1, {}, nan, 0.5, 1, 1),
    (neg_tanh, {}, 0, -4 * math.tanh(3), -math.tanh(3), -math.tanh(3)),
    (neg_log, {}, 0, -4 * log(10), -log(10), -log(10)),
    (kappa_4, {}, nan, 0.25, 1, 1),
    (u_theta, {"theta": 0.5}, nan, nan, 1, nan),
    (u_theta, {"theta": 0.01}, nan, nan, 1, nan),
    (u_theta, {"theta": 0.76}, nan, nan, nan, nan),  # m = N
    (neg_lp_minus, {"p": -1}, 0, -4 / 3, -1 / 3, -1 / 3),
    (entropy_gaussian, {}, inf, -8 * log(3), inf, -2 * log(3)),
    (entropy_shannon, {}, nan, 2 * log(4), 0, 0),
    (entropy_shannon_modified, {}, 0, -24 * log(3), -6 * log(3), -6 * log(3)),
    (hoyer, {}, nan, 0, 1, nan),
    (pq_mean, {"p": 0.5, "q": 2}, nan, -1, -1 / 8, -1),
    (pq_mean, {"p": 0, "q": 2}, nan, -1, 0, -1),
    (pq_mean, {"p": -3, "q": 2}, nan, -1, 0, -1),
    (gini, {}, nan, 0, 0.75, 0),
]


def named(row):
    return row[0].__name__ + "".join(f"-{name}={value}" for name, value in row[1].items())


PARAMETERS = [pytest.param(*row[:2], id=named(row)) for row in EXTREMES]
SCALE_FREE = (gini, hoyer, l2_l1, kappa_4, pq_mean, u_theta, entropy_shannon)

grid = st.integers(-10_000, 10_000).map(lambda i: i / 1000)  # no two entries nearly equal
vectors = st.lists(st.one_of(grid, st.integers(-2, 2)), min_size=1, max_size=12).map(np.array)
nearly_equal = st.lists(st.integers(0, 9), min_size=1).map(lambda k: 1 + 2.0**-52 * np.array(k))
powers = st.integers(-297, 299)
mixtures = st.lists(
    st.builds(lambda digits, power: digits * 10.0**power, grid, powers), min_size=1, max_size=8
).map(np.array)


@pytest.mark.parametrize(
    "measure, parameters, zeros, equal, one_hot, single", EXTREMES, ids=map(named, EXTREMES)
)
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array, sp.csc_array])
def test_undefined_and_extreme_values(
    container, measure, parameters, zeros, equal, one_hot, single
):
    # would catch 0 for undefined, -0.0, noise of rounding at the ends, and any warning
    rows = container(np.array([[0.0] * 4, [3.0] * 4, [0, 0, -3.0, 0]]))
    with warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("error")
        values = measure(rows, **parameters)
        alone = measure(container(np.array([[3.0]])), **parameters)
        nothing = measure(container(np.array([[0.0]])), **parameters)
    assert_allclose(values, [zeros, equal, one_hot], rtol=1e-14)
    assert_allclose(alone, [single], rtol=1e-14)
    assert_array_equal(nothing, [1 if zeros == 4 else zeros])
    assert not any(value == 0 and math.copysign(1, value) < 0 for value in (*values, *alone))


@pytest.mark.parametrize("measure, parameters", PARAMETERS)
@settings(max_examples=20)  # for each of 20 cases
@given(c=mixtures)
def test_nothing_warns(measure, parameters, c):
    # would catch overflow, log 0 and 0/0 that reach the user, who may have them as errors
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="warn"):
        warnings.simplefilter("always")
        for Z in (c, sp.csr_array(c[None, :])):
            measure(Z, **parameters)
    assert not caught


@pytest.mark.parametrize("n", [*range(2, 31), 50, 100, 1000])
def test_share_of_u_theta_is_not_rounded_up(n):
    # would catch ceil(0.28 * 25) = 8, by which clones of a vector differ from it
    for percent in range(1, 100):
        m = -(-percent * n // 100)
        value = u_theta(np.arange(n) ** 2, theta=percent / 100)
        if m < n:  # of the squares the shortest interval is the first
            expected = 1 - (m - 1) ** 2 / (n - 1) ** 2
            assert value == pytest.approx(expected, rel=1e-12, abs=1e-14)
        else:
            assert math.isnan(value)


@pytest.mark.parametrize("p", [0, -0.0, -1e-3, -1, -300])
def test_one_zero_gives_the_greatest_pq_mean(p):
    # would catch 0 to a negative power, and zeros that CSR does not store; Z has 0, 1, 2 of them
    Z = np.array([[1.0, 2.0, 4.0], [0.0, 1e-300, 1e300], [0.0, 0.0, 5.0]])
    stored = sp.csr_array(Z + (Z == 0))
    stored.data[Z.ravel() == 0] = 0
    for codes in (Z, sp.csr_array(Z), stored):
        values = pq_mean(codes, p=p)
        assert values[0] < -0.3
        assert_array_equal(values[1:], [0, 0])


@pytest.mark.parametrize(
    "a, c, b, expected",
    [
        (1e300, 1e-300, 1, -math.tanh(1)),
        (1e-300, 1e300, 3, -math.tanh(1)),
        (1e300, 1e300, 1, -1),
        (1e300, 1e300, 1e-3, -math.tanh(10**0.6)),
        (1e-300, 1e-300, 1e-3, -math.tanh(10**-0.6)),
        (1e-300, 1e-300, 1, 0),
        (1e300, 0, 0.1, 0),
    ],
)
def test_products_that_leave_the_range_in_tanh(a, c, b, expected):
    # would catch a * c before the power, and inf * 0
    assert neg_tanh([c], a=a, b=b) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("p", [1e-9, -1e-9, 1e-12, 1e-17, -1e-17, 1e-300])
def test_pq_mean_of_tiny_exponents(p):
    # would catch log(mean(c**p)) / p, in which 1 + 1e-17 is rounded away
    c = np.array([1.0, 2.0, 5.0])
    limit = -scipy.stats.gmean(c) / scipy.stats.pmean(c, 2)
    assert pq_mean(c, p=p) == pytest.approx(limit, rel=abs(p) + 1e-12)


@pytest.mark.parametrize("p", [1e-2, 1e-4, 1e-8, 1e-17])
def test_neg_lp_of_one_entry_is_the_entry(p):
    # would catch (c**p)**(1/p), which rounds c**p to 1
    assert neg_lp([0.0, 3.0], p=p) == pytest.approx(-3, rel=1e-13)


@pytest.mark.parametrize("n", [10, 10_000])
def test_neg_lp_of_many_small_entries(n):
    # would catch a root that overflows before the small unit is multiplied in
    assert neg_lp(np.full(n, 1e-300), p=0.01) == pytest.approx(-(n**50.0) * 1e-300 * n**50.0)


def test_u_theta_of_nearly_equal_entries():
    # would catch differences of entries that were rounded by a division before
    c = 1.7 + 1e-10 * np.array([0, 1, 3, 7, 20])
    exact = [Fraction(float(x)) for x in c]
    expected = 1 - float((exact[2] - exact[0]) / (exact[4] - exact[0]))
    assert u_theta(c) == pytest.approx(expected, rel=1e-12)


def test_overflow_is_infinite():
    # would catch NaN or a warning where the docstring promises -inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert neg_lp(np.ones(10_000), p=0.01) == -inf
        assert neg_lp_minus([1e-300, 1.0], p=-2) == -inf
        assert neg_l1([1.7e308, 1.7e308]) == -inf


# units and bounds


@pytest.mark.parametrize("unit", [1e-300, 1e-160, 0.3, 1e160, 1e300])
@given(c=vectors)
def test_scale_free_measures_ignore_the_unit(unit, c):
    # would catch c**2 of 1e-160 and 1e160, and an epsilon in a denominator
    for measure in SCALE_FREE:
        assert_allclose(measure(unit / 10 * c), measure(c), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("measure", [gini, hoyer, u_theta])
@given(c=st.one_of(vectors, nearly_equal))
def test_normalised_measures_stay_in_the_unit_interval(measure, c):
    # would catch -1e-17 for equal entries and 1 + 1e-16 for one entry, of which roots are NaN
    value = measure(c)
    assert math.isnan(value) or 0 <= value <= 1
