"""Values of the sixteen measures against exact ones, scipy, numpy and each other.

Beside this: test_sparsity_extremes.py, test_sparsity_input.py, test_sparsity_refusals.py. The
oracles are the formulas of Hurley and Rickard, one vector at a time, in decimal arithmetic of
350 digits without traps: 0/0 is NaN, log 0 is -inf, and neither 1e-600 nor 1 + 1e-300 is lost.
"""

import decimal
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

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
from skdict.metrics.sparsity import MEASURES

CASES = [
    (n_zeros, {}),
    (n_near_zeros, {"eps": 0.5}),
    (n_near_zeros, {"eps": 0}),
    (neg_l1, {}),
    (neg_lp, {"p": 0.5}),
    (neg_lp, {"p": 0.05}),
    (neg_lp, {"p": 0.99}),
    (l2_l1, {}),
    (neg_tanh, {"a": 1, "b": 0.5}),
    (neg_tanh, {"a": 0.3, "b": 1}),
    (neg_tanh, {"a": 1e300, "b": 1}),
    (neg_tanh, {"a": 1e-300, "b": 0.25}),
    (neg_tanh, {"a": 2, "b": 3}),
    (neg_log, {}),
    (kappa_4, {}),
    (u_theta, {"theta": 0.5}),
    (u_theta, {"theta": 0.1}),
    (u_theta, {"theta": 0.8}),
    (neg_lp_minus, {"p": -1}),
    (neg_lp_minus, {"p": -0.3}),
    (neg_lp_minus, {"p": -3}),
    (entropy_gaussian, {}),
    (entropy_shannon, {}),
    (entropy_shannon_modified, {}),
    (hoyer, {}),
    (pq_mean, {"p": 1, "q": 2}),
    (pq_mean, {"p": 0.5, "q": 2}),
    (pq_mean, {"p": 0.05, "q": 1}),
    (pq_mean, {"p": 2, "q": 30}),
    (pq_mean, {"p": 0, "q": 1.5}),
    (pq_mean, {"p": -2, "q": 0.5}),
    (gini, {}),
]


def named(case):
    measure, parameters = case
    return measure.__name__ + "".join(f"-{name}={value}" for name, value in parameters.items())


all_cases = pytest.mark.parametrize("case", CASES, ids=named)

# strategies

grid = st.integers(-10_000, 10_000).map(lambda i: i / 1000)  # no two entries nearly equal
usual = st.one_of(grid, st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0]))
powers = st.one_of(st.integers(-297, 299), st.sampled_from([-297, -155, 155, 299]))
huge_and_tiny = st.builds(lambda digits, power: digits * 10.0**power, grid, powers)
vectors = st.lists(usual, min_size=1, max_size=8).map(np.array)
signed = st.lists(grid.filter(bool), min_size=1, max_size=8).map(np.array)
scaled = st.builds(lambda c, power: c * 10.0**power, vectors, powers)
mixtures = st.lists(st.one_of(usual, huge_and_tiny), min_size=1, max_size=8).map(np.array)

# oracles: c is a list of decimals, none of them negative


def power_mean(c, p):
    if p == 0:
        return (sum(x.ln() for x in c) / len(c)).exp()
    return (sum(x**p for x in c) / len(c)) ** (1 / p)


def exact_u_theta(c, theta):
    c, N = sorted(c), len(c)
    m = math.ceil(Fraction(str(float(theta))) * N)  # of 0.1, not of the binary number above it
    if m == N:
        return Decimal("nan")
    shortest = min(c[i + m - 1] - c[i] for i in range(N - m + 1))
    return 1 - shortest / (c[-1] - c[0])


def exact_entropy_shannon(c):
    energy = sum(x * x for x in c)
    t = [x * x / energy for x in c]
    return -sum(0 if x == 0 else x * (x * x).ln() for x in t)


def exact_hoyer(c):
    root, l1, l2 = Decimal(len(c)).sqrt(), sum(c), sum(x * x for x in c).sqrt()
    return (root - l1 / l2) / (root - 1)


def exact_gini(c):
    c, N, l1 = sorted(c), len(c), sum(c)
    return 1 - 2 * sum(c[k - 1] / l1 * (N - k + Decimal("0.5")) / N for k in range(1, N + 1))


EXACT = {
    n_zeros: lambda c: Decimal(sum(x == 0 for x in c)),
    n_near_zeros: lambda c, eps: Decimal(sum(x <= eps for x in c)),
    neg_l1: lambda c: -sum(c),
    neg_lp: lambda c, p: -(sum(x**p for x in c) ** (1 / p)),
    l2_l1: lambda c: sum(x * x for x in c).sqrt() / sum(c),
    neg_tanh: lambda c, a, b: -sum(1 - 2 / ((2 * (a * x) ** b).exp() + 1) for x in c),
    neg_log: lambda c: -sum((1 + x * x).ln() for x in c),
    kappa_4: lambda c: sum(x**4 for x in c) / sum(x * x for x in c) ** 2,
    u_theta: exact_u_theta,
    neg_lp_minus: lambda c, p: -sum((x**p for x in c if x != 0), Decimal(0)),
    entropy_gaussian: lambda c: -sum((x * x).ln() for x in c),
    entropy_shannon: exact_entropy_shannon,
    entropy_shannon_modified: lambda c: -sum((x * (x * x).ln() for x in c if x != 0), Decimal(0)),
    hoyer: exact_hoyer,
    pq_mean: lambda c, p, q: -power_mean(c, p) / power_mean(c, q),
    gini: exact_gini,
}


