"""Agreement of a learned dictionary with a known one.

Matching and scores as in O'Neill, Gumran and Klindt (arXiv:2411.13117) and in Sharkey, Braun and
Millidge (2022).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from skdict.backend import to_numpy
from skdict.metrics._checks import as_matrix, check_choice, check_number_in


@dataclass(frozen=True, eq=False)
class DictionaryMatch:
    """Result of :func:`dictionary_match`; arrays are numpy's and read-only.

    Attributes
    ----------
    mean_similarity : float
        Sum of `similarities` over the number of *true* atoms: one without a partner counts 0.
    recovery_rate : float
        Fraction of the true atoms whose matched similarity exceeds the threshold.
    mmcs : float
        Mean over the true atoms of the largest similarity to any atom, partners or not.
    pairs : int array of shape (n_pairs, 2)
        Rows (index in `components`, index in `true_components`), in the order of the latter;
        `n_pairs` is the smaller number of atoms.
    similarities : float64 array of shape (n_pairs,)
        Similarity of each pair; their plain mean leaves true atoms without a partner out.
    """

    mean_similarity: float
    recovery_rate: float
    mmcs: float
    pairs: np.ndarray
    similarities: np.ndarray


def dictionary_match(
    components,
    true_components,
    *,
    metric="cosine",
    signed=True,
    matching="hungarian",
    threshold=0.9,
):
    r"""Match learned atoms with true ones, one to one, and score the agreement.

    With :math:`S_{ij}` the similarity of atom i and true atom j, the matching :math:`\pi` takes
    :math:`\min(m, m_{true})` pairs and

    .. math:: \mathrm{mean\_similarity} = \frac{1}{m_{true}} \sum_{(i, j) \in \pi} S_{ij}, \qquad
              \mathrm{mmcs} = \frac{1}{m_{true}} \sum_j \max_i S_{ij}.

    Parameters
    ----------
    components : array of shape (n_components, n_features)
        Learned atoms, of any length. An atom that is zero has similarity 0 to all others.
    true_components : array of shape (n_true_components, n_features)
        True atoms.
    metric : {"cosine", "pearson"}, default="cosine"
        Similarity of two atoms; ``"pearson"`` is the cosine after each atom has lost the mean of
        its coordinates (a constant atom then is zero).
    signed : bool, default=True
        Whether an atom and its negative are opposites, as for codes that are never negative (ReLU).
        False takes absolute values, for codes of either sign (matching pursuit, lasso).
    matching : {"hungarian", "greedy"}, default="hungarian"
        ``"hungarian"`` maximises the sum of the matched similarities; ``"greedy"`` takes the most
        similar remaining pair again and again, is faster and bounds it from below.
    threshold : float, default=0.9
        Similarity in [0, 1] that a recovered atom exceeds.

    Returns
    -------
    DictionaryMatch

    Notes
    -----
    Every possible pair is made, so that with ``signed=True`` a forced one may have a negative
    similarity; a reversed atom is not recovered. `mmcs` has no one-to-one constraint: one learned
    atom may serve two true ones, and more atoms never lower it. In few dimensions all scores have
    chance levels far from zero (a mean absolute correlation of .67 for 16 random atoms in 8):
    compare with a random dictionary of the same shape.

    References
    ----------
    .. [1] O'Neill, Gumran, Klindt, "Compute Optimal Inference and Provable Amortisation Gap in
       Sparse Autoencoders", arXiv:2411.13117 (mean correlation: ``metric="pearson", signed=False``;
       greedy where shapes differ).
    .. [2] Sharkey, Braun, Millidge, "Taking features out of superposition with sparse
       autoencoders", 2022 (mean max cosine similarity, MMCS).

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.metrics import dictionary_match
    >>> truth = np.eye(3)
    >>> learned = np.array([[0.0, 2.0, 0.0], [0.6, 0.0, 0.8]])
    >>> match = dictionary_match(learned, truth)
    >>> match.pairs
    array([[0, 1],
           [1, 2]])
    >>> match.similarities
    array([1. , 0.8])
    >>> round(match.mean_similarity, 3), round(match.recovery_rate, 3), round(match.mmcs, 3)
    (0.6, 0.333, 0.8)
    """
    _check_options(metric, signed, matching, threshold)
    D, D_true = _check_atoms(components, true_components)
    S = _similarity(D, D_true, metric)  # (n_components, n_true_components)
    if not signed:
        S = np.abs(S)
    rows, columns = _hungarian(S) if matching == "hungarian" else _greedy(S)
    order = np.argsort(columns)
    rows, columns = rows[order], columns[order]
    similarities = S[rows, columns]
    pairs = np.column_stack([rows, columns])
    for result in (pairs, similarities):
        result.flags.writeable = False
    n_true = len(D_true)
    return DictionaryMatch(
        mean_similarity=float(similarities.sum() / n_true),
        recovery_rate=float(np.count_nonzero(similarities > threshold) / n_true),
        mmcs=float(S.max(axis=0).mean()),
        pairs=pairs,
        similarities=similarities,
    )


def _check_options(metric, signed, matching, threshold):
    check_choice("dictionary_match", "metric", metric, ("cosine", "pearson"))
    check_choice("dictionary_match", "matching", matching, ("hungarian", "greedy"))
    if not isinstance(signed, (bool, np.bool_)):
        raise TypeError(f"dictionary_match: signed={signed!r} is no boolean. Choose True or False.")
    check_number_in("dictionary_match", "threshold", threshold, low=0, high=1)


def _check_atoms(components, true_components):
    checked = []
    for name, atoms in (("components", components), ("true_components", true_components)):
        D = to_numpy(as_matrix("dictionary_match", name, atoms)).astype(np.float64)
        if not np.isfinite(D).all():
            raise ValueError(
                f"dictionary_match: {name} contains NaN or infinity. Leave those atoms out, or "
                "refit: they tell of a diverged fit."
            )
        checked.append(D)
    D, D_true = checked
    if D.shape[1] != D_true.shape[1]:
        raise ValueError(
            f"dictionary_match: components has {D.shape[1]} features but true_components has "
            f"{D_true.shape[1]}. Atoms are rows: transpose a dictionary that has them as columns."
        )
    return D, D_true


def _similarity(D, D_true, metric):
    S = _unit_rows(D, metric) @ _unit_rows(D_true, metric).T
    return np.clip(S, -1.0, 1.0)


def _unit_rows(D, metric):
    """Rows of norm 1; zero rows stay zero."""
    # Squares of huge and of tiny atoms stay in range, and a constant atom, now exactly 1 or -1
    # everywhere, is exactly zero less its mean.
    D = _divide_rows(D, np.abs(D).max(axis=1))
    if metric == "pearson":
        D = D - D.mean(axis=1, keepdims=True)
    return _divide_rows(D, np.linalg.norm(D, axis=1))


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
