"""One training step of a TopK autoencoder, fused; its reference is the composed `train_step`.

Three passes on threads: over tiles of rows (product, selection, reconstruction, gradient of the
codes); the support column by column; over blocks of atoms (both weight gradients, the tangent
projection, Adam, renormalisation). No gradient of a matrix is ever stored. Blocks depend on the
problem alone, so that results do not depend on the number of threads.

The projection needs no pass of its own: with R the residual, the inner product of an atom and its
gradient is the sum over samples of z <R, atom>, and <R, atom> is the gradient of the code.
"""

import numpy as np

from skdict.kernels import threads
from skdict.kernels._jit import jit
from skdict.kernels.adam_cpu import _scalars, adam
from skdict.kernels.dense import for_tiles
from skdict.kernels.topk_cpu import topk_rows

_ATOMS = 256  # that a thread takes at a time
_GATHERED = 16  # of them, whose gradients stay in the cache between gathering and update


def topk_step(X, params, mean, square, k, extra, rates, betas, epsilon):
    """Loss and gradient of one batch, and the update of Adam, in place in the three dicts.

    Parameters
    ----------
    X : array of shape (n, d), C-contiguous
    params, mean, square : dicts of arrays by name
        ``components`` and ``encoder`` (m, d), ``encoder_bias`` (m,), ``decoder_bias`` (d,).
    k : int
    extra : callable or None
        ``extra(X - decoder_bias, residual)`` gives the value of another term and, for some latents,
        their indices and its gradients: of their atoms, encoder rows and encoder biases.
    rates : dict of float
        Rate of each parameter, bias corrections included.
    betas : pair of float
    epsilon : float

    Returns
    -------
    loss : float
    n_fired : int64 array of shape (m,)
        Number of samples in which each latent is positive.
    """
    n, m = X.shape[0], params["encoder"].shape[0]
    centred = threads.current().buffer("centred", X.shape, X.dtype)
    support = _Support(X, k)
    _over_rows(X, params, centred, support)
    value, *others = (0.0, *_nothing(X)) if extra is None else extra(centred, support.residual)
    slots = threads.current().buffer("slots", (m,), np.int64)
    slots[:] = -1
    slots[others[0]] = np.arange(others[0].size)
    by_column = support.by_column(m)

    beta1, beta2 = betas
    per_atom = _scalars(X.dtype, rates["components"], beta1, 1 - beta1, beta2, 1 - beta2, epsilon)
    partial = np.zeros((-(-m // _ATOMS), X.shape[1]), dtype=X.dtype)
    matrices = [d[name] for name in ("components", "encoder") for d in (params, mean, square)]
    biases = [d["encoder_bias"] for d in (params, mean, square)]
    other_rates = [X.dtype.type(rates[name]) for name in ("encoder", "encoder_bias")]

    def atoms(start, stop):
        _update_atoms(
            *by_column, centred, slots, *others[1:], *matrices, *biases,
            *per_atom, *other_rates, partial[start // _ATOMS], start, stop,
        )  # fmt: skip

    threads.current().blocks(atoms, m, _ATOMS, 8 * params["encoder"].size)
    error, sums = support.totals()
    gradient = sums / X.dtype.type(n) - partial.sum(axis=0)
    param, *moments = (d["decoder_bias"] for d in (params, mean, square))
    adam(param, gradient, *moments, rates["decoder_bias"], beta1, beta2, epsilon)
    return error / (2 * n) + value, np.diff(by_column[0])


def _nothing(X):
    none = np.empty((0, X.shape[1]), dtype=X.dtype)
    return np.empty(0, dtype=np.int64), none, none, none[:, 0]


class _Support:
    """Codes of a batch, k a sample, with their residual and gradient, in memory that is kept."""

    def __init__(self, X, k):
        n, d = X.shape
        memory = threads.current().buffer
        self.k = k
        self.indices = memory("indices", (n, k), np.int32)
        self.values = memory("values", (n, k), X.dtype)
        self.gradient = memory("gradient", (n, k), X.dtype)
        self.residual = memory("residual", (n, d), X.dtype)
        self.of_tiles = {}  # by their first row: squared error, column sums of the residual

    def select(self, U, bias, part):
        group = max(1, min(16, bias.size // (2 * self.k)))
        indices = self.indices[part]
        topk_rows(U, bias, self.k, group, indices, self.values[part], 0, indices.shape[0], False)

    def reconstruct(self, centred, D, part):
        """Residual of a tile of rows, and the gradients of its codes."""
        support = self.indices[part], self.values[part], self.gradient[part]
        scale, sums = D.dtype.type(1 / self.residual.shape[0]), np.zeros_like(centred[0])
        error = _reconstruct(*support, centred, self.residual[part], D, scale, sums)
        self.of_tiles[part.start] = error, sums

    def totals(self):
        """Squared error and column sums of the residual, in the order of rows."""
        errors, sums = zip(*(self.of_tiles[start] for start in sorted(self.of_tiles)), strict=True)
        return sum(errors), np.sum(sums, axis=0)

    def by_column(self, m):
        """Where columns start; rows, scaled codes and gradients in their order; the residual; n."""
        memory, dtype = threads.current().buffer, self.values.dtype
        starts = np.zeros(m + 1, dtype=np.int64)
        rows = memory("rows", (self.indices.size,), np.int32)
        codes = memory("codes", (self.indices.size,), dtype)
        d_codes = memory("d_codes", (self.indices.size,), dtype)
        n = dtype.type(self.residual.shape[0])
        _by_column(self.indices, self.values, self.gradient, 1 / n, starts, rows, codes, d_codes)
        return starts, rows, codes, d_codes, self.residual, n


def _over_rows(X, params, centred, support):
    """Fill the support: product, selection, reconstruction and gradients of the codes."""

    def prepare(start, stop):
        np.subtract(X[start:stop], params["decoder_bias"], out=centred[start:stop])

    def use(U, start, stop):
        part = slice(start, stop)
        support.select(U, params["encoder_bias"], part)
        support.reconstruct(centred[part], params["components"], part)

    for_tiles(centred, params["encoder"].T, use, prepare)


@jit
def _reconstruct(indices, values, gradient, base, residual, D, scale, sums):
    # values: ReLU in place.  residual = Z D - base.  gradient = scale residual Dᵀ on the
    # support.  sums += column sums of the residual.
    # Four atoms at a time, and again while they are in the cache.
    n, k = indices.shape
    d = np.uint64(D.shape[1])
    zero = D.dtype.type(0)
    loss = 0.0
    for row in range(n):
        i = np.uint64(row)
        for p in range(k):
            values[i, p] = zero if values[i, p] < 0 else values[i, p]  # NaN stays NaN
        for c in range(d):
            residual[i, c] = -base[i, c]
        p = 0
        while p + 4 <= k:
            j0, j1 = np.uint64(indices[i, p]), np.uint64(indices[i, p + 1])
            j2, j3 = np.uint64(indices[i, p + 2]), np.uint64(indices[i, p + 3])
            z0, z1, z2, z3 = values[i, p], values[i, p + 1], values[i, p + 2], values[i, p + 3]
            for c in range(d):
                residual[i, c] += (z0 * D[j0, c] + z1 * D[j1, c]) + (z2 * D[j2, c] + z3 * D[j3, c])
            p += 4
        while p < k:
            j0, z0 = np.uint64(indices[i, p]), values[i, p]
            for c in range(d):
                residual[i, c] += z0 * D[j0, c]
            p += 1
        energy = zero
        for c in range(d):
            energy += residual[i, c] * residual[i, c]
        loss += energy
        for c in range(d):
            sums[c] += residual[i, c]
        p = 0
        while p + 4 <= k:
            j0, j1 = np.uint64(indices[i, p]), np.uint64(indices[i, p + 1])
            j2, j3 = np.uint64(indices[i, p + 2]), np.uint64(indices[i, p + 3])
            s0, s1, s2, s3 = zero, zero, zero, zero
            for c in range(d):
                r = residual[i, c]
                s0 += r * D[j0, c]
                s1 += r * D[j1, c]
                s2 += r * D[j2, c]
                s3 += r * D[j3, c]
            gradient[i, p], gradient[i, p + 1] = s0 * scale, s1 * scale
            gradient[i, p + 2], gradient[i, p + 3] = s2 * scale, s3 * scale
            p += 4
        while p < k:
            j0, s0 = np.uint64(indices[i, p]), zero
            for c in range(d):
                s0 += residual[i, c] * D[j0, c]
            gradient[i, p] = s0 * scale
            p += 1
    return loss


@jit
def _by_column(indices, values, gradient, scale, starts, rows, codes, d_codes):
    # Entries that ReLU made zero have no gradient and are left out; NaN is kept.
    n, k = indices.shape
    for i in range(n):
        for p in range(k):
            if values[i, p] != 0:
                starts[indices[i, p] + 1] += 1
    for j in range(starts.size - 1):
        starts[j + 1] += starts[j]
    free = starts[:-1].copy()
    for i in range(n):
        for p in range(k):
            if values[i, p] != 0:
                place = free[indices[i, p]]
                free[indices[i, p]] = place + 1
                rows[place] = i
                codes[place] = scale * values[i, p]
                d_codes[place] = gradient[i, p]


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
    starts, rows, codes, d_codes, residual, unscale, centred, slots, extra_D, extra_W, extra_bias,
    D, mean_D, square_D, W, mean_W, square_W, bias, mean_bias, square_bias,
    rate, beta1, rest1, beta2, rest2, epsilon, rate_W, rate_bias, partial, start, stop,
):  # fmt: skip
    zero = D.dtype.type(0)
    gathered = np.empty((_GATHERED, D.shape[1]), dtype=D.dtype)
    for first in range(start, stop, _GATHERED):
        last = min(first + _GATHERED, stop)
        gathered[:] = zero
        _gather(starts, rows, codes, residual, gathered, first, last)
        for j in range(first, last):
            # <gradient of the atom, atom>: a gradient of a code is <residual, atom>, scaled.
            radial = unscale * _dot(starts, codes, d_codes, j)
            if slots[j] >= 0:
                radial += _add(gathered, j - first, extra_D, slots[j], D, j)
            _adam_on_sphere(
                gathered, j - first, radial, D, mean_D, square_D, j,
                rate, beta1, rest1, beta2, rest2, epsilon,
            )  # fmt: skip
        gathered[:] = zero
        _gather(starts, rows, d_codes, centred, gathered, first, last)
        for j in range(first, last):
            total = zero
            for p in range(starts[j], starts[j + 1]):
                total += d_codes[p]
            if slots[j] >= 0:
                total += extra_bias[slots[j]]
                _add(gathered, j - first, extra_W, slots[j], W, j)
            _adam_of_encoder(
                gathered, j - first, total, W, mean_W, square_W, j, partial,
                rate_W, beta1, rest1, beta2, rest2, epsilon,
            )  # fmt: skip
            mean_bias[j] = beta1 * mean_bias[j] + rest1 * total
            square_bias[j] = beta2 * square_bias[j] + rest2 * total * total
            bias[j] -= rate_bias * mean_bias[j] / (np.sqrt(square_bias[j]) + epsilon)


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
def _dot(starts, codes, d_codes, j):
    total = d_codes.dtype.type(0)
    for p in range(starts[j], starts[j + 1]):
        total += codes[p] * d_codes[p]
    return total


@jit
def _adam_on_sphere(
    gathered, row, radial, D, mean, square, column,
    rate, beta1, rest1, beta2, rest2, epsilon,
):  # fmt: skip
    d = np.uint64(D.shape[1])
    o, j = np.uint64(row), np.uint64(column)
    norm2 = D.dtype.type(0)
    for c in range(d):
        g = gathered[o, c] - radial * D[j, c]
        mean[j, c] = beta1 * mean[j, c] + rest1 * g
        square[j, c] = beta2 * square[j, c] + rest2 * g * g
        D[j, c] -= rate * mean[j, c] / (np.sqrt(square[j, c]) + epsilon)
        norm2 += D[j, c] * D[j, c]
    inverse = D.dtype.type(1) / np.sqrt(norm2) if norm2 > 0 else D.dtype.type(1)
    for c in range(d):
        D[j, c] *= inverse


@jit
def _adam_of_encoder(
    gathered, row, total, W, mean, square, column, partial,
    rate, beta1, rest1, beta2, rest2, epsilon,
):  # fmt: skip
    d = np.uint64(W.shape[1])
    o, j = np.uint64(row), np.uint64(column)
    for c in range(d):  # the decoder bias's share, from the row as it was
        partial[c] += total * W[j, c]
    for c in range(d):
        g = gathered[o, c]
        mean[j, c] = beta1 * mean[j, c] + rest1 * g
        square[j, c] = beta2 * square[j, c] + rest2 * g * g
        W[j, c] -= rate * mean[j, c] / (np.sqrt(square[j, c]) + epsilon)
