"""The reproduction of the bitrates of superposition codes, and its own decoders."""

import os
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from skdict.datasets import support_entropy

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "examples" / "papers"
sys.path.insert(0, str(SCRIPTS))

import bitrate_coders as coders  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bitrates")
    text = subprocess.run(
        [sys.executable, str(SCRIPTS / "bitrates.py"), "--output", str(folder)],
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    ).stdout
    assert (folder / "bitrates.txt").read_text("utf-8") == text
    assert (folder / "bitrates.png").stat().st_size > 10_000
    return text


def halves(printed, bits, k):
    """Dimensions per bit at 50 %, by decoder; where a decoder stands twice, the last."""
    rows = re.findall(rf"^ +2\^{bits} +{k} +[\d.]+  (\S.*?) +([\d.]+) \[", printed, re.M)
    return {name: float(value) for name, value in rows}


def test_orders_that_the_page_claims(printed):
    # would catch decoders mixed up, and a page that is no longer true
    for bits in (10, 12):
        half = halves(printed, bits, 8)
        assert half["threshold 1/2"] > 1.5 * half["top-k"] > 3 * half["MP"]
        assert 0.7 < half["MP"] < 1.1 and half["lasso"] < half["MP"]
        assert half["AMP"] < half["MP"] and half["log penalty"] < half["MP"]
        assert half["beam of 32"] < half["beam of 8"] < half["MP"]


def test_acceptance_and_the_codeword_of_another_dictionary(printed):
    # would catch a wrong entropy, and a pursuit that explains what it has not seen
    assert printed.count("yes") >= 5 and not re.search(r"\bno\b", printed)
    steps = float(re.search(r": ([\d.]+) \+- [\d.]+ steps explain 80 %", printed)[1])
    rate = 2 * np.log(2**14) / 128  # of the energy that is left, a step explains at most about this
    assert 1 < steps / (np.log(5) / -np.log(1 - rate)) < 1.5


def problem(seed, shape=(40, 24), k=3, n_samples=6):
    rng = np.random.default_rng(seed)
    D = rng.choice([-1.0, 1.0], shape) / np.sqrt(shape[1])
    active = np.stack([rng.choice(shape[0], k, replace=False) for _ in range(n_samples)])
    return D[active].sum(axis=1), D, active


@pytest.mark.parametrize("seed", range(5))
def test_the_widest_beam_is_an_exhaustive_search(seed):
    # would catch sets lost or met twice, and residuals of the wrong parent
    # With all single atoms kept, all pairs are looked at.
    X, D = gaussian(seed, 6, 4)
    pairs = [list(pair) for pair in combinations(range(6), 2)]
    best = [min(pairs, key=lambda pair: np.sum((x - D[pair].sum(axis=0)) ** 2)) for x in X]
    found = coders.beam_search(6)(X, D, 2)
    assert [np.flatnonzero(z).tolist() for z in found] == best


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_one_is_the_pursuit_of_ones(seed):
    # would catch gains that ignore the residual, and atoms selected again
    X, D = gaussian(seed, 40, 8)
    assert (coders.beam_search(1)(X, D, 3) == coders.pursuit_of_ones(X, D, 3)).all()


def test_a_beam_holds_different_sets():
    # would catch the same pair kept twice, once for each order of its atoms
    (x, *_), D = gaussian(0, 6, 4)
    singles = np.arange(6)[:, None]
    parents, atoms = coders._extensions(singles, x - D, D, 15)
    assert {frozenset(pair) for pair in zip(parents, atoms, strict=True)} == {
        frozenset(pair) for pair in combinations(range(6), 2)
    }


def gaussian(seed, n_components, n_features):
    """Samples that are sums of no atoms, and atoms without ties."""
    rng = np.random.default_rng(seed)
    D = rng.standard_normal((n_components, n_features))
    X = rng.standard_normal((20, n_features))
    return X, D / np.linalg.norm(D, axis=1, keepdims=True)


@pytest.mark.parametrize("decode", [coders.pursuit_of_ones, coders.message_passing,
                                    coders.beam_search(4), coders.above_half])  # fmt: skip
