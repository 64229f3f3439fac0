"""Repair of shrunk codes: moments, least squares with the encoder held, what stays as it was."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from numpy.testing import assert_allclose
from scipy.optimize import lsq_linear
from strategies import streams, unit_dictionary

from skdict import SparseAutoencoder, repair
from skdict.datasets import make_superposition
from skdict.metrics import shrinkage


def drawn(rng, n=60, m=5, d=7):
    Z = np.maximum(rng.standard_normal((n, m)), 0)
    D = unit_dictionary(rng, m, d)
    X = 2 * Z @ D + 0.3 * rng.standard_normal((n, d)) + rng.standard_normal(d)
    return (
        Z,
        D,
        X,
        repair.Moments.of([(sp.csr_array(Z[:20]), X[:20]), (sp.csr_array(Z[20:]), X[20:])]),
    )


@settings(max_examples=20)
@given(rng=streams)
def test_moments(rng):
    # would catch: blocks that count twice, a shrinkage that is not the metric's
    Z, D, X, moments = drawn(rng)
    both = np.cov(np.hstack([Z, X]), rowvar=False, bias=True)
    assert_allclose(moments.zz, both[:5, :5], atol=1e-12)
    assert_allclose(moments.zx, both[:5, 5:], atol=1e-12)
    bias = rng.standard_normal(7)
    assert moments.shrinkage(D, bias) == pytest.approx(shrinkage(X, Z @ D + bias), rel=1e-9)
    unexplained = np.var(X - Z @ D, axis=0).sum()
    assert moments.unexplained(D) == pytest.approx(unexplained, rel=1e-9)


@settings(max_examples=20)
@given(rng=streams)
def test_scales_are_least_squares(rng):
    # would catch: a wrong system, a negative scale that is merely cut off
    Z, D, X, moments = drawn(rng)
    if rng.random() < 0.5:
        D = np.concatenate([D[:-1], -D[:1]])  # one atom against another: its scale is zero
    s = repair.scales(moments, D)
    centred = Z - Z.mean(axis=0)
    design = np.stack([np.outer(centred[:, j], D[j]).ravel() for j in range(5)], axis=1)
    target = (X - X.mean(axis=0)).ravel()
    # With a ridge towards one: the variance of an entry's residual over that of a factor.
    weight = np.sqrt(np.var(X - Z @ D, axis=0).mean()) / repair.SCALES_WITHIN
    design = np.vstack([design, weight * np.eye(5)])
    target = np.concatenate([target, np.full(5, weight)])
    expected = lsq_linear(design, target, bounds=(0, np.inf), method="bvls").x
    assert (s >= 0).all()
    best, ours = (np.sum((design @ each - target) ** 2) for each in (expected, s))
    assert ours <= best * (1 + 1e-4)
    if (expected > 0.05).all():
        assert_allclose(s, expected, rtol=1e-3)


@settings(max_examples=20)
@given(rng=streams)
def test_decoder_is_least_squares(rng):
    # would catch: a bias that is left out, an atom of a latent that never fires that is lost
    Z, D, X, _ = drawn(rng)
    Z[:, 0] = 0
    moments = repair.Moments.of([(sp.csr_array(Z), X)])
    new = repair.decoder(moments, D)
    centred, weight = Z[:, 1:] - Z[:, 1:].mean(axis=0), np.sqrt(np.var(X - Z @ D, axis=0).sum())
    weight /= repair.ATOMS_WITHIN
    design = np.vstack([centred, weight * np.eye(4)])
    target = np.vstack([X - X.mean(axis=0), weight * D[1:]])
    expected = np.linalg.lstsq(design, target, rcond=None)[0]
    assert_allclose(new[1:], expected, rtol=1e-3, atol=1e-4)
    assert_allclose(new[0], D[0], rtol=1e-12)
    assert_allclose(moments.bias(new), X.mean(axis=0) - Z.mean(axis=0) @ new, rtol=1e-9)


def test_rare_latents_do_not_ruin_rows_that_were_not_seen():
    # Catches factors in the hundreds, of latents that fired a few times (explained variance -152).
    X = make_superposition(2300, 256, 32, 3, noise=0.1, rates=1.0, random_state=1)[0]
    options = {"alpha": 1.0, "max_iter": 150, "random_state": 0}
    plain, scale, decoder = (
        SparseAutoencoder(256, repair=how, **options).fit(X[:300]).score(X[300:]) for how in REPAIRS
    )
    assert scale > plain - 0.1 and decoder > plain


def problem(seed=0):
    return make_superposition(3000, 24, 12, 3, random_state=seed)[0] + 1.5


SETTINGS = {"alpha": 0.6, "max_iter": 30, "random_state": 0}


@pytest.mark.parametrize("how", ["scale", "decoder"])
@pytest.mark.parametrize("hidden", [None, 30])
def test_repair_holds_the_support_and_ends_the_shrinkage(how, hidden):
    # would catch: a repair of other rows, one that moves the encoder, atoms that lose their norm
    X = problem()
    plain = SparseAutoencoder(24, encoder_hidden=hidden, **SETTINGS).fit(X)
    sae = SparseAutoencoder(24, encoder_hidden=hidden, repair=how, **SETTINGS).fit(X)
    assert not hasattr(plain, "shrinkage_")
    before, after = sae.shrinkage_
    Z, Z_plain = sae.transform(X), plain.transform(X)
    assert before == pytest.approx(shrinkage(X, plain.inverse_transform(Z_plain)), rel=1e-3)
    assert after == pytest.approx(shrinkage(X, sae.inverse_transform(Z)), rel=1e-3)
    assert before < 0.9 and after == pytest.approx(1, abs=1e-3)
    differ = np.mean((Z > 0) != (Z_plain > 0))
    assert differ < 1e-4  # rounding alone
    assert sae.score(X) > plain.score(X) + 0.01
    assert_allclose(np.linalg.norm(sae.components_, axis=1), 1, rtol=1e-6)
    if how == "scale":
        assert_allclose(sae.components_, plain.components_, rtol=1e-12)


def test_a_decoder_explains_more_than_scales():
    # would catch: a solution that is not the best of its kind
    X = problem()
    scores = [SparseAutoencoder(24, repair=how, **SETTINGS).fit(X).score(X) for how in REPAIRS]
    assert scores[0] < scores[1] <= scores[2] + 1e-9


REPAIRS = (None, "scale", "decoder")


def test_repair_can_be_searched_and_float32_stays():
    # would catch: parameters that leave fit in another dtype
    from sklearn.model_selection import GridSearchCV

    X = problem().astype(np.float32)
    search = GridSearchCV(
        SparseAutoencoder(24, **{**SETTINGS, "max_iter": 10}), {"repair": REPAIRS}
    )
    best = search.fit(X).best_estimator_
    assert best.repair is not None
    assert best.components_.dtype == best.encoder_.dtype == best.decoder_bias_.dtype == np.float32


def test_repair_needs_rows_that_can_be_read_again():
    # would catch: a repair of nothing
    sae = SparseAutoencoder(24, repair="scale", max_iter=1)
    with pytest.raises(ValueError, match=r"SparseAutoencoder: repair='scale' .* repair=None"):
        sae.fit(iter([problem()]), n_samples=3000)
    assert not hasattr(sae, "components_")
