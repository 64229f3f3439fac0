"""Agreement of the dictionaries of two fits, as in Song et al. (arXiv:2505.20254)."""

from skdict.metrics._checks import check_boolean, check_choice, two_dictionaries
from skdict.metrics._similarity import MATCHINGS, match, similarities, unit_rows


def dictionary_stability(components, other_components, *, signed=False, matching="hungarian"):
    r"""Agreement of the dictionaries of two fits, their pairwise mean correlation (PW-MCC).

    .. math:: \frac{1}{\min(m, m')} \sum_{(i, j) \in \pi}
              \frac{|\langle d_i, d'_j \rangle|}{\|d_i\|\,\|d'_j\|}

    with :math:`\pi` the one-to-one matching of :func:`dictionary_match`. 1 where both fits found
    the same atoms, in any order, of any length and sign.

    Parameters
    ----------
    components : array of shape (n_components, n_features)
        Atoms of one fit, of any length. An atom that is zero has similarity 0 to all others.
    other_components : array of shape (n_other_components, n_features)
        Atoms of another fit, such as one with another ``random_state``.
    signed : bool, default=False
        Whether an atom and its negative are opposites, as for codes that are never negative.
        True leaves the absolute value away.
    matching : {"hungarian", "greedy"}, default="hungarian"
        ``"hungarian"`` maximises the sum of the matched similarities; ``"greedy"`` takes the most
        similar remaining pair again and again, is faster and bounds it from below.

    Returns
    -------
    float
        Without unit, in [0, 1]; in [-1, 1] if `signed`. The same with the two dictionaries
        exchanged, but that ``"greedy"`` may break ties otherwise.

    Notes
    -----
    Atoms of the larger dictionary without a partner cost nothing, and two random dictionaries
    agree better the fewer their dimensions: the chance level is `chance_similarity` of
    :func:`dictionary_match` for as many atoms. Report sizes and number of samples too.

    References
    ----------
    Song et al., "Position: Mechanistic interpretability should prioritize feature consistency in
    SAEs", arXiv:2505.20254.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.metrics import dictionary_stability
    >>> dictionary_stability(np.eye(3), -2 * np.eye(3)[[2, 0, 1]])
    1.0
    """
    function = "dictionary_stability"
    check_boolean(function, "signed", signed)
    check_choice(function, "matching", matching, MATCHINGS)
    D, D_other = two_dictionaries(
        function, components=components, other_components=other_components
    )
    S = similarities(unit_rows(D), unit_rows(D_other), signed)
    return float(S[match(S, matching)].mean())
