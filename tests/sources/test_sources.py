"""The same rows in the same order, wherever they are kept."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import STORES, opened, rows_in_order, rows_of, small_buffers, stored

from skdict.datasets import open_shards
from skdict.sources import ArrayRows, is_source, open_source

N = 203
each_store = pytest.mark.parametrize("kind", STORES)


@each_store
@pytest.mark.parametrize("mixed", [64, 256])
@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("holds_out", [False, True])
def test_all_stores_give_the_rows_of_the_array(kind, mixed, seed, holds_out, tmp_path, monkeypatch):
    # Catches a store whose training differs from that on the same array in memory.
    small_buffers(monkeypatch, mixed)
    X = rows_of(N)
    source, array = opened(kind, X, tmp_path, [7, 50, 51, 200]), ArrayRows(X)
    assert (source.shape, source.ndim, source.once) == ((N, 3), 2, False)
    assert source.dtype == source.like.dtype == X.dtype and source.like.shape == (0, 3)
    held = [None, None]
    if holds_out:
        held = [s.held_out(0.1, 50, np.random.default_rng(1)) for s in (source, array)]
        np.testing.assert_array_equal(*held)
        np.testing.assert_array_equal(source.take(held[0]), X[held[0]])
        np.testing.assert_array_equal(array.take(held[0]), X[held[0]])
    first, second = (None if seed is None else np.random.default_rng(seed) for _ in range(2))
    order, expected = source.order(first, held[0]), array.order(second, held[1])
    rows = rows_in_order(array, expected)
    np.testing.assert_array_equal(source.first(order, 90), rows[:90])
    np.testing.assert_array_equal(array.first(expected, 90), rows[:90])
    for start in (0, 5, 64, 130):
        np.testing.assert_array_equal(rows_in_order(source, order, start), rows[start:])
        np.testing.assert_array_equal(rows_in_order(array, expected, start), rows[start:])


@given(data=st.data())
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_shards_cut_anywhere(data, tmp_path_factory):
    # Catches rows at the seams between files.
    X = rows_of(40)
    cuts = data.draw(st.sets(st.integers(1, 39), max_size=6))
    shards = open_shards(stored("npy", X, tmp_path_factory.mktemp("shards"), cuts))
    start, stop = sorted(data.draw(st.tuples(st.integers(0, 40), st.integers(0, 40))))
    np.testing.assert_array_equal(shards[start:stop, :], X[start:stop])
    rows = data.draw(st.lists(st.integers(-40, 39), max_size=8))
    np.testing.assert_array_equal(shards[np.array(rows, dtype=int)], X[rows].reshape(-1, 3))


@each_store
@pytest.mark.parametrize("dtype", ["float16", "float64", "int32", "uint8", "bool"])
def test_dtypes(kind, dtype, tmp_path):
    # Catches a conversion on the way, or parameters in another dtype than for an array.
    X = (10 * rows_of(30)).astype(dtype)
    source, array = opened(kind, X, tmp_path, [10]), ArrayRows(X)
    assert source.dtype == array.dtype == X.dtype
    assert source.like.dtype == array.like.dtype
    np.testing.assert_array_equal(source[3:20, :], X[3:20])
    np.testing.assert_array_equal(rows_in_order(source, source.order(None)), X)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("view", ["whole", "rows", "columns", "reversed", "fortran", "swapped"])
def test_memmaps_of_all_kinds(mode, view, tmp_path):
    # Catches pages that are forgotten although written to, and addresses that are not the data's.
    order = "F" if view == "fortran" else "C"
    dtype = ">f4" if view == "swapped" else "f4"
    X = np.asarray(rows_of(3000, 8), dtype=dtype, order=order)
    np.save(tmp_path / "X.npy", X)
    M = np.load(tmp_path / "X.npy", mmap_mode=mode)
    if mode != "r":
        M[5] = X[5] = 7
    cut = {"rows": np.s_[1001:2500:2], "columns": np.s_[:, 2:7], "reversed": np.s_[::-1]}
    M, X = (A[cut.get(view, slice(None))] for A in (M, X))
    source = open_source(M, "Test")
    assert source.dtype.isnative and source.like.dtype == np.float32
    for _ in range(2):
        np.testing.assert_array_equal(rows_in_order(source, source.order(None)), X)
    rng = np.random.default_rng(0)
    order = source.order(rng)
    np.testing.assert_array_equal(np.sort(rows_in_order(source, order), axis=0), np.sort(X, axis=0))


def test_a_copy_on_write_memmap_keeps_what_was_written(tmp_path):
    # Catches madvise on private pages, which throws changes away.
    np.save(tmp_path / "X.npy", rows_of(2000))
    M = np.load(tmp_path / "X.npy", mmap_mode="c")
    M[:] = 1
    source = open_source(M, "Test")
    rows_in_order(source, source.order(None))
    assert (M == 1).all()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_memmap_does_not_stay_resident(tmp_path):
    # Catches resident memory that grows to the size of the data.
    with open(tmp_path / "X", "wb") as file:
        file.truncate(200_000_000)
    source = open_source(np.memmap(tmp_path / "X", np.float32, "r", shape=(1_000_000, 50)), "Test")

    def resident():
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

    before, most = resident(), 0
    for random in (None, np.random.default_rng(0)):
        for _ in source.chunks(source.order(random)):
            most = max(most, resident())
    assert most - before < 60_000  # kB


@pytest.mark.parametrize("kind", ["h5py", "zarr"])
def test_large_chunks_are_read_as_a_whole(kind, tmp_path, monkeypatch):
    # Catches a chunk that is decompressed for every block of it.
    small_buffers(monkeypatch)
    library = pytest.importorskip(kind, reason="the store under test")
    X = rows_of(300)
    if kind == "h5py":
        data = library.File(tmp_path / "X.h5", "w").create_dataset("X", data=X, chunks=(20, 3))
    else:
        data = library.create_array(tmp_path / "X", shape=X.shape, chunks=(20, 3), dtype=X.dtype)
        data[:] = X
    source = open_source(data, "Test")
    order = source.order(np.random.default_rng(0))
    assert order.n_groups == 5  # of three chunks each
    ranges = [ends for i in range(order.n_groups) for ends in order.group(i)[0]]
    assert all(start % 20 == stop % 20 == 0 for start, stop in ranges)
    numbers = np.concatenate([order.numbers(i) for i in range(order.n_groups)])
    np.testing.assert_array_equal(rows_in_order(source, order), X[numbers])


def test_slices_of_another_shape_are_refused():
    # Catches a store that answers with something else, broadcast over the rows.
    class Wrong:
        shape, dtype = (10, 3), np.dtype("f4")

        def __getitem__(self, key):
            return np.ones((1, 3), "f4")

    with pytest.raises(ValueError, match=r"Test: X\[0:4\] has shape \(1, 3\)"):
        open_source(Wrong(), "Test")[0:4, :]


def test_bfloat16(tmp_path):
    # Catches the wrong half of a float32, in any store.
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="the reference")
    library = pytest.importorskip("safetensors.numpy", reason="writes bfloat16")
    X = rows_of(60).astype(ml_dtypes.bfloat16)
    expected = X.astype(np.float32)
    library.save_file({"X": X}, tmp_path / "a.safetensors")
    np.save(tmp_path / "b.npy", expected.astype(np.float64))

    class Store:
        shape, dtype = X.shape, X.dtype

        def __getitem__(self, key):
            return X[key]

    M = np.memmap(tmp_path / "raw", X.dtype, "w+", shape=X.shape)
    M[:] = X
    for data in (tmp_path / "a.safetensors", Store(), M, [X[:20], X[20:]]):
        source = open_source(data, "Test")
        assert source.dtype == source.like.dtype == np.float32
        np.testing.assert_array_equal(rows_in_order(source, source.order(None)), expected)
    both = open_shards([tmp_path / "a.safetensors", tmp_path / "b.npy"])
    assert both.dtype == np.float64
    np.testing.assert_array_equal(both[:], np.concatenate([expected, expected]))


def test_many_threads_read_at_once(tmp_path):
    # Catches a file position that two threads share.
    X = rows_of(2000)
    shards = open_shards(stored("npy", X, tmp_path, [700, 1300]))
    with ThreadPoolExecutor(4) as pool:
        blocks = list(pool.map(lambda a: shards[a : a + 50, :], list(range(0, 2000, 50)) * 3))
    np.testing.assert_array_equal(np.concatenate(blocks), np.concatenate([X] * 3))


def test_array_rows_are_not_copied(xp):
    # Catches a second copy of data in memory, or one that leaves its namespace.
    X = xp.asarray(rows_of(50))
    source = ArrayRows(X)
    order = source.order(np.random.default_rng(0))
    ((array, rows),) = source.chunks(order)
    assert array is X and isinstance(rows, np.ndarray)
    ((array, rows),) = source.chunks(source.order(None), 7)
    assert array is X and rows == slice(7, 50)
    first = source.first(source.order(None), 5)
    assert type(first) is type(X) and first.shape == (5, 3) and type(source.like) is type(X)


def test_what_is_a_source(tmp_path):
    # Catches data that scikit-learn should validate, or a file that it should not.
    import pandas as pd
    import polars as pl
    import scipy.sparse as sp

    X = rows_of(4)
    np.save(tmp_path / "X.npy", X)
    M = np.load(tmp_path / "X.npy", mmap_mode="r")
    yes = ["X.npy", tmp_path, [tmp_path, "b"], M, M[1:], [X, X], (X,), iter([X]), (X for _ in "a")]
    no = [X, M * 2, X.tolist(), pd.DataFrame(X), pd.Series(X[0]), pl.DataFrame(X), pl.Series(X[0])]
    no += [sp.csr_array(X), 3, np.float64(3), None, [], [1, 2], ["a", 1], [X, "a"], {1: X}, b"ab"]
    no += [range(3), X[0], np.asmatrix(X), np.ma.array(X), np.array(["a"])]
    no += [pd.DataFrame(X, columns=["dtype", "shape", "x"])]
    assert [is_source(thing) for thing in yes] == [True] * len(yes)
    assert [is_source(thing) for thing in no] == [False] * len(no)
    assert is_source(open_shards(tmp_path))
    assert open_source(open_shards(tmp_path), "Test").estimator == "Test"


@each_store
def test_array_libraries_are_sources(kind, tmp_path):
    # Catches a store that would be loaded as a whole.
    assert is_source(stored(kind, rows_of(20), tmp_path))
