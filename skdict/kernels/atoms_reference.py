"""Descent on atoms in plain array code; see :mod:`skdict.kernels.atoms`."""

from skdict.backend import namespace


def descend(D, A, B, positive):
    xp = namespace(D)
    for j in range(D.shape[0]):
        if A[j, j] <= 0:
            continue
        atom = D[j, :] + (B[j, :] - A[j, :] @ D) / A[j, j]
        if positive:
            atom = xp.maximum(atom, xp.zeros_like(atom))
        norm = xp.linalg.vector_norm(atom)
        if norm > 0:
            D[j, :] = atom / norm
