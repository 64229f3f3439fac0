"""CUDA kernels against their twins on the host: sizes and entries that the shared tests have not.

Those for all implementations run on CUDA kernels too (the fixture `implementation`).
"""

import contextlib
import importlib
from types import SimpleNamespace

import emulation
import numpy as np
import pytest
import scipy.sparse as sp
from conftest import EMULATED, NAMESPACES
from numpy.testing import assert_allclose, assert_array_equal

from skdict.backend import to_numpy
from skdict.fusion import Batch
from skdict.kernels import topk_reference
from skdict.kernels._cuda import launch

if "cupy" not in NAMESPACES:
    reason = "no GPU that CuPy can use (SKDICT_CUPY=emulated runs kernels on the host)"
    pytest.skip(reason, allow_module_level=True)
cupy = importlib.import_module("cupy")
topk_cuda, products_cuda, products_cpu, dense_cuda, sparse_step_cuda, sparse_step_cpu = (
    importlib.import_module(f"skdict.kernels.{name}")
    for name in ("topk_cuda", "products_cuda", "products_cpu", "dense_cuda", "sparse_step_cuda",
                 "sparse_step_cpu")
)  # fmt: skip

pytestmark = pytest.mark.gpu
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


def on_device(arrays):
    """Copies of the arrays in dicts, tuples and namespaces; what is none is left as it is."""
    if isinstance(arrays, np.ndarray):
        return cupy.asarray(arrays.copy())
    if isinstance(arrays, dict):
        return {name: on_device(array) for name, array in arrays.items()}
    if isinstance(arrays, tuple):
        return tuple(map(on_device, arrays))
    return arrays


def bits(arrays):
    return [to_numpy(array).tobytes() for array in arrays]


def assert_same_bits(run):
    """Arrays that `run` returns are the same each time; over the emulation in any order."""
    first = bits(run())
    assert bits(run()) == first
    with emulation.backwards() if EMULATED else contextlib.nullcontext():
        assert bits(run()) == first


# ---- top-k


