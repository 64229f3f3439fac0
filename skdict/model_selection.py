"""Choosing among candidates of a search by two scores: reconstruction and sparsity.

Explained variance on its own always chooses the densest codes. The rules here are for `refit=` of
scikit-learn's searches, with :func:`skdict.metrics.codes_scorer` as `scoring=`.
"""

import warnings
from collections.abc import Iterable

import numpy as np

from skdict.metrics._checks import as_number

_WANTED = "Choose a number >= 0."


def pareto_front(cv_results, *, scores=("explained_variance", "neg_mean_l0")):
    """Candidates of a search that no other candidate beats on both scores.

    One candidate beats another if it is at least as good in both mean test scores and better in
    one. Bigger is better.

    Parameters
    ----------
    cv_results : dict
        `cv_results_` of a fitted search.
    scores : pair of str, default=("explained_variance", "neg_mean_l0")
        Names of the two scores.

    Returns
    -------
    on_front : bool array of shape (n_candidates,)
        A mask for ``cv_results["params"]``, or for rows of ``pandas.DataFrame(cv_results)``. Equal
        candidates are on it together; one with an undefined score is not.

    Raises
    ------
    ValueError
        If `cv_results` does not have the scores.

    Examples
    --------
    >>> from skdict.model_selection import pareto_front
    >>> results = {
    ...     "mean_test_explained_variance": [0.5, 0.7, 0.6, 0.9],
    ...     "mean_test_neg_mean_l0": [-4.0, -8.0, -9.0, -32.0],
    ... }
    >>> pareto_front(results)
    array([ True,  True, False,  True])
    """
    names = [scores] if isinstance(scores, str) or not isinstance(scores, Iterable) else [*scores]
    if len(names) != 2:
        raise ValueError(f"pareto_front: scores={scores!r} must be the names of two scores.")
    first, second = (_mean_scores("pareto_front", cv_results, name) for name in names)
    on_front = ~(np.isnan(first) | np.isnan(second))
    for i in np.flatnonzero(on_front):
        as_good = (first >= first[i]) & (second >= second[i])
        on_front[i] = not np.any(as_good & ((first > first[i]) | (second > second[i])))
    return on_front


class sparsest_within:
    """Rule for `refit=`: the sparsest candidate within a tolerance of the best reconstruction.

    Parameters
    ----------
    tolerance : float
        How far a candidate's mean `quality` may be below the best one, in units of that score; at
        least 0. Of explained variance, 0.01 gives up one hundredth of the variance.
    quality : str, default="explained_variance"
        Score that has to be kept up; ``"accuracy"``, say, if the scorer returns one.
    sparsity : str, default="neg_mean_l0"
        Score that is then maximised.

    Raises
    ------
    ValueError
        If `tolerance` is negative; when called, if a score is missing or all are undefined.

    See Also
    --------
    best_at_most : The other way round, with the density given.
    skdict.metrics.codes_scorer : Gives both scores.

    Notes
    -----
    Of equally sparse candidates the one of better quality is taken, then the first. Instances can
    be pickled and are called with `cv_results_`.

    Examples
    --------
    >>> from skdict.model_selection import sparsest_within
    >>> results = {
    ...     "mean_test_explained_variance": [0.5, 0.89, 0.88, 0.9],
    ...     "mean_test_neg_mean_l0": [-4.0, -8.0, -9.0, -32.0],
    ... }
    >>> sparsest_within(0.02)(results)
    1
    """

    def __init__(self, tolerance, *, quality="explained_variance", sparsity="neg_mean_l0"):
        as_number("sparsest_within", "tolerance", tolerance, lambda number: number >= 0, _WANTED)
        self.tolerance, self.quality, self.sparsity = tolerance, quality, sparsity

    def __call__(self, cv_results):
        """Index of the candidate to refit."""
        quality = _mean_scores("sparsest_within", cv_results, self.quality)
        sparsity = _mean_scores("sparsest_within", cv_results, self.sparsity)
        defined = _defined("sparsest_within", quality, sparsity)
        eligible = defined & (quality >= quality[defined].max() - self.tolerance)
        return _best(eligible, sparsity, quality)

    def __repr__(self):
        return (
            f"sparsest_within({self.tolerance!r}, quality={self.quality!r}, "
            f"sparsity={self.sparsity!r})"
        )


