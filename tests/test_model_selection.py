"""Fronts and rules on random tables of scores, and in a real search."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from skdict import TopKAutoencoder
from skdict.metrics import codes_scorer
from skdict.model_selection import best_at_most, pareto_front, sparsest_within

scores = st.sampled_from([0.1, 0.25, 0.5, 0.5, 0.75, 0.9, np.nan])


@st.composite
def tables(draw):
    """Scores of some candidates with ties and undefined ones, as `cv_results_` has them."""
    n = draw(st.integers(1, 8))
    quality = draw(st.lists(scores, min_size=n, max_size=n))
    l0 = draw(st.lists(st.sampled_from([1, 2, 2, 4, 8, np.nan]), min_size=n, max_size=n))
    return table(quality, l0)


def table(quality, l0):
    return {
        "mean_test_explained_variance": np.array(quality, dtype=float),
        "mean_test_neg_mean_l0": -np.array(l0, dtype=float),
    }


def columns(results):
    return results["mean_test_explained_variance"], -results["mean_test_neg_mean_l0"]


@given(tables())
def test_front_by_its_definition(results):
    # Catches a comparison with > for >=, a wrong sign of L0, and NaN that beats or is unbeaten.
    quality, l0 = columns(results)

    def beats(i, j):
        return (
            quality[i] >= quality[j]
            and l0[i] <= l0[j]
            and (quality[i] > quality[j] or l0[i] < l0[j])
        )

    everyone = range(len(l0))
    expected = [
        not np.isnan([quality[j], l0[j]]).any() and not any(beats(i, j) for i in everyone)
        for j in everyone
    ]
    assert_array_equal(pareto_front(results), expected)


@given(tables(), st.sampled_from([0.0, 0.2, 1.0]))
def test_sparsest_within_is_on_the_front_of_the_eligible(results, tolerance):
    # Catches a tolerance taken as a factor, and ties broken by position alone.
    quality, l0 = columns(results)
    defined = ~np.isnan(quality + l0)
    rule = sparsest_within(tolerance)
    if not defined.any():
        with pytest.raises(ValueError, match="undefined"):
            rule(results)
        return
    chosen = rule(results)
    eligible = defined & (quality >= quality[defined].max() - tolerance)
    assert isinstance(chosen, int) and eligible[chosen]
    assert l0[chosen] == l0[eligible].min()
    assert quality[chosen] == quality[eligible & (l0 == l0[chosen])].max()
    assert pareto_front(results)[chosen]


@given(tables(), st.sampled_from([2, 3.5, 100]))
def test_best_at_most(results, limit):
    # Catches < for <=, and a silent choice of a candidate that is too dense.
    quality, l0 = columns(results)
    defined = ~np.isnan(quality + l0)
    rule = best_at_most(limit)
    if not defined.any():
        with pytest.raises(ValueError, match="undefined"):
            rule(results)
    elif not (defined & (l0 <= limit)).any():
        with pytest.warns(UserWarning, match=rf"at most {limit}; the sparsest"):
            chosen = rule(results)
        assert l0[chosen] == l0[defined].min()
    else:
        chosen = rule(results)
        eligible = defined & (l0 <= limit)
        assert eligible[chosen] and quality[chosen] == quality[eligible].max()
        assert pareto_front(results)[chosen]


def test_other_scores():
    # Catches names that are not passed on.
    results = {
        "mean_test_accuracy": [0.9, 0.95, 0.94],
        "mean_test_explained_variance": [0.9, 0.5, 0.4],
        "mean_test_neg_mean_l0": [-1.0, -9.0, -4.0],
        "mean_test_gini": [0.3, 0.5, 0.2],
    }
    assert sparsest_within(0.02, quality="accuracy")(results) == 2
    assert sparsest_within(0.02, quality="accuracy", sparsity="gini")(results) == 1
    assert best_at_most(5, quality="accuracy")(results) == 2
    assert_array_equal(pareto_front(results, scores=("accuracy", "gini")), [False, True, False])


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("rule", [sparsest_within(0.05), best_at_most(5)], ids=str)
def test_rules_in_a_search(rule, n_jobs):
    # Catches rules that scikit-learn does not take, or that workers cannot unpickle.
    X = load_digits().data[:200]
    search = GridSearchCV(
        TopKAutoencoder(32, max_iter=4, random_state=0),
        {"k": [2, 4, 8]},
        scoring=codes_scorer(),
        refit=rule,
        cv=2,
        n_jobs=n_jobs,
    ).fit(X)
    expected = pickle.loads(pickle.dumps(rule))(search.cv_results_)
    assert search.best_index_ == expected
    assert search.best_estimator_.k == search.cv_results_["params"][expected]["k"]
    assert eval(repr(rule))(search.cv_results_) == expected


@pytest.mark.parametrize("rule", [sparsest_within, best_at_most])
def test_bad_limits(rule):
    # Catches a limit that is only looked at when the search is over.
    name = rule.__name__
    for bad in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"{name}: .*={bad}"):
            rule(bad)
    for bad in ("0.1", True, None):
        with pytest.raises(TypeError, match=f"{name}: .*={bad!r}"):
            rule(bad)


def test_missing_scores_are_named():
    # Catches a KeyError that does not tell which scores there are.
    results = {"mean_test_score": [0.5], "mean_test_gini": [0.5]}
    for rule in (sparsest_within(0.1), best_at_most(3), pareto_front):
        with pytest.raises(ValueError, match=r"'explained_variance', only \['score', 'gini'\]"):
            rule(results)
    for scores in (("gini",), "gini"):
        with pytest.raises(ValueError, match="names of two scores"):
            pareto_front(results, scores=scores)
    with pytest.raises(TypeError, match=r"Pass search\.cv_results_"):
        sparsest_within(0.1)(TopKAutoencoder())
    with pytest.raises(ValueError, match="scores=3"):
        pareto_front(results, scores=3)
