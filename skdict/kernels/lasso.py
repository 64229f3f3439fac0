"""Penalised least squares of a batch of samples over a dictionary."""

from skdict.backend import namespace
from skdict.kernels import implementation


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
    """Codes z of each row x of X: minima of ``|x - z D|² / 2 + alpha sum_j rho(z_j)``.

    rho is |z| (``"l1"``), log(1 + |z| / width) (``"log"``), the minimax concave penalty with
    gamma = 3 (``"mcp"``: |z| - z² / (2 gamma alpha) up to gamma alpha, then constant), |z|^1/2
    (``"lp"``), or 1 where z is not zero (``"l0"``). All but the first have many local minima, of
    which that found from `first` is returned.

    - ``"cd"``: coordinate descent in sweeps over a working set, which grows by the atoms that
      violate the conditions of optimality most.
    - ``"fista"``: accelerated proximal gradient steps for all samples at once, restarted where the
      momentum points uphill (Beck & Teboulle 2009; O'Donoghue & Candès 2015).

    Parameters
    ----------
    X : array of shape (n, d), C-contiguous
    D : array of shape (m, d), C-contiguous
        Atoms of any norm; rows of zeros get no codes.
    alpha : float
    penalty : {"l1", "log", "mcp", "lp", "l0"}
    width : float
        Of ``"log"``; the others ignore it.
    positive : bool
    gap_tol : float
        A sample is done once its duality gap is at most this times half its squared norm; with
        another penalty than l1, once no code has moved by more than sqrt(gap_tol) of its norm.
    max_sweeps : int
        Sweeps over working sets, or gradient steps, after which a sample is given up.
    algorithm : {"cd", "fista"}
    first : array of shape (n, m), optional
        Codes to begin with; None: zeros.
    gram : array of shape (m, m), optional
        ``D @ D.T``, where it pays to have it.

    Returns
    -------
    indptr, indices, values
        CSR of the codes, with increasing indices.
    n_unfinished : int
        Samples that were given up.
    """
    kernels = implementation("lasso", namespace(X))
    arguments = float(alpha), penalty, float(width), positive, gap_tol, max_sweeps, algorithm
    return kernels.lasso(X, D, *arguments, first, gram)
