"""Updates of a dictionary with the codes held: none makes the reconstruction worse."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import streams, unit_dictionary

from skdict import dictionary_updates
from skdict.dictionary_updates import KSVD, MOD, Online, replace

UPDATES = {
    "online": Online,
    "mod": MOD,
    "ksvd": KSVD,
    "aksvd": lambda positive=False: KSVD(positive, approximate=True),
}
each_update = pytest.mark.parametrize("make", UPDATES.values(), ids=UPDATES)


@st.composite
def held_codes(draw, positive=False):
    """Samples, unit atoms and sparse codes that reconstruct them badly."""
    rng = draw(streams)
    n, m, d = draw(st.integers(3, 30)), draw(st.integers(2, 8)), draw(st.integers(2, 6))
    Z = rng.standard_normal((n, m)) * (rng.uniform(size=(n, m)) < 0.4)
    D = unit_dictionary(rng, m, d)
    X = rng.standard_normal((n, d))
    if positive:
        X, Z, D = np.abs(X), np.abs(Z), np.abs(D)
    return X, D, Z


def least(X, D, Z):
    """The squared error with the best codes on the supports of Z."""
    error = 0.0
    for x, z in zip(X, Z, strict=True):
        chosen = np.flatnonzero(z)
        error += np.sum((x - np.linalg.lstsq(D[chosen].T, x)[0] @ D[chosen]) ** 2)
    return error


@each_update
@settings(max_examples=40)
@given(problem=held_codes())
def test_never_worse_on_the_same_supports(make, problem):
    # would catch: a wrong sign, a residual that does not follow the atoms before
    X, D, Z = problem
    update = make()
    new = update.update(D.copy(), X, sp.csr_array(Z), update.init(D))
    np.testing.assert_allclose(np.linalg.norm(new, axis=1), 1, rtol=1e-12)
    unused = ~Z.any(axis=0)
    np.testing.assert_array_equal(new[unused], D[unused])
    assert least(X, new, Z) <= np.sum((X - Z @ D) ** 2) * (1 + 1e-9) + 1e-9


@settings(max_examples=40)
@given(problem=held_codes())
def test_online_is_never_worse_with_the_codes_as_they_are(problem):
    # would catch: statistics of other samples, a step that is too long
    X, D, Z = problem
    new = Online().update(D.copy(), X, sp.csr_array(Z), Online().init(D))
    assert np.sum((X - Z @ new) ** 2) <= np.sum((X - Z @ D) ** 2) * (1 + 1e-9) + 1e-9


@settings(max_examples=40)
@given(problem=held_codes(), cuts=st.lists(st.integers(0, 30), max_size=4), power=st.floats(0, 5))
def test_online_statistics_do_not_know_of_batches(problem, cuts, power):
    # would catch: a short batch that counts as much as a full one
    X, D, Z = problem
    edges = sorted({0, len(X), *(cut for cut in cuts if cut < len(X))})
    update, state = Online(), Online().init(D)
    before, dictionary_updates.FORGETTING = dictionary_updates.FORGETTING, power
    try:
        for start, stop in itertools.pairwise(edges):
            update.update(D.copy(), X[start:stop], sp.csr_array(Z[start:stop]), state)
    finally:
        dictionary_updates.FORGETTING = before
    ends = np.repeat(edges[1:], np.diff(edges))
    weights = (ends / len(X)) ** power
    np.testing.assert_allclose(state["codes"], (Z.T * weights) @ Z, atol=1e-9)
    np.testing.assert_allclose(state["samples"], (Z.T * weights) @ X, atol=1e-9)
    assert state["n"] == len(X)


@settings(max_examples=40)
@given(problem=held_codes())
def test_mod_is_least_squares(problem):
    # would catch: a system of other samples, rows that are mixed up
    X, D, Z = problem
    used = Z.any(axis=0)
    assume(used.any() and np.linalg.cond(Z[:, used]) < 1e3)
    new = MOD().update(D.copy(), X, sp.csr_array(Z), {})[used]
    best = np.linalg.lstsq(Z[:, used], X)[0]
    norms = np.linalg.norm(best, axis=1)
    far = norms > 1e-6
    off = np.linalg.norm(new[far] - (best / norms[:, None])[far], axis=1)
    # what the ridge moves a solution by, at most
    s = np.linalg.svd(Z[:, used], compute_uv=False)
    ridge = dictionary_updates.RIDGE * np.mean(s**2)
    moved = ridge / s[-1] ** 2 * np.linalg.norm(best)
    assert np.all(off <= 2 * moved / norms[far] + 1e-7)


def test_ksvd_of_one_atom_is_the_first_singular_vector():
    # would catch: another vector, or that of the wrong side
    rng = np.random.default_rng(0)
    for n, d in ((20, 5), (4, 9)):
        X, z = rng.standard_normal((n, d)), rng.uniform(1, 2, (n, 1))
        D = unit_dictionary(rng, 1, d)
        new = KSVD().update(D.copy(), X, sp.csr_array(z), {})
        right = np.linalg.svd(X)[2][0]
        np.testing.assert_allclose(abs(new[0] @ right), 1, rtol=1e-10)
        near = KSVD(approximate=True).update(D.copy(), X, sp.csr_array(z), {})
        np.testing.assert_allclose(near[0], X.T @ z[:, 0] / np.linalg.norm(X.T @ z[:, 0]))


@each_update
@settings(max_examples=30)
@given(problem=held_codes(positive=True))
def test_positive_atoms(make, problem):
    # would catch: a projection before the norm is taken, or none
    X, D, Z = problem
    update = make(positive=True)
    new = update.update(D.copy(), X, sp.csr_array(Z), update.init(D))
    assert new.min() >= 0
    np.testing.assert_allclose(np.linalg.norm(new, axis=1), 1, rtol=1e-12)


def test_replaced_atoms_are_badly_coded_samples():
    # would catch: well coded samples, one sample for two atoms, or for one that was fitted to it
    rng = np.random.default_rng(0)
    X, D = rng.standard_normal((30, 6)), unit_dictionary(rng, 5, 6)
    coded = np.where(np.arange(30)[:, None] < 4, 0, X)
    coded[10:] *= rng.uniform(0.1, 2, (20, 1))  # by codes that an update has outdated
    new = D.copy()
    assert replace(new, X, coded, np.array([1, 3, 4]), rng) == 3
    np.testing.assert_array_equal(new[[0, 2]], D[[0, 2]])
    units = X[:4] / np.linalg.norm(X[:4], axis=1, keepdims=True)
    cosines = new[[1, 3, 4]] @ units.T
    np.testing.assert_allclose(cosines.max(axis=1), 1)
    assert len(set(cosines.argmax(axis=1))) == 3
    assert replace(new, X, X, np.array([1]), rng) == 0
