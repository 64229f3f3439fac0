"""Pursuit without a Gram matrix: all samples of a block in step, one blocked product a step.

For dictionaries whose Gram matrix does not fit or does not pay. In each step a compiled function
selects an atom for each sample and gives the direction u, a row of as many entries as there are
features, and the factor by which the residual changes: r -= factor u. The product D u of the whole
block then updates the correlations. Orthogonal pursuits keep the orthogonalised atoms q_l
themselves, where :mod:`skdict.kernels.pursuit_gram_cpu` keeps their correlations with all atoms.
"""

import itertools

import numpy as np

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
    residual_square,
    solve_upper,
    store,
)
from skdict.kernels.pursuit_reference import DEPENDENT, ROUNDING


def pursue(rows, squares, tol, D, G, k, algorithm, positive, indices, values, counts):
    """Codes of the rows, written into the last three."""
    (n, d), m, slots, dtype = rows.shape, D.shape[0], indices.shape[1], rows.dtype
    orthogonal, ols = algorithm in ("omp", "ols"), algorithm == "ols"
    C = rows @ D.T
    U, V, factors = np.zeros((n, d), dtype), np.empty((n, m), dtype), np.zeros(n, dtype)
    support, held = np.zeros((n, slots), np.int64), np.zeros(n, np.int64)
    codes, estimates = np.zeros((n, slots), dtype), squares.copy()
    mask, bits = mask_of(dtype, positive), bits_of(C)
    shared = rows, squares, tol, C, bits, mask, D, positive
    if orthogonal:
        some = n if positive else 0
        state = (
            np.zeros((n, slots, d), dtype),  # q
            np.zeros((n, slots, slots), dtype),  # L
            np.zeros((n, slots), dtype),  # |q|²
            np.zeros((n, slots), dtype),  # shares of q in the samples
        )
        left = np.full((n if ols else 0, m), 1, dtype)
        scores = np.zeros((1, m if ols else 0), dtype)
        first = C.copy() if positive else np.empty((0, m), dtype)
        barred, rebuilt = np.zeros((some, m), np.bool_), np.zeros(n, np.bool_)
    active = np.arange(n)
    for step in itertools.count():
        if not orthogonal and step == k:
            break
        if orthogonal:
            own = state, left, scores, bits_of(scores), first, barred, rebuilt
            n_active = _propose_orthogonal(
                *shared, support, codes, held, estimates, active, U, factors, *own
            )
        else:
            n_active = _propose(
                *shared, algorithm == "mp", support, codes, held, estimates, active, U, factors
            )
        active = active[:n_active]
        if n_active == 0:
            break
        np.matmul(U[:n_active], D.T, out=V[:n_active])
        _apply(C, V, factors, active)
        if orthogonal:
            if ols:
                _shorten_all(left, V, state[2], held, active, rebuilt)
                for row in active[rebuilt[active]]:
                    parts = state[0][row, : held[row]] @ D.T
                    left[row] = 1 - (parts**2 / state[2][row, : held[row], None]).sum(axis=0)
            _close(C, support, held, active, barred)
    for row in range(n):
        if orthogonal and not positive:
            solve_upper(state[1][row], state[3][row], held[row], codes[row])
    _store_all(support, codes, held, indices, values, counts)


@jit
def _store_all(support, codes, held, indices, values, counts):
    for row in range(held.size):
        counts[row] = store(support[row], codes[row], held[row], row, indices, values)


@jit
def _apply(C, V, factors, active):
    for a in range(active.size):
        r, v, factor = np.uint64(active[a]), np.uint64(a), factors[a]
        for i in range(np.uint64(C.shape[1])):
            C[r, i] -= factor * V[v, i]


@jit
def _shorten_all(left, V, pivots, held, active, rebuilt):
    for a in range(active.size):
        if not rebuilt[active[a]]:
            r, v = np.uint64(active[a]), np.uint64(a)
            factor = left.dtype.type(1) / pivots[active[a], held[active[a]] - 1]
            for i in range(np.uint64(V.shape[1])):
                left[r, i] -= factor * V[v, i] * V[v, i]