def exact(case, c):
    measure, parameters = case
    with decimal.localcontext(
        decimal.Context(350, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX, traps=[])
    ):
        c = [abs(Decimal(float(x))) for x in c]
        return float(EXACT[measure](c, **{name: Decimal(x) for name, x in parameters.items()}))


def noise(measure, c):
    """Size of what cancels in the formula, 0 where nothing does."""
    positive = np.abs(c)[np.abs(c) > 0]
    if measure is entropy_gaussian:
        return 2 * np.abs(np.log(positive)).sum()
    if measure is entropy_shannon_modified:
        return 2 * np.abs(positive * np.log(positive)).sum()
    return 1 if measure in (gini, hoyer, u_theta) else 0


def assert_exact(case, c):
    measure, parameters = case
    value, expected = measure(c, **parameters), exact(case, c)
    smallest = 0 if math.isinf(expected) else np.finfo(float).tiny
    assert_allclose(value, expected, rtol=1e-12, atol=smallest + 1e-14 * noise(measure, c))


# values


def test_all_measures_are_tested():
    # would catch a seventeenth measure that no test below sees
    assert len(MEASURES) == 16
    assert list(MEASURES) == [measure.__name__ for measure in MEASURES.values()]
    assert set(MEASURES.values()) == set(EXACT) == {measure for measure, _ in CASES}


REFERENCE = [
    (n_zeros, {}, 1),
    (n_near_zeros, {"eps": 0.5}, 1),
    (neg_l1, {}, -8),
    (neg_lp, {"p": 0.5}, -21.6251184),
    (l2_l1, {}, 0.684653197),
    (neg_tanh, {"a": 1, "b": 0.5}, -2.62739195),
    (neg_log, {}, -5.56068163),
    (kappa_4, {}, 0.713333333),
    (u_theta, {"theta": 0.5}, 0.8),
    (neg_lp_minus, {"p": -1}, -1.7),
    (entropy_shannon, {}, 1.06792323),
    (entropy_shannon_modified, {}, -18.8669678),
    (hoyer, {}, 0.539406513),
    (pq_mean, {"p": 1, "q": 2}, -0.730296743),
    (pq_mean, {"p": 0.5, "q": 2}, -0.493523548),
    (gini, {}, 0.5),
]


@pytest.mark.parametrize(
    "measure, parameters, expected", REFERENCE, ids=[named(row[:2]) for row in REFERENCE]
)
def test_reference_values(measure, parameters, expected):
    # would catch formula and oracle wrong alike: these were computed elsewhere
    assert measure([0.0, 1.0, 2.0, 5.0], **parameters) == pytest.approx(expected, rel=1e-8)
    assert exact((measure, parameters), [0, 1, 2, 5]) == pytest.approx(expected, rel=1e-8)


def test_reference_value_of_gaussian_entropy():
    # would catch a sign or a missing square: -log 1 - log 4 - log 25 on a vector without zeros
    assert entropy_gaussian([1.0, 2.0, 5.0]) == pytest.approx(-4.60517019, rel=1e-8)


def test_defaults_are_those_documented():
    # would catch a changed default, by which everybody's numbers would change
    c = [0.0, 2e-3, 1e-3, -1.0, 2.0, 5.0]
    assert n_near_zeros(c) == n_near_zeros(c, eps=1e-3) == 2
    assert neg_lp(c) == neg_lp(c, p=0.5)
    assert neg_tanh(c) == neg_tanh(c, a=1, b=1)
    assert u_theta(c) == u_theta(c, theta=0.5)
    assert neg_lp_minus(c) == neg_lp_minus(c, p=-1)
    assert pq_mean(c) == pq_mean(c, p=0.5, q=2)


@all_cases
@settings(max_examples=40)  # for each of 32 cases
@given(c=st.one_of(vectors, scaled, mixtures))
def test_values_are_exact(case, c):
    # would catch a wrong exponent, factor or rank, NaN without 0/0, and squares that overflow
    assert_exact(case, c)


@all_cases
@pytest.mark.parametrize("kind", ["lognormal", "sparse"])
def test_values_of_long_vectors_are_exact(case, kind):
    # would catch what a dozen entries hide: ranks, m and 1/N of a long vector
    rng = np.random.default_rng(0)
    c = rng.lognormal(sigma=3, size=50)
    assert_exact(case, c if kind == "lognormal" else np.where(rng.random(50) < 0.8, 0, -c))


