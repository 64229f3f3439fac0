"""Pursuit over a Gram matrix, a sample at a time: correlations stay in the cache.

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
from skdict.kernels.pursuit_parts_cpu import (
    along,
    any_below,
    best,
    bits_of,
    cut_off,
    done,
    downhill,
    gains,
    mask_of,
    refit,
    solve_upper,
    store,
    subtract,
)
from skdict.kernels.pursuit_reference import DEPENDENT, ROUNDING

_ENDLESS = np.iinfo(np.int64).max


def pursue(rows, squares, tol, D, G, k, algorithm, positive, *out):
    """Codes of the rows, written into the last three arguments."""
    n, m, dtype = rows.shape[0], D.shape[0], rows.dtype
    C = threads.current().buffer("correlations", (n, m), dtype)
    np.matmul(rows, D.T, out=C)
    shared = rows, squares, tol, C, bits_of(C), mask_of(dtype, positive), D, G
    if algorithm == "mp":
        _mp(*shared, _ENDLESS if k is None else k, *out)
    elif algorithm == "gradient":
        _gradient(*shared, _ENDLESS if k is None else k, positive, *out)
    else:
        scores = np.zeros((1, m), dtype=dtype)
        orthogonal(*shared, algorithm == "ols", positive, scores, bits_of(scores), *out)


@jit
def _mp(X, squares, tol, C, bits, mask, D, G, k, indices, values, counts):
    m = D.shape[0]
    rounding = ROUNDING * np.finfo(X.dtype).eps
    support = np.empty(indices.shape[1], dtype=np.int64)
    codes = np.empty(indices.shape[1], dtype=X.dtype)
    place_of = np.full(m, -1, dtype=np.int64)
    for row in range(X.shape[0]):
        square = estimate = squares[row]
        least = rounding * np.sqrt(square)
        count = 0
        for _ in range(k):
            if done(estimate, square, tol[row], X, row, D, support, codes, count):
                break
            j = best(bits, row, m, mask)
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
            subtract(C, row, correlation, G, j, m)
        for p in range(count):
            place_of[support[p]] = -1
        counts[row] = store(support, codes, count, row, indices, values)


@jit
def _gradient(X, squares, tol, C, bits, mask, D, G, k, positive, indices, values, counts):
    m = D.shape[0]
    slots = indices.shape[1]
    rounding = ROUNDING * np.finfo(X.dtype).eps
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
            if done(estimate, square, tol[row], X, row, D, support, codes, count):
                break
            j = best(bits, row, m, mask)
            if j < 0 or abs(C[row, j]) <= least:
                break
            if place_of[j] < 0:
                place_of[j] = count
                support[count] = j
                codes[count] = 0
                count += 1
            slope = downhill(change, C, row, support, codes, count, positive)
            curvature = _curvature(W, G, support, change, count, m)
            if curvature <= 0:
                break
            step = X.dtype.type(slope / curvature)
            if positive and cut_off(change, step, codes, count):
                slope = along(change, C, row, support, count)
                curvature = _curvature(W, G, support, change, count, m)
                if slope <= 0 or curvature <= 0:
                    break
                step = X.dtype.type(min(slope / curvature, 1.0))
            for p in range(count):
                codes[p] += step * change[p]
                if positive and codes[p] < 0:  # by rounding
                    codes[p] = 0
            estimate -= step * (2 * slope - step * curvature)
            subtract(C, row, step, W, 0, m)
        for p in range(count):
            place_of[support[p]] = -1
        counts[row] = store(support, codes, count, row, indices, values)


@jit
def _curvature(W, G, support, change, count, m):
    # W = the correlations of all atoms with sum of change_p d_p; the squared norm of that sum.
    W[0, :] = 0
    for p in range(count):
        subtract(W, 0, -change[p], G, support[p], m)
    total = 0.0
    for p in range(count):
        total += np.float64(change[p]) * W[0, support[p]]
    return total


@jit
def orthogonal(
    X, squares, tol, C, bits, mask, D, G, ols, positive, scores, score_bits, indices, values, counts
):
    m = D.shape[0]
    k = indices.shape[1]
    zero = X.dtype.type(0)
    eps = np.finfo(X.dtype).eps
    rounding, dependent = ROUNDING * eps, DEPENDENT * eps
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
            for i in range(m):
                first[0, i] = C[row, i]
            barred[:] = False
        while count < k:
            if tol[row] >= 0 and estimate <= tol[row] * tol[row] + 1e-4 * square:
                if not positive:
                    solve_upper(L, gamma, count, codes)
                if done(estimate, square, tol[row], X, row, D, support, codes, count):
                    break
            if ols:
                gains(scores, C, row, left, 0, m, dependent, least)
                j = best(score_bits, 0, m, mask)
            else:
                j = best(bits, row, m, mask)
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
                solve_upper(L, gamma, count + 1, solution)
                if any_below(solution, count + 1):
                    count = refit(
                        G, D, first, support, codes, count + 1, S, work, solution, barred, 0
                    )
                    for i in range(m):
                        C[row, i] = first[0, i]
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
                        subtract(C, row, gamma[p], T, p, m)
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
                subtract(C, row, gamma[count - 1], T, count - 1, m)
                C[row, j] = zero
                if ols:
                    _shorten(left, T, count - 1, pivot, m)
        if not positive:
            solve_upper(L, gamma, count, codes)
        counts[row] = store(support, codes, count, row, indices, values)


@jit
def _diagonal(left, G):
    for i in range(left.shape[1]):
        left[0, i] = G[i, i]


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