@jit
def _close(C, support, held, active, barred):
    # Correlations with what is held are zero but for rounding; what is barred shall stay out.
    for a in range(active.size):
        row = active[a]
        for p in range(held[row]):
            C[row, support[row, p]] = 0
        if barred.shape[0] > 0:
            for i in range(C.shape[1]):
                if barred[row, i]:
                    C[row, i] = 0


@jit
def _propose(
    X,
    squares,
    tol,
    C,
    bits,
    mask,
    D,
    positive,
    mp,
    support,
    codes,
    held,
    estimates,
    active,
    U,
    factors,
):
    """Steps of matching and gradient pursuit; returns how many samples go on, first in `active`."""
    m, d = D.shape
    rounding = ROUNDING * np.finfo(X.dtype).eps
    change = np.empty(support.shape[1], dtype=X.dtype)
    n_active = 0
    for a in range(active.size):
        row = active[a]
        count = held[row]
        if done(estimates[row], squares[row], tol[row], X, row, D, support[row], codes[row], count):
            continue
        j = best(bits, row, m, mask)
        if j < 0 or abs(C[row, j]) <= rounding * np.sqrt(squares[row]):
            continue
        place = 0
        while place < count and support[row, place] != j:
            place += 1
        if place == count:
            support[row, count] = j
            codes[row, count] = 0
            held[row] = count = count + 1
        u = np.uint64(n_active)
        if mp:
            for i in range(np.uint64(d)):
                U[u, i] = D[j, i]
            factors[n_active] = C[row, j]
            codes[row, place] += C[row, j]
            estimates[row] -= np.float64(C[row, j]) * C[row, j]
        else:
            slope = downhill(change, C, row, support[row], codes[row], count, positive)
            curvature = _combine(U, n_active, D, support[row], change, count)
            if curvature <= 0:
                continue
            step = X.dtype.type(slope / curvature)
            if positive and cut_off(change, step, codes[row], count):
                slope = along(change, C, row, support[row], count)
                curvature = _combine(U, n_active, D, support[row], change, count)
                if slope <= 0 or curvature <= 0:
                    continue
                step = X.dtype.type(min(slope / curvature, 1.0))
            for p in range(count):
                codes[row, p] += step * change[p]
                if positive and codes[row, p] < 0:  # by rounding
                    codes[row, p] = 0
            factors[n_active] = step
            estimates[row] -= step * (2 * slope - step * curvature)
        active[n_active] = row
        n_active += 1
    return n_active


@jit
def _combine(U, place, D, support, factors, count):
    # U[place] = sum of factors_p d_p; its squared norm.
    u = np.uint64(place)
    U[u, :] = 0
    _add_atoms(U, place, D, support, factors, count, U.dtype.type(1))
    total = 0.0
    for i in range(np.uint64(D.shape[1])):
        total += np.float64(U[u, i]) * U[u, i]
    return total


@jit
def _add_atoms(U, place, D, support, factors, count, sign):
    u = np.uint64(place)
    for p in range(count):
        j, factor = np.uint64(support[p]), sign * factors[p]
        for i in range(np.uint64(D.shape[1])):
            U[u, i] += factor * D[j, i]


@jit
def _orthogonalise(Q, L, pivots, D, j, count):
    """q_count of atom j, its L and |q|²; Gram-Schmidt, twice for accuracy."""
    width, t, atom = np.uint64(D.shape[1]), np.uint64(count), np.uint64(j)
    for i in range(width):
        Q[t, i] = D[atom, i]
    for e in range(count):
        L[count, e] = 0
    for _ in range(2):
        for e in range(np.uint64(count)):
            share = Q.dtype.type(0)
            for i in range(width):
                share += Q[t, i] * Q[e, i]
            share /= pivots[e]
            L[t, e] += share
            for i in range(width):
                Q[t, i] -= share * Q[e, i]
    square = Q.dtype.type(0)
    for i in range(width):
        square += Q[t, i] * Q[t, i]
    pivots[count] = square


