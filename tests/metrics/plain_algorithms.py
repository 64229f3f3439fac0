"""Plain algorithms on arrays that count, against which :func:`skdict.metrics.flops` is tested."""

import numpy as np

D_, M_, N_ = 5, 7, 3  # features, components, samples: unequal, so that no two can be swapped

FREE = {np.absolute, np.negative, np.sign, np.logical_and, np.logical_or, np.logical_not}
FREE |= {np.bitwise_and, np.invert, np.isfinite}


class Tally:
    """Operations so far, and those of products alone."""

    def __init__(self):
        self.all = self.products = 0


class Counting(np.ndarray):
    """An array that adds the operations of every ufunc, product and search to ``tally``."""

    tally = None

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        plain = [np.asarray(a) if isinstance(a, np.ndarray) else a for a in inputs]
        outputs = {} if out is None else {"out": tuple(np.asarray(o) for o in out)}
        result = getattr(ufunc, method)(*plain, **outputs, **kwargs)
        n = self._operations(ufunc, method, plain, result)
        Counting.tally.all += n
        Counting.tally.products += n if ufunc in (np.matmul, np.vecdot) else 0
        return out[0] if out is not None else counted(result)

    @staticmethod
    def _operations(ufunc, method, inputs, result):
        if ufunc in FREE:
            return 0
        if ufunc is np.matmul:
            return 2 * np.size(result) * inputs[0].shape[-1]
        return np.size(inputs[0]) if method == "reduce" else np.size(result)

    def __array_function__(self, function, types, args, kwargs):
        if function in (np.argmax, np.argmin):
            Counting.tally.all += np.size(args[0])
        return super().__array_function__(function, types, args, kwargs)


def counted(array):
    return np.asarray(array).view(Counting) if np.ndim(array) else array


def arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [counted(rng.standard_normal(shape)) for shape in shapes]


def dots(a, b):
    return np.add.reduce(a * b, axis=-1)


# ---------------------------------------------------------------------- autoencoders


def encode(X, W, b, layers):
    """Pre-activations less the last bias; the hidden codes where there is a layer."""
    centred, hidden = X - b, None
    if layers:
        W1, b1 = layers
        hidden = np.maximum(centred @ W1.T + b1, 0)
    return centred, hidden, (centred if hidden is None else hidden) @ W.T


def step_of_relu(X, D, W, b, e, layers=(), penalty=True):
    """All gradients of one batch but for the value of the loss."""
    n = X.shape[0]
    centred, hidden, U = encode(X, W, b, layers)
    Z = np.maximum(U + e, 0)
    R = ((Z @ D + b) - X) / n
    d_Z = R @ D.T
    if penalty:
        d_Z = d_Z + 0.1
    d_U = np.where(Z > 0, d_Z, 0).view(Counting)
    Z.T @ R, np.add.reduce(R, axis=0), np.add.reduce(d_U, axis=0)
    backward_through(d_U, W, centred, hidden, layers)


def backward_through(d_U, W, centred, hidden, layers):
    if not layers:
        d_U.T @ centred
        return
    d_U.T @ hidden
    d_hidden = np.where(hidden > 0, d_U @ W, 0).view(Counting)
    d_hidden.T @ centred, np.add.reduce(d_hidden, axis=0)


def step_of_gated(X, D, W, b, e, layers=()):
    n = X.shape[0]
    g, r = arrays(M_, M_, seed=3)
    centred, hidden, U = encode(X, W, b, layers)
    P, scaled = U + g, U * r
    opened = P > 0
    Z = np.where(opened, np.maximum(scaled + e, 0), 0).view(Counting)
    gate = np.where(opened, P, 0).view(Counting)
    R = ((Z @ D + b) - X) / n
    R_gate = ((gate @ D + b) - X) / n
    d_M = np.where(Z > 0, R @ D.T, 0).view(Counting)
    d_P = np.where(gate > 0, R_gate @ D.T + 0.1, 0).view(Counting)
    Z.T @ R, np.add.reduce(R, axis=0)
    np.add.reduce(d_M, axis=0), np.add.reduce(d_P, axis=0), np.add.reduce(d_M * scaled, axis=0)
    d_U = d_M * r + d_P
    if not layers:
        np.add.reduce(d_U, axis=0)
    backward_through(d_U, W, centred, hidden, layers)


def adam(parameters, atoms):
    """One step from fresh moments; `atoms` stay on the sphere."""
    for p in [*parameters, atoms]:
        gradient, mean, square = (counted(np.ones(p.shape)) for _ in range(3))
        if p is atoms:
            gradient = gradient - dots(gradient, p)[:, None] * p
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient * gradient
        moved = p - 0.01 * mean / (np.sqrt(square) + 1e-8)
        if p is atoms:
            moved / np.sqrt(dots(moved, moved))[:, None]


# ---------------------------------------------------------------------- pursuits


def mp(x, D, k):
    z, r = counted(np.zeros(len(D))), x
    for _ in range(k):
        c = D @ r
        j = int(np.argmax(np.abs(c)))
        z[j : j + 1] = z[j : j + 1] + c[j : j + 1]
        r = r - c[j] * D[j]
    return z


def orthogonal(x, D, k, ols):
    """Gram-Schmidt of the selected atoms, and codes by substitution."""
    r, left, basis, chosen, shares = x, counted(np.ones(len(D))), [], [], []
    T = np.zeros((k, k))
    for t in range(k):
        c = D @ r
        scores = c * c / left if ols else np.abs(c)
        scores[chosen] = -1
        j = int(np.argmax(scores))
        q = D[j]
        for s, other in enumerate(basis):
            T[s, t] = dots(other, q)
            q = q - T[s, t] * other
        norm = np.sqrt(dots(q, q))
        Counting.tally.all += 1  # the root of a number
        T[t, t] = norm
        q = q / norm
        shares.append(dots(q, r))
        r = r - shares[-1] * q
        if ols:
            p = D @ q
            left = left - p * p
            left[j] = 1
        basis.append(q)
        chosen.append(j)
    return substitute(T, shares, chosen, len(D))


def substitute(T, shares, chosen, m):
    z, codes = np.zeros(m), []
    for t in reversed(range(len(shares))):
        value = shares[t]
        for s, code in codes:
            value = value - T[t, s] * code
            Counting.tally.all += 2
        value = value / T[t, t]
        Counting.tally.all += 1
        codes.append((t, value))
        z[chosen[t]] = value
    return z


def gradient_pursuit(x, D, k):
    z, r, chosen = np.zeros(len(D)), x, []
    for _ in range(k):
        c = D @ r
        chosen = [*chosen, int(np.argmax(np.abs(c)))]
        change = c[chosen]
        moved = change @ D[chosen]
        step = dots(change, change) / dots(moved, moved)
        Counting.tally.all += 1
        z[chosen] = z[chosen] + step * change
        r = r - step * moved
    return z


ALGORITHMS = {
    "mp": mp,
    "omp": lambda x, D, k: orthogonal(x, D, k, ols=False),
    "ols": lambda x, D, k: orthogonal(x, D, k, ols=True),
    "gradient": gradient_pursuit,
}


def eliminate(A, B):
    """Operations of Gaussian elimination, forward and back."""
    n, (m, d) = 0, B.shape
    for i in range(m):
        below = m - i - 1
        n += below + 2 * below * below + 2 * below * d  # factors, rows of A, rows of B
        n += d + 2 * below * d  # back
    return n
