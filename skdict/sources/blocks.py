"""Rows that come in blocks, one after the other, from anything that can be iterated."""

from collections import deque

import numpy as np

from skdict.backend import take_rows, to_numpy
from skdict.sources import order as orders
from skdict.sources.finite import first_not_finite
from skdict.sources.reading import (
    check_wanted,
    copy_rows,
    dtype_of_rows,
    empty_like,
    not_finite,
    read_ahead,
)


class BlocksSource:
    """An iterable of blocks (n, n_features), n differing from block to block, or zero.

    An iterator is read once, anything else anew in every pass. What is computed has the dtype that
    goes with the first block; a later block of a wider one widens the buffer it lies in.

    Parameters
    ----------
    X : iterable
    estimator : str
        Name for messages.
    n_samples : int, default=None
        How many rows to read, no more and no fewer. None: all; if X can be iterated anew, it is
        read through once to count them.

    Attributes
    ----------
    n_rows : int or None
        None where nobody can know.
    """

    ndim = 2

    def __init__(self, X, estimator, n_samples=None):
        self.estimator, self.n_rows = estimator, n_samples
        self.once = hasattr(X, "__next__")
        self._X, self._n_samples, self._used = X, n_samples, False
        reader = _Reader(X, estimator, n_samples)
        self.n_features, self.dtype = reader.begin()
        self.like = empty_like(self.n_features, self.dtype)
        self._kept = reader if self.once else None
        if not self.once and n_samples is None:
            self.n_rows = reader.count()

    @property
    def shape(self):
        return self.n_rows, self.n_features

    def order(self, random, held_out=None):
        if held_out is not None:
            raise self._not_by_number()
        n_rows = self.n_rows
        if n_rows is None and random is not None and not self._used:
            # Few enough to be mixed as a whole? Then in the order of an array of these rows.
            n_rows = self._kept.n_rows_if_at_most(orders.MIXED)
        return orders.StreamOrder(n_rows, random)

    def chunks(self, order, start=0):
        reader = self._reader()
        self._used = True

        def read(stopped):
            i, n_skipped = 0, 0
            while (rows := reader.read(order.n_together, stopped)) is not None:
                skip = min(start - n_skipped, rows.shape[0])
                if skip < rows.shape[0]:
                    yield rows, orders.skip(order.places(i, rows.shape[0]), skip)
                i, n_skipped = i + 1, n_skipped + skip

        return read_ahead(read, wait=False)

    def first(self, order, n):
        reader, buffers, parts, n_left = self._reader(), [], [], n
        while n_left > 0 and (rows := reader.read(order.n_together)) is not None:
            places = order.places(len(buffers), rows.shape[0])
            buffers.append(rows)
            parts.append(take_rows(rows, orders.head(places, n_left)))
            n_left -= parts[-1].shape[0]
        for rows in reversed(buffers):
            reader.put_back(rows)
        if not parts:
            raise ValueError(f"{self.estimator}: X has no rows. Give blocks that have some.")
        return np.concatenate(parts)

    def held_out(self, fraction, most, random):
        raise self._not_by_number()

    def take(self, rows):
        raise self._not_by_number()

    def __getitem__(self, key):
        raise self._not_by_number()

    def _reader(self):
        if self._kept is None:
            return _Reader(self._X, self.estimator, self._n_samples, self.n_rows, self.n_features)
        if self._used:
            raise ValueError(
                f"{self.estimator}: X is an iterator, which can be read only once: set max_iter=1, "
                "or pass an object whose iter() starts anew, such as a list of blocks or a class "
                "with __iter__."
            )
        return self._kept

    def _not_by_number(self):
        return TypeError(
            f"{self.estimator}: rows of an iterable cannot be read in any order, which "
            "early_stopping and transform need. Pass an array, a memmap or shards; or hold rows "
            "out yourself, and transform block by block."
        )


