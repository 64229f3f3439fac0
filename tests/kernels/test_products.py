"""Sparse products against dense ones, and dense products on blocks of rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import sparse_problem, sparse_problems, streams

from skdict.backend import to_numpy
from skdict.kernels import dense, products, threads
from skdict.kernels.threads import use_threads

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
FEWER = settings(max_examples=40)


def cast(implementation, problem, dtype):
    A = implementation.asarray
    floats = [A(array, dtype) for array in (problem.values, problem.dense, problem.D, problem.G)]
    values, full, D, G = floats
    return problem._replace(
        indptr=A(problem.indptr), indices=A(problem.indices), values=values, dense=full, D=D, G=G
    )


def assert_close(actual, expected, dtype):
    assert_allclose(to_numpy(actual), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert to_numpy(actual).dtype == dtype


@FEWER
@given(problem=sparse_problems())
def test_decode(implementation, dtype, problem):
    # would catch: a remainder of entries of a row lost, empty rows left uninitialised
    p = cast(implementation, problem, dtype)
    Z_D = implementation.load("products").decode(p.indptr, p.indices, p.values, p.D)
    assert_close(Z_D, problem.dense @ problem.D, dtype)


@FEWER
@given(problem=sparse_problems())
def test_codes_gradient(implementation, dtype, problem):
    # would catch: a gradient taken outside of the support, or left out at stored zeros
    p = cast(implementation, problem, dtype)
    gradient = implementation.load("products").codes_gradient(p.indptr, p.indices, p.D, p.G)
    rows = np.repeat(np.arange(len(problem.dense)), np.diff(problem.indptr))
    assert_close(gradient, (problem.G @ problem.D.T)[rows, problem.indices], dtype)


@FEWER
@given(problem=sparse_problems())
def test_add_outer(implementation, dtype, problem):
    # would catch: the old content overwritten, or a copy changed instead of `out`
    p = cast(implementation, problem, dtype)
    kernels = implementation.load("products")
    start = np.random.default_rng(0).standard_normal(problem.D.shape)
    out = implementation.asarray(start.copy(), dtype)
    columns = kernels.by_column(p.indptr, p.indices, problem.n_components)
    returned = kernels.add_outer(out, columns, p.values, p.G)
    assert returned is out
    assert_close(out, start + problem.dense.T @ problem.G, dtype)


@FEWER
@given(problem=sparse_problems())
def test_column_sum_and_to_dense(implementation, dtype, problem):
    # would catch: columns without entries skipped
    p = cast(implementation, problem, dtype)
    kernels = implementation.load("products")
    sums = kernels.column_sum(p.indptr, p.indices, p.values, problem.n_components)
    assert_close(sums, problem.dense.sum(axis=0), dtype)
    full = kernels.to_dense(p.indptr, p.indices, p.values, problem.n_components)
    assert_array_equal(to_numpy(full), problem.dense.astype(dtype))


@FEWER
@given(problem=sparse_problems())
def test_by_column(implementation, problem):
    # would catch: rows that do not increase within a column, which makes sums irreproducible
    p = cast(implementation, problem, "float64")
    kernels = implementation.load("products")
    columns = kernels.by_column(p.indptr, p.indices, problem.n_components)
    starts, entries, rows = (to_numpy(array) for array in columns)
    assert starts.shape == (problem.n_components + 1,)
    assert sorted(entries.tolist()) == list(range(problem.indices.size))
    rows_of = np.repeat(np.arange(len(problem.dense)), np.diff(problem.indptr))
    for j in range(problem.n_components):
        own = slice(starts[j], starts[j + 1])
        assert_array_equal(problem.indices[entries[own]], j)
        assert_array_equal(rows_of[entries[own]], rows[own])
        assert (np.diff(rows[own]) > 0).all()


@FEWER
@given(rng=streams, shape=st.tuples(st.integers(1, 6), st.integers(1, 40)), shift=st.floats(-3, 3))
def test_positive_support(implementation, dtype, rng, shape, shift):
    # would catch: the bias stored with the values, zero or NaN counted as positive
    U = rng.integers(-3, 4, shape).astype(float)
    U[rng.random(shape) < 0.1] = np.nan
    bias = np.round(rng.standard_normal(shape[1]) + shift)
    arrays = implementation.asarray(U, dtype), implementation.asarray(bias, dtype)
    found = implementation.load("products").positive_support(*arrays)
    indptr, indices, values = (to_numpy(array) for array in found)
    rows, columns = np.nonzero(U + bias > 0)
    assert_array_equal(np.repeat(np.arange(shape[0]), np.diff(indptr)), rows)
    assert_array_equal(indices, columns)
    assert_array_equal(values, U[rows, columns])
    assert indptr.dtype == np.int64 and indices.dtype == np.int32 and values.dtype == dtype


def test_products_do_not_depend_on_threads(dtype, monkeypatch, many_cores):
    # would catch: a scatter-add in the order of threads, a race between blocks
    p = sparse_problem(np.random.default_rng(0), 600, 450, 33, 0.1, dtype)
    monkeypatch.setattr(threads, "_SMALL", 0)  # else there is one block
    results = []
    for n_jobs in (1, 2):
        with use_threads(n_jobs):
            columns = products.by_column(p.indptr, p.indices, 450)
            results.append(
                [
                    products.decode(p.indptr, p.indices, p.values, p.D),
                    products.codes_gradient(p.indptr, p.indices, p.D, p.G),
                    products.add_outer(np.zeros_like(p.D), columns, p.values, p.G),
                    products.column_sum(p.indptr, p.indices, p.values, 450),
                    *products.positive_support(p.dense, p.dense[0]),
                ]
            )
    for one, two in zip(*results):
        assert_array_equal(one, two)


# ---------------------------------------------------------------- dense products

SHAPES = [(1, 3, 2), (7, 5, 4), (40, 300, 301), (1024, 60, 61), (1500, 60, 61), (60, 99, 1500)]


@pytest.mark.parametrize("shape", SHAPES)
def test_matmul(shape, dtype, many_cores):
    # would catch: the last, short block left out, or written to the wrong rows
    n, d, m = shape
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((n, d)), rng.standard_normal((d, m))
    results = []
    for n_jobs in (1, 2):
        with use_threads(n_jobs):
            results.append(dense.matmul(A.astype(dtype), B.astype(dtype)))
    scale = np.sqrt(d)
    assert_allclose(results[0] / scale, A @ B / scale, atol=10 * TOLERANCE[dtype])
    assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("shape", SHAPES)
def test_product_tiles(shape, many_cores):
    # would catch: tiles out of order, or threads that share one buffer
    n, d, m = shape
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((n, d)), rng.standard_normal((d, m))
    results = []
    for n_jobs in (1, 2):
        with use_threads(n_jobs):
            parts = dense.product_tiles(A, B, np.copy)
            assert_allclose(np.concatenate(parts), A @ B, atol=1e-11)
            results.append(np.concatenate(parts))
    assert_array_equal(*results)


def test_dense_products_in_every_namespace(xp):
    # would catch: a foreign array sent through numpy
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((5, 4)), rng.standard_normal((4, 3))
    ours = dense.matmul(xp.asarray(A), xp.asarray(B))
    parts = dense.product_tiles(xp.asarray(A), xp.asarray(B), lambda tile: tile + 0)
    assert type(ours) is type(xp.asarray(A))
    assert_allclose(to_numpy(ours), A @ B)
    assert_allclose(np.concatenate([to_numpy(part) for part in parts]), A @ B)


def test_without_rows():
    # would catch: a division by zero in the size of blocks
    assert dense.matmul(np.ones((0, 4)), np.ones((4, 3))).shape == (0, 3)
    assert dense.product_tiles(np.ones((0, 4)), np.ones((4, 3)), np.copy) == []


@given(n=st.integers(0, 5000), d=st.integers(1, 1000), m=st.integers(1, 10**6))
def test_size_of_blocks_covers_the_rows(n, d, m):
    # would catch: blocks of no rows, or a batch cut into more blocks than it pays
    size = dense.tile_rows(n, d, m)
    assert size >= 1
    if n * d * m < dense._SMALL:
        assert size >= n
    elif size * m > dense._TILE_ENTRIES // 2:
        assert size * m <= max(dense._TILE_ENTRIES, 32 * m)
    elif n < 2 * dense._TILE:
        assert -(-n // size) <= 2
    else:
        assert size == dense._TILE


@pytest.mark.parametrize("m", [1, 255, 256, 257, 1100])
@pytest.mark.parametrize("n_jobs", [1, 3])
def test_gram(dtype, m, n_jobs, many_cores):
    # would catch: a mirrored tile in the wrong place, or memory that is too short or read-only
    D = np.random.default_rng(0).standard_normal((m, 7)).astype(dtype)
    with use_threads(n_jobs):
        G = dense.gram(D)
    assert_allclose(G, D @ D.T, rtol=TOLERANCE[dtype], atol=3 * TOLERANCE[dtype])
    assert_array_equal(G, G.T)
    assert G.dtype == D.dtype and G.flags.c_contiguous and G.flags.writeable


def test_gram_of_other_arrays(xp):
    # would catch: what only NumPy has
    D = np.arange(12.0).reshape(4, 3)
    assert_array_equal(to_numpy(dense.gram(xp.asarray(D))), D @ D.T)
