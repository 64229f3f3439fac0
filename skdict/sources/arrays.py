"""Arrays in memory, arrays mapped to a file, and arrays of libraries that read slices."""

import mmap

import numpy as np

from skdict.backend import asarray_like, computation_dtype, namespace, take_rows, to_numpy
from skdict.sources import order as orders
from skdict.sources.finite import first_not_finite
from skdict.sources.reading import Chunked, RandomAccess, copy_rows, not_finite

_WINDOW = 1 << 16  # bytes that Linux maps around a page fault, at multiples of it
_GATHERED = 1024  # rows of joined arrays at a time


class ArrayRows(RandomAccess):
    """An array in memory, of any namespace, already validated; never copied as a whole.

    Parameters
    ----------
    X : array of shape (n_rows, n_features)
    estimator : str, default="fit"
        Name for messages.
    """

    def __init__(self, X, estimator="fit"):
        self._X = X
        self.n_rows, self.n_features = X.shape
        self.dtype = X.dtype
        self.like = asarray_like(np.empty((0, X.shape[1])), X, computation_dtype(X))
        self.estimator = estimator
        self._bounds = orders.block_bounds(self.n_rows)

    def chunks(self, order, start=0):
        if order.as_they_stand:
            yield self._X, slice(start, self.n_rows)
            return
        first, offset = order.find(start)
        for i in range(first, order.n_groups):
            yield self._X, order.numbers(i)[offset:]
            offset = 0

    def first(self, order, n):
        xp, parts, n_left = namespace(self._X), [], n
        for _, rows in self.chunks(order):
            part = take_rows(self._X, orders.head(rows, n_left))
            parts.append(part)
            n_left -= part.shape[0]
            if n_left <= 0:
                break
        return xp.concat(parts, axis=0)

    def take(self, rows):
        return take_rows(self._X, rows)

    def __getitem__(self, key):
        return self._X[key]


class JoinedRows(RandomAccess):
    """Arrays in memory as if one stood below the other; they are not copied together.

    Parameters
    ----------
    blocks : list of arrays of shape (n, n_features)
    dtype : dtype
        Of all of them.
    estimator : str
        Name for messages.
    begins : list of int, default=None
        Number of the first row of each block, for messages, where the blocks are part of something.
    """

    def __init__(self, blocks, dtype, estimator, begins=None):
        self._ends = np.cumsum([block.shape[0] for block in blocks])
        super().__init__((self._ends[-1], blocks[0].shape[1]), dtype, estimator)
        self._blocks, self._starts = blocks, np.append(0, self._ends[:-1])
        self._begins = self._starts if begins is None else np.asarray(begins)

    def chunks(self, order, start=0):
        # A few rows at a time: who stops soon and comes again does not pay for more.
        first, offset = order.find(start)
        for i in range(first, order.n_groups):
            numbers = order.numbers(i)[offset:]
            for begin in range(0, numbers.size, _GATHERED):
                part = numbers[begin : begin + _GATHERED]
                yield self._gathered(part), slice(0, part.size)
            offset = 0

    def _read_into(self, out, start, stop):
        out[...] = self._gathered(np.arange(start, stop))

    def _gathered(self, numbers):
        out = np.empty((numbers.size, self.n_features), dtype=self.dtype)
        blocks = np.searchsorted(self._ends, numbers, side="right")
        for i in np.unique(blocks):
            places = np.flatnonzero(blocks == i)
            out[places] = to_numpy(self._blocks[i])[numbers[places] - self._starts[i]]
        bad = first_not_finite(out)
        if bad is not None:
            i = blocks[bad]
            number = self._begins[i] + numbers[bad] - self._starts[i]
            raise not_finite(self.estimator, number, "")
        return out


class MemmapRows(RandomAccess):
    """A numpy.memmap; what was read does not stay resident.

    Parameters
    ----------
    X : memmap of shape (n_rows, n_features)
        Or a view of one.
    estimator : str
        Name for messages.
    """

    def __init__(self, X, estimator):
        super().__init__(X.shape, X.dtype, estimator)
        self._X, self._map = X, X._mmap
        # In a copy-on-write map the system would forget what was written.
        shared = X.mode in ("r", "r+", "w+") and hasattr(mmap, "MADV_DONTNEED")
        self._address = np.frombuffer(self._map, np.uint8).ctypes.data if shared else None

    def _read_into(self, out, start, stop):
        self._check_length()
        rows = self._X[start:stop]
        copy_rows(out, rows)
        if self._address is not None:
            first, last = np.lib.array_utils.byte_bounds(rows)
            first = (first - self._address) // _WINDOW * _WINDOW
            length = -(-(last - self._address) // _WINDOW) * _WINDOW - first
            self._map.madvise(mmap.MADV_DONTNEED, first, min(length, len(self._map) - first))

    def _check_length(self):
        # Reading behind the end of a file through a map kills the process.
        offset = self._X.offset - self._X.offset % mmap.ALLOCATIONGRANULARITY
        needed, size = offset + len(self._map), self._map.size()
        if size < needed:
            raise ValueError(
                f"{self.estimator}: {self._X.filename} was cut off after it was mapped: it has "
                f"{size} bytes, but {needed} are needed. Restore the file and open it anew."
            )


class SliceableRows(Chunked):
    """An object that reads slices ``X[a:b]``, such as a dataset of h5py or an array of zarr.

    Parameters
    ----------
    X : object
        With shape (n_rows, n_features), dtype and ``__getitem__``. Where it has `chunks` of more
        than `BLOCK` rows, these are its blocks, so that none is decompressed twice in a pass.
    estimator : str
        Name for messages.
    """

    def __init__(self, X, estimator):
        super().__init__(X.shape, X.dtype, estimator, _chunk_bounds(X))
        self._X = X

    def _n_together(self):
        return self.n_rows  # a chunk as a whole

    def _read_into(self, out, start, stop):
        rows = np.asarray(self._X[start:stop])
        if rows.shape != out.shape:
            raise ValueError(
                f"{self.estimator}: X[{start}:{stop}] has shape {rows.shape}, but {out.shape} is "
                "needed."
            )
        copy_rows(out, rows)


def _chunk_bounds(X):
    chunks = getattr(X, "chunks", None)
    if len(X.shape) == 2 and isinstance(chunks, tuple) and len(chunks) == 2:
        if isinstance(chunks[0], int) and chunks[0] > orders.BLOCK:
            return orders.block_bounds(X.shape[0], chunks[0])
    return None