class _Reader:
    """One pass over the blocks of `X`, which are checked as they come and cut to measure.

    `n_samples` is how many rows to read; `n_rows` how many there were when they were counted.
    """

    def __init__(self, X, estimator, n_samples=None, n_rows=None, n_features=None):
        self._blocks, self._estimator = iter(X), estimator
        self._n_samples, self._n_rows, self._n_features = n_samples, n_rows, n_features
        self._parts = deque()  # rows that came but were not read
        self._n_blocks = self._n_seen = 0

    def begin(self):
        """Width and dtype of the first block."""
        block = self._next_block()
        if block is None:
            raise ValueError(f"{self._estimator}: X has no blocks. Give one or more.")
        self._parts.append(block)
        return block.shape[1], block.dtype

    def count(self):
        """Number of rows, to the end."""
        while self._next_block() is not None:
            pass
        if not self._n_seen:
            raise ValueError(f"{self._estimator}: X has no rows. Give blocks that have some.")
        return self._n_seen

    def read(self, n, stopped=None):
        """The next n rows, fewer at the end, None behind it; as an array of our own.

        Blocks may be memory that their iterator uses again: each is copied before the next one is
        asked for.
        """
        out, filled = None, 0
        while filled < n:
            check_wanted(stopped)
            part = self._parts.popleft() if self._parts else self._next_block()
            if part is None:
                break
            part, rest = part[: n - filled], part[n - filled :]
            if rest.shape[0]:
                self._parts.appendleft(rest)
            out = _wide_enough(out, filled, part, n)
            out[filled : filled + part.shape[0]] = part
            filled += part.shape[0]
        return out[:filled] if filled else None

    def put_back(self, rows):
        self._parts.appendleft(rows)

    def n_rows_if_at_most(self, most):
        """How many rows there are left; None if more than `most`."""
        rows = self.read(most + 1)
        n_rows = 0 if rows is None else rows.shape[0]
        if n_rows:
            self.put_back(rows)
        return n_rows if n_rows <= most else None

    def _next_block(self):
        if self._n_samples is not None and self._n_seen >= self._n_samples:
            return None
        try:
            block = next(self._blocks)
        except StopIteration:
            self._check_number(at_end=True)
            return None
        block = self._checked(block)
        if self._n_samples is not None:
            block = block[: self._n_samples - self._n_seen]
        bad = first_not_finite(block)
        if bad is not None:
            place = f" (row {bad} of block {self._n_blocks})"
            raise not_finite(self._estimator, self._n_seen + bad, place)
        self._n_blocks, self._n_seen = self._n_blocks + 1, self._n_seen + block.shape[0]
        self._check_number(at_end=False)
        return block

    def _checked(self, block):
        name = f"{self._estimator}: block {self._n_blocks} of X"
        if str(getattr(block, "dtype", "")) == "torch.bfloat16":  # which NumPy does not know
            block = block.float()
        try:
            block = to_numpy(block)
            dtype = dtype_of_rows(block.dtype, name)
        except (TypeError, ValueError, AttributeError, BufferError) as error:
            raise ValueError(
                f"{name} is no array of real numbers ({error}). Where each item also has targets, "
                "pass (rows for rows, *_ in X)."
            ) from error
        if block.ndim != 2 or not block.shape[1]:
            raise ValueError(
                f"{name} has shape {block.shape}; (n, n_features) is needed. Where each item is a "
                "tuple of arrays, pass (rows for rows, *_ in X)."
            )
        width = self._n_features = self._n_features or block.shape[1]
        if block.shape[1] != width:
            raise ValueError(f"{name} has {block.shape[1]} features, but block 0 has {width}.")
        if block.dtype == dtype:
            return block
        out = np.empty(block.shape, dtype=dtype)
        copy_rows(out, block)
        return out

    def _check_number(self, at_end):
        if self._n_samples is not None:
            if at_end:
                raise ValueError(
                    f"{self._estimator}: n_samples={self._n_samples}, but X ended after "
                    f"{self._n_seen} rows. Lower n_samples, or leave it out."
                )
        elif self._n_rows is not None and (
            self._n_seen > self._n_rows or (at_end and self._n_seen != self._n_rows)
        ):
            raise ValueError(
                f"{self._estimator}: X had {self._n_rows} rows when they were counted, but "
                f"{self._n_seen}{'' if at_end else ' or more'} in a later pass. Let every iter() "
                "give the same rows, or set n_samples."
            )


def _wide_enough(out, filled, part, n):
    """A buffer of n rows with the rows of `out`, and a dtype that holds those of `part` too."""
    if out is not None and np.can_cast(part.dtype, out.dtype, "safe"):
        return out
    dtype = part.dtype if out is None else np.result_type(out, part)
    wider = np.empty((n, part.shape[1]), dtype=dtype)
    if filled:
        wider[:filled] = out[:filled]
    return wider
