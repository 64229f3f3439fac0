"""Encoding a matrix block by block: what `transform` and `score` do with a fitted model.

`params` and `encoder` are in the units of X. Blocks of rows bound the memory; sparse codes are
collected as CSR, and no dense array of the codes of X exists then.
"""

import math

import numpy as np

from skdict import codes
from skdict.backend import device, is_gpu, is_host, namespace, to_numpy
from skdict.encoders import INFERENCE
from skdict.kernels.transfers import downloads_from, uploads_to

_ROWS = 2048  # decoded at a time
_GPU_BYTES = 1 << 28  # of the codes of a block on a GPU, were they dense
_GPU_ROWS = 8192  # of it, at most


def encode(X, params, encoder, threads):
    """Codes of X as a dense array, where X is."""
    xp, D = namespace(X), params["components"]
    place = {} if is_host(xp) else {"device": device(X)}
    out = xp.zeros((X.shape[0], D.shape[0]), dtype=D.dtype, **place)
    if is_gpu(D) and is_host(xp):
        for start, (values, indices, indptr) in _streamed(X, params, encoder):
            rows = np.repeat(np.arange(start, start + indptr.size - 1), np.diff(indptr))
            out[rows, indices] = values
        return out

    def block(start, stop):
        out[start:stop, :] = codes.to_dense(_encode_rows(X, start, stop, params, encoder)[1])

    _for_blocks(block, X, params, encoder, threads)
    return out


def encode_sparse(X, params, encoder, threads):
    """Codes of X as host CSR without stored zeros: values, indices and row pointers."""
    if is_gpu(params["components"]) and is_host(namespace(X)):
        return _joined([part for _, part in _streamed(X, params, encoder)])
    parts = {}

    def block(start, stop):
        Z = _encode_rows(X, start, stop, params, encoder)[1]
        parts[start] = codes.to_csr(Z)

    _for_blocks(block, X, params, encoder, threads)
    return _joined([parts[start] for start in sorted(parts)])


def _for_blocks(block, X, params, encoder, threads):
    if is_gpu(params["components"]):  # its current device and stream are those of this thread
        for start, stop in _blocks_on_gpu(X, params):
            block(start, stop)
        return
    threads.blocks(block, X.shape[0], _block_rows(X, encoder))


def _blocks_on_gpu(X, params):
    D = params["components"]
    size = min(_GPU_ROWS, max(1, _GPU_BYTES // (D.shape[0] * D.dtype.itemsize)))
    return [(start, min(start + size, X.shape[0])) for start in range(0, X.shape[0], size)]


def _streamed(X, params, encoder):
    """First row and host CSR of each block of host rows, encoded on a GPU.

    While the codes of a block travel back, the next block is under way.
    """
    uploads, downloads = uploads_to(params["components"]), downloads_from(params["components"])
    waiting = None
    for start, stop in _blocks_on_gpu(X, params):
        Z = _encode_rows(X, start, stop, params, encoder, uploads)[1]
        wait = downloads(codes.csr_arrays(Z))
        if waiting is not None:
            yield waiting[0], codes.without_zeros(*waiting[1]())
        waiting = start, wait
    yield waiting[0], codes.without_zeros(*waiting[1]())


def _joined(parts):
    values, indices, indptr = zip(*parts, strict=True)
    offsets = np.cumsum([0, *(part.size for part in indices)])
    small = offsets[-1] <= np.iinfo(np.int32).max  # scipy wants both index arrays of one dtype
    pointers = [np.zeros(1, dtype=np.int64)]
    pointers += [p[1:] + o for p, o in zip(indptr, offsets, strict=False)]
    return (
        np.concatenate(values),
        np.concatenate(indices),
        np.concatenate(pointers).astype(np.int32 if small else np.int64),
    )


def explained_variance(X, params, encoder):
    """Explained variance of the reconstruction of X, a float; NaN where X is constant."""
    sums = np.zeros(X.shape[1])
    squares = residual = unit = 0.0
    shift = uploads = None
    xp = namespace(params["components"])
    if is_gpu(params["components"]) and is_host(namespace(X)):
        uploads = uploads_to(params["components"])
    for start in range(0, X.shape[0], _ROWS):
        stop = min(start + _ROWS, X.shape[0])
        rows, Z = _encode_rows(X, start, stop, params, encoder, uploads)
        X_hat = codes.decode(Z, params["components"]) + params["decoder_bias"]
        if shift is None:
            shift = xp.astype(rows[:1, :], xp.float64)  # exact zeros where X is constant
        centred = xp.astype(rows, xp.float64) - shift
        # A power of two, so that squares neither overflow nor vanish.
        unit = unit or math.ldexp(1.0, math.frexp(float(xp.max(xp.abs(centred))))[1])
        centred /= unit
        error = xp.astype(X_hat - rows, xp.float64) / unit
        residual += float(xp.sum(error * error))
        sums += to_numpy(xp.sum(centred, axis=0))
        squares += float(xp.sum(centred * centred))
    total = squares - np.sum(np.square(sums)) / X.shape[0]
    return float(1 - residual / total) if total > 0 else math.nan


def _encode_rows(X, start, stop, params, encoder, uploads=None):
    dtype, rows = params["components"].dtype, X[start:stop, :]
    if uploads is not None:
        on_gpu = uploads(rows.shape, rows.dtype, lambda out: np.copyto(out, rows))
        rows = namespace(on_gpu).astype(on_gpu, dtype)
    elif is_host(namespace(rows)):
        rows = np.ascontiguousarray(rows, dtype=dtype)
    else:
        rows = namespace(rows).astype(rows, dtype, copy=False)
    return rows, encoder.rows(start, stop).forward(rows, params, INFERENCE)[0]["codes"]


def _block_rows(X, encoder):
    n, most = X.shape[0], encoder.rows_at_a_time
    return most if n >= 2 * most else max(1, -(-n // 2))