def test_decoders_find_supports_in_many_dimensions(decode):
    # would catch decoders that fail where nothing is in the way
    X, D, active = problem(0, shape=(60, 800))
    Z = decode(X, D, 3)
    truth = np.zeros_like(Z)
    np.put_along_axis(truth, active, 1.0, axis=1)
    np.testing.assert_allclose(Z, truth, atol=1e-6)


def test_message_passing_denoises_as_bayes_does():
    # would catch a wrong sign or place of the prior, by simulation of what the posterior mean is of
    rng = np.random.default_rng(0)
    x = rng.random(1_000_000) < 0.2
    v = x + 0.4 * rng.standard_normal(x.size)
    for low in (-0.5, 0.2, 0.5, 0.8):
        near = abs(v - low) < 0.02
        mean = coders.posterior_mean(np.array([low]), 0.16, 0.2)[0]
        assert mean == pytest.approx(x[near].mean(), abs=0.02)


def test_correction_of_message_passing():
    # would catch a missing Onsager term: without it errors feed back, and fewer are found
    X, D, active = problem(3, shape=(2000, 70), k=6, n_samples=60)
    Z = coders.message_passing(X, D, 6)
    found = np.sort(np.argsort(-Z, axis=1)[:, :6], axis=1)
    assert (found == np.sort(active, axis=1)).all(axis=1).mean() > 0.8


def test_sign_atoms_are_one_dictionary():
    # would catch bits in the wrong order, padding that leaks, and blocks that lose their place
    atoms = coders.SignAtoms(50, 21, np.random.default_rng(0), block=16)
    D = atoms.rows(np.arange(50))
    assert set(np.unique(np.sign(D))) == {-1.0, 1.0}
    np.testing.assert_allclose((D**2).sum(axis=1), 1, rtol=1e-5)
    X = np.random.default_rng(1).standard_normal((4, 21)).astype(np.float32)
    C = np.hstack([block for _, block in atoms.correlations(X)])
    np.testing.assert_allclose(C, X @ D.T, atol=1e-5)
    assert (atoms.most_correlated(X) == C.argmax(axis=1)).all()
    assert (atoms.most_correlated(X, signed=False) == np.abs(C).argmax(axis=1)).all()
    assert (atoms.largest(X, 5) == np.sort(np.argsort(-C, axis=1)[:, :5], axis=1)).all()


def test_pursuits_over_sign_atoms():
    # would catch steps that do not subtract, and a residual that is not orthogonal
    from sklearn.linear_model import orthogonal_mp

    atoms = coders.SignAtoms(64, 30, np.random.default_rng(0))
    D = atoms.rows(np.arange(64)).astype(float)
    X = np.random.default_rng(1).standard_normal((5, 30))
    steps = coders.steps_to_explain(atoms, X, 0.8)
    for x, n in zip(X, steps, strict=True):
        left = [np.sum((x - orthogonal_mp(D.T, x, n_nonzero_coefs=m) @ D) ** 2) for m in (n - 1, n)]
        assert left[1] <= 0.2 * np.sum(x**2) < left[0]
    active = np.array([[3, 60], [0, 7]])
    sums = D[active].sum(axis=1).astype(np.float32)
    assert (coders.pursuit_supports(atoms, sums, 2) == active).all()


@pytest.mark.parametrize(("n_components", "k"), [(2**12, 8), (2**16, 16)])
def test_bounds_are_in_their_order(n_components, k):
    # would catch rules in bits or for another k, and a bisection that ends on the wrong side
    H = support_entropy(n_components, k)
    limit = coders.message_passing_limit(n_components, k)
    assert coders.counting_bound(k) < limit / H < coders.pursuit_rule(n_components, k) / H
    assert coders.top_k_rule(n_components, k) < coders.threshold_rule(n_components, k)
    assert coders.message_passing_limit(n_components, 2 * k) > limit


def test_counting_bound_of_few_signs():
    # by hand: one sign is one bit; two signs sum to -2, 0, 2 with 1/4, 1/2, 1/4, which is 1.5
    assert coders.counting_bound(1) == pytest.approx(1)
    assert coders.counting_bound(2) == pytest.approx(1 / 1.5)