class best_at_most:
    """Rule for `refit=`: the best reconstruction among candidates at most this dense.

    Parameters
    ----------
    mean_l0 : float
        Largest mean number of non-zero codes of a sample; at least 0.
    quality : str, default="explained_variance"
        Score that is maximised.

    Raises
    ------
    ValueError
        If `mean_l0` is negative; when called, if a score is missing or all are undefined.

    Warns
    -----
    UserWarning
        When called, if every candidate is denser: the sparsest is then taken, so that a long search
        does not end in nothing.

    See Also
    --------
    sparsest_within : The other way round, with the loss in quality given.
    skdict.metrics.codes_scorer : Gives both scores.

    Notes
    -----
    Reads ``"neg_mean_l0"``. Of equally good candidates the sparsest is taken, then the first.
    Instances can be pickled and are called with `cv_results_`.

    Examples
    --------
    >>> from skdict.model_selection import best_at_most
    >>> results = {
    ...     "mean_test_explained_variance": [0.5, 0.89, 0.88, 0.9],
    ...     "mean_test_neg_mean_l0": [-4.0, -8.0, -9.0, -32.0],
    ... }
    >>> best_at_most(10)(results)
    1
    """

    def __init__(self, mean_l0, *, quality="explained_variance"):
        as_number("best_at_most", "mean_l0", mean_l0, lambda number: number >= 0, _WANTED)
        self.mean_l0, self.quality = mean_l0, quality

    def __call__(self, cv_results):
        """Index of the candidate to refit."""
        quality = _mean_scores("best_at_most", cv_results, self.quality)
        sparsity = _mean_scores("best_at_most", cv_results, "neg_mean_l0")
        defined = _defined("best_at_most", quality, sparsity)
        eligible = defined & (-sparsity <= self.mean_l0)
        if eligible.any():
            return _best(eligible, quality, sparsity)
        sparsest = _best(defined, sparsity, quality)
        warnings.warn(
            f"best_at_most: no candidate has a mean L0 of at most {self.mean_l0}; the sparsest, "
            f"with {-sparsity[sparsest]:.4g}, is taken. Add candidates with a smaller k or a "
            "larger alpha.",
            UserWarning,
            stacklevel=2,
        )
        return sparsest

    def __repr__(self):
        return f"best_at_most({self.mean_l0!r}, quality={self.quality!r})"


def _best(eligible, score, tie_break):
    """First index with the largest score, ties broken by the other one."""
    candidates = np.flatnonzero(eligible)
    order = np.lexsort((-tie_break[candidates], -score[candidates]))
    return int(candidates[order[0]])


def _mean_scores(function, cv_results, name):
    if not hasattr(cv_results, "keys"):
        raise TypeError(
            f"{function}: cv_results is a {type(cv_results).__name__}. Pass search.cv_results_."
        )
    key = f"mean_test_{name}"
    if key not in cv_results:
        prefix = "mean_test_"
        there = [other.removeprefix(prefix) for other in cv_results if other.startswith(prefix)]
        raise ValueError(
            f"{function}: cv_results has no score {name!r}, only {there}. Search with "
            "scoring=skdict.metrics.codes_scorer(), or name one of these."
        )
    return np.asarray(cv_results[key], dtype=np.float64)


def _defined(function, *scores):
    defined = ~np.any(np.isnan(scores), axis=0)
    if not defined.any():
        raise ValueError(
            f"{function}: every candidate has an undefined score. Look at cv_results_ of a search "
            "with refit=False; error_score='raise' shows why a fit failed."
        )
    return defined


__all__ = ["best_at_most", "pareto_front", "sparsest_within"]
