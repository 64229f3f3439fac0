"""Penalised least squares, compiled; see :mod:`skdict.kernels.lasso`.

Coordinate descent works on a small problem: the Gram matrix of a working set of atoms, and their
correlations with the residual. The correlations of all atoms are updated between such rounds alone,
from rows of the Gram matrix, sample by sample, or where there is none by one product of the
residuals of a block of samples with the dictionary.
"""

import math

import numpy as np

from skdict.kernels import lasso_reference, threads
from skdict.kernels._jit import jit
from skdict.kernels.lasso_reference import GAMMA
from skdict.kernels.pursuit_parts_cpu import subtract

KINDS = ("l1", "log", "mcp", "lp", "l0")
_ROWS = 256
_ENTRIES = 1 << 23  # correlations of a block, at most
_FIRST = 16  # atoms that a working set begins with; it at least doubles
_SWEEPS = 5  # of coordinate descent between Newton steps
_MOST_NEWTON = 256  # codes for which they are made
_INNER = 0.3  # share of the tolerance that is left for atoms outside of the working set


def lasso(
    X,
    D,
    alpha,
    penalty,
    width,
    positive,
    gap_tol,
    max_sweeps,
    algorithm,
    first=None,
    gram=None,
):
    n, m = X.shape[0], D.shape[0]
    kind = KINDS.index(penalty)
    curvatures = np.einsum("ij,ij->i", D, D)
    rows_of = min(_ROWS, max(32, _ENTRIES // m)) if gram is None else _ROWS
    parts = [None] * -(-n // rows_of)

    def block(start, stop):
        rows = X[start:stop]
        Z = (
            np.zeros((stop - start, m), dtype=X.dtype)
            if first is None
            else first[start:stop].copy()
        )
        if algorithm == "fista":
            settings = alpha, penalty, width, positive, gap_tol, max_sweeps
            *arrays, unfinished = lasso_reference.lasso(rows, D, *settings, "fista", Z)
            parts[start // rows_of] = np.diff(arrays[0]), arrays[1], arrays[2], unfinished
            return
        squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        C = rows @ D.T
        state = (
            rows,
            squares,
            C,
            Z,
            D,
            curvatures,
            alpha,
            kind,
            width,
            positive,
            gap_tol,
            max_sweeps,
        )
        solve = _by_gram if gram is not None else _by_products
        unfinished = solve(gram, *state, first is not None)
        counts = np.count_nonzero(Z, axis=1)
        indices = np.nonzero(Z)[1]
        parts[start // rows_of] = counts, indices.astype(np.int32), Z[Z != 0], unfinished

    threads.current().blocks(block, n, rows_of)
    counts, indices, values, unfinished = zip(*parts)
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return indptr, np.concatenate(indices), np.concatenate(values), sum(unfinished)


def _by_products(
    gram, rows, squares, C, Z, D, curvatures, alpha, kind, width, positive, tol, sweeps, warm
):
    n = rows.shape[0]
    G, none = np.empty((0, 0), dtype=rows.dtype), np.empty((1, 0), dtype=rows.dtype)
    left = np.full(n, sweeps)
    sizes = np.zeros(n, dtype=np.int64)
    active = np.arange(n)
    first = C.copy()
    if warm:
        C -= Z @ D @ D.T
    done = np.zeros(n, dtype=np.bool_)
    while active.size:
        for_active = active[: active.size]
        _rounds(
            G, rows, squares, C, first, Z, D, curvatures, alpha, kind, width, positive, tol,
            left, sizes, for_active, done, none,
        )  # fmt: skip
        active = active[~done[active] & (left[active] > 0)]
        R = rows[active] - Z[active] @ D
        C[active] = R @ D.T
    return int(np.count_nonzero(~done))


def _by_gram(
    G, rows, squares, C, Z, D, curvatures, alpha, kind, width, positive, tol, sweeps, warm
):
    n, m = Z.shape
    first = np.empty((1, m), dtype=rows.dtype)
    left, sizes, done = np.full(n, sweeps), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.bool_)
    _rounds(
        G, rows, squares, C, C, Z, D, curvatures, alpha, kind, width, positive, tol, left, sizes,
        np.arange(n), done, first,
    )  # fmt: skip
    return int(np.count_nonzero(~done))


@jit
def _rounds(
    G, X, squares, C, first, Z, D, curvatures, alpha, kind, width, positive, tol, left, sizes,
    active, done, work,
):  # fmt: skip
    """Rounds of samples: all that are needed with a Gram matrix, else one of each.

    `C` are correlations of the residual, `first` those of the sample; `left` counts sweeps, `sizes`
    the atoms of working sets.
    """
    m = Z.shape[1]
    by_gram = G.shape[0] > 0
    chosen = np.empty(m, dtype=np.int64)
    z = np.empty(m, dtype=Z.dtype)
    c = np.empty(m, dtype=Z.dtype)
    sizes_of = np.empty(m, dtype=Z.dtype)
    for a in range(active.size):
        row = active[a]
        r = row
        if by_gram:
            r = 0
            work[0, :] = C[row, :]
            for j in range(m):
                if Z[row, j] != 0:
                    subtract(C, row, Z[row, j], G, j, m)
        while True:
            origin = work if by_gram else first
            if kind == 0:
                gap = _gap(C, origin, r, row, Z, squares[row], alpha, positive)
                if gap <= tol * squares[row] / 2:
                    done[row] = True
                    break
            if left[row] <= 0:
                break
            count = _working_set(
                C, row, Z, curvatures, alpha, kind, width, positive, sizes, chosen, sizes_of
            )
            if count == 0:
                done[row] = True
                break
            S = np.empty((count, count), dtype=Z.dtype)
            for p in range(count):
                z[p] = Z[row, chosen[p]]
                c[p] = C[row, chosen[p]]
                for q in range(p + 1):
                    S[p, q] = S[q, p] = _inner(G, D, chosen[p], chosen[q])
            left[row] -= _sweep(
                S, c, z, count, alpha, kind, width, positive, tol, squares[row], left[row]
            )
            for p in range(count):
                j = chosen[p]
                change = z[p] - Z[row, j]
                Z[row, j] = z[p]
                if by_gram and change != 0:
                    subtract(C, row, change, G, j, m)
            if not by_gram:
                break


@jit
def _inner(G, D, i, j):
    if G.shape[0] > 0:
        return G[i, j]
    total = D.dtype.type(0)
    for f in range(np.uint64(D.shape[1])):
        total += D[i, f] * D[j, f]
    return total


@jit
def _gap(C, first, origin, row, Z, square, alpha, positive):
    # From correlations a of the sample and c of the residual alone: |r|² = |x|² - z a - z c.
    largest, size, with_sample, with_residual = 0.0, 0.0, 0.0, 0.0
    for j in range(Z.shape[1]):
        c = np.float64(C[row, j])
        largest = max(largest, c if positive else abs(c))
        z = np.float64(Z[row, j])
        if z != 0:
            size += abs(z)
            with_sample += z * first[origin, j]
            with_residual += z * c
    residual = max(square - with_sample - with_residual, 0.0)
    scale = alpha / largest if largest > alpha else 1.0
    rest = square - 2 * scale * (square - with_sample) + scale * scale * residual
    return residual / 2 + alpha * size - (square - rest) / 2


@jit
def _working_set(C, row, Z, curvatures, alpha, kind, width, positive, sizes, chosen, sizes_of):
    # Atoms with codes, and of those that would get one the most eager; none if there are none.
    m = Z.shape[1]
    held = 0
    eager = 0
    for j in range(m):
        if Z[row, j] != 0:
            chosen[held] = j
            held += 1
    level = alpha if kind == 0 else 0.0
    most = max(_FIRST, held)
    heap = chosen[held:]  # of the most eager, the least eager of them first
    for j in range(m):
        c = C[row, j]
        if (c if positive else abs(c)) > level and Z[row, j] == 0 and curvatures[j] > 0:
            w = curvatures[j]
            if kind == 0 or _prox(c / w, alpha / w, kind, width, positive, alpha) != 0:
                size = abs(c) / np.sqrt(w)
                if eager < most:
                    _rise(heap, sizes_of, eager, j, size)
                    eager += 1
                elif size > sizes_of[0]:
                    _sink(heap, sizes_of, eager, j, size)
    if eager == 0 and sizes[row] == -1 and kind != 0:
        return 0  # and no code has moved since; of l1 the gap decides
    sizes[row] = -1 if eager == 0 else held + eager
    return held + eager


@jit
def _rise(heap, sizes, count, j, size):
    # One more at the end, and up to where none above it is larger.
    p = count
    while p > 0 and sizes[(p - 1) // 2] > size:
        heap[p], sizes[p] = heap[(p - 1) // 2], sizes[(p - 1) // 2]
        p = (p - 1) // 2
    heap[p], sizes[p] = j, size


@jit
def _sink(heap, sizes, count, j, size):
    # Another in the place of the first, and down to where none below it is smaller.
    p = 0
    while 2 * p + 1 < count:
        q = 2 * p + 1
        if q + 1 < count and sizes[q + 1] < sizes[q]:
            q += 1
        if sizes[q] >= size:
            break
        heap[p], sizes[p] = heap[q], sizes[q]
        p = q
    heap[p], sizes[p] = j, size


@jit
def _sweep(S, c, z, count, alpha, kind, width, positive, tol, square, most):
    """Coordinate descent in place of z and c, until nothing moves; returns the sweeps made.

    With l1, sweeps find signs and Newton steps what the codes of these signs are: coherent atoms
    make the former slow.
    """
    limit = _INNER * tol * square
    work = np.empty((count if kind == 0 else 0, count), dtype=S.dtype)
    chosen = np.empty(count, dtype=np.int64)
    change_of = np.empty(count, dtype=S.dtype)
    for sweep in range(most):
        moved = 0.0
        for p in range(count):
            w = S[p, p]
            old = z[p]
            new = z.dtype.type(_prox(old + c[p] / w, alpha / w, kind, width, positive, alpha))
            change = new - old
            if change != 0:
                z[p] = new
                u = np.uint64(p)
                for q in range(np.uint64(count)):
                    c[q] -= change * S[u, q]
                moved += np.float64(change) * change * w
        still = moved <= limit * 0.01
        if kind == 0 and (still or sweep % _SWEEPS == _SWEEPS - 1):
            _newton(S, c, z, count, alpha, work, chosen, change_of)
        if still:
            return sweep + 1
    return most


@jit
def _newton(S, c, z, count, alpha, work, chosen, change):
    """Steps to the minimum for the signs that z has, each as far as none of them changes.

    Where atoms depend on each other, a step leaves the reconstruction and lowers the penalty, until
    one of them has no code left.
    """
    for _ in range(2 * count):
        held = 0
        for p in range(count):
            if z[p] != 0:
                chosen[held] = p
                held += 1
        if held == 0 or held > _MOST_NEWTON:
            return
        bounded = _newton_step(S, c, z, held, alpha, work, chosen, change)
        part, first = z.dtype.type(1), -1
        for i in range(held):
            old, by = z[chosen[i]], change[i]
            if old * by < 0 and ((first < 0 and not bounded) or -old / by < part):
                part, first = -old / by, i
        if first < 0 and not bounded:
            return
        for i in range(held):
            p = chosen[i]
            by = -z[p] if i == first else part * change[i]
            if by != 0:
                z[p] += by
                u = np.uint64(p)
                for q in range(np.uint64(count)):
                    c[q] -= by * S[u, q]
        if first < 0:
            return


@jit
def _newton_step(S, c, z, held, alpha, work, chosen, change):
    """S change = c - alpha sign(z) on the support, by Cholesky: True; where that is singular, False
    and a change that S maps to zero."""
    eps = np.finfo(S.dtype).eps
    for i in range(held):
        p = chosen[i]
        for j in range(i):
            value = S[p, chosen[j]]
            for e in range(j):
                value -= work[i, e] * work[j, e]
            work[i, j] = value / work[j, j]
        value = S[p, p]
        for e in range(i):
            value -= work[i, e] * work[i, e]
        if value <= 64 * eps * S[p, p]:
            for j in range(i):
                change[j] = -work[i, j]
            _back(work, change, i)
            change[i] = 1
            slope = 0.0
            for j in range(i + 1):
                slope += change[j] if z[chosen[j]] > 0 else -change[j]
            for j in range(held):
                change[j] = 0 if j > i else (-change[j] if slope > 0 else change[j])
            return False
        work[i, i] = np.sqrt(value)
        value = c[p] - (alpha if z[p] > 0 else -alpha)
        for e in range(i):
            value -= work[i, e] * change[e]
        change[i] = value / work[i, i]
    _back(work, change, held)
    return True


@jit
def _back(work, change, count):
    # The transposed half of a Cholesky solution, in place.
    for i in range(count - 1, -1, -1):
        value = change[i]
        for e in range(i + 1, count):
            value -= work[e, i] * change[e]
        change[i] = value / work[i, i]


@jit
def _prox(v, weight, kind, width, positive, alpha):
    if v < 0:
        if positive:
            return 0.0 * v
        return -_prox_of_size(-v, weight, kind, width, alpha)
    return _prox_of_size(v, weight, kind, width, alpha)


@jit
def _prox_of_size(v, weight, kind, width, alpha):
    if kind == 0:  # l1
        return max(v - weight, 0.0)
    if kind == 4:  # l0
        return v if v * v > 2 * weight else 0.0
    if kind == 1:  # log
        square = (v + width) ** 2 - 4 * weight
        if square < 0:
            return 0.0
        z = max((v - width + math.sqrt(square)) / 2, 0.0)
        return z if (z - v) ** 2 / 2 + weight * math.log1p(z / width) < v * v / 2 else 0.0
    if kind == 3:  # lp
        if v <= 1.5 * weight ** (2 / 3):
            return 0.0
        angle = math.acos(min(weight / 4 * (v / 3) ** -1.5, 1.0))
        return 2 * v / 3 * (1 + math.cos((2 * math.pi - 2 * angle) / 3))
    end = GAMMA * alpha  # mcp
    if weight >= end:
        return v if v * v > weight * end else 0.0
    return v if v > end else max(v - weight, 0.0) / (1 - weight / end)
