"""The linear algebra of a fused training step for CuPy; see :mod:`skdict.kernels.sparse_step_cpu`.

Two kernels: the reconstruction of rows with the gradient of their codes, and the update of latents,
which gathers the gradients of an atom and of its encoder row and makes Adam's steps with them in
one pass over weights and moments. Between them entries are put in the order of their columns.
"""

import cupy
import numpy as np

from skdict.kernels._cuda import launch, threads_for
from skdict.kernels.adam_cuda import adam, scalars
from skdict.kernels.products_cuda import by_column

CHUNK = 512  # entries of a column that a block sums (sparse_step.cu)


def reconstruct(Z, X, D, residual):
    """Residual ``Z D - X`` of some rows, in `residual`.

    Returns its squared norm, an array without dimensions, and its products with the atoms on the
    support of Z.
    """
    (n, d), dtype = X.shape, D.dtype
    inner, squares = cupy.empty(Z.values.shape, dtype=dtype), cupy.empty(n, dtype=np.float64)
    arrays = Z.indptr, Z.indices, Z.values, D, X, residual, inner, squares
    launch("sparse_step", "reconstruct", dtype, n, *arrays, np.int32(d), threads=threads_for(d))
    return squares.sum(), inner


def update(params, moments, rates, betas, keep, batch, centred, residual, extra):
    """What :func:`skdict.kernels.sparse_step_cpu.update` does, for samples of as many entries each.

    `extra` has for each latent the row in the arrays behind it, or -1, instead of the latents.
    """
    (n, d), (m, _), dtype = centred.shape, params["encoder"].shape, centred.dtype
    columns = batch.columns
    if columns is None:
        k = batch.indices.shape[0] // n
        columns = by_column(cupy.arange(n + 1, dtype=np.int64) * k, batch.indices, m)
    slots, extra_D, extra_W, extra_bias = (None,) * 4 if extra is None else extra
    totals = batch.d_params["encoder_bias"]
    if extra is not None:
        own = extra_bias[cupy.maximum(slots, 0)]
        totals = totals + cupy.where(slots >= 0, own, dtype.type(0))
    of_bias = batch.residual_sum / n - totals @ params["encoder"]  # its rows as they were
    begins, sums = _long_columns(columns, batch, residual, centred)
    fired = cupy.empty(m, dtype=np.int64)
    matrices = [a[name] for name in ("components", "encoder") for a in (params, *moments)]
    launch(
        "sparse_step", "update_latents", dtype, m, *columns, begins, batch.values, batch.d_U,
        batch.inner, residual, centred, sums, slots, extra_D, extra_W, *matrices, keep, fired,
        dtype.type(1 / n),
        dtype.type(rates["encoder"]), *scalars(dtype, rates["components"], *betas), np.int32(d),
        threads=threads_for(d),
    )  # fmt: skip
    grads = {**batch.d_params, "encoder_bias": totals, "decoder_bias": of_bias}
    for name, gradient in grads.items():
        adam(params[name], gradient, *(moment[name] for moment in moments), rates[name], *betas)
    return fired


def _long_columns(columns, batch, residual, centred):
    """Where the chunks of long columns begin, and their sums; None where there can be none."""
    (n, d), dtype, nnz = centred.shape, centred.dtype, batch.indices.shape[0]
    if n <= CHUNK:
        return None, None
    m = columns[0].shape[0] - 1
    begins = cupy.empty(m + 1, dtype=np.int32)
    threads = 1024 if m > 4096 else 128
    launch("sparse_step", "begin_chunks", dtype, 1, columns[0], begins, np.int32(m),
           threads=threads)  # fmt: skip
    n_chunks = 2 * (nnz // CHUNK)  # at most: the last of a column may have one entry
    sums = cupy.empty((n_chunks, 2, d), dtype=dtype)
    arrays = batch.values, batch.d_U, residual, centred, sums
    launch(
        "sparse_step", "sum_chunks", dtype, n_chunks, *columns, begins, *arrays,
        dtype.type(1 / n), np.int32(m), np.int32(d), threads=threads_for(d),
    )  # fmt: skip
    return begins, sums
