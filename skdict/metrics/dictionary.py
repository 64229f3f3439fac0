"""Agreement of a learned dictionary with a known one.

Matching and scores as in O'Neill, Gumran and Klindt (arXiv:2411.13117) and in Sharkey, Braun and
Millidge (2022).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np

from skdict.metrics._checks import (
    check_boolean,
    check_choice,
    check_number_in,
    two_dictionaries,
    undefined,
)
from skdict.metrics._similarity import MATCHINGS, match, similarities, unit_rows
from skdict.metrics._support import as_codes, support_scores

N_CHANCE_DRAWS = 5
# Not 0 or 42: random true atoms drawn with the same seed would be met again.
CHANCE_SEED = 20_250_520_254


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
        Similarity of each pair.
    mcc : float
        Mean of `similarities` over the pairs, the mean correlation coefficient (MCC). True atoms
        without a partner are left out: a single atom, if it is right, scores 1.
    support_precision, support_recall, support_f1 : float or None
        Agreement of the supports of `codes` and `true_codes`; None where they were not given, NaN
        with a warning where no code, or no true code, is non-zero.
    chance_similarity, chance_mmcs : float
        What `mean_similarity` and `mmcs` are for random Gaussian atoms, as many as `components`
        has: mean over 5 draws of a fixed seed. The first access to one of them, or of the two
        below, costs 5 matchings; later ones are free. For this the result keeps its own copy of
        the true atoms, in float64.
    corrected_similarity, corrected_mmcs : float
        ``(score - chance) / (1 - chance)`` of the two scores: 0 at the level of chance, negative
        below, 1 for a score of 1. With fewer atoms than true ones `mean_similarity` is at most
        ``n_pairs / n_true``, and its corrected value less than 1 too. NaN, with a warning, where
        chance is 1: without sign in one dimension, with ``metric="pearson"`` in two.
    """

    mean_similarity: float
    recovery_rate: float
    mmcs: float
    pairs: np.ndarray
    similarities: np.ndarray
    mcc: float
    _draw_chance: Callable = field(repr=False)
    support_precision: float | None = None
    support_recall: float | None = None
    support_f1: float | None = None

    @property
    def chance_similarity(self):
        return self._chance[0]

    @property
    def chance_mmcs(self):
        return self._chance[1]

    @property
    def corrected_similarity(self):
        return _corrected("corrected_similarity", self.mean_similarity, self.chance_similarity)

    @property
    def corrected_mmcs(self):
        return _corrected("corrected_mmcs", self.mmcs, self.chance_mmcs)

    @cached_property
    def _chance(self):
        return self._draw_chance()


def dictionary_match(
    components,
    true_components,
    *,
    metric="cosine",
    signed=True,
    matching="hungarian",
    threshold=0.9,
    codes=None,
    true_codes=None,
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
    codes : array or scipy sparse matrix of shape (n_samples, n_components), default=None
        Codes of the learned atoms, for the scores of the support; with `true_codes` or not at all.
    true_codes : array or scipy sparse matrix of shape (n_samples, n_true_components), default=None
        True codes of the same samples.

    Returns
    -------
    DictionaryMatch

    Notes
    -----
    Every possible pair is made, so that with ``signed=True`` a forced one may have a negative
    similarity; a reversed atom is not recovered. `mmcs` has no one-to-one constraint: one learned
    atom may serve two true ones, and more atoms never lower it. In few dimensions all scores have
    chance levels far from zero (a mean absolute correlation of .67 for 16 random atoms in 8):
    report `corrected_similarity` and `corrected_mmcs` beside them.

    The scores of the support ask which codes are non-zero, of all samples and atoms together. A
    hit is an entry where both atoms of a pair, however similar, are non-zero. Precision is hits
    over non-zeros of `codes`, those of atoms without a partner included; recall is hits over
    non-zeros of `true_codes`, likewise; F1 is twice the hits over the sum of both numbers. Codes
    that are small and not zero count, as in :func:`mean_l0`. Sparse codes stay sparse.

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
    >>> round(match.mcc, 3)
    0.9
    >>> match.chance_similarity < match.mean_similarity
    True
    >>> codes = np.array([[1.0, 0.0], [0.0, 2.0]])  # of the second true atom, then of the third
    >>> true_codes = np.array([[0.0, 1.0, 0.0], [3.0, 0.0, 1.0]])
    >>> match = dictionary_match(learned, truth, codes=codes, true_codes=true_codes)
    >>> match.support_precision, round(match.support_recall, 3), match.support_f1
    (1.0, 0.667, 0.8)
    """
    function = "dictionary_match"
    _check_options(function, metric, signed, matching, threshold)
    D, D_true = two_dictionaries(function, components=components, true_components=true_components)
    n_atoms, n_true = len(D), len(D_true)
    both_codes = _both_or_neither(codes, true_codes, n_atoms, n_true)
    U, U_true = unit_rows(D, metric), unit_rows(D_true, metric)
    S = similarities(U, U_true, signed)  # (n_components, n_true_components)
    rows, columns = match(S, matching)
    matched, pairs = S[rows, columns], np.column_stack([rows, columns])
    for result in (pairs, matched):
        result.flags.writeable = False
    mean_similarity, mmcs = _scores(S, matched)
    return DictionaryMatch(
        mean_similarity=mean_similarity,
        recovery_rate=float(np.count_nonzero(matched > threshold) / n_true),
        mmcs=mmcs,
        pairs=pairs,
        similarities=matched,
        mcc=float(matched.mean()),
        _draw_chance=partial(_chance_scores, U_true, n_atoms, metric, signed, matching),
        **(support_scores(function, *both_codes, rows, columns) if both_codes else {}),
    )


def _check_options(function, metric, signed, matching, threshold):
    check_choice(function, "metric", metric, ("cosine", "pearson"))
    check_choice(function, "matching", matching, MATCHINGS)
    check_boolean(function, "signed", signed)
    check_number_in(function, "threshold", threshold, low=0, high=1)


def _both_or_neither(codes, true_codes, n_components, n_true_components):
    if codes is None and true_codes is None:
        return None
    if codes is None or true_codes is None:
        given, missing = ("codes", "true_codes") if true_codes is None else ("true_codes", "codes")
        raise ValueError(
            f"dictionary_match: {missing}=None but {given} is given. Pass both, or neither."
        )
    return as_codes("dictionary_match", codes, true_codes, n_components, n_true_components)


def _scores(S, matched):
    """Mean similarity and MMCS; columns of `S` are true atoms."""
    return float(matched.sum() / S.shape[1]), float(S.max(axis=0).mean())


def _chance_scores(U_true, n_components, metric, signed, matching):
    """`_scores` of random Gaussian atoms, mean over draws."""
    rng = np.random.default_rng(CHANCE_SEED)
    scores = []
    for _ in range(N_CHANCE_DRAWS):
        U = unit_rows(rng.normal(size=(n_components, U_true.shape[1])), metric)
        S = similarities(U, U_true, signed)
        scores.append(_scores(S, S[match(S, matching)]))
    mean_similarity, mmcs = np.mean(scores, axis=0)
    return float(mean_similarity), float(mmcs)


def _corrected(name, score, chance):
    if chance > 1 - 1e-12:
        why = "random atoms score 1. Use more features, or signed=True"
        return undefined(f"DictionaryMatch.{name}", why, stacklevel=4)
    return (score - chance) / (1 - chance)
