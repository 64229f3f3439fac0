"""Row-wise selection: the reference against a sort in Python, the compiled one against both."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import streams

from skdict.backend import to_numpy
from skdict.kernels import threads, topk_cpu, topk_reference
from skdict.kernels.threads import use_threads
from skdict.kernels.topk import topk

KINDS = ("normal", "ties", "special", "no infinity", "few numbers", "constant", "wide")


def entries(rng, kind, n, m):
    if kind == "normal":
        return rng.standard_normal((n, m))
    if kind == "ties":
        return rng.integers(0, 4, (n, m)).astype(float)
    if kind == "special":
        return rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.0], (n, m))
    if kind == "no infinity":
        return rng.choice([np.nan, 0.0, 1.0, -2.0], (n, m))
    if kind == "few numbers":
        return np.where(rng.random((n, m)) < 0.05, rng.standard_normal((n, m)), np.nan)
    if kind == "constant":
        return np.full((n, m), 0.5)
    return rng.standard_normal((n, m)) * 10.0 ** rng.integers(-44, 38, (n, m))


@st.composite
def rows(draw):
    """Rows, a bias and k; sums of the kinds with ties are exact in float32."""
    rng, kind = draw(streams), draw(st.sampled_from(KINDS))
    n, m = draw(st.integers(1, 4)), draw(st.integers(1, 150))
    k = draw(st.sampled_from([0, 1, m]) | st.integers(0, m))
    bias = rng.integers(-2, 3, m).astype(float) if draw(st.booleans()) else np.zeros(m)
    return entries(rng, kind, n, m), bias, min(k, m)


def brute_force(U, bias, k):
    A = U + bias
    indices = np.empty((len(A), k), dtype=np.int32)
    for i, row in enumerate(A):
        keys = [(1, 0.0, j) if math.isnan(a) else (0, -a, j) for j, a in enumerate(row)]
        ranked = [key[2] for key in sorted(keys)]
        indices[i] = sorted(ranked[:k])
    return indices, np.take_along_axis(A, indices, axis=1)


def select(implementation, U, bias, k):
    arrays = implementation.asarray(U), implementation.asarray(bias)
    indices, values = implementation.load("topk").topk(*arrays, k)
    return to_numpy(indices), to_numpy(values)


@given(problem=rows())
def test_equals_a_sort(implementation, dtype, problem):
    # would catch: a wrong order of ties or NaN, a group or a remainder of columns left out
    U, bias, k = problem[0].astype(dtype), problem[1].astype(dtype), problem[2]
    if implementation.kind == "cuda":  # which takes subnormal numbers of float32 for zero
        tiny = np.finfo(dtype).tiny
        U[np.abs(U) < tiny] = 0
        bias[np.abs(bias) < tiny] = 0
        assume(not ((U + bias != 0) & (np.abs(U + bias) < tiny)).any())
    indices, values = select(implementation, U, bias, k)
    expected = brute_force(U, bias, k)
    assert_array_equal(indices, expected[0])
    assert_array_equal(values, expected[1])
    assert indices.dtype == np.int32 and values.dtype == U.dtype


@pytest.mark.parametrize("m", [15, 16, 17, 1003, 1024])
@pytest.mark.parametrize("k", [1, 3, 63, 64, 65, 200, "m"])
@pytest.mark.parametrize("kind", ["normal", "ties", "no infinity"])
def test_compiled_equals_reference(m, k, kind, dtype):
    # would catch: an error only where k exceeds 64, candidates are many, or m is no multiple of 16
    k = m if k == "m" else min(k, m)
    rng = np.random.default_rng(m + k)
    U = entries(rng, kind, 5, m).astype(dtype)
    bias = rng.integers(-2, 3, m).astype(dtype)
    compiled, reference = topk_cpu.topk(U, bias, k), topk_reference.topk(U, bias, k)
    assert_array_equal(compiled[0], reference[0])
    assert_array_equal(compiled[1], reference[1])


@pytest.mark.parametrize("kind", ["normal", "ties", "special"])
@pytest.mark.parametrize("k", [5, 70])
def test_result_does_not_depend_on_threads(kind, k, monkeypatch, many_cores):
    # would catch: two threads that share a scratch array, a block of rows left out
    rng = np.random.default_rng(0)
    U, bias = entries(rng, kind, 300, 901), rng.integers(-2, 3, 901).astype(float)
    monkeypatch.setattr(threads, "_SMALL", 0)  # else there is one block
    results = []
    for n_jobs in (1, 2):
        with use_threads(n_jobs):
            results.append(topk(U, bias, k))
    assert_array_equal(results[0][0], results[1][0])
    assert_array_equal(results[0][1], results[1][1])


def test_ties_take_the_lowest_columns(implementation, dtype):
    # would catch: any other rule among equal entries, far beyond one group of columns
    indices, _ = select(implementation, np.zeros((2, 999), dtype), np.zeros(999, dtype), 7)
    assert_array_equal(indices, [range(7), range(7)])


def test_row_of_nan(implementation, dtype):
    # would catch: an endless search, or columns that were never written
    U = np.full((3, 40), np.nan, dtype)
    U[1, 30] = -1.0
    indices, values = select(implementation, U, np.zeros(40, dtype), 2)
    assert_array_equal(indices, [[0, 1], [0, 30], [0, 1]])
    assert_array_equal(values, [[np.nan, np.nan], [np.nan, -1.0], [np.nan, np.nan]])


def test_any_number_ranks_above_nan(implementation, dtype):
    # would catch: NaN treated as equal to minus infinity
    U = np.array([[np.nan, -np.inf, np.nan, 1.0]], dtype)
    indices, _ = select(implementation, U, np.zeros(4, dtype), 2)
    assert_array_equal(indices, [[1, 3]])


def test_no_rows(implementation, dtype):
    # would catch: an error on an empty batch
    indices, values = select(implementation, np.zeros((0, 9), dtype), np.zeros(9, dtype), 2)
    assert indices.shape == values.shape == (0, 2)


def test_arguments_are_left_alone(implementation, dtype):
    # would catch: the bias added in place
    rng = np.random.default_rng(0)
    U, bias = rng.standard_normal((3, 50)).astype(dtype), rng.standard_normal(50).astype(dtype)
    A = implementation.asarray
    given_U, given_bias = A(U.copy()), A(bias.copy())
    implementation.load("topk").topk(given_U, given_bias, 4)
    assert_array_equal(to_numpy(given_U), U)
    assert_array_equal(to_numpy(given_bias), bias)
