"""Batches: rows of pieces of chunks, put together in training's units.

Training runs on data less `center`, divided by `scale`, both of a training state.
"""

import numpy as np

from skdict.backend import is_host, namespace, take_rows
from skdict.kernels import threads
from skdict.kernels.transfers import uploads_to


def batches(chunks, batch_size):
    """Pieces of chunks, each an array and rows of it, that make up one batch after the other."""
    pieces, missing = [], batch_size
    for array, rows in chunks:
        start, size = 0, _size(rows)
        while start < size:
            stop = min(size, start + missing)
            pieces.append((array, _part(rows, start, stop)))
            missing -= stop - start
            start = stop
            if not missing:
                yield pieces
                pieces, missing = [], batch_size
    if pieces:
        yield pieces


def _size(rows):
    return rows.stop - rows.start if isinstance(rows, slice) else rows.size


def _part(rows, start, stop):
    if isinstance(rows, slice):
        return slice(rows.start + start, rows.start + stop)
    return rows[start:stop]


def batch_of(pieces, state, uploads=None):
    """Rows of arrays in training's units; on the host in memory that the next batch overwrites.

    `uploads` bring rows of the host to where the state is.
    """
    if not is_host(namespace(pieces[0][0])):
        parts = [standardise(take_rows(array, rows), state) for array, rows in pieces]
        return parts[0] if len(parts) == 1 else namespace(parts[0]).concat(parts)
    pool, n_features = threads.current(), state.center.shape[0]
    shape = sum(_size(rows) for _, rows in pieces), n_features
    if not is_host(namespace(state.center)):
        uploads = uploads or uploads_to(state.center)
        dtype = np.result_type(*{array.dtype for array, _ in pieces})
        if dtype.itemsize > 8:  # such as longdouble, which no GPU has
            dtype = np.dtype(np.float64)
        return standardise(uploads(shape, dtype, lambda out: _fill(out, pieces, pool)), state)

    def convert(part, out):
        to_units(part, state.center, state.scale, out)

    out = pool.buffer("batch", shape, state.center.dtype)
    _fill(out, pieces, pool, convert)
    return out


def _fill(out, pieces, pool, convert=None):
    begin = 0
    for array, rows in pieces:
        _fill_part(out[begin : begin + _size(rows)], array, rows, pool, convert)
        begin += _size(rows)


def _fill_part(out, array, rows, pool, convert):
    def block(start, stop):
        part = take_rows(array, _part(rows, start, stop))
        if convert is None:
            out[start:stop] = part
        else:
            convert(part, out[start:stop])

    pool.blocks(block, out.shape[0], 256, 4 * out.size)


def standardise(batch, state):
    """A batch in training's units: C-contiguous, floating, centred and divided by the scale."""
    return to_units(batch, state.center, state.scale)


def to_units(batch, center, scale, out=None):
    """``(batch - center) / scale`` in the dtype of `center`, C-contiguous; on the host in `out`."""
    xp = namespace(batch)
    if is_host(xp):
        out = np.empty(batch.shape, dtype=center.dtype) if out is None else out
        np.subtract(batch, center, out=out, casting="unsafe")
    else:
        out = xp.astype(batch, center.dtype, copy=False) - center
    out /= scale
    return out
