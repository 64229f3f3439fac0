"""Pursuit over a Gram matrix, compiled, a sample at a time; see :mod:`skdict.kernels.pursuit`.

Orthogonal pursuits without square roots: row l of a table holds T_l = D q_l, the correlations of
all atoms with the l-th orthogonalised atom q_l = d_j - sum over l' < l of (T_l'[j] / s_l') q_l',
and s_l = |q_l|²:

    s = G[j, j] - sum T_l[j]² / s_l      t = G[j, :] - sum (T_l[j] / s_l) T_l      c -= (c[j] / s) t

So correlations c stay exact after each step, no residual and no triangular solve is needed, and the
codes follow at the end by substitution. The squared distances of all atoms to the span of the
selected ones, by which order-recursive least squares selects, fall by t² / s.
"""

import numpy as np

from skdict.kernels import threads
from skdict.kernels._jit import jit
from skdict.kernels.pursuit_reference import _DEPENDENT, _ROUNDING

_ROWS = 256
_ENDLESS = np.iinfo(np.int64).max
_ENTRIES = 1 << 23  # correlations of a block, at most
_LANES = 64  # entries of which the largest is found at a time


def pursuit(X, D, k, residual_tol, algorithm, positive, gram=None):
    n = X.shape[0]
    slots = _most_atoms(k, D.shape, algorithm)
    n_block = _ROWS
    if gram is None:  # which keeps correlations of all rows of a block
        from skdict.kernels.pursuit_residual_cpu import pursue

        n_block = min(_ROWS, max(32, _ENTRIES // D.shape[0]))
    parts = [None] * -(-n // n_block)

    def block(start, stop):
        rows, size, tol = _scaled(X[start:stop], residual_tol)
        squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        n_rows = stop - start
        out = (
            np.empty((n_rows, slots), dtype=np.int32),
            np.empty((n_rows, slots), dtype=X.dtype),
            np.empty(n_rows, dtype=np.int64),
        )
        if gram is None:
            pursue(rows, squares, tol, D, k, algorithm, positive, *out)
        else:
            _pursue(rows, squares, tol, D, gram, k, algorithm, positive, *out)
        indices, values, counts = out
        kept = np.arange(slots) < counts[:, None]
        parts[start // n_block] = counts, indices[kept], values[kept] * np.repeat(size, counts)

    threads.current().blocks(block, n, n_block)
    counts, indices, values = (np.concatenate(arrays) for arrays in zip(*parts))
    return np.concatenate([[0], np.cumsum(counts)]), indices, values


def _pursue(rows, squares, tol, D, G, k, algorithm, positive, *out):
    n, m, dtype = rows.shape[0], D.shape[0], rows.dtype
    C = threads.current().buffer("correlations", (n, m), dtype)
    np.matmul(rows, D.T, out=C)
    shared = rows, squares, tol, C, _bits(C), _mask(dtype, positive), D, G
    if algorithm == "mp":
        _mp(*shared, _ENDLESS if k is None else k, *out)
    elif algorithm == "gradient":
        _gradient(*shared, _ENDLESS if k is None else k, positive, *out)
    else:
        scores = np.zeros((1, m), dtype=dtype)
        _orthogonal(*shared, algorithm == "ols", positive, scores, _bits(scores), *out)


def _scaled(X, residual_tol):
    """Rows divided by their largest entries, these, and the tolerance for them, -1 for none.

    So squares neither overflow nor vanish.
    """
    size = np.max(np.abs(X), axis=1)
    size[size == 0] = 1
    tol = np.full(size.size, -1.0)
    if residual_tol is not None:
        tol = float(residual_tol) / size.astype(np.float64)
    return X / size[:, None], size, tol


def _bits(A):
    """The same memory as integers, which order positive numbers as their floats do."""
    return A.view(np.int32 if A.dtype == np.float32 else np.int64)


def _mask(dtype, positive):
    """For bits: without the sign, or with it, and negative numbers are negative integers."""
    bits = np.int32 if dtype == np.float32 else np.int64
    return bits(-1) if positive else bits(np.iinfo(bits).max)


def _most_atoms(k, shape, algorithm):
    """Atoms that a pursuit over a dictionary of this shape may hold at a time."""
    m, d = shape
    # Those of orthogonal pursuits are independent but for the newest, tested once it is there.
    most = min(m, d + 1) if algorithm in ("omp", "ols") else m
    return most if k is None else min(most, k)


@jit
def _best(bits, row, m, mask):
    """Place of the largest entry, the first of equal ones; -1 if there is none above zero.

    Maxima of integers are vectorised, those of floats are not, nor is a search for the place.
    """
    r = np.uint64(row)
    largest = bits.dtype.type(0)
    first = -1
    for start in range(0, m, _LANES):
        top = bits.dtype.type(0)
        for i in range(np.uint64(start), np.uint64(min(start + _LANES, m))):
            top = max(top, bits[r, i] & mask)
        if top > largest:
            largest = top
            first = start
    if first >= 0:
        while bits[r, first] & mask != largest:
            first += 1
    return first


@jit
def _residual_square(X, row, D, support, codes, count):
    total = 0.0
    for c in range(X.shape[1]):
        value = np.float64(X[row, c])
        for p in range(count):
            value -= np.float64(codes[p]) * D[support[p], c]
        total += value * value
    return total


@jit
def _done(estimate, square, tol, X, row, D, support, codes, count):
    # The running estimate of the squared residual has lost its digits once it is small against the
    # sample; only there is the residual computed.
    if tol < 0 or estimate > tol * tol + 1e-4 * square:
        return False
    return _residual_square(X, row, D, support, codes, count) <= tol * tol


@jit
def _store(support, codes, count, row, indices, values):
    kept = 0
    for p in range(count):
        if codes[p] != 0:
            q = kept
            while q > 0 and indices[row, q - 1] > support[p]:
                indices[row, q] = indices[row, q - 1]
                values[row, q] = values[row, q - 1]
                q -= 1
            indices[row, q] = support[p]
            values[row, q] = codes[p]
            kept += 1
    return kept


@jit
def _subtract(C, row, factor, A, other, m):
    r, o = np.uint64(row), np.uint64(other)
    for i in range(np.uint64(m)):
        C[r, i] -= factor * A[o, i]


# ---------------------------------------------------------------------- matching pursuit


@jit
def _mp(X, squares, tol, C, bits, mask, D, G, k, indices, values, counts):
    m = D.shape[0]
    rounding = _ROUNDING * np.finfo(X.dtype).eps
    support = np.empty(indices.shape[1], dtype=np.int64)
    codes = np.empty(indices.shape[1], dtype=X.dtype)
    place_of = np.full(m, -1, dtype=np.int64)
    for row in range(X.shape[0]):
        square = estimate = squares[row]
        least = rounding * np.sqrt(square)
        count = 0
        for _ in range(k):
            if _done(estimate, square, tol[row], X, row, D, support, codes, count):
                break
            j = _best(bits, row, m, mask)
            if j < 0 or abs(C[row, j]) <= least:
                break
            correlation = C[row, j]
            if place_of[j] < 0:
                place_of[j] = count
                support[count] = j
                codes[count] = 0
                count += 1
            codes[place_of[j]] += correlation
            estimate -= np.float64(correlation) * correlation
            _subtract(C, row, correlation, G, j, m)
        for p in range(count):
            place_of[support[p]] = -1
        counts[row] = _store(support, codes, count, row, indices, values)


# ---------------------------------------------------------------------- gradient pursuit


@jit
def _gradient(X, squares, tol, C, bits, mask, D, G, k, positive, indices, values, counts):
    m = D.shape[0]
    slots = indices.shape[1]
    rounding = _ROUNDING * np.finfo(X.dtype).eps
    support = np.empty(slots, dtype=np.int64)
    codes = np.empty(slots, dtype=X.dtype)
    change = np.empty(slots, dtype=X.dtype)
    place_of = np.full(m, -1, dtype=np.int64)
    W = np.empty((1, m), dtype=X.dtype)
    for row in range(X.shape[0]):
        square = estimate = squares[row]
        least = rounding * np.sqrt(square)
        count = 0
        for _ in range(k):
            if _done(estimate, square, tol[row], X, row, D, support, codes, count):
                break
            j = _best(bits, row, m, mask)
            if j < 0 or abs(C[row, j]) <= least:
                break
            if place_of[j] < 0:
                place_of[j] = count
                support[count] = j
                codes[count] = 0
                count += 1
            slope = 0.0
            for p in range(count):
                change[p] = C[row, support[p]]
                slope += np.float64(change[p]) * change[p]
            curvature = _curvature(W, G, support, change, count, m)
            if curvature <= 0:
                break
            step = X.dtype.type(slope / curvature)
            clipped = False
            for p in range(count):
                change[p] *= step
                if positive and codes[p] + change[p] < 0:
                    change[p] = -codes[p]
                    clipped = True
            if clipped:
                curvature = _curvature(W, G, support, change, count, m)
                step = X.dtype.type(1)
            gain = 0.0
            for p in range(count):
                gain += np.float64(change[p]) * (2 * C[row, support[p]] - step * W[0, support[p]])
                codes[p] += change[p]
            estimate -= gain
            _subtract(C, row, step, W, 0, m)
        for p in range(count):
            place_of[support[p]] = -1
        counts[row] = _store(support, codes, count, row, indices, values)


@jit
def _curvature(W, G, support, change, count, m):
    # W = the correlations of all atoms with sum of change_p d_p; the squared norm of that sum.
    W[0, :] = 0
    for p in range(count):
        _subtract(W, 0, -change[p], G, support[p], m)
    total = 0.0
    for p in range(count):
        total += np.float64(change[p]) * W[0, support[p]]
    return total


# ---------------------------------------------------------------------- orthogonal pursuits


@jit
def _orthogonal(
    X, squares, tol, C, bits, mask, D, G, ols, positive, scores, score_bits, indices, values, counts
):
    m = D.shape[0]
    k = indices.shape[1]
    zero = X.dtype.type(0)
    eps = np.finfo(X.dtype).eps
    rounding, dependent = _ROUNDING * eps, _DEPENDENT * eps
    T = np.zeros((k, m), dtype=X.dtype)
    L = np.zeros((k, k), dtype=X.dtype)
    pivots = np.empty(k, dtype=X.dtype)
    gamma = np.empty(k, dtype=X.dtype)
    codes = np.empty(k, dtype=X.dtype)
    support = np.empty(k, dtype=np.int64)
    left = np.empty((1, m if ols else 0), dtype=X.dtype)  # squared distances to the span
    first = np.empty((1, m if positive else 0), dtype=X.dtype)  # correlations with the sample
    barred = np.zeros((1, m if positive else 0), dtype=np.bool_)
    work = np.empty((k if positive else 0, k if positive else 0), dtype=X.dtype)
    S = np.empty_like(work)
    solution = np.empty(k, dtype=X.dtype)
    for row in range(X.shape[0]):
        square = estimate = squares[row]
        least = rounding * np.sqrt(square)
        count = 0
        if ols:
            _diagonal(left, G)
        if positive:
            first[0, :] = C[row, :]
            barred[:] = False
        while count < k:
            if tol[row] >= 0 and estimate <= tol[row] * tol[row] + 1e-4 * square:
                _solve_upper(L, gamma, count, codes)
                if _done(estimate, square, tol[row], X, row, D, support, codes, count):
                    break
            if ols:
                _scores(scores, C, row, left, 0, m, dependent, least)
                j = _best(score_bits, 0, m, mask)
            else:
                j = _best(bits, row, m, mask)
            if j < 0 or abs(C[row, j]) <= least:
                break
            pivot = G[j, j]
            for e in range(count):
                L[count, e] = T[e, j] / pivots[e]
                pivot -= L[count, e] * T[e, j]
            if pivot <= dependent:  # depends on the atoms selected before
                C[row, j] = zero
                if positive:
                    barred[0, j] = True
                continue
            support[count] = j
            pivots[count] = pivot
            gamma[count] = C[row, j] / pivot
            if positive:
                codes[count] = zero
                _solve_upper(L, gamma, count + 1, solution)
                if _any_below(solution, count + 1):
                    count = _refit(
                        G, D, first, support, codes, count + 1, S, work, solution, barred, 0
                    )
                    C[row, :] = first[0, :]
                    if ols:
                        _diagonal(left, G)
                    estimate = square
                    for p in range(count):
                        for e in range(p):
                            L[p, e] = T[e, support[p]] / pivots[e]
                        _next_row(T, L, G, support[p], p, m)
                        pivots[p] = T[p, support[p]]
                        gamma[p] = C[row, support[p]] / pivots[p]
                        estimate -= np.float64(gamma[p]) * gamma[p] * pivots[p]
                        _clear(T, p, support, p)
                        _subtract(C, row, gamma[p], T, p, m)
                        if ols:
                            _shorten(left, T, p, pivots[p], m)
                    for i in range(m):
                        if barred[0, i]:
                            C[row, i] = zero
                    for p in range(count):
                        C[row, support[p]] = zero
                    continue
                for p in range(count + 1):
                    codes[p] = solution[p]
            estimate -= np.float64(C[row, j]) * gamma[count]
            count += 1
            if count < k:
                _next_row(T, L, G, j, count - 1, m)
                _clear(T, count - 1, support, count - 1)
                _subtract(C, row, gamma[count - 1], T, count - 1, m)
                C[row, j] = zero
                if ols:
                    _shorten(left, T, count - 1, pivot, m)
        _solve_upper(L, gamma, count, codes)
        counts[row] = _store(support, codes, count, row, indices, values)


@jit
def _diagonal(left, G):
    for i in range(left.shape[1]):
        left[0, i] = G[i, i]


@jit
def _scores(scores, C, row, left, left_row, m, dependent, least):
    # What the squared residual would lose, with the sign of the correlation.
    r, s = np.uint64(row), np.uint64(left_row)
    zero = scores.dtype.type(0)
    for i in range(np.uint64(m)):
        c = C[r, i]
        gain = c * abs(c) / left[s, i]
        scores[0, i] = gain if left[s, i] > dependent and abs(c) > least else zero


@jit
def _shorten(left, T, last, pivot, m):
    t = np.uint64(last)
    factor = left.dtype.type(1) / pivot
    for i in range(np.uint64(m)):
        left[0, i] -= factor * T[t, i] * T[t, i]


@jit
def _clear(T, last, support, count):
    # Zero but for rounding: correlations with the newest direction of what came before it.
    for p in range(count):
        T[last, support[p]] = 0


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
def _next_row(T, L, G, j, last, m):
    # T[last] = G[j] - sum of L[last, e] T[e]: up to five rows at first, then six at a time.
    t, g, width = np.uint64(last), np.uint64(j), np.uint64(m)
    e = last % 6
    if e == 0:
        for i in range(width):
            T[t, i] = G[g, i]
    else:
        l1, l2 = np.uint64(min(1, e - 1)), np.uint64(min(2, e - 1))
        l3, l4 = np.uint64(min(3, e - 1)), np.uint64(min(4, e - 1))
        zero = T.dtype.type(0)
        a0 = L[t, 0]
        a1, a2 = L[t, l1] if e > 1 else zero, L[t, l2] if e > 2 else zero
        a3, a4 = L[t, l3] if e > 3 else zero, L[t, l4] if e > 4 else zero
        for i in range(width):
            T[t, i] = G[g, i] - (
                (a0 * T[0, i] + a1 * T[l1, i]) + (a2 * T[l2, i] + a3 * T[l3, i]) + a4 * T[l4, i]
            )
    while e < last:
        l0, l1, l2 = np.uint64(e), np.uint64(e + 1), np.uint64(e + 2)
        l3, l4, l5 = np.uint64(e + 3), np.uint64(e + 4), np.uint64(e + 5)
        a0, a1, a2, a3, a4, a5 = L[t, l0], L[t, l1], L[t, l2], L[t, l3], L[t, l4], L[t, l5]
        for i in range(width):
            T[t, i] -= (
                (a0 * T[l0, i] + a1 * T[l1, i])
                + (a2 * T[l2, i] + a3 * T[l3, i])
                + (a4 * T[l4, i] + a5 * T[l5, i])
            )
        e += 6


@jit
def _any_below(codes, count):
    for p in range(count):
        if codes[p] <= 0:
            return True
    return False


@jit
def _refit(G, D, first, support, codes, count, S, work, solution, barred, row):
    """Non-negative least squares on the support: the inner loop of Lawson and Hanson (1974).

    Codes of the support come in feasible, the newest zero; those that leave do so for good if they
    have only just come. Returns the number of atoms left.
    """
    newest = support[count - 1]
    _gram_of_support(G, D, support, count, S)
    while count > 0:
        if not _solve_support(S, first, row, support, count, work, solution):
            barred[row, support[count - 1]] = True
            count -= 1
            continue
        step = codes.dtype.type(2)
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
        barred[row, newest] = barred[row, newest] or support[leaving] == newest
        for p in range(leaving, count - 1):
            support[p], codes[p] = support[p + 1], codes[p + 1]
            S[p, :], S[:, p] = S[p + 1, :].copy(), S[:, p + 1].copy()
        count -= 1
    return count


@jit
def _gram_of_support(G, D, support, count, S):
    for p in range(count):
        for q in range(count):
            if G.shape[0] > 0:
                S[p, q] = G[support[p], support[q]]
            else:
                value = S.dtype.type(0)
                for i in range(D.shape[1]):
                    value += D[support[p], i] * D[support[q], i]
                S[p, q] = value


@jit
def _solve_support(S, first, row, support, count, work, solution):
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
        value = first[row, support[p]]
        for e in range(p):
            value -= work[p, e] * solution[e]
        solution[p] = value / work[p, p]
    for p in range(count - 1, -1, -1):
        value = solution[p]
        for e in range(p + 1, count):
            value -= work[e, p] * solution[e]
        solution[p] = value / work[p, p]
    return True
