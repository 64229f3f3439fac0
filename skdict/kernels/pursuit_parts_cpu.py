"""What both forms of a compiled pursuit share: selection, refits, stopping, storing."""

import numpy as np

from skdict.kernels._jit import jit
from skdict.kernels.pursuit_reference import DEPENDENT

LANES = 64  # entries of which the largest is found at a time


def bits_of(A):
    """The same memory as integers, which order positive numbers as their floats do."""
    return A.view(np.int32 if A.dtype == np.float32 else np.int64)


def mask_of(dtype, positive):
    """For bits: without the sign, or with it, and negative numbers are negative integers."""
    bits = np.int32 if dtype == np.float32 else np.int64
    return bits(-1) if positive else bits(np.iinfo(bits).max)


@jit
def best(bits, row, m, mask):
    """Place of the largest entry, the first of equal ones; -1 if there is none above zero.

    Maxima of integers are vectorised, those of floats are not, nor is a search for the place.
    """
    r = np.uint64(row)
    largest = bits.dtype.type(0)
    first = -1
    for start in range(0, m, LANES):
        top = bits.dtype.type(0)
        for i in range(np.uint64(start), np.uint64(min(start + LANES, m))):
            top = max(top, bits[r, i] & mask)
        if top > largest:
            largest = top
            first = start
    if first >= 0:
        while bits[r, first] & mask != largest:
            first += 1
    return first


@jit
def residual_square(X, row, D, support, codes, count):
    total = 0.0
    for c in range(X.shape[1]):
        value = np.float64(X[row, c])
        for p in range(count):
            value -= np.float64(codes[p]) * D[support[p], c]
        total += value * value
    return total


@jit
def done(estimate, square, tol, X, row, D, support, codes, count):
    # The running estimate of the squared residual has lost its digits once it is small against the
    # sample; only there is the residual computed.
    if tol < 0 or estimate > tol * tol + 1e-4 * square:
        return False
    return residual_square(X, row, D, support, codes, count) <= tol * tol


@jit
def store(support, codes, count, row, indices, values):
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
def subtract(C, row, factor, A, other, m):
    r, o = np.uint64(row), np.uint64(other)
    for i in range(np.uint64(m)):
        C[r, i] -= factor * A[o, i]


@jit
def gains(scores, C, row, left, left_row, m, dependent, least):
    # What the squared residual would lose, with the sign of the correlation.
    r, s = np.uint64(row), np.uint64(left_row)
    zero = scores.dtype.type(0)
    for i in range(np.uint64(m)):
        c = C[r, i]
        gain = c * abs(c) / left[s, i]
        scores[0, i] = gain if left[s, i] > dependent and abs(c) > least else zero


@jit
def solve_upper(L, gamma, count, codes):
    # Codes z of the atoms from those of the orthogonalised ones: gamma_l = sum over p >= l of
    # z_p L[p, l], with L[p, l] = T_l[j_p] / s_l and a unit diagonal.
    for e in range(count - 1, -1, -1):
        value = gamma[e]
        for p in range(e + 1, count):
            value -= codes[p] * L[p, e]
        codes[e] = value


@jit
def downhill(change, C, row, support, codes, count, positive):
    """A step along the gradient on the support; no code at zero goes below. Its squared norm."""
    for p in range(count):
        change[p] = C[row, support[p]]
        if positive and codes[p] <= 0 and change[p] < 0:
            change[p] = 0
    total = 0.0  # in a loop of its own: see atoms_cpu
    for p in range(count):
        total += np.float64(change[p]) * change[p]
    return total


@jit
def cut_off(change, step, codes, count):
    """If step times the change took a code below zero: then the change ends there, for good."""
    cut = False
    for p in range(count):
        cut = cut or codes[p] + step * change[p] < 0
    if cut:
        for p in range(count):
            change[p] = max(step * change[p], -codes[p])
    return cut


@jit
def along(change, C, row, support, count):
    total = 0.0
    for p in range(count):
        total += np.float64(change[p]) * C[row, support[p]]
    return total


@jit
def any_below(codes, count):
    for p in range(count):
        if codes[p] <= 0:
            return True
    return False


@jit
def refit(G, D, first, support, codes, count, S, work, solution, barred, row):
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
            S[p, :] = S[p + 1, :]
        for p in range(leaving, count - 1):
            S[:, p] = S[:, p + 1]
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
                if value <= DEPENDENT * np.finfo(S.dtype).eps:
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
