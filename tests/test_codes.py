"""Codes, dense and sparse: the adjoint identity, and the same result from both kinds."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import Sparse, sparse_problem, sparse_problems, streams

from skdict import codes
from skdict.backend import to_numpy

FEWER = settings(max_examples=40)
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


def kinds(xp, p):
    """The same codes, dense and sparse."""
    arrays = (xp.asarray(array) for array in (p.indptr, p.indices, p.values))
    return xp.asarray(p.dense), codes.SparseCodes(*arrays, p.n_components)


def inner(A, B):
    """Inner product of arrays, or of codes on one support."""
    A, B = (to_numpy(codes.to_dense(array)) for array in (A, B))
    return float(np.sum(A * B))


def zero_outer(xp, D, Z, G):
    out = codes.add_outer(xp.zeros_like(D), Z, G)
    return to_numpy(out)


@FEWER
@given(p=sparse_problems())
def test_adjoint_identity(xp, p):
    # would catch: any error in one of decode and its two adjoints
    D, G = xp.asarray(p.D), xp.asarray(p.G)
    for Z in kinds(xp, p):
        decoded = inner(codes.decode(Z, D), G)
        assert_allclose(inner(Z, codes.codes_gradient(Z, D, G)), decoded, **TOLERANCE)
        assert_allclose(float(np.sum(p.D * zero_outer(xp, D, Z, G))), decoded, **TOLERANCE)


@FEWER
@given(p=sparse_problems())
def test_dense_equals_sparse(xp, p):
    # would catch: two representations that drift apart
    dense, sparse = kinds(xp, p)
    D, G = xp.asarray(p.D), xp.asarray(p.G)
    assert dense.shape == sparse.shape
    assert_allclose(to_numpy(codes.decode(sparse, D)), p.dense @ p.D, **TOLERANCE)
    assert_allclose(to_numpy(codes.decode(dense, D)), p.dense @ p.D, **TOLERANCE)
    assert_allclose(zero_outer(xp, D, sparse, G), p.dense.T @ p.G, **TOLERANCE)
    assert_allclose(zero_outer(xp, D, dense, G), p.dense.T @ p.G, **TOLERANCE)
    for Z in (dense, sparse):
        assert_allclose(to_numpy(codes.column_sum(Z)), p.dense.sum(axis=0), **TOLERANCE)
        assert_array_equal(to_numpy(codes.to_dense(Z)), p.dense)
        assert_array_equal(to_numpy(codes.n_fired(Z)), np.count_nonzero(p.dense, axis=0))
        assert_array_equal(to_numpy(codes.to_dense(codes.add(Z, Z))), 2 * p.dense)
        assert not to_numpy(codes.to_dense(codes.zeros_like(Z))).any()
    support = np.zeros(p.dense.shape, dtype=bool)
    support[np.repeat(np.arange(len(p.dense)), np.diff(p.indptr)), p.indices] = True
    on_support = to_numpy(codes.to_dense(codes.codes_gradient(sparse, D, G)))
    assert_allclose(on_support, np.where(support, p.G @ p.D.T, 0), **TOLERANCE)
    assert_allclose(to_numpy(codes.codes_gradient(dense, D, G)), p.G @ p.D.T, **TOLERANCE)


@FEWER
@given(p=sparse_problems())
def test_entries_and_components(xp, p):
    # would catch: a vector of the latents applied to the wrong entries
    vector = np.arange(1.0, p.n_components + 1)
    for Z in kinds(xp, p):
        factor = codes.per_component(Z, xp.asarray(vector))
        scaled = codes.with_entries(Z, codes.entries(Z) * factor)
        assert_array_equal(to_numpy(codes.to_dense(scaled)), p.dense * vector)
    values = xp.asarray(p.values)
    assert_array_equal(to_numpy(codes.positive(values)), p.values > 0)
    assert codes.positive(values).dtype == values.dtype


@FEWER
@given(p=sparse_problems())
def test_to_csr_has_no_explicit_zeros(xp, dtype, p):
    # would catch: zeros that count as non-zero codes, unsorted or 64-bit indices
    for Z in kinds(xp, p._replace(values=p.values.astype(dtype), dense=p.dense.astype(dtype))):
        values, indices, indptr = codes.to_csr(Z)
        assert (values != 0).all()
        assert values.dtype == dtype and indices.dtype == np.int32
        assert all(isinstance(array, np.ndarray) for array in (values, indices, indptr))
        matrix = sp.csr_array((values, indices, indptr), shape=p.dense.shape)
        assert matrix.has_canonical_format
        assert_array_equal(matrix.toarray(), p.dense.astype(dtype))


@FEWER
@given(rng=streams, cuts=st.lists(st.integers(0, 9), max_size=3))
def test_stack_joins_tiles(xp, rng, cuts):
    # would catch: offsets of rows or entries lost, a tile without rows or entries
    p = sparse_problem(rng, 9, 5, 3, rng.choice([0.0, 0.4]))
    bounds = [0, *sorted(cuts), 9]
    spans = [slice(a, b) for a, b in itertools.pairwise(bounds)]
    tiles = [kinds(xp, rows_of(p, span)) for span in spans]
    arrays = [xp.asarray(p.G[span]) for span in spans]
    parts = [
        ({"codes": sparse, "aux": None}, (dense, array))
        for (dense, sparse), array in zip(tiles, arrays)
    ]
    heads, (dense, G) = codes.stack(parts)
    assert heads["aux"] is None
    assert_array_equal(to_numpy(heads["codes"].indptr), p.indptr)
    assert_array_equal(to_numpy(heads["codes"].indices), p.indices)
    assert_array_equal(to_numpy(heads["codes"].values), p.values)
    assert_array_equal(to_numpy(dense), p.dense)
    assert_array_equal(to_numpy(G), p.G)


def rows_of(p, span):
    first, last = p.indptr[span.start], p.indptr[span.stop]
    return Sparse(
        p.indptr[span.start : span.stop + 1] - first,
        p.indices[first:last],
        p.values[first:last],
        p.dense[span],
        p.D,
        p.G[span],
    )


@FEWER
@given(rng=streams, n=st.integers(1, 6), m=st.integers(1, 8))
def test_from_rows(xp, rng, n, m):
    # would catch: rows of the selection laid out by column
    k = int(rng.integers(0, m + 1))
    indices = np.sort(np.argsort(rng.random((n, m)), axis=1)[:, :k], axis=1).astype(np.int32)
    values = rng.standard_normal((n, k))
    Z = codes.from_rows(xp.asarray(indices), xp.asarray(values), m)
    expected = np.zeros((n, m))
    np.put_along_axis(expected, indices, values, axis=1)
    assert Z.shape == (n, m)
    assert_array_equal(to_numpy(codes.to_dense(Z)), expected)


def test_other_values_share_the_support_and_its_column_order(xp):
    # would catch: the sort by columns repeated for each of several gradients
    _, Z = kinds(xp, sparse_problem(np.random.default_rng(0), 6, 5, 3, 0.5))
    columns = Z.columns
    other = Z.with_values(Z.values + 1)
    assert other.columns is columns
    assert other.indices is Z.indices and other.indptr is Z.indptr
    with pytest.raises(dataclasses.FrozenInstanceError):
        Z.values = Z.values + 1


def test_rows_without_codes(xp):
    # would catch: an empty matrix of codes, which every batch may have at the start of training
    indptr, empty = np.zeros(4, dtype=np.int64), np.zeros(0)
    Z = codes.SparseCodes(
        xp.asarray(indptr), xp.asarray(empty.astype(np.int32)), xp.asarray(empty), 5
    )
    D, G = xp.ones((5, 2), dtype=xp.float64), xp.ones((3, 2), dtype=xp.float64)
    assert_array_equal(to_numpy(codes.decode(Z, D)), np.zeros((3, 2)))
    assert codes.codes_gradient(Z, D, G).values.shape == (0,)
    assert_array_equal(zero_outer(xp, D, Z, G), np.zeros((5, 2)))
    assert_array_equal(to_numpy(codes.column_sum(Z)), np.zeros(5))
    assert_array_equal(to_numpy(codes.to_dense(Z)), np.zeros((3, 5)))
    assert not codes.n_fired(Z).any()
    values, indices, pointers = codes.to_csr(Z)
    assert values.size == indices.size == 0 and not pointers.any()


def test_a_selected_zero_did_not_fire(xp):
    # would catch: latents counted as alive because they were selected
    arrays = np.array([0, 2]), np.array([1, 3], dtype=np.int32), np.array([0.0, -2.0])
    Z = codes.SparseCodes(*(xp.asarray(array) for array in arrays), 4)
    assert codes.n_fired(Z).tolist() == [0, 0, 0, 1]


def test_zeros_like_nothing():
    # would catch: a head that is absent, such as aux without dead latents
    assert codes.zeros_like(None) is None
