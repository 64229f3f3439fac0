"""The same rows in every kind of store, and what sources give of them."""

import numpy as np
import pytest

from skdict.sources import open_source
from skdict.sources import order as orders
from skdict.sources.arrays import ArrayRows

STORES = ["memmap", "npy", "safetensors", "h5py", "zarr"]


def rows_of(n, d=3, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


def small_buffers(monkeypatch, mixed=64, block=8):
    monkeypatch.setattr(orders, "MIXED", mixed)
    monkeypatch.setattr(orders, "BLOCK", block)


def stored(kind, X, folder, cuts=()):
    """X in a store of this kind, ready for `open_source`."""
    parts = np.split(X, sorted(cuts))
    if kind == "memmap":
        np.save(folder / "X.npy", X)
        return np.load(folder / "X.npy", mmap_mode="r")
    if kind == "npy":
        for i, part in enumerate(parts):
            np.save(folder / f"{i:03}.npy", part)
        return str(folder)
    if kind == "safetensors":
        library = pytest.importorskip("safetensors.numpy", reason="writes the shards")
        for i, part in enumerate(parts):
            arrays = {"X": np.ascontiguousarray(part), "other": np.zeros(5)}
            library.save_file(arrays, folder / f"{i:03}.safetensors")
        return sorted(folder.iterdir())
    if kind == "h5py":
        h5py = pytest.importorskip("h5py", reason="the store under test")
        return h5py.File(folder / "X.h5", "w").create_dataset("X", data=X)
    zarr = pytest.importorskip("zarr", reason="the store under test")
    array = zarr.create_array(folder / "X.zarr", shape=X.shape, chunks=(5, 2), dtype=X.dtype)
    array[:] = X
    return array


def opened(kind, X, folder, cuts=()):
    if kind == "array":
        return ArrayRows(X)
    return open_source(stored(kind, X, folder, cuts), "Test")


def rows_in_order(source, order, start=0):
    """The rows of a pass as one array."""
    parts = [np.array(array[rows]) for array, rows in source.chunks(order, start)]
    return np.concatenate([np.empty((0, source.n_features), source.dtype), *parts])