def rows_of_kind(rng, kind, m):
    if kind == "normal":
        return rng.standard_normal((3, m))
    if kind == "ties":
        return rng.integers(0, 4, (3, m)).astype(float)
    if kind == "equal":  # more candidates than the fast way takes
        return np.full((3, m), 0.5)
    if kind == "signed zeros":
        return rng.choice([0.0, -0.0, -1.0], (3, m))
    if kind == "one group":  # the largest of all groups are hardly those of the row
        U = rng.standard_normal((3, m))
        U[:, :: topk_cuda.GROUPS] += 100
        return U
    if kind == "special":
        return rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.0], (3, m))
    U = np.full((3, m), np.nan)  # "few numbers"
    U[0, -1] = -np.inf
    U[1, [0, m // 2, m - 1]] = 3.0, -1.0, 3.0
    return U


KINDS = ("normal", "ties", "equal", "signed zeros", "one group", "special", "few numbers")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [33, 2047, 2048, 2049, 3001])
def test_topk(m, kind, dtype):
    # Catches a candidate, a tie or the end of a row that one of the two ways loses.
    rng = np.random.default_rng(m)
    U = rows_of_kind(rng, kind, m).astype(dtype)
    for bias in (np.full(m, -0.0, dtype), rng.integers(-2, 3, m).astype(dtype)):
        for k in sorted({0, 1, 5, 32, 255, 256, 257, m - 1, m}):
            if k > m:
                continue
            indices, values = map(to_numpy, topk_cuda.topk(*on_device((U, bias)), k))
            expected = topk_reference.topk(U, bias, k)
            assert indices.dtype == np.int32 and values.dtype == dtype
            assert_array_equal(indices, expected[0])
            assert_array_equal(values, expected[1])
            known = ~np.isnan(values)
            assert_array_equal(np.signbit(values)[known], np.signbit(expected[1])[known])


def test_topk_of_one_column(dtype):
    # Catches parts of a row that are empty, and a row that is read beyond its end.
    U = np.array([[np.nan], [2.0], [-np.inf]], dtype)
    indices, values = topk_cuda.topk(*on_device((U, np.ones(1, dtype))), 1)
    assert_array_equal(to_numpy(indices), np.zeros((3, 1)))
    assert_array_equal(to_numpy(values), U + 1)


@pytest.mark.parametrize("k", [7, 300])
@pytest.mark.parametrize("kind", ["ties", "equal", "special"])
def test_bits_of_topk(kind, k):
    # Catches an order that atomic additions decide.
    U = rows_of_kind(np.random.default_rng(0), kind, 2500)
    arrays = on_device((U, np.zeros(2500)))
    assert_same_bits(lambda: topk_cuda.topk(*arrays, k))


# ---- products


def sparse_codes(seed, n, m, dtype, heavy=3):
    """CSR arrays of n rows: the first columns heavy, others empty; empty rows, stored zeros."""
    rng = np.random.default_rng(seed)
    chance = np.full(m, 2 / m)
    chance[:heavy], chance[m // 2 :: 3] = (0.9, 0.4, 0.1)[:heavy], 0
    present = rng.random((n, m)) < chance
    present[1::7] = False
    rows, columns = np.nonzero(present)
    values = rng.standard_normal(rows.size).astype(dtype)
    values[::5] = 0
    indptr = np.append(0, np.cumsum(present.sum(axis=1))).astype(np.int64)
    return indptr, columns.astype(np.int32), values


@pytest.mark.parametrize(("n", "m", "d"), [(700, 11, 3), (90, 70, 257), (5, 1100, 40), (9, 4, 600)])
def test_products(n, m, d, dtype):
    # Catches long columns, wide atoms or stored zeros that a kernel treats in a way of their own.
    indptr, indices, values = codes = sparse_codes(n, n, m, dtype)
    assert n != 700 or np.bincount(indices).max() > 512
    rng = np.random.default_rng(1)
    D, G, start = (rng.standard_normal(s).astype(dtype) for s in ((m, d), (n, d), (m, d)))
    on_gpu = on_device(codes)
    columns = products_cuda.by_column(*on_gpu[:2], m)
    results = (
        products_cuda.decode(*on_gpu, cupy.asarray(D)),
        products_cuda.codes_gradient(*on_gpu[:2], cupy.asarray(D), cupy.asarray(G)),
        products_cuda.add_outer(cupy.asarray(start.copy()), columns, on_gpu[2], cupy.asarray(G)),
        products_cuda.column_sum(*on_gpu, m),
    )
    of_host = products_cpu.by_column(indptr, indices, m)
    expected = (
        products_cpu.decode(*codes, D),
        products_cpu.codes_gradient(indptr, indices, D, G),
        products_cpu.add_outer(start.copy(), of_host, values, G),
        products_cpu.column_sum(*codes, m),
    )
    for result, other in zip(results, expected):
        size = TOLERANCE[dtype] * max(1, np.abs(other).max())
        assert_allclose(to_numpy(result), other, rtol=TOLERANCE[dtype], atol=size)
        assert to_numpy(result).dtype == dtype
    Z = sp.csr_array((values, indices, indptr), shape=(n, m)).toarray()
    assert_array_equal(to_numpy(products_cuda.to_dense(*on_gpu, m)), Z)


def assert_in_order(starts, entries, rows, indptr, indices):
    expected = np.argsort(indices, kind="stable")
    counts = np.bincount(indices, minlength=len(starts) - 1)
    assert_array_equal(to_numpy(starts), np.append(0, np.cumsum(counts)))
    assert_array_equal(to_numpy(entries), expected)
    owners = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    assert_array_equal(to_numpy(rows), owners[expected])


@pytest.mark.parametrize(("n", "m"), [(1, 1), (64, 2), (65, 2), (700, 1030), (33_000, 3)])
def test_column_order(n, m):
    # Catches columns put in order with a row of another bitmap, or an order that is not that of
    # rows, where there are more columns than threads or more entries than are compared.
    indptr, indices, _ = sparse_codes(n + m, n, m, "float32", heavy=min(m, 2))
    if n in (64, 65):  # the most that are compared, and one more
        indptr, indices = np.arange(n + 1, dtype=np.int64), np.zeros(n, np.int32)
    columns = products_cuda.by_column(*on_device((indptr, indices)), m)
    assert [array.dtype for array in columns] == [np.int64, np.int32, np.int32]
    assert_in_order(*columns, indptr, indices)


def test_column_order_of_any_placement():
    # Catches entries that are lost or doubled at the edges of bitmaps of 32768 rows.
    n, m, rng = 98_305, 4, np.random.default_rng(0)
    edges = [0, 31, 32, 32_767, 32_768, 65_535, 65_536, 98_303, 98_304]
    few = np.union1d(rng.choice(n, 300, replace=False), edges)
    of_columns = few, np.arange(40_000, 40_065), np.array(edges), np.arange(0)
    rows = np.concatenate(of_columns)
    indices = np.repeat(np.arange(m), [len(column) for column in of_columns])
    by_row = np.lexsort((indices, rows))
    rows, indices = rows[by_row].astype(np.int32), indices[by_row].astype(np.int32)
    indptr = np.append(0, np.cumsum(np.bincount(rows, minlength=n))).astype(np.int64)
    starts = np.append(0, np.cumsum(np.bincount(indices, minlength=m))).astype(np.int64)
    placed = np.lexsort((rng.random(rows.size), indices)).astype(np.int32)
    ordered = tuple(cupy.empty(rows.size, dtype=np.int32) for _ in range(2))
    arrays = *on_device((starts, placed, rows[placed])), *ordered
    launch("products", "order_columns", np.float32, m, *arrays, np.int32(n))
    assert_in_order(starts, *ordered, indptr, indices)


def test_no_entries(dtype):
    # Catches a launch without blocks, and results that nobody writes.
    indptr, indices = cupy.zeros(4, dtype=np.int64), cupy.empty(0, dtype=np.int32)
    values, D = cupy.empty(0, dtype=dtype), cupy.ones((2, 5), dtype=dtype)
    assert not to_numpy(products_cuda.decode(indptr, indices, values, D)).any()
    starts, entries, rows = products_cuda.by_column(indptr, indices, 2)
    assert_array_equal(to_numpy(starts), [0, 0, 0])
    assert entries.size == rows.size == 0
    assert_array_equal(to_numpy(products_cuda.column_sum(indptr, indices, values, 2)), [0, 0])


def test_bits_of_products():
    # Catches sums in the order in which entries were placed.
    indptr, indices, values = on_device(sparse_codes(0, 400, 9, "float32"))
    D, G = on_device(tuple(np.random.default_rng(0).standard_normal((2, 400, 30)).astype("f")))

    def run():
        columns = products_cuda.by_column(indptr, indices, 9)
        out = cupy.zeros((9, 30), dtype=np.float32)
        products_cuda.add_outer(out, columns, values, G)
        sums = products_cuda.sum_of_columns(columns, values)
        gradient = products_cuda.codes_gradient(indptr, indices, D[:9], G)
        return *columns, out, sums, gradient, products_cuda.decode(indptr, indices, values, D[:9])

    assert_same_bits(run)


# ---- the fused step


@pytest.mark.parametrize("d", [1, 31, 130, 300, 1100])
def test_reconstruct(d, dtype):
    # Catches features beyond the threads of a block, and more entries than it has warps.
    indptr, indices, values = sparse_codes(d, 50, 60, dtype)
    indptr, indices, values = (np.concatenate(pair) for pair in (
        (indptr, indptr[-1:] + 60), (indices, np.arange(60, dtype=np.int32)),
        (values, np.linspace(-1, 1, 60).astype(dtype)),
    ))  # fmt: skip
    codes = SimpleNamespace(indptr=indptr, indices=indices, values=values)
    rng = np.random.default_rng(2)
    X, D = (rng.standard_normal(shape).astype(dtype) for shape in ((51, d), (60, d)))
    expected = np.empty_like(X)
    square, inner = sparse_step_cpu.reconstruct(codes, X, D, expected)
    on_gpu = SimpleNamespace(**on_device(vars(codes)))
    residual = cupy.empty((51, d), dtype=dtype)
    own_square, own_inner = sparse_step_cuda.reconstruct(on_gpu, *on_device((X, D)), residual)
    near = {"rtol": 5 * TOLERANCE[dtype], "atol": 5 * TOLERANCE[dtype] * np.sqrt(d)}
    assert_allclose(to_numpy(residual), expected, **near)
    assert_allclose(to_numpy(own_inner), inner, **near)
    assert_allclose(float(own_square), square, rtol=5 * TOLERANCE[dtype])
    assert own_square.shape == () and own_inner.dtype == dtype


def step_problem(n, d, m, k, dtype, extra, seed=0):
    """Arguments of `update` on the host; the entries of some latents are many.

    Latent 0 is in every row; with more than 1025 rows latents 1 and 2 are in 512 and 513.
    """
    rng, tenth = np.random.default_rng(seed), np.dtype(dtype).type(0.1)

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    indices = np.empty((n, k), dtype=np.int32)
    for i in range(n):
        indices[i] = rng.permutation(m - 5)[:k] + 3  # the last two latents are in none
        if k > 1:
            indices[i, :2] = 0, 1 if i < 512 else 2 if i < 1025 else indices[i, 1]
        rng.shuffle(indices[i])
    values, d_U, inner = normal(3, n * k)
    values[rng.random(n * k) < 0.2] = 0
    d_U[rng.random(n * k) < 0.3] = 0
    shapes = {"components": (m, d), "encoder": (m, d), "decoder_bias": (d,), "encoder_bias": (m,)}
    params = {name: normal(*shape) for name, shape in shapes.items()}
    params["components"] /= np.linalg.norm(params["components"], axis=1, keepdims=True)
    mean = {name: normal(*shape) / 10 for name, shape in shapes.items()}
    square = {name: normal(*shape) ** 2 + tenth for name, shape in shapes.items()}
    rates = {"components": 0.1, "encoder": 0.03, "decoder_bias": 0.2, "encoder_bias": 0.05}
    centred, residual = normal(2, n, d)
    totals = np.bincount(indices.ravel(), d_U, minlength=m).astype(dtype)
    batch = Batch(
        np.full(n, k), indices.ravel(), values, d_U, inner, None, residual.sum(axis=0),
        {"encoder_bias": totals}, 0.0, 0.0,
    )  # fmt: skip
    keep = np.linspace(0.5, 1, m).astype(dtype)
    rest = None
    if extra:
        latents = np.union1d(np.flatnonzero(rng.random(m) < 0.4), [0, m - 1])[::-1].copy()
        rest = latents, normal(latents.size, d), normal(latents.size, d), normal(latents.size)
    return params, (mean, square), rates, (0.9, 0.8, 1e-8), keep, batch, centred, residual, rest


def update_on_gpu(problem, with_columns=False):
    """What `update` returns for a copy of the problem, parameters and moments included."""
    params, moments, rates, betas, keep, batch, centred, residual, extra = problem
    params, moments = on_device(params), on_device(moments)
    batch = Batch(None, *map(on_device, list(vars(batch).values())[1:]))
    m = keep.size
    if with_columns:
        indptr = cupy.arange(centred.shape[0] + 1, dtype=np.int64)
        indptr *= batch.indices.shape[0] // centred.shape[0]
        batch.columns = products_cuda.by_column(indptr, batch.indices, m)
    if extra is not None:
        slots = np.full(m, -1, dtype=np.int32)
        slots[extra[0]] = np.arange(extra[0].size)
        extra = on_device((slots, *extra[1:]))
    arrays = *on_device((keep,)), batch, *on_device((centred, residual)), extra
    fired = sparse_step_cuda.update(params, moments, rates, betas, *arrays)
    return params, moments, fired


def update_on_host(problem):
    params, moments, rates, betas, keep, batch, centred, residual, extra = problem
    params = {name: array.copy() for name, array in params.items()}
    moments = tuple({name: a.copy() for name, a in moment.items()} for moment in moments)
    biases = {name: array.copy() for name, array in batch.d_params.items()}
    batch = Batch(**{**vars(batch), "d_params": biases})
    arrays = keep, batch, centred, residual, extra
    return params, moments, sparse_step_cpu.update(params, moments, rates, betas, *arrays)


STEPS = [(1400, 300, 40, 3), (700, 5, 5000, 2), (600, 20, 600, 1), (512, 30, 12, 4), (20, 1, 9, 2)]


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize(("n", "d", "m", "k"), STEPS)
def test_update(n, d, m, k, extra, dtype):
    # Catches a chunk of a long column that is lost or counted twice, decay of the wrong row, a
    # gradient of a dead latent that goes to another, and features beyond the threads of a block.
    problem = step_problem(n, d, m, k, dtype, extra)
    if n == 1400:
        assert list(np.bincount(problem[5].indices, minlength=m)[:3]) == [1400, 512, 513]
    params, moments, fired = update_on_gpu(problem)
    expected_params, expected_moments, expected_fired = update_on_host(problem)
    assert_array_equal(to_numpy(fired), expected_fired)
    near = 5 * TOLERANCE[dtype]
    for name in params:
        pairs = zip((params, *moments), (expected_params, *expected_moments))
        for (own, other), what in zip(pairs, ("parameter", "mean", "square")):
            assert_allclose(
                to_numpy(own[name]), other[name], rtol=near, atol=near, err_msg=f"{what} {name}"
            )
            assert own[name].dtype == dtype


@pytest.mark.parametrize("extra", [False, True])
def test_bits_of_update(extra):
    # Catches sums over a column in the order in which blocks or threads finish.
    problem = step_problem(1100, 40, 30, 3, "float32", extra)

    def run(with_columns=False):
        params, moments, fired = update_on_gpu(problem, with_columns)
        return *params.values(), *moments[0].values(), *moments[1].values(), fired

    assert_same_bits(run)
    assert bits(run()) == bits(run(with_columns=True))  # known already or not


# ---- dense products


def test_bfloat16():
    # Catches ties that are not rounded to even, NaN that becomes infinity, subnormals lost.
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    upper = np.arange(1 << 16, dtype=np.uint32)[:, None] << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], dtype=np.uint32)
    A = (upper | lower).view(np.float32)
    rounded = to_numpy(dense_cuda.to_bfloat16(cupy.asarray(A)))
    with np.errstate(all="ignore"):
        expected = A.astype(bfloat16)
    is_nan = np.isnan(A)
    assert rounded.dtype == np.uint16 and is_nan.any()
    assert_array_equal(rounded[~is_nan], expected.view(np.uint16)[~is_nan])
    assert np.isnan(rounded.view(bfloat16)[is_nan].astype(np.float32)).all()
    assert_array_equal(rounded[is_nan] >> 15, A.view(np.uint32)[is_nan] >> 31)
    quiet = np.array([np.nan], dtype=np.float32)
    assert to_numpy(dense_cuda.to_bfloat16(cupy.asarray(quiet)))[0] == 0x7FC0


