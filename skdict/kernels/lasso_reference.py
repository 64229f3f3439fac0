"""Penalised least squares in plain array code; see :mod:`skdict.kernels.lasso`."""

import math

from skdict.backend import namespace
from skdict.kernels.nonzeros import nonzeros

GAMMA = 3.0  # of the minimax concave penalty
EVERY = 10  # gradient steps between looks at the gap


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
    xp = namespace(X)
    Z = xp.zeros_like(X @ D.T) if first is None else xp.asarray(first, copy=True)
    solve = _fista if algorithm == "fista" else _descend
    Z, open_ = solve(X, D, Z, float(alpha), penalty, width, positive, gap_tol, max_sweeps)
    return *nonzeros(Z), int(xp.count_nonzero(open_))


def _descend(X, D, Z, alpha, penalty, width, positive, gap_tol, max_sweeps):
    # Every coordinate in turn, all samples at once.
    xp = namespace(X)
    squares, curvatures = _dots(X, X), _dots(D, D)
    for sweep in range(max_sweeps + 1):
        before = xp.asarray(Z, copy=True)
        if penalty == "l1":
            open_ = _duality_gap(X, D, Z, alpha, positive) > gap_tol * squares / 2
        elif sweep == 0:
            open_ = squares > 0
        if sweep == max_sweeps or not bool(xp.any(open_)):
            break
        R = X - Z @ D
        for j in range(D.shape[0]):
            w = float(curvatures[j])
            if w == 0:
                Z[:, j] = 0
                continue
            v = Z[:, j] + R @ D[j, :] / w
            new = xp.where(open_, _prox(v, alpha / w, penalty, width, positive, alpha), Z[:, j])
            R = R - (new - Z[:, j])[:, None] * D[j, :]
            Z[:, j] = new
        if penalty != "l1":
            moved = xp.max((Z - before) ** 2 * curvatures, axis=1)
            open_ = open_ & (moved > gap_tol * squares)
    return Z, open_


def _fista(X, D, Z, alpha, penalty, width, positive, gap_tol, max_sweeps):
    xp = namespace(X)
    squares = _dots(X, X)
    L = float(xp.linalg.matrix_norm(D, ord=2)) ** 2 * (1 + 1e-6)
    if L == 0:
        return xp.zeros_like(Z), squares < 0
    Y, t, moved = Z, xp.ones_like(squares), squares
    for step in range(max_sweeps + 1):
        if penalty == "l1" and (step % EVERY == 0 or step == max_sweeps):
            open_ = _duality_gap(X, D, Z, alpha, positive) > gap_tol * squares / 2
        elif penalty != "l1":
            open_ = squares > 0 if step == 0 else open_ & (moved > gap_tol * squares)
        if step == max_sweeps or not bool(xp.any(open_)):
            break
        V = Y - (Y @ D - X) @ D.T / L
        new = xp.where(open_[:, None], _prox(V, alpha / L, penalty, width, positive, alpha), Z)
        uphill = _dots(Y - new, new - Z) > 0
        t = xp.where(uphill, xp.ones_like(t), t)
        next_t = (1 + xp.sqrt(1 + 4 * t * t)) / 2
        Y = new + ((t - 1) / next_t)[:, None] * (new - Z)
        moved = L * xp.max((new - Z) ** 2, axis=1)
        Z, t = new, next_t
    return Z, open_


def _duality_gap(X, D, Z, alpha, positive):
    """Of l1, for each sample: what Z can be worse than the best codes at most."""
    xp = namespace(X)
    R = X - Z @ D
    C = R @ D.T
    largest = xp.max(C if positive else xp.abs(C), axis=1)
    # The residual times `scale` is feasible for the dual problem.
    alphas = xp.zeros_like(largest) + alpha
    scale = xp.where(largest > alpha, alphas / xp.where(largest > 0, largest, alphas + 1), 1.0)
    rest = X - scale[:, None] * R
    primal = _dots(R, R) / 2 + alpha * xp.sum(xp.abs(Z), axis=1)
    return primal - (_dots(X, X) - _dots(rest, rest)) / 2


def _prox(v, weight, penalty, width, positive, alpha):
    """Minimum over z of ``(z - v)² / 2 + weight rho(z)``, entry by entry.

    Non-convex penalties: the global one. `alpha` enters the minimax concave penalty itself.
    """
    xp = namespace(v)
    sign = xp.where(v < 0, -xp.ones_like(v), xp.ones_like(v))
    v = xp.maximum(v, xp.zeros_like(v)) if positive else xp.abs(v)
    zero = xp.zeros_like(v)
    if penalty == "l1":
        z = xp.maximum(v - weight, zero)
    elif penalty == "l0":
        z = xp.where(v > math.sqrt(2 * weight), v, zero)
    elif penalty == "log":
        root = xp.sqrt(xp.maximum((v + width) ** 2 - 4 * weight, zero))
        z = xp.maximum((v - width + root) / 2, zero)
        better = (z - v) ** 2 / 2 + weight * xp.log1p(z / width) < v**2 / 2
        z = xp.where(((v + width) ** 2 >= 4 * weight) & better, z, zero)
    elif penalty == "lp":
        large = v > 1.5 * weight ** (2 / 3)
        safe = xp.where(large, v, xp.ones_like(v) + 10 * weight)
        angle = xp.acos(xp.clip(weight / 4 * (safe / 3) ** -1.5, -1.0, 1.0))
        z = xp.where(large, 2 * safe / 3 * (1 + xp.cos((2 * math.pi - 2 * angle) / 3)), zero)
    else:
        z = _prox_mcp(v, weight, alpha)
    return sign * z


def _prox_mcp(v, weight, alpha):
    # weight rho(z) = weight z - weight z² / (2 gamma alpha) up to gamma alpha: concave by more than
    # the square is convex where weight > gamma alpha, and then zero or v.
    xp = namespace(v)
    zero, end = xp.zeros_like(v), GAMMA * alpha
    if weight >= end:
        return xp.where(v > math.sqrt(weight * end), v, zero)
    inner = xp.maximum(v - weight, zero) / (1 - weight / end)
    return xp.where(v <= end, inner, v)


def _dots(A, B):
    return namespace(A).sum(A * B, axis=1)
