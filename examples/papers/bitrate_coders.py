"""Decoders of superposition codes that are not estimators of skdict, and bounds to hold them to.

Decoders are functions ``(X, dictionary, k) -> codes``, as :func:`skdict.metrics` wants them; atoms
have unit norm, and active codes are 1. :class:`SignAtoms` is for dictionaries that do not fit.
"""

import numpy as np
from scipy.special import expit, logit
from scipy.stats import binom, norm

# ------------------------------------------------------------------ decoders


def above_half(X, dictionary, k):
    """Correlations above 1/2, as ones. Rows with more or fewer than k of them are left empty."""
    Z = (X @ dictionary.T > 0.5).astype(X.dtype)
    Z[Z.sum(axis=1) != k] = 0
    return Z


def pursuit_of_ones(X, dictionary, k):
    """Matching pursuit that knows that codes are 1: it subtracts whole atoms, each at most once."""
    Z = np.zeros((len(X), len(dictionary)), X.dtype)
    rows, residual = np.arange(len(X)), X.copy()
    for _ in range(k):
        best = np.where(Z > 0, -np.inf, residual @ dictionary.T).argmax(axis=1)
        Z[rows, best] = 1
        residual -= dictionary[best]
    return Z


def message_passing(X, dictionary, k, n_iter=50):
    """Posterior probabilities of the codes by approximate message passing.

    AMP (Donoho, Maleki and Montanari, PNAS 106(45), 2009) whose denoiser is the posterior mean of
    a code that is 1 with probability k / m, else 0, seen through normal noise.
    """
    n_features = X.shape[1]
    Z, residual = np.zeros((len(X), len(dictionary)), X.dtype), X
    for _ in range(n_iter):
        variance = _crosstalk(residual)
        Z = posterior_mean(Z + residual @ dictionary.T, variance, k / len(dictionary))
        slope = (Z * (1 - Z)).sum(axis=1, keepdims=True) / variance
        residual = X - Z @ dictionary + residual * (slope / n_features)
    return Z


def _crosstalk(residual):
    # Never so small that a square of float32 is lost.
    return np.maximum((residual**2).mean(axis=1, keepdims=True), 1e-9)


def posterior_mean(V, variance, share):
    """Mean of a code, 1 with probability `share` and else 0, of which V is seen in noise."""
    return expit((V - 0.5) / variance + logit(share)).astype(V.dtype)


def beam_search(width):
    """Decoder that keeps the `width` best sets of atoms where matching pursuit keeps one.

    Each set grows by one atom a step; of all larger sets those with the smallest residuals are
    kept. With width 1, :func:`pursuit_of_ones`.
    """

    def decode(X, dictionary, k):
        Z = np.zeros((len(X), len(dictionary)), X.dtype)
        for z, x in zip(Z, X, strict=True):
            z[_best_set(x, dictionary, k, width)] = 1
        return Z

    return decode


def _best_set(x, dictionary, k, width):
    sets, residuals = np.empty((1, 0), dtype=np.int64), x[None]
    for _ in range(k):
        parents, atoms = _extensions(sets, residuals, dictionary, width)
        residuals = residuals[parents] - dictionary[atoms]
        sets = np.column_stack([sets[parents], atoms])
    return sets[0]


def _extensions(sets, residuals, dictionary, width):
    """The `width` best different sets that are one atom larger, best first: (set, atom)."""
    gains = residuals @ dictionary.T
    np.put_along_axis(gains, sets, -np.inf, axis=1)
    atoms = np.argpartition(gains, -min(width, len(dictionary)), axis=1)[:, -width:]
    squares = (residuals**2).sum(axis=1, keepdims=True)
    left = squares - 2 * np.take_along_axis(gains, atoms, axis=1)  # less 1, the norm of an atom
    found, seen = [], set()
    for parent, place in zip(*np.unravel_index(np.argsort(left, axis=None), left.shape)):
        atom = atoms[parent, place]
        larger = frozenset((*sets[parent].tolist(), int(atom)))
        if larger not in seen:
            seen.add(larger)
            found.append((parent, atom))
        if len(found) == width:
            break
    return np.array(found).T


# ------------------------------------------------------------------ dictionaries too large to hold

SIGNS = (np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) * 2.0 - 1).astype("f4")


