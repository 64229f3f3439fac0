"""Penalties on codes: laws, agreement with the measures they are, slopes by differences."""

import numpy as np
import pytest
from finite_differences import numerical_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import streams

from skdict import codes, metrics, penalties
from skdict.backend import to_numpy

WIDTH = 0.8
MEASURES = ["hoyer_square", "pq_mean", "gini"]
each_penalty = pytest.mark.parametrize("name", penalties.NAMES)
each_measure = pytest.mark.parametrize("name", MEASURES)


def drawn(rng, n=4, m=6):
    """Codes with zeros, one row of them; no entry so close to zero, to the `WIDTH` or to another of
    its row that a difference would cross a kink."""
    steps = np.stack([rng.permutation(29)[:m] for _ in range(n)]) + rng.uniform(0.2, 0.8, (n, m))
    Z = (rng.random((n, m)) < 0.6) * (steps + 1) / 10 + 0.0
    Z[rng.integers(n)] = 0
    return Z


def sparse(Z, xp=np):
    rows, columns = np.nonzero(Z)
    indptr = np.concatenate([[0], np.cumsum((Z != 0).sum(axis=1))])
    arrays = indptr, columns.astype(np.int32), Z[rows, columns]
    return codes.SparseCodes(*map(xp.asarray, arrays), Z.shape[1])


@each_penalty
@settings(max_examples=15)
@given(rng=streams, progress=st.floats(0, 1))
def test_slopes(xp, name, rng, progress):
    # would catch: an error in a slope; slopes of codes that are zero; rows that disturb each other
    penalty, Z = penalties.named(name, WIDTH, (1.0, 0.4)), drawn(rng)
    value, slopes = penalty(xp.asarray(Z), progress)
    found = numerical_gradient(lambda at: penalty(at["Z"], progress)[0], {"Z": Z})["Z"]
    assert_allclose(to_numpy(slopes)[Z > 0], found[Z > 0], rtol=1e-6, atol=1e-8)
    assert not to_numpy(slopes)[Z == 0].any()
    by_row = sum(float(penalty(row[None, :], progress)[0]) for row in Z)
    assert float(value) == pytest.approx(by_row, rel=1e-12)


@each_penalty
@settings(max_examples=15)
@given(rng=streams, dtype=st.sampled_from(["float32", "float64"]))
def test_sparse_codes_cost_the_same(name, rng, dtype):
    # would catch: ranks and sums that mix the rows of CSR, an empty row that gives NaN
    penalty, Z = penalties.named(name, WIDTH), drawn(rng).astype(dtype)
    value, slopes = penalty(Z, 0.5)
    other, entries = penalty(sparse(Z), 0.5)
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    assert entries.dtype == slopes.dtype == dtype
    assert float(other) == pytest.approx(float(value), rel=tolerance)
    assert_allclose(entries, slopes[Z > 0], rtol=tolerance, atol=tolerance)


@each_penalty
def test_without_codes_it_costs_nothing(name):
    # would catch: a division by the zero norm of a silent sample
    for Z in (np.zeros((3, 4)), sparse(np.zeros((3, 4)))):
        value, slopes = penalties.named(name)(Z, 1.0)
        assert value == 0 and not np.asarray(slopes).any()


@each_measure
def test_codes_that_all_but_vanish(name):
    # would catch: squares that underflow, and a slope that is not finite in float32
    Z = np.array([[1e-25, 2e-25, 0], [1e-8, 0, 3e-8], [1, 2, 3]], dtype=np.float32)
    for codes_ in (Z, sparse(Z)):
        value, slopes = penalties.named(name)(codes_, 1.0)
        assert np.isfinite(value) and np.isfinite(slopes).all()
    of_second = penalties.named(name)(Z[1:2], 1.0)[0]
    assert of_second == pytest.approx(penalties.named(name)(1e8 * Z[1:2], 1.0)[0], rel=1e-5)


@each_measure
@settings(max_examples=30)
@given(rng=streams, m=st.integers(1, 9), factor=st.floats(1e-3, 1e3))
def test_measures_count_equal_codes_and_ignore_scale(name, rng, m, factor):
    # would catch: another power, or a measure of all components instead of those that fire
    penalty, Z = penalties.named(name), np.zeros((1, 12))
    Z[0, rng.permutation(12)[:m]] = factor
    assert penalty(Z, 1.0)[0] == pytest.approx(m, rel=1e-9)
    Z = drawn(rng)
    assert penalty(factor * Z, 1.0)[0] == pytest.approx(penalty(Z, 1.0)[0], rel=1e-9)


@settings(max_examples=30)
@given(rng=streams)
def test_measures_are_those_of_hurley_and_rickard(rng):
    # would catch: a penalty that goes by the name of a measure it is not
    Z = rng.uniform(0.1, 3, (1, 7)) * (rng.random((1, 7)) < 0.7) + np.eye(1, 7)
    m = Z.shape[1]
    oracles = {
        "hoyer_square": metrics.l2_l1(Z)[0] ** -2,
        "gini": m * (1 - metrics.gini(Z)[0]),
        # m^(-3/2) times the ratio of sums, which is raised to 2/3
        "pq_mean": (-metrics.pq_mean(Z, p=0.5, q=2)[0]) ** (2 / 3) * m,
    }
    for name, expected in oracles.items():
        assert penalties.named(name)(Z, 1.0)[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["log", "mcp", "tanh"])
@settings(max_examples=20)
@given(rng=streams, width=st.floats(0.05, 20))
def test_concave_penalties_lie_between_counting_and_l1(name, rng, width):
    # would catch: a penalty steeper than l1 somewhere, or one that large codes do not escape
    z = np.sort(rng.uniform(0, 5, 9))[:, None]
    value, slope = penalties.SEPARABLE[name](z, width)
    assert (value <= z * (1 + 1e-12)).all() and (value >= 0).all()
    assert ((slope <= 1) & (slope >= 0)).all() and (np.diff(slope, axis=0) <= 0).all()
    wide, _ = penalties.SEPARABLE[name](z, 1e7)
    assert_allclose(wide, z, rtol=1e-5)
    _, far = penalties.SEPARABLE[name](np.array([50 * width]), width)
    assert far[0] < 0.02


def test_the_exponent_is_annealed():
    # would catch: an exponent that stays, or goes the other way
    Z, lp = np.array([[0.3, 2.5]]), penalties.named("lp", 1.0, (1.0, 0.5))
    first, last = lp(Z, 0.0)[0], lp(Z, 1.0)[0]
    assert first == pytest.approx(Z.sum())
    assert last == pytest.approx(penalties.named("lp", 1.0, 0.5)(Z, 0.3)[0])
    assert lp(Z, 0.5)[0] == pytest.approx(penalties.named("lp", 1.0, 0.75)(Z, 0.0)[0])
    assert_array_equal(lp(Z, 0.0)[1], [[1, 1]])


@settings(max_examples=20)
@given(rng=streams)
def test_descending_ranks(xp, rng):
    # would catch: ranks across samples
    Z = drawn(rng)
    expected = np.argsort(np.argsort(-Z, axis=1, kind="stable"), axis=1)
    assert_array_equal(to_numpy(codes.descending_ranks(xp.asarray(Z))), expected)
    assert_array_equal(codes.descending_ranks(sparse(Z)), expected[Z > 0])
    vector = rng.standard_normal(len(Z))
    assert_allclose(codes.row_sum(sparse(Z)), Z.sum(axis=1), rtol=1e-12)
    assert_array_equal(codes.per_sample(sparse(Z), vector), (vector[:, None] + 0 * Z)[Z > 0])