def test_bfloat16_of_any_layout():
    # Catches the memory of a transposed array, or of every second entry, read in a row.
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    A = np.random.default_rng(0).standard_normal((7, 300)).astype(np.float32)
    for view in (lambda a: a.T, lambda a: a[:, ::2], lambda a: a[:0]):
        rounded = dense_cuda.to_bfloat16(view(cupy.asarray(A)))
        assert_array_equal(to_numpy(rounded), view(A).astype(bfloat16).view(np.uint16))


@pytest.mark.parametrize("precision", ["highest", "tf32", "bf16"])
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (5, 7, 3), (33, 65, 300)])
def test_product(n, m, d, precision, dtype):
    # Catches factors that change places, and more rounding than the precision allows.
    rng = np.random.default_rng(n)
    A, B = (rng.standard_normal(shape).astype(dtype) for shape in ((n, d), (m, d)))
    U = dense_cuda.product(*on_device((A, B)), precision)
    exact, size = A.astype(float) @ B.T.astype(float), np.abs(A) @ np.abs(B).T
    unit = {"highest": 2e-6, "tf32": 2.0**-9, "bf16": 2.0**-7}[precision]  # of both factors
    unit = 1e-14 if dtype == "float64" else unit
    assert (np.abs(to_numpy(U) - exact) <= unit * size).all()
    assert U.shape == (n, m) and U.dtype == dtype
    memory = cupy.full((n + 2, m), 7, dtype=dtype)
    returned = dense_cuda.product(*on_device((A, B)), precision, out=memory[1:-1])
    assert returned.data.ptr == memory[1:-1].data.ptr
    near = {"rtol": 1e-5, "atol": 1e-5 * size.max()}
    assert_allclose(to_numpy(memory[1:-1]), to_numpy(U), **near)
    assert (to_numpy(memory[[0, -1]]) == 7).all()
    turned = dense_cuda.product(*(cupy.asarray(F.T.copy()).T for F in (A, B)), precision)
    assert_allclose(to_numpy(turned), to_numpy(U), **near)


