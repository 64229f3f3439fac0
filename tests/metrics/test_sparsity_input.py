"""The sixteen measures on every container, dtype, library and axis, block by block."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from skdict.backend import to_numpy
from skdict.metrics import n_near_zeros, pq_mean, u_theta
from skdict.metrics.sparsity import MEASURES, _vectors

CASES = [(measure, {}) for measure in MEASURES.values()] + [
    (n_near_zeros, {"eps": 0.5}),
    (u_theta, {"theta": 0.1}),
    (u_theta, {"theta": 0.9}),
    (pq_mean, {"p": 1, "q": 3}),
    (pq_mean, {"p": 0, "q": 1}),
    (pq_mean, {"p": -1, "q": 1}),
]


def named(case):
    measure, parameters = case
    return measure.__name__ + "".join(f"-{name}={value}" for name, value in parameters.items())


all_cases = pytest.mark.parametrize("case", CASES, ids=named)

entries = st.one_of(st.just(0.0), st.integers(-5000, 5000).map(lambda i: i / 1000))
codes = arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=entries)


def assert_same(values, expected):
    assert_allclose(to_numpy(values), to_numpy(expected), rtol=1e-12, atol=1e-13)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def half_zeros(rng, *shape):
    return np.where(rng.random(shape) < 0.5, 0, rng.normal(size=shape))


# containers


def strided(Z):
    wide = np.full((2 * Z.shape[0], 3 * Z.shape[1]), np.nan)
    wide[1::2, ::-3] = Z
    return wide[1::2, ::-3]


def read_only(Z):
    Z = Z.copy()
    Z.flags.writeable = False
    return Z


def unsorted(Z):
    S = sp.csr_array(np.ascontiguousarray(Z[:, ::-1]))
    return sp.csr_array((S.data, Z.shape[1] - 1 - S.indices, S.indptr), Z.shape)


def explicit_zeros(Z):
    S = sp.csr_array(np.ones_like(Z))
    S.data[:] = Z.ravel()
    return S


def duplicates(Z):
    """Every entry in two halves, and zeros as 1 and -1."""
    first, second = (Z / 2 + sign * (Z == 0) for sign in (1, -1))
    columns = np.tile(np.arange(Z.shape[1]), (Z.shape[0], 2)).ravel()
    starts = 2 * Z.shape[1] * np.arange(Z.shape[0] + 1)
    return sp.csr_array((np.hstack([first, second]).ravel(), columns, starts), Z.shape)


def long_indices(Z):
    S = sp.csr_array(Z)
    S.indices, S.indptr = S.indices.astype(np.int64), S.indptr.astype(np.int64)
    return S


def duplicates_by_column(Z):
    S = duplicates(np.ascontiguousarray(Z.T))
    return sp.csc_array((S.data, S.indices, S.indptr), Z.shape)


CONTAINERS = {
    "list": np.ndarray.tolist,
    "fortran": np.asfortranarray,
    "strided": strided,
    "read_only": read_only,
    "csr_array": sp.csr_array,
    "csr_matrix": sp.csr_matrix,
    "csc_array": sp.csc_array,
    "csc_matrix": sp.csc_matrix,
    "coo_array": sp.coo_array,
    "coo_matrix": sp.coo_matrix,
    "lil_array": sp.lil_array,
    "bsr_array": sp.bsr_array,
    "unsorted": unsorted,
    "explicit_zeros": explicit_zeros,
    "duplicates": duplicates,
    "coo_duplicates": lambda Z: duplicates(Z).tocoo(),
    "duplicates_by_column": duplicates_by_column,
    "long_indices": long_indices,
}


def parts(Z):
    """Arrays that a container is made of."""
    if sp.issparse(Z):
        names = ("data", "indices", "indptr", "row", "col", "rows")
        return [getattr(Z, name).copy() for name in names if hasattr(Z, name)]
    return [np.array(Z)]


@all_cases
@settings(max_examples=20)  # for each of 22 cases
@given(Z=codes, container=st.sampled_from(list(CONTAINERS)), axis=st.sampled_from([0, 1]))
def test_containers_agree_and_are_left_alone(case, Z, container, axis):
    # would catch lost or doubled zeros, stored or not, sums along the wrong axis, abs in place
    measure, parameters = case
    expected = measure(Z, axis=axis, **parameters)
    contained = CONTAINERS[container](Z)
    before = parts(contained)
    values = measure(contained, axis=axis, **parameters)
    assert type(values) is np.ndarray
    assert values.dtype == np.float64
    assert values.shape == (Z.shape[1 - axis],)
    assert_same(values, expected)
    for part, old in zip(parts(contained), before):
        assert_array_equal(part, old)


@all_cases
@settings(max_examples=20)  # for each of 22 cases
@given(Z=codes)
def test_columns_are_rows_of_the_transpose(case, Z):
    # would catch an axis that only the blocks or only the formula honours, and N of the other axis
    measure, parameters = case
    for container in (np.asarray, sp.csr_array):
        by_column = measure(container(Z), axis=0, **parameters)
        assert_same(by_column, measure(container(Z).T, axis=1, **parameters))


@all_cases
@settings(max_examples=20)  # for each of 22 cases
@given(Z=codes, seed=st.integers(0, 2**32 - 1))
def test_signs_and_order_of_the_entries_do_not_matter(case, Z, seed):
    # would catch signed sums, and ranks or a largest entry taken before the magnitudes
    measure, parameters = case
    order = np.random.default_rng(seed).permutation(Z.shape[1])
    expected = measure(Z, **parameters)
    assert_same(measure(-np.abs(Z[:, order]), **parameters), expected)
    assert_same(measure(np.abs(Z), **parameters), expected)


@all_cases
@settings(max_examples=15)  # for each of 22 cases
@given(Z=codes)
def test_one_vector_is_a_matrix_of_one_row(case, Z):
    # would catch arrays for numbers, and rows that depend on the rows beside them
    measure, parameters = case
    together = measure(Z, **parameters)
    for row, expected in zip(Z, together):
        alone = measure(row, **parameters)
        assert type(alone) is float
        assert_same(alone, expected)
        assert_same(measure(row.tolist(), **parameters), expected)
        assert_same(measure(sp.csr_array(row[None, :]), **parameters), [expected])


@given(
    far=st.lists(st.integers(100, 109), min_size=1, max_size=8),
    zeros=st.integers(0, 8),
    theta=st.sampled_from([0.01, 0.2, 0.4, 0.5, 0.6, 0.8]),
)
def test_intervals_of_u_theta_begin_at_zeros_that_are_not_stored(far, zeros, theta):
    # would catch an interval too few or too many on either side of the first stored entry
    c = np.array([[0.0] * zeros + far])
    expected = u_theta(c, theta=theta)
    assert_same(u_theta(sp.csr_array(c), theta=theta), expected)
    assert_same(u_theta(sp.csc_array(c.T), axis=0, theta=theta), expected)


# dtypes and libraries


@all_cases
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "float16", "float32"])
def test_other_dtypes_are_read_as_float64(case, dtype, rng):
    # would catch abs(-128) = -128 of int8, float16 sums that overflow, float32 results
    measure, parameters = case
    Z = (half_zeros(rng, 9, 5) * 60).clip(-128, 127)
    Z[0, 0] = -128 if dtype.startswith("int") else 127
    Z = Z.astype(dtype)
    expected = measure(Z.astype(np.float64), **parameters)
    values = measure(Z, **parameters)
    assert values.dtype == np.float64
    assert_array_equal(values, expected)
    if dtype != "float16":  # which scipy has no sparse matrices of
        assert_same(measure(sp.csr_array(Z), **parameters), expected)
        assert_same(measure(sp.coo_array(Z.T), axis=0, **parameters), expected)


@all_cases
def test_every_library_gives_the_same(case, xp, rng):
    # would catch a function that only numpy has, and results that leave the library
    measure, parameters = case
    Z = half_zeros(rng, 40, 6)
    for dtype in ("float64", "float32", "int32", "bool"):
        host = (Z * 3).astype(dtype)
        array = xp.asarray(host)
        for axis in (0, 1):
            values = measure(array, axis=axis, **parameters)
            assert type(values) is type(array)
            assert values.dtype == xp.float64
            assert_same(values, measure(host, axis=axis, **parameters))
        assert_array_equal(to_numpy(array), host)
        alone = measure(array[3, :], **parameters)
        assert type(alone) is float
        assert_same(alone, measure(host[3], **parameters))


@all_cases
def test_result_stays_on_the_device(case):
    # would catch helper arrays on the default device
    strict = pytest.importorskip("array_api_strict")
    measure, parameters = case
    Z = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    there = strict.Device("device1")
    values = measure(strict.asarray(Z, device=there), **parameters)
    assert values.device == there
    assert_same(values, measure(Z, **parameters))


# blocks


@all_cases
@pytest.mark.parametrize("entries", [1, 7, 300])
def test_blocks_do_not_matter(case, entries, rng, xp, monkeypatch):
    # would catch a last block that is short and lost, and padding that counts as entries
    measure, parameters = case
    Z = rng.normal(size=(90, 210)) * (np.arange(210) < rng.integers(0, 201, size=(90, 1)))
    Z[:3] = [[0.0], [1.0], [-2.0]]
    Z = Z[:, rng.permutation(210)]
    expected = [measure(Z, axis=axis, **parameters) for axis in (0, 1)]
    monkeypatch.setattr(_vectors, "BLOCK_ENTRIES", entries)
    monkeypatch.setattr(_vectors, "DEVICE_BLOCK_ENTRIES", entries)
    for container in (xp.asarray, sp.csr_array, sp.csc_array):
        for axis in (0, 1):
            assert_same(measure(container(Z), axis=axis, **parameters), expected[axis])


@given(st.lists(st.integers(0, 200), min_size=1), st.sampled_from([1, 50, 1000, 2**18]))
def test_groups_of_vectors_are_narrow(counts, entries):
    # would catch vectors left out or taken twice, and one long row that widens all the others
    counts = np.array(counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_vectors, "BLOCK_ENTRIES", entries)
        groups = list(_vectors._alike(counts))
    assert_array_equal(np.sort(np.concatenate([group for group, _ in groups])), range(len(counts)))
    for group, width in groups:
        assert counts[group].max() <= width <= max(16, 2 * counts[group].min())
        assert len(group) == 1 or len(group) * width <= entries


@pytest.fixture(scope="module")
def large():
    """1,000,000 x 65,536 codes, 32 entries in each of 50,000 rows: 0.5 TB if it were dense."""
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(1_000_000, size=50_000, replace=False))
    columns = rng.integers(2048, size=(50_000, 1)) + 2048 * np.arange(32)
    indptr = np.zeros(1_000_001, dtype=np.int64)
    indptr[rows + 1] = 32
    entries = rng.normal(size=columns.size)
    return sp.csr_array((entries, columns.ravel(), indptr.cumsum()), (1_000_000, 65_536)), rows


@all_cases
def test_sparse_codes_are_not_made_dense(case, large):
    # would catch toarray(), of the whole or of blocks of rows, and padding to the full width
    measure, parameters = case
    Z, rows = large
    tracemalloc.start()
    by_row, by_column = (measure(Z, axis=axis, **parameters) for axis in (1, 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6  # the matrix itself takes 34 MB, its transpose as much
    assert by_row.shape == (1_000_000,)
    assert by_column.shape == (65_536,)
    some = np.concatenate([rows[:3], rows[-3:]])
    assert_same(by_row[some], measure(Z[some].toarray(), **parameters))
