"""Where rows come from: arrays, files, arrays of other libraries, blocks one after the other.

A source has `n_rows` (None where nobody can know), `n_features`, `shape`, `ndim`, `dtype` and

    like                            empty array beside which training allocates: namespace, device
                                    and computation dtype
    once                            can it be read only once?
    order(random, held_out=None)    order of one pass; random=None: rows as they stand
    chunks(order, start=0)          iterator of (array, rows): `rows`, a slice or index array into
                                    `array`, chosen from row `start` of the pass on
    first(order, n)                 the first rows of that pass, at most n, as an array of its own

and, unless it is a stream of blocks,

    held_out(fraction, most, random)    sorted numbers of rows to leave out
    take(rows)                          rows by sorted numbers
    source[a:b, :]                      rows, for any number of threads at once

Whatever is not an array in memory is checked for NaN and infinity as it is read.
"""

import copy
import os

import numpy as np

from skdict.backend import is_array_api_obj
from skdict.sources.arrays import ArrayRows, JoinedRows, MemmapRows, SliceableRows
from skdict.sources.blocks import BlocksSource
from skdict.sources.lazy import DaskRows
from skdict.sources.reading import RandomAccess
from skdict.sources.shards import Shards

# What only data held as a whole have: they go through scikit-learn's validation.
_IN_MEMORY = ("__array__", "__array_interface__", "__dlpack__", "__dataframe__", "shape", "iloc")
_TABLES = ("__dataframe__", "__arrow_c_stream__", "columns", "iloc", "tocsr", "todense")
_NO_BLOCKS = (np.ndarray, np.generic, bytes, bytearray, memoryview, dict, set, frozenset, range)


def is_source(X):
    """Is X to be opened by :func:`open_source`, rather than validated as an array in memory?"""
    if _is_path(X) or is_dask(X) or _is_mapped(X):
        return True
    if is_array_api_obj(X) or isinstance(X, _NO_BLOCKS):
        return False
    if isinstance(X, (list, tuple)):
        return len(X) > 0 and (all(map(_is_path, X)) or all(map(_is_matrix, X)))
    return _is_sliceable(X) or _is_iterable(X)


def is_stream(X):
    """Is X an iterable of blocks, whose rows come one after the other?"""
    return is_source(X) and not _is_random_access(X)


def is_dask(X):
    """Is X a dask array?  Does not import dask."""
    return type(X).__module__.split(".")[0] == "dask" and hasattr(X, "rechunk")


def open_source(X, estimator, n_samples=None):
    """The source for what `fit` was given.

    Parameters
    ----------
    X : object
        For which :func:`is_source` holds.
    estimator : str
        Name of the estimator's class, for messages.
    n_samples : int, default=None
        How many rows of an iterable to read.

    Raises
    ------
    ValueError
        If X is not of two dimensions, is empty, or `n_samples` is not what it has.
    TypeError
        If it does not hold real numbers.
    FileNotFoundError
        If there is no such file.
    """
    if not _is_random_access(X):
        return BlocksSource(X, estimator, n_samples)
    source = _opened(X, estimator)
    if n_samples not in (None, source.n_rows):
        raise ValueError(
            f"{estimator}: n_samples={n_samples}, but X has {source.n_rows} rows. Give n_samples "
            "with iterables only."
        )
    return source


def _opened(X, estimator):
    if isinstance(X, RandomAccess):
        source = copy.copy(X)  # others go on using X under its own name
        source.estimator = estimator
        return source
    if is_dask(X):
        return DaskRows(X, estimator)
    if _is_mapped(X):
        return MemmapRows(X, estimator)
    if _is_sliceable(X):
        return SliceableRows(X, estimator)
    return Shards(X, estimator=estimator)


def _is_random_access(X):
    if isinstance(X, (list, tuple)):
        return all(map(_is_path, X))
    return _is_path(X) or is_dask(X) or _is_mapped(X) or _is_sliceable(X)


def _is_path(X):
    return isinstance(X, (str, os.PathLike))


def _is_mapped(X):
    # Results of arithmetic with a memmap are of its type, but lie in memory.
    return isinstance(X, np.memmap) and X._mmap is not None


def _is_matrix(X):
    shape = getattr(X, "shape", None)
    is_matrix = isinstance(shape, tuple) and len(shape) == 2 and hasattr(X, "dtype")
    return is_matrix and not _is_table(X)


def _is_table(X):
    return any(hasattr(X, name) for name in _TABLES)


def _is_sliceable(X):
    return _is_matrix(X) and hasattr(X, "__getitem__") and not is_array_api_obj(X)


def _is_iterable(X):
    return hasattr(X, "__iter__") and not any(hasattr(X, name) for name in _IN_MEMORY)


__all__ = [
    "ArrayRows",
    "BlocksSource",
    "JoinedRows",
    "Shards",
    "is_dask",
    "is_source",
    "is_stream",
    "open_source",
]
