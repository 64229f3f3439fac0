"""Dask arrays, computed chunk by chunk."""

import threading

import numpy as np
import pytest
from stores import rows_in_order, rows_of, small_buffers

from skdict.sources import ArrayRows, is_source, open_source

da = pytest.importorskip("dask.array", reason="the store under test")
X = rows_of(300)


@pytest.fixture(autouse=True)
def _small_buffers(monkeypatch):
    small_buffers(monkeypatch)


def counted(chunks):
    """A dask array of X and, as it is computed, where its chunks begin."""
    begins = []

    def note(block, block_info=None):
        begins.append(block_info[0]["array-location"][0][0])
        return block

    return da.from_array(X, chunks=chunks).map_blocks(note, dtype=X.dtype, meta=X[:0]), begins


@pytest.mark.parametrize("chunks", [(8, 3), (20, 2), ((1, 99, 0, 150, 50), 3), (300, 3)])
@pytest.mark.parametrize("seed", [None, 0])
def test_every_row_once_and_every_chunk_once(chunks, seed):
    # Catches lost rows, and chunks that are computed again for every block.
    lazy, begins = counted(chunks)
    source = open_source(lazy, "Test")
    assert is_source(lazy) and source.shape == (300, 3) and source.like.dtype == np.float32
    begins.clear()
    order = source.order(None if seed is None else np.random.default_rng(seed))
    numbers = np.concatenate([order.numbers(i) for i in range(order.n_groups)])
    np.testing.assert_array_equal(np.sort(numbers), np.arange(300))
    rows = rows_in_order(source, order)
    np.testing.assert_array_equal(rows, X[numbers])
    assert len(begins) == len([size for size in lazy.chunks[0] if size]) * lazy.numblocks[1]
    np.testing.assert_array_equal(source.first(order, 100), rows[:100])
    np.testing.assert_array_equal(rows_in_order(source, order, 77), rows[77:])
    np.testing.assert_array_equal(source[5:123, :], X[5:123])
    held = source.held_out(0.2, 40, np.random.default_rng(0))
    np.testing.assert_array_equal(source.take(held), X[held])


def test_few_rows_are_ordered_like_an_array():
    # Catches results that depend on how few rows are stored.
    source, array = open_source(da.from_array(X[:60], chunks=(7, 3)), "Test"), ArrayRows(X[:60])
    order, expected = (s.order(np.random.default_rng(0)) for s in (source, array))
    np.testing.assert_array_equal(rows_in_order(source, order), rows_in_order(array, expected))


def test_unknown_chunks_are_counted():
    # Catches a shape of NaN, and an array of the caller's that changes.
    lazy = da.from_array(X, chunks=(50, 3))
    lazy = lazy[lazy[:, 0] > 0]
    source = open_source(lazy, "Test")
    assert np.isnan(lazy.shape[0])
    np.testing.assert_array_equal(rows_in_order(source, source.order(None)), X[X[:, 0] > 0])


def test_chunks_are_computed_ahead():
    # Catches workers that idle while the caller trains.
    threads = set()

    def note(block):
        threads.add(threading.current_thread().name)
        return block

    import dask

    lazy = da.from_array(X, chunks=(30, 3)).map_blocks(note, dtype=X.dtype, meta=X[:0])
    with dask.config.set(scheduler="synchronous"):
        source = open_source(lazy, "Test")
        rows_in_order(source, source.order(np.random.default_rng(0)))
    assert any(name.startswith("skdict-read-ahead") for name in threads)


def test_bad_arrays():
    # Catches errors from deep inside a scheduler.
    with pytest.raises(ValueError, match="Test: expected 2D array, got 1D"):
        open_source(da.from_array(X[0]), "Test")
    with pytest.raises(TypeError, match="Test: X has dtype complex64"):
        open_source(da.from_array(X.astype(np.complex64)), "Test")
    bad = X.copy()
    bad[123, 1] = np.nan
    source = open_source(da.from_array(bad, chunks=(50, 3)), "Test")
    with pytest.raises(ValueError, match="Test: Input X contains NaN or infinity in row 123"):
        rows_in_order(source, source.order(np.random.default_rng(0)))
