"""What sources share that can read rows anywhere; and reading ahead on a thread."""

import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from skdict.backend import asarray_like, computation_dtype, take_rows
from skdict.kernels import threads
from skdict.sources import order as orders
from skdict.sources.finite import first_not_finite

_AT_ONCE = 1 << 20  # bytes of one read, if that is more than BLOCK rows


class RandomAccess:
    """A source that can read its rows in any order.

    A subclass writes ``_read_into(out, start, stop)``, safe to call from several threads, and
    may have its data in other blocks than those of `BLOCK` rows.

    Parameters
    ----------
    shape : tuple
    dtype : dtype
        Of the data; rows are read in :func:`dtype_of_rows`.
    estimator : str
        Name for messages.
    bounds : array of shape (n_blocks + 1,), default=None
    """

    once = False
    ndim = 2

    def __init__(self, shape, dtype, estimator, bounds=None):
        check_shape(shape, estimator)
        self.n_rows, self.n_features = (int(n) for n in shape)
        self.dtype = dtype_of_rows(dtype, estimator)
        self.like = empty_like(self.n_features, self.dtype)
        self.estimator = estimator
        self._bounds = orders.block_bounds(self.n_rows) if bounds is None else bounds

    @property
    def shape(self):
        return self.n_rows, self.n_features

    def __len__(self):
        return self.n_rows

    def held_out(self, fraction, most, random):
        return orders.held_out_rows(self.estimator, self._bounds, fraction, most, random)

    def order(self, random, held_out=None):
        return orders.Order(self._bounds, random, held_out)

    def chunks(self, order, start=0):
        def read(stopped):
            for ranges, rows in order.groups(start):
                yield self._read(ranges, stopped), rows

        return read_ahead(read)

    def first(self, order, n):
        parts, n_left = [], min(n, order.n_rows)
        for ranges, rows in order.groups():
            part = take_rows(self._read(ranges), orders.head(rows, n_left))
            parts.append(part)
            n_left -= part.shape[0]
            if n_left <= 0:
                break
        return np.concatenate(parts)

    def take(self, rows):
        """Rows by sorted numbers; each block that has some of them is read once."""
        rows = np.asarray(rows)
        out = np.empty((rows.size, self.n_features), dtype=self.dtype)
        blocks = np.searchsorted(self._bounds, rows, side="right")
        for places in np.split(np.arange(rows.size), np.flatnonzero(np.diff(blocks)) + 1):
            if places.size:
                first, last = int(rows[places[0]]), int(rows[places[-1]])
                out[places] = self._read([(first, last + 1)])[rows[places] - first]
        return out

    def __getitem__(self, key):
        """Rows by slice, number, mask or array of numbers, as a new array."""
        if isinstance(key, tuple):
            key, columns = key if len(key) == 2 else (key[0], None)
            if columns is not Ellipsis and columns != slice(None):
                raise IndexError(f"{self.estimator}: only whole rows can be read, as X[a:b, :].")
        if isinstance(key, slice):
            start, stop, step = key.indices(self.n_rows)
            if step == 1:
                return self._slice(start, max(start, stop))
            key = np.arange(start, stop, step)
        rows = np.arange(self.n_rows)[key]
        sorted_rows, places = np.unique(rows, return_inverse=True)
        return self.take(sorted_rows)[places.reshape(rows.shape)]

    def __array__(self, dtype=None, copy=None):
        return self[:].astype(dtype or self.dtype, copy=False)

    def _slice(self, start, stop):
        return self._read([(start, stop)])

    def _read(self, ranges, stopped=None):
        """Rows of some ranges, one after the other; checked for NaN and infinity."""
        ends = np.cumsum([stop - start for start, stop in ranges])
        out = np.empty((ends[-1], self.n_features), dtype=self.dtype)
        n_together = self._n_together()
        # In the order of the data, whatever that of the blocks: for disks that have heads.
        for (start, stop), end in sorted(zip(ranges, ends.tolist())):
            for first in range(start, stop, n_together):
                check_wanted(stopped)
                last = min(first + n_together, stop)
                part = out[end - stop + first : end - stop + last]
                self._read_into(part, first, last)
                self._check(part, first)
        return out

    def _n_together(self):
        return max(orders.BLOCK, _AT_ONCE // (self.n_features * self.dtype.itemsize))

    def _check(self, part, first):
        bad = first_not_finite(part)
        if bad is not None:
            raise not_finite(self.estimator, first + bad, self._place(first + bad))

    def _place(self, row):
        """More about where a row is, for messages."""
        return ""


class Chunked(RandomAccess):
    """A source whose blocks are read whole: two are kept, for who asks for a few rows at a time.

    Small blocks are so only if they are `always_whole`.
    """

    always_whole = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._lock, self._held = threading.Lock(), {}

    def _slice(self, start, stop):
        whole = self.always_whole or np.diff(self._bounds).max() > orders.BLOCK
        if start == stop or not whole:
            return super()._slice(start, stop)
        first = int(np.searchsorted(self._bounds, start, side="right")) - 1
        parts = []
        for i in range(first, int(np.searchsorted(self._bounds, stop))):
            begin, end = (int(bound) for bound in self._bounds[i : i + 2])
            if begin == end:
                continue
            parts.append(self._block(i, begin, end)[max(start, begin) - begin : stop - begin])
        return np.concatenate(parts)

    def _block(self, i, begin, end):
        with self._lock:
            if i not in self._held:
                for old in list(self._held)[:-1]:
                    del self._held[old]
                self._held[i] = self._read([(begin, end)])
            return self._held[i]


def read_ahead(read, wait=True):
    """Yield what an iterator yields; a thread asks it for the next item while one is used.

    ``read(stopped)`` returns the iterator. Once the Event `stopped` is set nobody waits for items
    any more, and it may raise what it likes. With `wait` the thread has ended when this generator
    has; not so where nobody knows how long the iterator takes.
    """
    stopped = threading.Event()
    pool = ThreadPoolExecutor(1, "skdict-read-ahead")
    items, end = read(stopped), object()
    # In the caller's context, where a dask client may be the current one; but not with its threads
    # and their buffers: what yields the items may itself fit and transform.
    context = contextvars.copy_context()
    context.run(threads.leave)
    try:
        item = context.run(next, items, end)
        while item is not end:
            future = pool.submit(context.run, next, items, end)
            yield item
            item = None  # gives its memory back before there is more
            item = future.result()
    finally:
        stopped.set()
        pool.shutdown(wait=wait, cancel_futures=True)


def check_wanted(stopped):
    """End a read that nobody waits for."""
    if stopped is not None and stopped.is_set():
        raise InterruptedError("nobody wants these rows any more")


def check_shape(shape, estimator):
    if len(shape) != 2:
        raise ValueError(
            f"{estimator}: expected 2D array, got {len(shape)}D array instead. Reshape X to "
            "(n_samples, n_features)."
        )
    if 0 in shape:
        raise ValueError(
            f"{estimator}: found array with shape {tuple(shape)} while a minimum of 1 sample and "
            "1 feature is required."
        )


def dtype_of_rows(dtype, estimator):
    """Native dtype in which numbers of `dtype` are read; bfloat16 is read as float32."""
    dtype = np.dtype(dtype)
    if dtype.name == "bfloat16":  # of ml_dtypes
        return np.dtype(np.float32)
    if dtype.kind not in "fiub":
        raise TypeError(f"{estimator}: X has dtype {dtype}; real numbers are needed.")
    return dtype.newbyteorder("=")


def copy_rows(out, block):
    """Copy a block to `out`, which has the dtype that :func:`dtype_of_rows` says."""
    if block.dtype.name == "bfloat16":
        widen(out, block.view(np.uint16))
    else:
        np.copyto(out, block, casting="unsafe")


def widen(out, bits):
    """Copy bfloat16, given as uint16, to float32, of which it is the upper half."""
    np.left_shift(bits, np.uint32(16), out=out.view(np.uint32), dtype=np.uint32)


def empty_like(n_features, dtype):
    dtype = computation_dtype(np.empty(0, dtype=dtype))
    return asarray_like(np.empty((0, n_features)), np.empty(0), dtype)


def not_finite(estimator, row, place):
    return ValueError(
        f"{estimator}: Input X contains NaN or infinity in row {row}{place}. Remove or impute such "
        "rows."
    )