@pytest.mark.parametrize("small", [1e-3, 1e-7, 1e-10, 1e-15, 1e-60, 1e-150])
@pytest.mark.parametrize("shape", [(1, 0), (1, 1), (0, 1, 7), (3, 2, 2)])
def test_entropy_near_its_least_value_is_exact(small, shape):
    # would catch t log t of the rounded t = 1 - 1e-20, which is 0: the near one-hot codes
    assert_exact((entropy_shannon, {}), [5.0, *(small * x for x in shape)])


@pytest.mark.parametrize("measure", [gini, hoyer, u_theta])
@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9, 1e-12])
def test_values_of_nearly_equal_entries(measure, gap):
    # would catch noise in place of small values: sqrt(N) - l1/l2 is 1e-18 at the third gap
    parameters = {"theta": 0.5} if measure is u_theta else {}
    c = 1.7 + gap * np.array([0, 5, 1, 2, 17, 9])
    assert_allclose(measure(c), exact((measure, parameters), c), rtol=1e-15 / gap)


# identities


@given(vectors.filter(np.any))
def test_gini_three_ways(c):
    # would catch the index of a sample, with N / (N - 1), and ranks that start at 0
    N, total, ordered = len(c), np.abs(c).sum(), np.sort(np.abs(c))
    k = np.arange(1, N + 1)
    printed = 1 - 2 * math.fsum(ordered / total * (N - k + 0.5) / N)
    ranks = 2 * math.fsum(k * ordered) / (N * total) - (N + 1) / N
    pairs = math.fsum(abs(a - b) for a in ordered for b in ordered) / (2 * N * total)
    assert_allclose(gini(c), [printed, ranks, pairs], rtol=1e-12, atol=1e-14)


@given(vectors.filter(np.any))
def test_hoyer_and_pq_mean_are_functions_of_l2_l1(c):
    # would catch sums for means in the pq-mean, and Hoyer's ratio upside down
    root, ratio = math.sqrt(len(c)), l2_l1(c)
    assert ratio == pytest.approx(np.linalg.norm(c) / np.linalg.norm(c, 1), rel=1e-12)
    assert pq_mean(c, p=1, q=2) == pytest.approx(-1 / (root * ratio), rel=1e-12)
    if len(c) > 1:
        assert hoyer(c) == pytest.approx((root - 1 / ratio) / (root - 1), abs=1e-14)


@given(vectors.filter(np.any), st.floats(0.1, 1), st.floats(1.01, 8))
def test_pq_index_is_one_plus_the_pq_mean(c, p, q):
    # would catch a swap of p and q in the norms or in the power of N
    index = 1 - len(c) ** (1 / q - 1 / p) * np.linalg.norm(c, p) / np.linalg.norm(c, q)
    assert 1 + pq_mean(c, p=p, q=q) == pytest.approx(index, rel=1e-10, abs=1e-13)


@given(signed, st.floats(-4, 4), st.floats(0.1, 4))
def test_pq_mean_is_a_ratio_of_power_means(c, p, q):
    # would catch exponents of which only those in (0, 1] and above 1 work
    assume(p < q and (p == 0 or abs(p) > 1e-3))
    c = np.abs(c)
    expected = -scipy.stats.pmean(c, p) / scipy.stats.pmean(c, q)
    assert_allclose(pq_mean(c, p=p, q=q), expected, rtol=1e-10)


@given(signed, st.sampled_from([1e-3, -1e-3, 1e-5, -1e-5]))
def test_pq_mean_tends_to_the_geometric_mean(c, p):
    # would catch another limit than p = 0 itself; half the variance of log c is the slope
    c = np.abs(c)
    limit = -scipy.stats.gmean(c) / scipy.stats.pmean(c, 2)
    assert_allclose(pq_mean(c, p=0), limit, rtol=1e-12)
    assert_allclose(pq_mean(c, p=p), limit, rtol=abs(p) * np.log(c).var() + 1e-10)


@given(vectors.filter(np.any))
def test_entropy_is_twice_that_of_scipy(c):
    # would catch base 2, and entropy of magnitudes in place of energies
    expected = 2 * scipy.stats.entropy(c**2)
    assert_allclose(entropy_shannon(c), expected, rtol=1e-12, atol=1e-14)


@given(vectors)
def test_kappa_4_is_the_kurtosis_of_centred_data(c):
    # would catch a mean that is subtracted twice or 3 that is: with mean 0 only N differs
    c = c - c.mean()
    assume(np.abs(c).max() > 1e-3)
    expected = scipy.stats.kurtosis(c, fisher=False)
    assert_allclose(len(c) * kappa_4(c), expected, rtol=1e-10)


@given(signed, st.floats(0.05, 0.95), st.floats(-4, -0.05))
def test_norms_are_those_of_numpy(c, p, negative):
    # would catch a root too many (neg_lp_minus has none) or too few
    assert_allclose(neg_l1(c), -np.linalg.norm(c, 1), rtol=1e-12)
    assert_allclose(neg_lp(c, p=p), -np.linalg.norm(c, p), rtol=1e-12)
    expected = -(np.linalg.norm(c, negative) ** negative)
    assert_allclose(neg_lp_minus(c, p=negative), expected, rtol=1e-12)