def test_product_of_rounded_factors():
    # Catches factors that are rounded twice, to another grid, or summed in bfloat16.
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    rng = np.random.default_rng(0)
    A, B = (rng.standard_normal(shape).astype(np.float32) for shape in ((9, 200), (20, 200)))
    rounded = [factor.astype(bfloat16).astype(float) for factor in (A, B)]
    a, b = on_device((A, B))
    for factor in (b, dense_cuda.to_bfloat16(b)):
        U = to_numpy(dense_cuda.product(a, factor, "bf16"))
        assert_allclose(U, rounded[0] @ rounded[1].T, rtol=1e-5, atol=1e-4)


def test_product_of_nothing(dtype):
    # Catches cuBLAS called for nothing, and a result without terms that stays as it was.
    out = cupy.full((3, 2), 7, dtype=dtype)
    empty = cupy.empty((3, 0), dtype=dtype), cupy.empty((2, 0), dtype=dtype)
    assert not to_numpy(dense_cuda.product(*empty, "bf16", out=out)).any()
    none = cupy.empty((0, 4), dtype=dtype)
    assert dense_cuda.product(none, cupy.ones((2, 4), dtype=dtype), "tf32").shape == (0, 2)


@pytest.mark.parametrize(("d", "k"), [(1, 1), (33, 20), (300, 3), (40, 0)])
def test_exact_entries(d, k, dtype):
    # Catches products with the row of another sample.
    rng = np.random.default_rng(d)
    A, B = (rng.standard_normal(shape).astype(dtype) for shape in ((6, d), (50, d)))
    indices = rng.integers(0, 50, (6, k)).astype(np.int32)
    entries = to_numpy(dense_cuda.exact_entries(*on_device((A, B, indices))))
    expected = np.take_along_axis(A @ B.T, indices, axis=1)
    assert_allclose(entries, expected, rtol=TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])
    assert entries.shape == (6, k) and entries.dtype == dtype


