"""Pursuit in plain array code, all samples in step; see :mod:`skdict.kernels.pursuit`."""

from skdict.backend import device, namespace
from skdict.kernels.nonzeros import nonzeros

ROUNDING = 16  # times eps and the norm of the sample: correlations this small are rounding error
DEPENDENT = 64  # times eps: squared distance of a unit atom to a span in which it lies


def pursuit(X, D, k, residual_tol, algorithm, positive, gram=None, precision="highest"):
    xp = namespace(X)
    k = 2**62 if k is None else k
    # Each sample is divided by its largest entry, so that squares neither overflow nor vanish.
    size = xp.max(xp.abs(X), axis=1)
    size = xp.where(size == 0, xp.ones_like(size), size)
    tol = (-1.0 if residual_tol is None else float(residual_tol)) / size
    X = X / size[:, None]
    if algorithm == "mp":
        Z = _mp(X, D, k, tol, positive)
    elif algorithm == "gradient":
        Z = _gradient(X, D, k, tol, positive)
    elif positive:
        rows, ols = range(X.shape[0]), algorithm == "ols"
        Z = xp.stack([_positive(X[i, :], D, k, float(tol[i]), ols) for i in rows])
    else:
        Z = _orthogonal(X, D, k, tol, algorithm == "ols")
    return nonzeros(Z * size[:, None])


def _mp(X, D, k, tol, positive):
    xp = namespace(X)
    Z = xp.zeros((X.shape[0], D.shape[0]), dtype=X.dtype, device=device(X))
    R, least = X, _least(X)
    for _ in range(k):
        C = R @ D.T
        j, best = _largest(C if positive else xp.abs(C))
        active = (best > least) & (_norms(R) > tol)
        if not bool(xp.any(active)):
            break
        c = xp.where(active, _pick(C, j), xp.zeros_like(best))
        Z = Z + _one_hot(j, Z) * c[:, None]
        R = R - c[:, None] * xp.take(D, j, axis=0)
    return Z


def _gradient(X, D, k, tol, positive):
    xp = namespace(X)
    Z = xp.zeros((X.shape[0], D.shape[0]), dtype=X.dtype, device=device(X))
    held = xp.zeros_like(Z, dtype=xp.bool)
    R, least = X, _least(X)
    for _ in range(k):
        C = R @ D.T
        j, best = _largest(C if positive else xp.abs(C))
        active = (best > least) & (_norms(R) > tol)
        if not bool(xp.any(active)):
            break
        held = held | (active[:, None] & (_one_hot(j, C) > 0))
        change = xp.where(held & active[:, None], C, xp.zeros_like(C))
        if positive:  # no code at zero goes below
            change = xp.where((Z <= 0) & (change < 0), xp.zeros_like(C), change)
        step = _best_step(change, C, D)
        if positive:
            cut = xp.maximum(step[:, None] * change, -Z)
            shorter = xp.any(cut > step[:, None] * change, axis=1)
            change = xp.where(shorter[:, None], cut, change)
            again = xp.clip(_best_step(cut, C, D), 0.0, 1.0)
            step = xp.where(shorter, again, step)
        if not bool(xp.any(step > 0)):
            break
        Z = Z + step[:, None] * change
        R = X - Z @ D
    return Z


def _best_step(change, C, D):
    # How much of a change of codes lowers the squared residual most, given correlations C.
    xp = namespace(C)
    moved = change @ D
    curvature = _dots(moved, moved)
    flat = curvature <= 0
    step = _dots(change, C) / xp.where(flat, xp.ones_like(curvature), curvature)
    return xp.where(flat, xp.zeros_like(step), step)


def _orthogonal(X, D, k, tol, ols):
    # Slot t: the atom selected in round t, its part q that is orthogonal to those before, |q|², and
    # the share of q in the residual. A round that selects nothing for a sample leaves zeros.
    xp = namespace(X)
    R, least = X, _least(X)
    open_ = xp.ones((X.shape[0], D.shape[0]), dtype=xp.bool, device=device(X))
    count = xp.zeros_like(least)
    left = xp.zeros_like(X @ D.T) + _dots(
        D, D
    )  # squared distances of atoms to the span of the held
    slots = []
    while True:
        C = R @ D.T
        large = open_ & (xp.abs(C) > least[:, None])
        scores = xp.abs(C)
        if ols:
            large = large & (left > DEPENDENT * _eps(X))
            scores = C * C / xp.where(large, left, xp.ones_like(left))
        j, best = _largest(xp.where(large, scores, -xp.ones_like(C)))
        active = (best > 0) & (_norms(R) > tol) & (count < k)
        if not bool(xp.any(active)):
            break
        atoms = xp.take(D, j, axis=0)
        q = atoms
        for _ in range(2):  # Gram-Schmidt, twice for accuracy
            for _, other, square, _ in slots:
                q = q - (_dots(q, other) / square)[:, None] * other
        used = active & (_dots(q, q) > DEPENDENT * _eps(X))
        q = xp.where(used[:, None], q, xp.zeros_like(q))
        square = xp.where(used, _dots(q, q), xp.ones_like(best))
        share = _dots(R, q) / square
        slots.append((j, q, square, share))
        R = R - share[:, None] * q
        left = left - (q @ D.T) ** 2 / square[:, None]
        open_ = open_ & ~(_one_hot(j, C) > 0)
        count = count + xp.astype(used, count.dtype)
    return _substitute(slots, D, xp.zeros_like(X @ D.T))


