"""The linear algebra of a fused training step; see :mod:`skdict.fusion`.

Two parts, each on blocks that depend on the problem alone, so that results do not depend on the
number of threads: the reconstruction of a tile of rows with the gradient of its codes; and, over
blocks of atoms, both weight gradients, the tangent projection, Adam and renormalisation.

The projection needs no pass of its own: with R the residual, the inner product of an atom and its
gradient is the sum over samples of z <R, atom>, and <R, atom> is known from the gradient of z.
"""

import numpy as np

from skdict.kernels import threads
from skdict.kernels._jit import jit
from skdict.kernels.adam_cpu import _least, _scalars, adam, flushed

_ATOMS = 256  # that a thread takes at a time
_GATHERED = 16  # of them, whose gradients stay in the cache between gathering and update


def reconstruct(Z, X, D, residual):
    """Residual ``Z D - X`` of a tile of rows, in `residual`.

    Returns its squared norm, and its products with the atoms on the support of Z.
    """
    inner = np.empty_like(Z.values)
    return _reconstruct(Z.indptr, Z.indices, Z.values, inner, X, residual, D), inner


def update(params, moments, rates, betas, keep, batch, centred, residual, extra):
    """Adam with the gradient of a batch, in place in `params` and its two `moments`.

    Parameters
    ----------
    params : dict of arrays
        ``components`` and ``encoder`` (m, d), ``decoder_bias`` (d,), others (m,).
    moments : pair of dicts of arrays, like `params`
    rates : dict of float
        Rate of each parameter, bias corrections included.
    betas : beta1, beta2, epsilon
    keep : array of shape (m,)
        By which rows of the encoder are multiplied first.
    batch : skdict.fusion.Batch
    centred, residual : arrays of shape (n, d)
    extra : tuple or None
        Some latents, and what is added to the gradients of their atoms, encoder rows and encoder
        biases.

    Returns
    -------
    n_fired : int64 array of shape (m,)
        Number of samples in which each latent has a code that is not zero.
    """
    n, (m, d) = centred.shape[0], params["encoder"].shape
    dtype, memory = centred.dtype, threads.current().buffer
    extra = _nothing(d, dtype) if extra is None else extra
    slots = memory("slots", (m,), np.int64)
    slots[:] = -1
    slots[extra[0]] = np.arange(extra[0].size)

    nnz = batch.indices.size
    starts, fired = np.zeros(m + 1, dtype=np.int64), np.zeros(m, dtype=np.int64)
    rows = memory("rows", (nnz,), np.int32)
    by_column = [memory(name, (nnz,), dtype) for name in ("codes", "d_U", "inner")]
    entries = batch.counts, batch.indices, batch.values, batch.d_U, batch.inner
    _by_column(*entries, dtype.type(1 / n), starts, fired, rows, *by_column)

    scalars = _scalars(dtype, rates["components"], betas[0], 1 - betas[0], betas[1], 1 - betas[1])
    scalars += _scalars(dtype, betas[2], rates["encoder"])
    scalars.append(_least(dtype))
    partial = np.zeros((-(-m // _ATOMS), d), dtype=dtype)
    matrices = [a[name] for name in ("components", "encoder") for a in (params, *moments)]

    def atoms(start, stop):
        _update_atoms(
            starts, rows, *by_column, residual, centred, slots, *extra[1:],
            *matrices, keep, *scalars, partial[start // _ATOMS], start, stop,
        )  # fmt: skip

    threads.current().blocks(atoms, m, _ATOMS, 8 * params["encoder"].size)
    grads = {**batch.d_params}
    if extra[0].size:
        grads["encoder_bias"][extra[0]] += extra[3]
    grads["decoder_bias"] = batch.residual_sum / dtype.type(n) - partial.sum(axis=0)
    for name, gradient in grads.items():
        adam(params[name], gradient, *(moment[name] for moment in moments), rates[name], *betas)
    return fired


def _nothing(d, dtype):
    none = np.empty((0, d), dtype=dtype)
    return np.empty(0, dtype=np.int64), none, none, none[:, 0]


@jit
def _reconstruct(indptr, indices, values, inner, X, residual, D):
    # Four atoms at a time, and again while they are in the cache.
    d = np.uint64(D.shape[1])
    zero = D.dtype.type(0)
    loss = 0.0
    for row in range(X.shape[0]):
        i = np.uint64(row)
        for c in range(d):
            residual[i, c] = -X[i, c]
        p, end = indptr[row], indptr[row + 1]
        while p + 4 <= end:
            j0, j1 = np.uint64(indices[p]), np.uint64(indices[p + 1])
            j2, j3 = np.uint64(indices[p + 2]), np.uint64(indices[p + 3])
            z0, z1, z2, z3 = values[p], values[p + 1], values[p + 2], values[p + 3]
            for c in range(d):
                residual[i, c] += (z0 * D[j0, c] + z1 * D[j1, c]) + (z2 * D[j2, c] + z3 * D[j3, c])
            p += 4
        while p < end:
            j0, z0 = np.uint64(indices[p]), values[p]
            for c in range(d):
                residual[i, c] += z0 * D[j0, c]
            p += 1
        energy = zero
        for c in range(d):
            energy += residual[i, c] * residual[i, c]
        loss += energy
        p = indptr[row]
        while p + 4 <= end:
            j0, j1 = np.uint64(indices[p]), np.uint64(indices[p + 1])
            j2, j3 = np.uint64(indices[p + 2]), np.uint64(indices[p + 3])
            s0, s1, s2, s3 = zero, zero, zero, zero
            for c in range(d):
                r = residual[i, c]
                s0 += r * D[j0, c]
                s1 += r * D[j1, c]
                s2 += r * D[j2, c]
                s3 += r * D[j3, c]
            inner[p], inner[p + 1], inner[p + 2], inner[p + 3] = s0, s1, s2, s3
            p += 4
        while p < end:
            j0, s0 = np.uint64(indices[p]), zero
            for c in range(d):
                s0 += residual[i, c] * D[j0, c]
            inner[p] = s0
            p += 1
    return loss


@jit
def _by_column(
    counts, indices, values, d_U, inner, scale,
    starts, fired, rows, scaled, d_U_by_column, inner_by_column,
):  # fmt: skip
    # Entries without code and gradient are left out; NaN is kept.
    for p in range(indices.size):
        used = values[p] != 0 or d_U[p] != 0
        starts[indices[p] + 1] += 1 if used else 0
        fired[indices[p]] += 1 if values[p] != 0 else 0
    for j in range(starts.size - 1):
        starts[j + 1] += starts[j]
    free = starts[:-1].copy()
    p = 0
    for i in range(counts.size):
        for _ in range(counts[i]):
            if values[p] != 0 or d_U[p] != 0:
                place = free[indices[p]]
                free[indices[p]] = place + 1
                rows[place] = i
                scaled[place] = scale * values[p]
                d_U_by_column[place] = d_U[p]
                inner_by_column[place] = inner[p]
            p += 1


@jit
def _gather(starts, rows, weights, G, out, first, last):
    # out[j - first] += the sum of weights times rows of G, for the columns first to last.
    d = np.uint64(G.shape[1])
    for column in range(first, last):
        o = np.uint64(column - first)
        p = starts[column]
        end = starts[column + 1]
        while p + 4 <= end:
            i0, i1 = np.uint64(rows[p]), np.uint64(rows[p + 1])
            i2, i3 = np.uint64(rows[p + 2]), np.uint64(rows[p + 3])
            z0, z1, z2, z3 = weights[p], weights[p + 1], weights[p + 2], weights[p + 3]
            for c in range(d):
                out[o, c] += (z0 * G[i0, c] + z1 * G[i1, c]) + (z2 * G[i2, c] + z3 * G[i3, c])
            p += 4
        while p < end:
            i0, z0 = np.uint64(rows[p]), weights[p]
            for c in range(d):
                out[o, c] += z0 * G[i0, c]
            p += 1


@jit
def _update_atoms(
    starts, rows, codes, d_U, inner, residual, centred, slots, extra_D, extra_W, extra_bias,
    D, mean_D, square_D, W, mean_W, square_W, keep,
    rate, beta1, rest1, beta2, rest2, epsilon, rate_W, least, partial, start, stop,
):  # fmt: skip
    gathered = np.empty((_GATHERED, D.shape[1]), dtype=D.dtype)
    for first in range(start, stop, _GATHERED):
        last = min(first + _GATHERED, stop)
        gathered[:] = 0
        _gather(starts, rows, codes, residual, gathered, first, last)
        for j in range(first, last):
            radial = D.dtype.type(0)  # inner product of the atom and its gradient
            for p in range(starts[j], starts[j + 1]):
                radial += codes[p] * inner[p]
            if slots[j] >= 0:
                radial += _add(gathered, j - first, extra_D, slots[j], D, j)
            _adam_on_sphere(
                gathered, j - first, radial, D, mean_D, square_D, j,
                rate, beta1, rest1, beta2, rest2, epsilon, least,
            )  # fmt: skip
        gathered[:] = 0
        _gather(starts, rows, d_U, centred, gathered, first, last)
        for j in range(first, last):
            total = D.dtype.type(0)  # gradient of the bias
            for p in range(starts[j], starts[j + 1]):
                total += d_U[p]
            if slots[j] >= 0:
                _add(gathered, j - first, extra_W, slots[j], W, j)
                total += extra_bias[slots[j]]
            _adam_of_encoder(
                gathered, j - first, total, W, mean_W, square_W, j, partial,
                rate_W, keep[j], beta1, rest1, beta2, rest2, epsilon, least,
            )  # fmt: skip


@jit
def _add(gathered, row, extra, slot, params, column):
    # Adds one row to the gathered gradient; its inner product with the parameter.
    o, s, j = np.uint64(row), np.uint64(slot), np.uint64(column)
    product = params.dtype.type(0)
    for c in range(np.uint64(params.shape[1])):
        gathered[o, c] += extra[s, c]
    for c in range(np.uint64(params.shape[1])):
        product += extra[s, c] * params[j, c]
    return product


@jit
def _adam_on_sphere(
    gathered, row, radial, D, mean, square, column,
    rate, beta1, rest1, beta2, rest2, epsilon, least,
):  # fmt: skip
    d = np.uint64(D.shape[1])
    o, j = np.uint64(row), np.uint64(column)
    norm2 = D.dtype.type(0)
    for c in range(d):
        g = gathered[o, c] - radial * D[j, c]
        mean[j, c] = flushed(beta1 * mean[j, c] + rest1 * g, least)
        square[j, c] = flushed(beta2 * square[j, c] + rest2 * g * g, least)
        D[j, c] -= rate * mean[j, c] / (np.sqrt(square[j, c]) + epsilon)
        norm2 += D[j, c] * D[j, c]
    inverse = D.dtype.type(1) / np.sqrt(norm2) if norm2 > 0 else D.dtype.type(1)
    for c in range(d):
        D[j, c] *= inverse


@jit
def _adam_of_encoder(
    gathered, row, total, W, mean, square, column, partial,
    rate, keep, beta1, rest1, beta2, rest2, epsilon, least,
):  # fmt: skip
    d = np.uint64(W.shape[1])
    o, j = np.uint64(row), np.uint64(column)
    for c in range(d):  # the decoder bias's share, from the row as it was
        partial[c] += total * W[j, c]
    for c in range(d):
        g = gathered[o, c]
        mean[j, c] = flushed(beta1 * mean[j, c] + rest1 * g, least)
        square[j, c] = flushed(beta2 * square[j, c] + rest2 * g * g, least)
        W[j, c] = keep * W[j, c] - rate * mean[j, c] / (np.sqrt(square[j, c]) + epsilon)