@pytest.mark.parametrize(("m", "d"), [(1, 1), (31, 33), (100, 5), (1300, 40), (40, 300)])
def test_refine_positive(m, d, dtype):
    # Catches an entry at zero, of NaN or in the last columns that is computed, or one that is not.
    rng = np.random.default_rng(m)
    U, bias = rng.integers(-2, 3, (4, m)).astype(dtype), rng.integers(-1, 2, m).astype(dtype)
    for number in (np.nan, np.inf, -np.inf, -0.0):
        U[rng.random(U.shape) < 0.05] = number
    U[3] = -9  # a row of which nothing counts
    A, B = (rng.standard_normal(shape).astype(dtype) for shape in ((4, d), (m, d)))
    arrays = on_device((U, bias, A, B))
    dense_cuda.refine_positive(*arrays)
    refined, counts = to_numpy(arrays[0]), U + bias > 0
    near = {"rtol": TOLERANCE[dtype], "atol": 10 * TOLERANCE[dtype]}
    assert_allclose(refined[counts], (A @ B.T)[counts], **near)
    assert refined[~counts].tobytes() == U[~counts].tobytes()

    def run():
        arrays = on_device((U, bias, A, B))
        dense_cuda.refine_positive(*arrays)
        return arrays[:1]

    assert_same_bits(run)
