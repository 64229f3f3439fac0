"""Block coordinate descent on the atoms of a dictionary."""

from skdict.backend import namespace
from skdict.kernels import implementation


def descend(D, A, B, positive):
    """One atom after the other, in place, to its least squares given the others.

    With A = sum of zᵀ z and B = sum of zᵀ x:  d_j <- d_j + (B_j - A_j D) / A_jj, then unit norm
    (Mairal et al. 2010, algorithm 2). Atoms that would become zero, or have A_jj = 0, stay.

    Parameters
    ----------
    D : array of shape (m, d), C-contiguous
        Atoms of unit norm.
    A : array of shape (m, m), C-contiguous
    B : array of shape (m, d), C-contiguous
    positive : bool
        Negative entries become zero before the norm is one.
    """
    implementation("atoms", namespace(D)).descend(D, A, B, positive)
