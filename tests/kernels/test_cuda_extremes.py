"""CUDA kernels where they take another way: large rows, long columns, many features, NaN."""

import numpy as np
import pytest
from estimators import data, small

from skdict import TopKAutoencoder
from skdict.backend import to_numpy
from skdict.kernels import products_reference, topk_reference

pytestmark = pytest.mark.gpu


def rows_of(kind, shape, rng):
    U = rng.standard_normal(shape)
    if kind == "ties":
        U = np.round(U)
    elif kind == "all equal":
        U[:] = 0.5
    elif kind == "zeros of both signs":
        U = np.where(rng.random(shape) < 0.5, 0.0, -0.0)
    elif kind == "NaN and infinity":
        U[rng.random(shape) < 0.1] = np.nan
        U[rng.random(shape) < 0.01] = np.inf
        U[rng.random(shape) < 0.5] = -np.inf
    elif kind == "nearly all NaN":
        U[:, 5:] = np.nan
    return U


SIZES = [(2048, 32), (3001, 256), (2049, 1), (300, 300), (257, 40), (5, 2)]
KINDS = ["any", "ties", "all equal", "zeros of both signs", "NaN and infinity", "nearly all NaN"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "m, k", [(2048, 32), (3001, 256), (2049, 1), (300, 300), (257, 40), (5, 2)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_topk(kind, m, k, dtype, cupy):
    # Catches candidates that overflow, ties that are broken otherwise, NaN above a number.
    from skdict.kernels import topk_cuda

    rng = np.random.default_rng(m + k)
    U, bias = rows_of(kind, (4, m), rng).astype(dtype), np.zeros(m, dtype=dtype)
    if kind == "any":
        bias = rng.standard_normal(m).astype(dtype)
    indices, values = topk_cuda.topk(cupy.asarray(U), cupy.asarray(bias), k)
    expected = topk_reference.topk(U, bias, k)
    np.testing.assert_array_equal(to_numpy(indices), expected[0])
    np.testing.assert_array_equal(to_numpy(values), expected[1])
    assert indices.dtype == np.int32 and values.dtype == dtype


@pytest.mark.parametrize("n, share", [(300, 0.5), (1500, 0.1), (33_000, 0.01)])
def test_column_order(n, share, cupy):
    # Catches long columns that are not in order, and rows behind the first bitmap of them.
    import scipy.sparse as sp

    from skdict.kernels import products_cuda

    Z = sp.random_array((n, 7), density=share, format="csr", rng=np.random.default_rng(0))
    Z = sp.csr_array(Z + sp.csr_array((np.ones(n), (np.arange(n), np.full(n, 3))), shape=(n, 7)))
    Z.sort_indices()
    indptr, indices = Z.indptr.astype(np.int64), Z.indices.astype(np.int32)
    found = products_cuda.by_column(cupy.asarray(indptr), cupy.asarray(indices), 7)
    expected = products_reference.by_column(indptr, indices, 7)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(to_numpy(one), other)
    values = Z.data.astype(np.float64)
    sums = products_cuda.sum_of_columns(found, cupy.asarray(values))
    np.testing.assert_allclose(to_numpy(sums), Z.sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("some_are_dead", [False, True])
@pytest.mark.parametrize("n_features", [5, 300])
def test_steps_with_latents_that_often_fire(n_features, some_are_dead, cupy):
    # Catches chunks of long columns that are lost, doubled or in the wrong place.
    X = data(1300, n_features)
    shared = {"batch_size": 1300, "max_iter": 3, "n_components": 7, "k": 4}
    if some_are_dead:
        X[:, 0] += 50  # one direction for all: some latents never fire
        shared |= {"dead_after": 1, "k": 1, "n_components": 9}
    host = small(TopKAutoencoder, **shared).fit(X)
    there = small(TopKAutoencoder, **shared).fit(cupy.asarray(X))
    for name in ("components_", "encoder_", "encoder_bias_", "decoder_bias_"):
        found, expected = to_numpy(getattr(there, name)), getattr(host, name)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8, err_msg=name)


def test_rounding_to_bfloat16(cupy):
    # Catches another rounding than to nearest, ties to even, and NaN that becomes infinity.
    import ml_dtypes

    from skdict.kernels.dense_cuda import to_bfloat16

    bits = np.random.default_rng(0).integers(0, 2**32, 4000, dtype=np.uint64).astype(np.uint32)
    ties = (np.arange(64, dtype=np.uint32) << 16) + np.uint32(0x8000)
    special = np.array([0x7F800001, 0x7F7FFFFF, 0xFF800000, 0x80000000, 1], dtype=np.uint32)
    numbers = np.concatenate([bits, ties, special]).view(np.float32)
    found = to_numpy(to_bfloat16(cupy.asarray(numbers))).view(ml_dtypes.bfloat16)
    with np.errstate(invalid="ignore"):
        expected = numbers.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(found.astype(np.float32), expected.astype(np.float32))


@pytest.mark.parametrize("precision, bits", [("highest", 24), ("tf32", 11), ("bf16", 8)])
def test_products_at_a_precision(precision, bits, cupy):
    # Catches a precision that is not what it says, and factors in the wrong order.
    from skdict.kernels.dense_cuda import exact_entries, product, refine_positive, to_bfloat16

    rng = np.random.default_rng(0)
    A, B = (rng.standard_normal((n, 37)).astype(np.float32) for n in (21, 50))
    exact = A.astype(np.float64) @ B.astype(np.float64).T
    there = [cupy.asarray(array) for array in (A, B)]
    U = product(*there, precision)
    size = np.abs(A) @ np.abs(B).T
    error = np.abs(to_numpy(U) - exact) / size
    assert error.max() < 2.0 ** (1 - bits)
    assert precision == "highest" or error.max() > 2.0 ** (-bits - 6)
    if precision == "bf16":
        again = product(there[0], to_bfloat16(there[1]), precision)
        np.testing.assert_array_equal(to_numpy(again), to_numpy(U))
    indices = rng.integers(0, 50, (21, 3)).astype(np.int32)
    entries = to_numpy(exact_entries(*there, cupy.asarray(indices)))
    np.testing.assert_allclose(entries, np.take_along_axis(exact, indices, 1), rtol=1e-4, atol=1e-5)
    bias = rng.standard_normal(50).astype(np.float32)
    before = to_numpy(U).copy()
    refine_positive(U, cupy.asarray(bias), *there)
    counts = before + bias > 0
    np.testing.assert_allclose(to_numpy(U)[counts], exact[counts], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(to_numpy(U)[~counts], before[~counts])
