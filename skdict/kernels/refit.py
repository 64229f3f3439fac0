"""Least squares of each sample on atoms that are given."""

from skdict.backend import namespace
from skdict.kernels import implementation


def refit(X, D, indptr, indices, positive):
    """Codes of each row of X on the atoms that CSR names, by (non-negative) least squares.

    Parameters
    ----------
    X : array of shape (n, d), C-contiguous
    D : array of shape (m, d), C-contiguous
        Atoms of unit norm or zero.
    indptr, indices : int arrays
        CSR of the atoms of each row.
    positive : bool

    Returns
    -------
    values : array of shape (indices.size,)
        An atom that depends on those before it in its row gets zero.
    """
    return implementation("refit", namespace(X)).refit(X, D, indptr, indices, positive)