def _substitute(slots, D, Z):
    # Codes z of the atoms from the shares of the orthogonal parts:
    # share_l = sum over t >= l of z_t <d_t, q_l> / |q_l|².
    xp = namespace(Z)
    done = []
    for j, q, square, share in reversed(slots):
        z = share
        for atoms, other in done:
            z = z - other * _dots(atoms, q) / square
        done.append((xp.take(D, j, axis=0), z))
        Z = Z + _one_hot(j, Z) * z[:, None]
    return Z


def _largest(scores):
    xp = namespace(scores)
    return xp.argmax(scores, axis=1), xp.max(scores, axis=1)


def _pick(C, j):
    return namespace(C).take_along_axis(C, j[:, None], axis=1)[:, 0]


def _one_hot(j, like):
    xp = namespace(like)
    every = xp.arange(like.shape[1], dtype=j.dtype, device=device(like))
    return xp.astype(every[None, :] == j[:, None], like.dtype)


def _dots(A, B):
    return namespace(A).sum(A * B, axis=1)


def _norms(A):
    return namespace(A).sqrt(_dots(A, A))


def _least(X):
    """Correlation of a sample below which nothing but rounding error is left of it."""
    return ROUNDING * _eps(X) * _norms(X)


def _positive(x, D, k, tol, ols):
    xp = namespace(x)
    support, codes, barred, residual = [], [], [], x
    least = ROUNDING * _eps(x) * _dot(x, x) ** 0.5
    while len(support) < min(k, D.shape[0]) and _dot(residual, residual) ** 0.5 > tol:
        c = D @ residual
        scores = xp.where(c > least, c, xp.zeros_like(c))
        left = _distances(D, support)
        if ols:
            dependent = left <= DEPENDENT * _eps(x)
            safe = xp.where(dependent, xp.ones_like(left), left)
            scores = xp.where(dependent, xp.zeros_like(c), scores * scores / safe)
        for j in support + barred:
            scores[j] = 0.0
        j = int(xp.argmax(scores))
        if float(scores[j]) <= 0:
            break
        if float(left[j]) <= DEPENDENT * _eps(x):
            barred.append(j)
            continue
        support, codes = _refit(x, D, [*support, j], [*codes, 0.0])
        if j not in support:
            barred.append(j)
        residual = x
        for i, code in zip(support, codes, strict=True):
            residual = residual - code * D[i, :]
    z = xp.zeros_like(D[:, 0])
    for i, code in zip(support, codes, strict=True):
        z[i] = code
    return z


def _refit(x, D, support, codes):
    # Non-negative least squares on the support: the inner loop of Lawson and Hanson (1974).
    while support:
        xp = namespace(x)
        chosen = xp.stack([D[i, :] for i in support])
        solution = xp.linalg.solve(chosen @ chosen.T, (chosen @ x)[:, None])[:, 0]
        solution = [float(value) for value in solution]
        if min(solution) > 0:
            return support, solution
        ratios = [
            (old / (old - new), i)
            for i, (old, new) in enumerate(zip(codes, solution, strict=True))
            if new <= 0
        ]
        step, leaving = min(ratios)
        codes = [old + step * (new - old) for old, new in zip(codes, solution, strict=True)]
        support = [j for i, j in enumerate(support) if i != leaving]
        codes = [value for i, value in enumerate(codes) if i != leaving]
    return support, codes


def _distances(D, support):
    # Squared, of all atoms to the span of the support, by Gram-Schmidt, twice.
    rest, basis = D, []
    for atom in support:
        q = D[atom, :]
        for _ in range(2):
            for b in basis:
                q = q - _dot(b, q) * b
        basis.append(q / max(_dot(q, q), 1e-300) ** 0.5)
        for _ in range(2):
            for b in basis:
                rest = rest - (rest @ b)[:, None] * b[None, :]
    return _dots(rest, rest)


def _dot(a, b):
    return float(namespace(a).sum(a * b))


def _eps(x):
    return float(namespace(x).finfo(x.dtype).eps)
