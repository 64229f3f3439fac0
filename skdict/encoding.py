"""Encoding a matrix block by block: what `transform` and `score` do with a fitted model.

`params` and `encoder` are in the units of X. Blocks of rows bound the memory; sparse codes are
collected as CSR, and no dense array of the codes of X exists then.
"""

import math

import numpy as np

from skdict import codes
from skdict.backend import device, is_host, namespace, to_numpy
from skdict.encoders import INFERENCE

_ROWS = 2048  # decoded at a time


def encode(X, params, encoder, threads):
    """Codes of X as a dense array."""
    xp, D = namespace(X), params["components"]
    place = {} if is_host(xp) else {"device": device(X)}
    out = xp.zeros((X.shape[0], D.shape[0]), dtype=D.dtype, **place)

    def block(start, stop):
        out[start:stop, :] = codes.to_dense(_encode_rows(X, start, stop, params, encoder)[1])

    threads.blocks(block, X.shape[0], _block_rows(X, encoder))
    return out


def encode_sparse(X, params, encoder, threads):
    """Codes of X as host CSR without stored zeros: values, indices and row pointers."""
    size = _block_rows(X, encoder)
    parts = [None] * -(-X.shape[0] // size)

    def block(start, stop):
        Z = _encode_rows(X, start, stop, params, encoder)[1]
        parts[start // size] = codes.to_csr(Z)

    threads.blocks(block, X.shape[0], size)
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
    shift = to_numpy(X[:1, :]).astype(np.float64)  # exact zeros where X is constant
    for start in range(0, X.shape[0], _ROWS):
        stop = min(start + _ROWS, X.shape[0])
        rows, Z = _encode_rows(X, start, stop, params, encoder)
        X_hat = codes.decode(Z, params["components"]) + params["decoder_bias"]
        centred = to_numpy(rows) - shift
        # A power of two, so that squares neither overflow nor vanish.
        unit = unit or math.ldexp(1.0, math.frexp(np.abs(centred).max())[1])
        centred /= unit
        residual += np.sum(np.square(to_numpy(X_hat - rows) / unit, dtype=np.float64))
        sums += centred.sum(axis=0)
        squares += np.sum(np.square(centred))
    total = squares - np.sum(np.square(sums)) / X.shape[0]
    return float(1 - residual / total) if total > 0 else math.nan


def _encode_rows(X, start, stop, params, encoder):
    dtype, rows = params["components"].dtype, X[start:stop, :]
    if is_host(namespace(rows)):
        rows = np.ascontiguousarray(rows, dtype=dtype)
    else:
        rows = namespace(rows).astype(rows, dtype, copy=False)
    return rows, encoder.rows(start, stop).forward(rows, params, INFERENCE)[0]["codes"]


def _block_rows(X, encoder):
    n, most = X.shape[0], encoder.rows_at_a_time
    return most if n >= 2 * most else max(1, -(-n // 2))
