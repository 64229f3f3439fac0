"""Laws of the supports: hierarchy, correlation, rates, and their entropy."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skdict.datasets import make_superposition, support_entropy


def law_by_enumeration(n_components, k, rates=0.0, parents=None, correlation=0.0, group_size=4):
    """Probability of each support, by going through all orders in which it may be drawn."""
    weights = np.arange(1.0, n_components + 1) ** -(rates or 0)
    parents = [-1] * n_components if parents is None else parents
    law = {}

    def draw(active, probability):
        if len(active) == k:
            support = frozenset(active)
            law[support] = law.get(support, 0) + probability
            return
        rest = [j for j in range(n_components) if j not in active]
        available = [j for j in rest if parents[j] in (-1, *active)]
        mates = [j for j in available if any(j // group_size == i // group_size for i in active)]
        share = correlation if mates else 0.0
        for j in available:
            p = (1 - share) * weights[j] / weights[available].sum()
            p += share * weights[j] / weights[mates].sum() if j in mates else 0
            if p > 0:
                draw((*active, j), probability * p)

    draw((), 1.0)
    return law


def bits(law):
    p = np.array(list(law.values()))
    return -np.sum(p * np.log2(p))


LAWS = {
    "rates": dict(rates=1.3),
    "hierarchy": dict(hierarchy=2),
    "correlation": dict(correlation=0.6, group_size=3),
    "blocks": dict(correlation=1.0, group_size=2),
    "all": dict(rates=0.7, hierarchy=[-1, 3, 0, -1, 0, 2, 3], correlation=0.4, group_size=3),
}
each_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)


def enumerated(n_components, k, hierarchy=None, **law):
    if isinstance(hierarchy, int):
        hierarchy = [j // hierarchy - 1 for j in range(n_components)]
    return law_by_enumeration(n_components, k, parents=hierarchy, **law)


@each_law
def test_supports_follow_the_stated_law(law):
    # would catch draws that favour a place in the order, or weights that are not renewed
    n, m, k = 20_000, 7, 4
    codes = make_superposition(n, m, 3, k, random_state=0, **law)[2]
    seen, counts = np.unique(codes > 0, axis=0, return_counts=True)
    expected = enumerated(m, k, **law)
    supports = [frozenset(np.flatnonzero(row).tolist()) for row in seen]
    assert set(supports) <= set(expected)
    wanted = n * np.array([expected[support] for support in supports])
    statistic = np.sum((counts - wanted) ** 2 / wanted) + n - wanted.sum()
    freedom = len(expected) - 1
    assert statistic < freedom + 4.5 * math.sqrt(2 * freedom) + 5


@each_law
def test_entropy_is_exact_where_supports_can_be_counted(law):
    entropy, std = support_entropy(7, 4, return_std=True, **law)
    assert entropy == pytest.approx(bits(enumerated(7, 4, **law)), abs=1e-9)
    assert std == 0


@each_law
def test_entropy_is_estimated_elsewhere(law):
    # 34 draws, one less than there are supports; their mean over 200 seeds has no bias
    exact = support_entropy(7, 4, **law)
    found = np.array(
        [
            support_entropy(7, 4, n_draws=34, return_std=True, random_state=seed, **law)
            for seed in range(200)
        ]
    )
    error = found[:, 0].std() / math.sqrt(200)
    assert abs(found[:, 0].mean() - exact) < 4 * error
    assert np.sqrt((found[:, 1] ** 2).mean()) == pytest.approx(found[:, 0].std(), rel=0.25)


@given(st.integers(1, 40), st.data())
@settings(max_examples=50)
def test_entropy_of_even_supports_is_that_of_a_binomial(m, data):
    k = data.draw(st.integers(1, m))
    entropy = support_entropy(m, k)
    assert entropy == pytest.approx(math.log2(math.comb(m, k)), abs=1e-9)
    assert entropy == pytest.approx(support_entropy(m, m - k) if k < m else 0, abs=1e-9)


@pytest.mark.parametrize("n_components", [2**40, 2**50, 2**60])
def test_entropy_of_more_components_than_floats_can_tell_apart(n_components):
    # Catches differences of logarithms of factorials, in which all digits cancel.
    for k in (1, 16, 300):
        exact = math.log2(math.comb(n_components, k))
        assert support_entropy(n_components, k) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("rates", [0.3, 1.0, 3.0, 30.0])
def test_rates_alone_by_time_and_by_order(rates):
    # would catch an integral of too few points: a hierarchy of roots is none, but sums over orders
    for m, k in ((9, 1), (9, 4), (9, 8), (40, 2)):
        by_time = support_entropy(m, k, rates=rates)
        by_order = support_entropy(m, k, rates=rates, hierarchy=[-1] * m)
        assert by_time == pytest.approx(by_order, rel=1e-9, abs=1e-12)


def test_entropy_of_many_components():
    # would catch underflow: probabilities of 2**-1000 and less
    even = support_entropy(2**16, 128)
    entropy, std = support_entropy(2**16, 128, rates=0.5, n_draws=50, return_std=True)
    nearly_even, _ = support_entropy(2**16, 128, rates=1e-6, n_draws=50, return_std=True)
    assert even == pytest.approx(math.log2(math.comb(2**16, 128)), rel=1e-10)
    assert nearly_even == pytest.approx(even, abs=1e-2)
    assert 0.8 * even < entropy < even and 0 < std < 0.01 * even
    # so steep that the support is certain
    assert support_entropy(300, 20, rates=1000.0, random_state=0) == pytest.approx(0, abs=1e-9)


def test_entropy_grows_with_freedom():
    m, k = 12, 3
    for name, values in (("rates", (0, 0.5, 1, 2)), ("correlation", (0, 0.3, 0.6, 0.9))):
        entropies = [support_entropy(m, k, **{name: value}) for value in values]
        assert entropies[0] == pytest.approx(math.log2(math.comb(m, k)))
        assert (np.diff(entropies) < 0).all()
    wider = [support_entropy(m, k, hierarchy=b) for b in (1, 2, 4, 12)]
    assert wider[0] == 0 and (np.diff(wider) > 0).all()
    assert support_entropy(m, k, hierarchy=10**30) == wider[-1]
    assert support_entropy(12, 4, correlation=1, group_size=4) == pytest.approx(math.log2(3))


@st.composite
def forests(draw):
    m = draw(st.integers(1, 20))
    parents = [draw(st.integers(-1, j - 1)) for j in range(m)]
    order = draw(st.permutations(range(m)))  # children may stand before their parents
    place = np.argsort(order)
    renamed = [-1 if parents[j] < 0 else int(place[parents[j]]) for j in order]
    return np.array(renamed)


@given(forests(), st.data())
@settings(deadline=None, max_examples=60)
def test_children_need_their_parents(parents, data):
    m = len(parents)
    k = data.draw(st.integers(1, m))
    law = dict(
        rates=data.draw(st.sampled_from([None, 1.0, 50.0])),
        correlation=data.draw(st.sampled_from([0.0, 0.5, 1.0])),
        group_size=data.draw(st.integers(1, m)),
        random_state=data.draw(st.integers(0, 2**31)),
    )
    codes = make_superposition(20, m, 4, k, hierarchy=parents, **law)[2]
    active = codes != 0
    assert (active.sum(axis=1) == k).all()
    has_parent = parents >= 0
    assert (active[:, parents[has_parent]] >= active[:, has_parent]).all()


def test_numbers_of_children():
    codes = make_superposition(500, 14, 4, 3, hierarchy=2, random_state=0)[2]
    active = codes > 0
    for child in range(14):
        parent = {0: None, 1: None, 2: 0, 3: 0, 4: 1, 5: 1}.get(child, child // 2 - 1)
        if parent is not None:
            assert active[active[:, child], parent].all() and active[:, child].any()
    chain = make_superposition(50, 14, 4, 3, hierarchy=1, random_state=0)[2]
    assert (chain[:, :3] > 0).all()


def test_correlation_is_within_groups():
    # the covariance of two indicators: positive in a group, and negative between groups
    def covariances(correlation):
        codes = make_superposition(
            20_000, 12, 4, 3, correlation=correlation, group_size=4, random_state=0
        )[2]
        C = np.corrcoef(codes > 0, rowvar=False)
        mates = np.kron(np.eye(3), np.ones((4, 4))) > 0
        return C[mates & ~np.eye(12, dtype=bool)].mean(), C[~mates].mean(), (codes > 0).mean(axis=0)

    within, between, rates = zip(*(covariances(c) for c in (1e-12, 0.3, 0.7, 1.0)))
    assert (np.diff(within) > 0.1).all() and (np.diff(between) < -0.01).all()
    assert within[0] == pytest.approx(between[0], abs=0.01)
    np.testing.assert_allclose(rates, 0.25, atol=0.015)  # marginals stay even


def test_blocks_are_filled_one_after_the_other():
    codes = make_superposition(200, 12, 4, 8, correlation=1, group_size=4, random_state=0)[2]
    assert set(np.unique((codes > 0).reshape(200, 3, 4).sum(axis=2))) == {0, 4}
    # the last group is shorter, and another one follows where the groups have no more to give
    codes = make_superposition(200, 5, 4, 3, correlation=1, group_size=4, random_state=0)[2]
    counts = (codes[:, :4] > 0).sum(axis=1)
    assert set(counts) == {2, 3} and (codes > 0).sum(axis=1).min() == 3


def test_the_law_of_supports_leaves_other_draws_alone():
    _, dictionary, codes = make_superposition(random_state=0)
    for law in (dict(hierarchy=3), dict(correlation=0.5), dict(rates=1)):
        X, D, Z = make_superposition(random_state=0, **law)
        assert (D == dictionary).all() and not (Z == codes).all()
        np.testing.assert_array_equal(np.sort(Z[Z > 0]), np.sort(codes[codes > 0]))
        noisy = make_superposition(noise=0.1, random_state=0, **law)[0] - X
        plain = make_superposition(noise=0.1, random_state=0)[0] - codes @ dictionary
        np.testing.assert_allclose(noisy, plain, atol=1e-12)
    ignored = make_superposition(group_size=2, random_state=0)[2]
    assert (ignored == codes).all()


def test_entropy_beside_the_data():
    plain = make_superposition(random_state=0)
    asked = make_superposition(random_state=0, return_entropy=True)
    assert len(plain) == 3 and len(asked) == 4
    for first, second in zip(plain, asked):
        assert (first == second).all()
    assert asked[3] == pytest.approx(math.log2(math.comb(16, 3)))
    law = dict(rates=1, hierarchy=4, correlation=0.2, group_size=3)
    beside = make_superposition(20, 16, 8, 3, random_state=0, return_entropy=True, **law)[3]
    assert beside == pytest.approx(support_entropy(16, 3, **law), abs=1e-12)
    estimate = make_superposition(20, 400, 8, 5, rates=1, random_state=0, return_entropy=True)[3]
    exact, std = support_entropy(400, 5, rates=1, return_std=True, random_state=1)
    assert abs(estimate - exact) < 4 * math.sqrt(2) * std


def test_draws_do_not_depend_on_the_size_of_blocks(monkeypatch):
    from skdict.datasets import _ensembles, _laws

    def draw():
        every = ("spherical", "gaussian", "rademacher")
        atoms = [make_superposition(9, 30, 8, 3, ensemble=e, random_state=0)[1] for e in every]
        return [*atoms, support_entropy(60, 4, rates=1, random_state=0)]

    whole = draw()
    monkeypatch.setattr(_ensembles, "BLOCK_ENTRIES", 8 * 8)
    monkeypatch.setattr(_laws, "BLOCK_ENTRIES", 60 * 7)
    for first, second in zip(whole, draw()):
        np.testing.assert_array_equal(first, second)


BOTH = [make_superposition, support_entropy]


@pytest.mark.parametrize("function", BOTH, ids=lambda function: function.__name__)
@pytest.mark.parametrize(
    "parameters, error, message",
    [
        ({"hierarchy": 0}, ValueError, "hierarchy=0 .* a number of children >= 1"),
        ({"hierarchy": True}, TypeError, "holds no integers"),
        ({"hierarchy": 2.0}, TypeError, "hierarchy=2.0 holds no integers"),
        ({"hierarchy": [[0], [1, 2]]}, TypeError, "holds no integers"),
        ({"hierarchy": [-1, 0]}, ValueError, r"shape \(2,\), but \(16,\)"),
        ({"hierarchy": [-2] * 16}, ValueError, r"a parent out of \[-1, 15\]"),
        ({"hierarchy": [16] * 16}, ValueError, r"a parent out of \[-1, 15\]"),
        ({"hierarchy": [*range(1, 16), 0]}, ValueError, "its own ancestor"),
        ({"hierarchy": [-1] * 15 + [15]}, ValueError, "its own ancestor"),
        ({"correlation": 1.1}, ValueError, r"correlation=1.1 .* a number in \[0, 1\]"),
        ({"correlation": "high"}, TypeError, "correlation='high' is not a number"),
        ({"correlation": 0.5, "group_size": 0}, ValueError, r"group_size=0 .* n_components=16\]"),
        ({"correlation": 0.5, "group_size": 17}, ValueError, "group_size=17"),
        ({"rates": -1}, ValueError, "rates=-1 is out of range"),
        ({"k": 17}, ValueError, "k=17 is out of range"),
    ],
)
def test_refusals_name_the_way_out(function, parameters, error, message):
    with pytest.raises(error, match=f"{function.__name__}: .*{message}"):
        function(**{"n_components": 16, "k": 3, **parameters})


@pytest.mark.parametrize(
    "parameters, error, message",
    [
        ({"n_draws": 1}, ValueError, "n_draws=1 is out of range"),
        ({"return_std": 1}, TypeError, "return_std=1 is not a boolean"),
        ({"n_components": 0}, ValueError, "n_components=0"),
        ({"k": 15, "hierarchy": 2}, ValueError, "k=15 exceeds 14. Choose smaller ones"),
        ({"rates": 300, "hierarchy": 2}, ValueError, "rates=300.0 leaves it"),
    ],
)
def test_refusals_of_the_entropy(parameters, error, message):
    with pytest.raises(error, match=f"support_entropy: .*{message}"):
        support_entropy(**{"n_components": 16, "k": 3, **parameters})
    if "hierarchy" in parameters:
        data = {"n_components": 16, "k": 3, "random_state": 0, **parameters}
        assert len(make_superposition(5, **data)) == 3
        with pytest.raises(error, match=r"make_superposition: .* return_entropy=False"):
            make_superposition(5, return_entropy=True, **data)
    assert support_entropy(16, 16, hierarchy=2) == 0


def test_supports_of_all_sizes_have_an_entropy():
    for m, k in itertools.product(range(1, 6), range(1, 6)):
        if k <= m:
            law = dict(rates=1, hierarchy=2, correlation=0.5, group_size=1)
            assert 0 <= support_entropy(m, k, **law) <= math.log2(math.comb(m, k)) + 1e-12
