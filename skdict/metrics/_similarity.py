"""Cosine similarities of atoms, and one-to-one matchings by them; numpy throughout."""

import numpy as np
from scipy.optimize import linear_sum_assignment

MATCHINGS = ("hungarian", "greedy")


def unit_rows(D, metric="cosine"):
    """Rows of norm 1 in a new array; zero rows stay zero."""
    # Squares of huge and of tiny atoms stay in range, and a constant atom, now exactly 1 or -1
    # everywhere, is exactly zero less its mean.
    D = _divide_rows(D, np.abs(D).max(axis=1))
    if metric == "pearson":
        D = D - D.mean(axis=1, keepdims=True)
    return _divide_rows(D, np.linalg.norm(D, axis=1))


def similarities(U, V, signed):
    """Table of the similarities of unit rows, without sign unless `signed`."""
    S = np.clip(U @ V.T, -1.0, 1.0)
    return S if signed else np.abs(S)


def match(S, matching):
    """Rows and columns of the pairs, by column; the smaller side is used up."""
    rows, columns = _hungarian(S) if matching == "hungarian" else _greedy(S)
    order = np.argsort(columns)
    return rows[order], columns[order]


def _divide_rows(D, lengths):
    return D / np.where(lengths > 0, lengths, 1.0)[:, np.newaxis]


def _hungarian(S):
    return linear_sum_assignment(S, maximize=True)


def _greedy(S):
    """Pair the largest entry again and again, the first of equals."""
    S = S.copy()  # the largest entry of a row is looked for again only when its column is taken
    n_pairs = min(S.shape)
    rows, columns = np.empty((2, n_pairs), dtype=np.intp)
    best_column, best = S.argmax(axis=1), S.max(axis=1)
    for p in range(n_pairs):
        i = best.argmax()
        j = best_column[i]
        rows[p], columns[p] = i, j
        best[i] = -np.inf
        S[:, j] = -np.inf
        stale = (best_column == j) & (best > -np.inf)
        best_column[stale], best[stale] = S[stale].argmax(axis=1), S[stale].max(axis=1)
    return rows, columns
