"""Arrays of dask: computed chunk by chunk, wherever its scheduler computes."""

import math

import numpy as np

from skdict.backend import to_numpy
from skdict.sources.reading import Chunked, copy_rows


class DaskRows(Chunked):
    """A dask array; its chunks of rows are the blocks, each computed once per pass.

    Blocks that are mixed are computed together, on the thread that reads ahead. Chunks of unknown
    size are counted first, which computes all of them once more.

    Parameters
    ----------
    X : dask.array.Array of shape (n_rows, n_features)
    estimator : str
        Name for messages.

    Attributes
    ----------
    array : dask.array.Array
        X with known chunks of rows, and all columns in one.
    """

    always_whole = True

    def __init__(self, X, estimator):
        if any(math.isnan(n) for n in X.shape):
            X = X.copy().compute_chunk_sizes()  # a copy, for it changes the array
        if X.ndim == 2 and len(X.chunks[1]) > 1:
            X = X.rechunk({1: -1})
        bounds = np.cumsum([0, *X.chunks[0]]) if X.ndim else None
        super().__init__(X.shape, X.dtype, estimator, bounds)
        self.array = X

    def _read(self, ranges, stopped=None):
        out = self._converted(self._lazy(ranges).compute())
        announced = sum(stop - start for start, stop in ranges)
        if out.shape[0] != announced:
            raise ValueError(
                f"{self.estimator}: chunks of X have {out.shape[0]} rows where {announced} were "
                "announced. Call X.compute_chunk_sizes(), or tell map_blocks the chunks."
            )
        first = 0
        for start, stop in ranges:
            self._check(out[first : first + stop - start], start)
            first += stop - start
        return out

    def _lazy(self, ranges):
        """One dask array for all ranges, so that their chunks are computed side by side."""
        starts, stops = np.array(ranges).T
        firsts = np.searchsorted(self._bounds, starts, side="right") - 1
        lasts = np.searchsorted(self._bounds, stops, side="left")
        if len(ranges) == 1 and (self._bounds[firsts[0]], self._bounds[lasts[0]]) != ranges[0]:
            return self.array[starts[0] : stops[0]]
        return self.array.blocks[
            np.concatenate([np.arange(*b) for b in zip(firsts, lasts)]).tolist()
        ]

    def _converted(self, rows):
        if hasattr(rows, "tocsr"):
            raise TypeError(
                f"{self.estimator}: chunks of X are sparse. Make them dense, for instance by "
                "X.map_blocks(lambda rows: rows.toarray())."
            )
        rows = to_numpy(rows)
        if rows.ndim != 2 or rows.shape[1] != self.n_features:
            raise ValueError(
                f"{self.estimator}: chunks of X have shape {rows.shape} where (n, "
                f"{self.n_features}) was announced."
            )
        if rows.dtype == self.dtype:
            return rows
        out = np.empty(rows.shape, dtype=self.dtype)
        copy_rows(out, rows)
        return out
