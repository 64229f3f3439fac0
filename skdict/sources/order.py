"""The order in which a pass visits rows: blocks in random order, rows mixed in a buffer.

Data on a disk are fast only where neighbours are read together. Hence whole blocks of `BLOCK` rows
are drawn, and the rows of `MIXED // BLOCK` blocks that follow each other in that order are permuted
among themselves. Data of up to `MIXED` rows are permuted as a whole. The order depends on the
number of rows and on the random stream, not on where the rows are kept.
"""

import numpy as np

MIXED = 32_768  # rows in the mixing buffer; fewer are permuted as a whole
BLOCK = 512  # consecutive rows that are read together

_NOBODY = np.empty(0, dtype=np.int64)


def block_bounds(n_rows, size=None):
    """Where blocks of `size` rows, by default `BLOCK`, begin and end: (n_blocks + 1,)."""
    return np.append(np.arange(0, n_rows, size or BLOCK), n_rows)


def held_out_rows(estimator, bounds, fraction, most, random):
    """Sorted numbers of a `fraction` of the rows, at most `most` of them and at least one.

    Of more than `MIXED` rows they are whole blocks, so that reading the others stays sequential and
    no neighbours of theirs are trained on; only the last block may be held out in part.

    Raises
    ------
    ValueError
        If no row would be left.
    """
    n_rows = int(bounds[-1])
    n_held = max(1, min(most, round(fraction * n_rows)))
    if n_held >= n_rows:
        raise ValueError(
            f"{estimator}: validation_fraction={fraction} of {n_rows} rows leaves none to train "
            "on. Lower validation_fraction, give more rows, or set early_stopping=False."
        )
    if n_rows <= MIXED:
        return np.sort(random.permutation(n_rows)[:n_held])
    blocks = random.permutation(len(bounds) - 1)
    n_blocks = np.searchsorted(np.cumsum(np.diff(bounds)[blocks]), n_held) + 1
    blocks = blocks[:n_blocks]
    return np.sort(_numbers(bounds[blocks], bounds[blocks + 1])[:n_held])


class Order:
    """Order of one pass over rows that can be read anywhere.

    Parameters
    ----------
    bounds : array of shape (n_blocks + 1,)
        Where blocks begin and end.
    random : numpy.random.Generator or None
        None: rows as they stand.
    held_out : sorted array of int or None
        Rows that the pass leaves out.

    Attributes
    ----------
    n_rows : int
        Rows of the pass.
    n_groups : int
        What is read at once is a group of blocks.
    """

    def __init__(self, bounds, random=None, held_out=None):
        self._held = _NOBODY if held_out is None else np.asarray(held_out)
        self._permutation = self._seed = None
        whole = random is not None and bounds[-1] <= MIXED
        bounds = np.array([0, bounds[-1]]) if whole else np.asarray(bounds)
        sizes = np.diff(bounds)
        kept = sizes - np.diff(np.searchsorted(self._held, bounds))
        blocks = np.flatnonzero(kept)
        self.n_rows = int(kept.sum())
        if whole:
            self._permutation = random.permutation(self.n_rows)
        elif random is not None:
            blocks = blocks[random.permutation(blocks.size)]
            self._seed = int(random.integers(2**63))
        most = MIXED // 4 if random is None else MIXED
        self._n_together = max(1, most // int(sizes.max()))
        self._starts, self._stops = bounds[blocks], bounds[blocks + 1]
        firsts = np.arange(0, blocks.size, self._n_together)
        self._ends = np.cumsum(np.add.reduceat(kept[blocks], firsts))

    @property
    def n_groups(self):
        return self._ends.size

    @property
    def as_they_stand(self):
        """Are they all rows, one after the other?"""
        return self._permutation is None and self._seed is None and not self._held.size

    def find(self, start):
        """Group of row `start` of the pass, and its place among the rows of that group."""
        group = int(np.searchsorted(self._ends, start, side="right"))
        return group, int(start) - (int(self._ends[group - 1]) if group else 0)

    def group(self, i):
        """Ranges (start, stop) of rows to read, and slice or indices into their concatenation."""
        starts, stops = self._blocks(i)
        return _merged(starts, stops), self._places(i, starts, stops)

    def numbers(self, i):
        """The rows of group i by their numbers in the data."""
        starts, stops = self._blocks(i)
        return _numbers(starts, stops)[self._places(i, starts, stops)]

    def groups(self, start=0):
        """``group(i)`` for all groups, from row `start` of the pass on."""
        first, offset = self.find(start)
        for i in range(first, self.n_groups):
            ranges, rows = self.group(i)
            yield ranges, skip(rows, offset)
            offset = 0

    def _blocks(self, i):
        among = slice(i * self._n_together, (i + 1) * self._n_together)
        return self._starts[among], self._stops[among]

    def _places(self, i, starts, stops):
        n_read = int((stops - starts).sum())
        rows = np.arange(n_read)
        if self._held.size:
            numbers = _numbers(starts, stops)
            nearest = np.minimum(np.searchsorted(self._held, numbers), self._held.size - 1)
            rows = rows[self._held[nearest] != numbers]
        if self._permutation is not None:
            return rows[self._permutation]
        if self._seed is not None:  # a generator of its own: any group can be computed alone
            return np.random.default_rng((self._seed, i)).permutation(rows)
        return slice(0, n_read) if rows.size == n_read else rows


class StreamOrder:
    """Order of one pass over rows that come one after the other: mixed in buffers of `MIXED`.

    Parameters
    ----------
    n_rows : int or None
        Number of rows; None: unknown, but more than `MIXED`.
    random : numpy.random.Generator or None
        None: rows as they come.
    """

    def __init__(self, n_rows, random=None):
        self.n_rows = n_rows
        self.n_together = MIXED // 4 if random is None else MIXED
        self._permutation = self._seed = None
        if random is not None and n_rows is not None and n_rows <= MIXED:
            self._permutation = random.permutation(n_rows)
        elif random is not None:
            self._seed = int(random.integers(2**63))

    def places(self, i, n_read):
        """Slice or indices into the rows of buffer i, which are `n_read`."""
        if self._permutation is not None:
            return self._permutation
        if self._seed is not None:
            return np.random.default_rng((self._seed, i)).permutation(n_read)
        return slice(0, n_read)


def skip(rows, n):
    """Slice or index array without its first n entries."""
    return slice(rows.start + n, rows.stop) if isinstance(rows, slice) else rows[n:]


def head(rows, n):
    """At most the first n entries of a slice or index array."""
    return (
        slice(rows.start, min(rows.start + n, rows.stop)) if isinstance(rows, slice) else rows[:n]
    )


def _numbers(starts, stops):
    return np.concatenate([np.arange(*ends) for ends in zip(starts, stops)])


def _merged(starts, stops):
    """Ranges as pairs; those that follow each other in order and in the data become one."""
    breaks = np.flatnonzero(starts[1:] != stops[:-1]) + 1
    firsts, lasts = np.append(0, breaks), np.append(breaks, starts.size) - 1
    return list(zip(starts[firsts].tolist(), stops[lasts].tolist()))