class SignAtoms:
    """Atoms of random signs over sqrt(n_features), kept as bits and unpacked block by block."""

    def __init__(self, n_components, n_features, random, block=2**15):
        n_bytes = -(-n_features // 8)
        self.n_features, self.block = n_features, block
        self.bits = random.integers(256, size=(n_components, n_bytes), dtype=np.uint8)

    def rows(self, index):
        signs = SIGNS[self.bits[index]].reshape(*np.shape(self.bits[index])[:-1], -1)
        return signs[..., : self.n_features] / np.float32(np.sqrt(self.n_features))

    def correlations(self, X):
        """Blocks of ``X @ atoms.T``, each with the index of its first atom."""
        wide = np.zeros((len(X), 8 * self.bits.shape[1]), np.float32)  # signs beyond meet zeros
        wide[:, : self.n_features] = X / np.float32(np.sqrt(self.n_features))
        for start in range(0, len(self.bits), self.block):
            signs = SIGNS[self.bits[start : start + self.block]].reshape(-1, wide.shape[1])
            yield start, wide @ signs.T

    def largest(self, X, k):
        """Indices of the k atoms that correlate most with each row, sorted: (n_samples, k)."""
        values, indices = [], []
        for start, C in self.correlations(X):
            best = np.argpartition(C, -min(k, C.shape[1]), axis=1)[:, -k:]
            values.append(np.take_along_axis(C, best, axis=1))
            indices.append(start + best)
        values, indices = np.hstack(values), np.hstack(indices)
        best = np.argpartition(values, -k, axis=1)[:, -k:]
        return np.sort(np.take_along_axis(indices, best, axis=1), axis=1)

    def most_correlated(self, X, signed=True):
        """Index of the atom that correlates most with each row, in magnitude if not signed."""
        best, index = np.full(len(X), -np.inf), np.zeros(len(X), dtype=np.int64)
        for start, C in self.correlations(X):
            C = C if signed else np.abs(C)
            j = C.argmax(axis=1)
            value = C[np.arange(len(X)), j]
            index = np.where(value > best, start + j, index)
            best = np.maximum(value, best)
        return index


def pursuit_supports(atoms, X, k):
    """Supports that k steps of matching pursuit find over :class:`SignAtoms`, sorted."""
    residual, found = X.copy(), []
    for _ in range(k):
        j = atoms.most_correlated(residual)
        D = atoms.rows(j)
        residual = residual - (residual * D).sum(axis=1, keepdims=True) * D
        found.append(j)
    return np.sort(np.column_stack(found), axis=1)


def steps_to_explain(atoms, X, share):
    """Steps of orthogonal matching pursuit until the residual has 1 - share of the energy."""
    basis = np.zeros((len(X), 0, X.shape[1]))  # orthonormal, of the span of the atoms selected
    residual, energy = X.astype(float), (X.astype(float) ** 2).sum(axis=1)
    steps = np.zeros(len(X), dtype=np.int64)
    while (going := (residual**2).sum(axis=1) > (1 - share) * energy).any():
        new = atoms.rows(atoms.most_correlated(residual.astype(np.float32), signed=False))
        new = new.astype(float)
        for _ in range(2):  # twice is enough
            new = new - np.einsum("nsd,ns->nd", basis, np.einsum("nsd,nd->ns", basis, new))
        new /= np.linalg.norm(new, axis=1, keepdims=True)
        residual = residual - (residual * new).sum(axis=1, keepdims=True) * new
        basis = np.concatenate([basis, new[:, None]], axis=1)
        steps += going
    return steps


# ------------------------------------------------------------------ rules and bounds


def top_k_rule(n_components, k):
    """4 k ln(N k): features with which a union bound over pairs lets the k largest be right."""
    return 4 * k * np.log(n_components * k)


def pursuit_rule(n_components, k):
    """2 k ln N: the rate at which orthogonal matching pursuit begins to succeed."""
    return 2 * k * np.log(n_components)


def threshold_rule(n_components, k):
    """8 k ln N: features with which a union bound lets a threshold of 1/2 separate codes."""
    return 8 * k * np.log(n_components)


def counting_bound(k):
    """Fewest dimensions per bit of any decoder: one feature, a sum of k signs, tells no more."""
    law = binom.pmf(np.arange(k + 1), k, 0.5)
    return -1 / (law @ np.log2(law))


def message_passing_limit(n_components, k):
    """Fewest features with which state evolution of :func:`message_passing` ends without error."""
    low, high = 1, 64 * k
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _evolves(n_components, k, middle) else (middle, high)
    return high


def _evolves(n_components, k, n_features, n_iter=1000):
    g = np.linspace(-9, 9, 4001)
    weights = norm.pdf(g) * (g[1] - g[0])
    variance, share = k / n_features, k / n_components
    for _ in range(n_iter):
        noise = np.sqrt(variance) * g
        missed = weights @ (1 - posterior_mean(1 + noise, variance, share)) ** 2
        false = weights @ posterior_mean(noise, variance, share) ** 2
        before, variance = variance, (k * missed + (n_components - k) * false) / n_features
        if variance < 1e-6 / n_features:
            return True
        if variance > before * (1 - 1e-6):
            return False
    return False