@jit
def _share(X, row, Q, place, pivot):
    r, q = np.uint64(row), np.uint64(place)
    total = X.dtype.type(0)
    for i in range(np.uint64(X.shape[1])):
        total += X[r, i] * Q[q, i]
    return total / pivot


@jit
def _propose_orthogonal(
    X,
    squares,
    tol,
    C,
    bits,
    mask,
    D,
    positive,
    support,
    codes,
    held,
    estimates,
    active,
    U,
    factors,
    state,
    left,
    scores,
    score_bits,
    first,
    barred,
    rebuilt,
):
    """Steps of orthogonal pursuits; returns how many samples go on, first in `active`."""
    Q, L, pivots, gamma = state
    m, d = D.shape
    slots = support.shape[1]
    zero = X.dtype.type(0)
    eps = np.finfo(X.dtype).eps
    dependent = DEPENDENT * eps
    ols = left.shape[0] > 0
    size = slots if positive else 0
    S = np.empty((size, size), dtype=X.dtype)
    work = np.empty((size, size), dtype=X.dtype)
    solution = np.empty(slots, dtype=X.dtype)
    no_gram = np.empty((0, 0), dtype=X.dtype)
    n_active = 0
    for a in range(active.size):
        row = active[a]
        least = ROUNDING * eps * np.sqrt(squares[row])
        rebuilt[row] = False
        if tol[row] >= 0 and estimates[row] <= tol[row] * tol[row] + 1e-4 * squares[row]:
            if not positive:
                solve_upper(L[row], gamma[row], held[row], codes[row])
            if done(
                estimates[row],
                squares[row],
                tol[row],
                X,
                row,
                D,
                support[row],
                codes[row],
                held[row],
            ):
                continue
        while held[row] < slots:
            count = held[row]
            if ols:
                gains(scores, C, row, left, row, m, dependent, least)
                j = best(score_bits, 0, m, mask)
            else:
                j = best(bits, row, m, mask)
            if j < 0 or abs(C[row, j]) <= least:
                break
            _orthogonalise(Q[row], L[row], pivots[row], D, j, count)
            pivot = pivots[row, count]
            if pivot <= dependent:  # depends on the atoms selected before
                C[row, j] = zero
                if positive:
                    barred[row, j] = True
                continue
            support[row, count] = j
            gamma[row, count] = C[row, j] / pivot
            held[row] = count + 1
            u = np.uint64(n_active)
            for i in range(np.uint64(d)):
                U[u, i] = Q[row, count, i]
            factors[n_active] = gamma[row, count]
            estimates[row] -= np.float64(C[row, j]) * gamma[row, count]
            if positive:
                codes[row, count] = zero
                solve_upper(L[row], gamma[row], count + 1, solution)
                if any_below(solution, count + 1):
                    U[u, :] = 0
                    _add_atoms(U, n_active, D, support[row], codes[row], count, zero - 1)
                    count = refit(
                        no_gram, D, first, support[row], codes[row], count + 1, S, work, solution,
                        barred, row,
                    )  # fmt: skip
                    held[row] = count
                    _add_atoms(U, n_active, D, support[row], codes[row], count, zero + 1)
                    factors[n_active] = 1
                    rebuilt[row] = True
                    estimates[row] = residual_square(X, row, D, support[row], codes[row], count)
                    for p in range(count):
                        _orthogonalise(Q[row], L[row], pivots[row], D, support[row, p], p)
                        gamma[row, p] = _share(X, row, Q[row], p, pivots[row, p])
                else:
                    for p in range(count + 1):
                        codes[row, p] = solution[p]
            if held[row] < slots or positive:  # else this was the last
                active[n_active] = row
                n_active += 1
            break
    return n_active
