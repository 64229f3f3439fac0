"""Greedy pursuit of a batch of samples."""

from skdict.backend import namespace
from skdict.kernels import implementation

STEPS = 100  # of pursuits that may not reach a tolerance, such as those over nearly parallel atoms


def pursuit(X, D, k, residual_tol, algorithm, positive, gram=None, precision="highest"):
    """Sparse codes of each row of X over the atoms D by greedy selection.

    Every step selects the atom with the largest absolute correlation with the residual (the largest
    positive one if `positive`; the lowest index among equal ones), until `k` steps are made
    (``"mp"``, ``"gradient"``) or `k` atoms held (``"omp"``, ``"ols"``), or the norm of the residual
    is at most `residual_tol`, or nothing is left to select.

    - ``"mp"`` (Mallat & Zhang 1993) adds the correlation to the code and may select an atom again.
    - ``"omp"`` (Pati et al. 1993) refits the codes on all selected atoms by least squares, or by
      non-negative least squares if `positive`, which may drop atoms again; an atom that depends on
      those already selected is passed over.
    - ``"ols"`` (Chen, Billings & Luo 1989) refits likewise, but selects the atom with which least
      squares leaves the smallest residual: the largest squared correlation over the squared
      distance of the atom to the span of those already selected.
    - ``"gradient"`` (Blumensath & Davies 2008) moves the codes of all selected atoms along the
      gradient by the step that leaves least; if `positive`, codes that it would take below zero
      end there, and the step is the best of those no longer.

    Parameters
    ----------
    X : array of shape (n, d), C-contiguous
    D : array of shape (m, d), C-contiguous
        Atoms of unit norm; rows of zeros are never selected.
    k : int or None
        None: no limit, or STEPS times the smaller of m and d where atoms may be selected again.
    residual_tol : float or None
    algorithm : {"mp", "omp", "ols", "gradient"}
    positive : bool
    gram : array of shape (m, m), optional
        ``D @ D.T``, where it pays to have it.
    precision : {"highest", "tf32", "bf16"}
        Of the correlations by which ``"mp"`` and ``"omp"`` select on a GPU
        (:mod:`skdict.kernels.dense`).

    Returns
    -------
    indptr, indices, values
        CSR of the codes, with increasing indices.

    Notes
    -----
    Deterministic. With the Gram matrix, OMP costs about k² m / 2 multiply-adds a sample, by a table
    of correlations with orthogonalised atoms; without it each step adds the product D @ d_j.
    """
    if k is None and algorithm in ("mp", "gradient"):
        k = STEPS * min(D.shape)
    kernels = implementation("pursuit", namespace(X))
    return kernels.pursuit(X, D, k, residual_tol, algorithm, positive, gram, precision)
