"""Pursuit, compiled, one sample a time on each thread; see :mod:`skdict.kernels.pursuit`.

OMP without square roots: row l of a table holds T_l = D q_l, the correlations of all atoms with the
l-th orthogonalised atom q_l = d_j - sum over l' < l of (T_l'[j] / s_l') q_l', and s_l = |q_l|²:

    s = G[j, j] - sum T_l[j]² / s_l      t = G[j, :] - sum (T_l[j] / s_l) T_l      c -= (c[j] / s) t

So correlations c stay exact after each step, no residual and no triangular solve is needed, and the
codes follow at the end by substitution.
"""

import numpy as np

from skdict.kernels import threads
from skdict.kernels._jit import jit
from skdict.kernels.pursuit_reference import _DEPENDENT, _ROUNDING

_ROWS = 128
_ENDLESS = np.iinfo(np.int64).max


def pursuit(X, D, k, residual_tol, algorithm, positive, gram=None):
    n = X.shape[0]
    G = np.empty((0, 0), dtype=X.dtype) if gram is None else gram
    code = {"mp": _mp, "omp": _omp_positive if positive else _omp}[algorithm]
    steps = _ENDLESS if k is None else k
    slots = _most_atoms(k, D.shape, algorithm)
    parts = [None] * -(-n // _ROWS)

    def block(start, stop):
        rows = np.ascontiguousarray(X[start:stop])
        # Each sample is divided by its largest entry, so that squares neither overflow nor vanish.
        size = np.max(np.abs(rows), axis=1, keepdims=True)
        size[size == 0] = 1
        rows = rows / size
        tol = np.full(rows.shape[0], -1.0)
        if residual_tol is not None:
            tol = float(residual_tol) / size[:, 0].astype(np.float64)
        indices = np.empty((stop - start, slots), dtype=np.int32)
        values = np.empty((stop - start, slots), dtype=X.dtype)
        counts = np.empty(stop - start, dtype=np.int64)
        code(rows, rows @ D.T, D, G, steps, tol, positive, indices, values, counts)
        kept = np.arange(slots) < counts[:, None]
        scaled = values[kept] * np.repeat(size[:, 0], counts)
        parts[start // _ROWS] = counts, indices[kept], scaled

    threads.current().blocks(block, n, _ROWS)
    counts, indices, values = (np.concatenate(arrays) for arrays in zip(*parts))
    return np.concatenate([[0], np.cumsum(counts)]), indices, values


def _most_atoms(k, shape, algorithm):
    """Atoms that a pursuit over a dictionary of this shape may hold at a time."""
    m, d = shape
    # OMP's are independent but for the newest, which is tested once it is there.
    most = m if algorithm == "mp" else min(m, d + 1)
    return most if k is None else min(most, k)


@jit
def _gram_row(D, G, j, out):
    if G.shape[0] > 0:
        for i in range(np.uint64(out.size)):
            out[i] = G[j, i]
        return
    for i in range(D.shape[0]):
        total = D.dtype.type(0)
        for c in range(np.uint64(D.shape[1])):
            total += D[i, c] * D[j, c]
        out[i] = total


@jit
def _best(c, positive):
    # The largest first, then its place: a maximum of magnitudes can be vectorised, its place not.
    largest = c.dtype.type(0)
    if positive:
        for i in range(c.size):
            largest = c[i] if c[i] > largest else largest
    else:
        for i in range(c.size):
            largest = abs(c[i]) if abs(c[i]) > largest else largest
    if largest > 0:
        for i in range(c.size):
            if (c[i] if positive else abs(c[i])) == largest:
                return i
    return -1


@jit
def _square_norm(x):
    total = 0.0
    for c in range(x.size):
        total += np.float64(x[c]) * x[c]
    return total


@jit
def _residual_square(x, D, support, codes, count):
    total = 0.0
    for c in range(x.size):
        value = np.float64(x[c])
        for p in range(count):
            value -= np.float64(codes[p]) * D[support[p], c]
        total += value * value
    return total


@jit
def _done(estimate, square, tol, x, D, support, codes, count):
    # The running estimate of the squared residual has lost its digits once it is small against the
    # sample; only there is the residual computed.
    if tol < 0 or estimate > tol * tol + 1e-4 * square:
        return False
    return _residual_square(x, D, support, codes, count) <= tol * tol


@jit
def _store(support, codes, count, indices, values):
    kept = 0
    for p in range(count):
        if codes[p] != 0:
            q = kept
            while q > 0 and indices[q - 1] > support[p]:
                indices[q] = indices[q - 1]
                values[q] = values[q - 1]
                q -= 1
            indices[q] = support[p]
            values[q] = codes[p]
            kept += 1
    return kept


@jit
def _mp(X, C, D, G, k, tol, positive, indices, values, counts):
    m = D.shape[0]
    eps = np.finfo(X.dtype).eps
    slots = indices.shape[1]
    support = np.empty(slots, dtype=np.int64)
    codes = np.empty(slots, dtype=X.dtype)
    gram_row = np.empty(m, dtype=X.dtype)
    for row in range(X.shape[0]):
        x = X[row]
        bound = tol[row]
        c = C[row]
        square = _square_norm(x)
        least = _ROUNDING * eps * np.sqrt(square)
        estimate = square
        count = 0
        for _ in range(k):
            if _done(estimate, square, bound, x, D, support, codes, count):
                break
            j = _best(c, positive)
            if j < 0 or abs(c[j]) <= least:
                break
            correlation = c[j]
            place = 0
            while place < count and support[place] != j:
                place += 1
            if place == count:
                support[count] = j
                codes[count] = 0
                count += 1
            codes[place] += correlation
            estimate -= np.float64(correlation) * correlation
            _gram_row(D, G, j, gram_row)
            for i in range(np.uint64(m)):
                c[i] -= correlation * gram_row[i]
        counts[row] = _store(support, codes, count, indices[row], values[row])


@jit
def _solve_upper(L, gamma, count, codes):
    # Codes z of the atoms from those of the orthogonalised ones: gamma_l = sum over p >= l of
    # z_p L[p, l], with L[p, l] = T_l[j_p] / s_l and a unit diagonal.
    for e in range(count - 1, -1, -1):
        value = gamma[e]
        for p in range(e + 1, count):
            value -= codes[p] * L[p, e]
        codes[e] = value


@jit
def _omp(X, C, D, G, k, tol, positive, indices, values, counts):
    m = D.shape[0]
    eps = np.finfo(X.dtype).eps
    k = indices.shape[1]
    T = np.empty((k, m), dtype=X.dtype)
    L = np.zeros((k, k), dtype=X.dtype)
    pivots = np.empty(k, dtype=X.dtype)
    gamma = np.empty(k, dtype=X.dtype)
    codes = np.empty(k, dtype=X.dtype)
    support = np.empty(k, dtype=np.int64)
    for row in range(X.shape[0]):
        x = X[row]
        bound = tol[row]
        c = C[row]
        square = _square_norm(x)
        least = _ROUNDING * eps * np.sqrt(square)
        estimate = square
        count = 0
        while count < k:
            if bound >= 0 and estimate <= bound * bound + 1e-4 * square:
                _solve_upper(L, gamma, count, codes)
                if _done(estimate, square, bound, x, D, support, codes, count):
                    break
            j = _best(c, positive)
            if j < 0 or abs(c[j]) <= least:
                break
            pivot = X.dtype.type(1)
            for e in range(count):
                L[count, e] = T[e, j] / pivots[e]
                pivot -= L[count, e] * T[e, j]
            if pivot <= _DEPENDENT * eps:  # depends on the atoms selected before
                c[j] = 0
                continue
            support[count] = j
            pivots[count] = pivot
            gamma[count] = c[j] / pivot
            estimate -= np.float64(c[j]) * c[j] / pivot
            count += 1
            if count < k:
                _next_row(T, L, D, G, j, count - 1)
                _subtract(c, T, gamma, count - 1)
                for p in range(count):
                    c[support[p]] = 0
        _solve_upper(L, gamma, count, codes)
        counts[row] = _store(support, codes, count, indices[row], values[row])


@jit
def _next_row(T, L, D, G, j, last):
    m = np.uint64(T.shape[1])
    t = np.uint64(last)
    _gram_row(D, G, j, T[last])
    e = 0
    while e + 4 <= last:
        l0, l1, l2, l3 = np.uint64(e), np.uint64(e + 1), np.uint64(e + 2), np.uint64(e + 3)
        a0, a1, a2, a3 = L[t, l0], L[t, l1], L[t, l2], L[t, l3]
        for i in range(m):
            T[t, i] -= (a0 * T[l0, i] + a1 * T[l1, i]) + (a2 * T[l2, i] + a3 * T[l3, i])
        e += 4
    while e < last:
        l0 = np.uint64(e)
        a0 = L[t, l0]
        for i in range(m):
            T[t, i] -= a0 * T[l0, i]
        e += 1


@jit
def _subtract(c, T, gamma, last):
    t = np.uint64(last)
    factor = gamma[last]
    for i in range(np.uint64(c.size)):
        c[i] -= factor * T[t, i]


@jit
def _solve_support(S, right, count, work, solution):
    # Cholesky of the Gram matrix of the support; False if it is singular to rounding.
    for p in range(count):
        for q in range(p + 1):
            value = S[p, q]
            for e in range(q):
                value -= work[p, e] * work[q, e]
            if p == q:
                if value <= _DEPENDENT * np.finfo(S.dtype).eps:
                    return False
                work[p, p] = np.sqrt(value)
            else:
                work[p, q] = value / work[q, q]
    for p in range(count):
        value = right[p]
        for e in range(p):
            value -= work[p, e] * solution[e]
        solution[p] = value / work[p, p]
    for p in range(count - 1, -1, -1):
        value = solution[p]
        for e in range(p + 1, count):
            value -= work[e, p] * solution[e]
        solution[p] = value / work[p, p]
    return True


@jit
def _leave(place, count, support, codes, right, S, rows):
    for p in range(place, count - 1):
        support[p], codes[p], right[p] = support[p + 1], codes[p + 1], right[p + 1]
        rows[p, :] = rows[p + 1, :]
    for p in range(count - 1):
        a = p if p < place else p + 1
        for q in range(p + 1):
            b = q if q < place else q + 1
            S[p, q] = S[a, b]
    return count - 1


@jit
def _omp_positive(X, C, D, G, k, tol, positive, indices, values, counts):
    # Codes are refitted by non-negative least squares: the inner loop of Lawson and Hanson (1974).
    m = D.shape[0]
    eps = np.finfo(X.dtype).eps
    k = indices.shape[1]
    rows = np.empty((k, m), dtype=X.dtype)  # of the Gram matrix
    S = np.empty((k, k), dtype=X.dtype)
    work = np.empty((k, k), dtype=X.dtype)
    right = np.empty(k, dtype=X.dtype)
    codes = np.empty(k, dtype=X.dtype)
    solution = np.empty(k, dtype=X.dtype)
    support = np.empty(k, dtype=np.int64)
    c = np.empty(m, dtype=X.dtype)
    barred = np.zeros(m, dtype=np.bool_)
    for row in range(X.shape[0]):
        x = X[row]
        bound = tol[row]
        barred[:] = False
        c[:] = C[row]
        square = _square_norm(x)
        least = _ROUNDING * eps * np.sqrt(square)
        estimate = square
        count = 0
        while count < k:
            if _done(estimate, square, bound, x, D, support, codes, count):
                break
            for i in range(m):
                c[i] = 0 if barred[i] else c[i]
            for p in range(count):
                c[support[p]] = 0
            j = _best(c, True)
            if j < 0 or c[j] <= least:
                break
            _gram_row(D, G, j, rows[count])
            support[count] = j
            codes[count] = 0
            right[count] = C[row, j]
            for p in range(count + 1):
                S[count, p] = rows[count, support[p]]
            count += 1
            while count > 0:
                if not _solve_support(S, right, count, work, solution):
                    count = _leave(count - 1, count, support, codes, right, S, rows)
                    barred[j] = True
                    continue
                step = X.dtype.type(2)
                leaving = -1
                for p in range(count):
                    if solution[p] <= 0:
                        ratio = codes[p] / (codes[p] - solution[p])
                        if ratio < step:
                            step = ratio
                            leaving = p
                if leaving < 0:
                    for p in range(count):
                        codes[p] = solution[p]
                    break
                for p in range(count):
                    codes[p] += step * (solution[p] - codes[p])
                barred[j] = barred[j] or support[leaving] == j
                count = _leave(leaving, count, support, codes, right, S, rows)
            c[:] = C[row]
            estimate = square
            for p in range(count):
                estimate -= np.float64(codes[p]) * right[p]
                for i in range(np.uint64(m)):
                    c[i] -= codes[p] * rows[p, i]
        counts[row] = _store(support, codes, count, indices[row], values[row])
