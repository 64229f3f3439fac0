"""What is particular to ReLU autoencoders under an L1 penalty (Bricken et al. 2023)."""

import warnings

import numpy as np
import pytest
from estimators import data, each_estimator, small

from skdict import GatedAutoencoder, SparseAutoencoder
from skdict.datasets import make_superposition
from skdict.metrics import mean_l0, shrinkage

penalised = pytest.mark.parametrize("cls", [SparseAutoencoder, GatedAutoencoder])


def superposition(n_samples=3000, seed=0):
    return make_superposition(n_samples, 24, 12, 3, random_state=seed)[0]


@each_estimator
def test_atoms_have_unit_norm(make):
    # Catches a penalty that is escaped by long atoms: every learned dictionary is normalised.
    for X in (data(), 1e3 * data()):
        norms = np.linalg.norm(make().fit(X).partial_fit(X).components_, axis=1)
        np.testing.assert_allclose(norms, 1, rtol=1e-12)


def test_codes_are_shrunk():
    # Catches a penalty that does not act on the codes: with it reconstructions are too short.
    X = superposition()
    gammas = []
    for alpha in (0.0, 0.3, 0.8):
        sae = SparseAutoencoder(24, alpha=alpha, max_iter=60, random_state=0).fit(X)
        gammas.append(shrinkage(X, sae.inverse_transform(sae.transform(X))))
    assert gammas[0] == pytest.approx(1, abs=0.02)
    assert 0.95 > gammas[1] > gammas[2] + 0.02


def test_one_atom_is_short_by_alpha():
    # Catches another scale of alpha, a factor of two or n_features for instance (methods.md B.3):
    # a code on its own is the least-squares code less alpha * scale_.
    rng = np.random.default_rng(0)
    X = np.zeros((2000, 3))
    X[::2] = np.array([0.6, 0.0, 0.8]) * rng.uniform(4, 5, (1000, 1))
    alpha = 0.25
    sae = SparseAutoencoder(1, alpha=alpha, max_iter=1, learning_rate=3e-3, warm_start=True)
    sae.fit(X)
    sae.components_[:] = sae.encoder_[:] = np.array([0.5, 0.1, 0.8])
    sae.set_params(max_iter=400).fit(X)
    A = X[::2]
    codes = sae.transform(A)[:, 0]
    residual = (A - sae.inverse_transform(sae.transform(A))) @ sae.components_[0]
    assert codes.min() > 0
    assert residual.mean() == pytest.approx(alpha * sae.scale_, rel=0.1)


@penalised
def test_a_larger_alpha_gives_sparser_codes(cls):
    # Catches a penalty of the wrong sign or on the wrong head.
    X = superposition()
    l0 = []
    for alpha in (0.05, 0.2, 0.8, 2.0):
        sae = cls(24, alpha=alpha, max_iter=40, random_state=0).fit(X)
        l0.append(mean_l0(sae.transform(X)))
    assert np.all(np.diff(l0) < 0)


@penalised
def test_vanishing_codes_bring_one_warning_with_the_way_out(cls):
    # Catches a fit without any code that says nothing, or names an alpha that would not do.
    X = superposition(1000)
    shared = {"max_iter": 200, "learning_rate": 0.03, "batch_size": 100, "random_state": 0}
    message = f"{cls.__name__}: all codes are zero with alpha=30.* smaller alpha: from "
    with pytest.warns(UserWarning, match=message) as seen:
        sae = cls(24, alpha=30.0, **shared).fit(X)
    assert len(seen) == 1 and seen[0].filename == __file__
    assert not sae.transform(X).any() and sae.dead_latents_.dtype == bool
    limit = float(str(seen[0].message).split("from ")[1].split(" ")[0])
    Xc = (X - sae.decoder_bias_) / sae.scale_
    assert limit == pytest.approx(np.linalg.norm(Xc, axis=1).max(), rel=1e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cls(24, alpha=0.1, **shared).fit(X).transform(X).any()


@penalised
def test_resampling_revives_dead_latents(cls):
    # Catches resampling that is off, or whose latents die at once.
    X = superposition()
    shared = {"alpha": 0.3, "dead_after": 2000, "random_state": 0}
    dead = {}
    for resample in (False, True):
        sae = cls(48, **shared, max_iter=1, resample_dead=resample).fit(X)
        for name in ("encoder_bias_", "gate_bias_"):
            if hasattr(sae, name):
                getattr(sae, name)[:24] -= 100 * sae.scale_
        sae.set_params(warm_start=True, max_iter=60).fit(X)
        dead[resample] = np.mean(np.all(sae.transform(X) == 0, axis=0))
        assert np.mean(sae.dead_latents_) == pytest.approx(dead[resample], abs=0.1)
    assert dead[False] >= 0.5
    assert dead[True] < 0.1


def test_alpha_warms_up():
    # Catches a penalty at full strength from the first step, or one that never gets there.
    X = superposition(1000)
    shared = {"alpha": 1.0, "max_iter": 1, "batch_size": 1000, "learning_rate": 1e-9}
    losses = {
        warmup: small(SparseAutoencoder, **shared, warmup=warmup).fit(X).loss_curve_[0]
        for warmup in (0, 1, 2, 10**6)
    }
    without = small(SparseAutoencoder, **{**shared, "alpha": 0.0}).fit(X).loss_curve_[0]
    assert losses[0] == losses[1]
    assert losses[2] - without == pytest.approx((losses[1] - without) / 2, rel=1e-3)
    assert losses[10**6] == pytest.approx(without, rel=1e-3)
