"""What is particular to gated autoencoders (Rajamanoharan et al., arXiv 2404.16014)."""

import numpy as np
import pytest
from estimators import data, small

from skdict import GatedAutoencoder, SparseAutoencoder
from skdict.datasets import make_superposition
from skdict.metrics import mean_l0, shrinkage


def test_tied_gate_is_a_jump_relu():
    # Catches a gate that is not tied to the magnitudes (methods.md B.4: M > max(theta, 0)).
    X = data(500)
    sae = small(GatedAutoencoder, max_iter=60, learning_rate=0.01).fit(X)
    factor = np.exp(sae.magnitude_log_scale_)
    M = (X - sae.decoder_bias_) @ (factor[:, None] * sae.encoder_).T + sae.encoder_bias_
    theta = sae.encoder_bias_ - factor * sae.gate_bias_
    np.testing.assert_allclose(sae.transform(X), np.where(M > np.maximum(theta, 0), M, 0))
    assert np.abs(sae.magnitude_log_scale_).min() > 0  # every parameter was trained
    assert np.abs(sae.gate_bias_).min() > 0


def test_magnitudes_are_hardly_shrunk():
    # Catches a penalty that reaches the magnitudes: at like L0, gamma is close to one, above L1's.
    X, _, _ = make_superposition(5000, 32, 16, 3, random_state=0)
    found = {}
    for cls, alpha in ((SparseAutoencoder, 0.6), (GatedAutoencoder, 0.9)):
        sae = cls(32, alpha=alpha, max_iter=80, random_state=0).fit(X)
        codes = sae.transform(X)
        found[cls] = shrinkage(X, sae.inverse_transform(codes)), mean_l0(codes), sae.score(X)
    (l1_gamma, l1_l0, l1_score), (gamma, l0, score) = found.values()
    assert l0 == pytest.approx(l1_l0, rel=0.35)
    assert gamma > 0.97 and gamma > l1_gamma + 0.03
    assert score > l1_score


def test_the_auxiliary_loss_does_not_move_the_decoder():
    # Catches a gradient of the auxiliary loss that reaches atoms although they are held: with a
    # closed magnitude path nothing else could move them.
    X = data()
    sae = small(GatedAutoencoder, max_iter=1).fit(X)
    sae.encoder_bias_[:] = -1e6
    atoms = sae.components_.copy()
    encoder = sae.encoder_.copy()
    sae.partial_fit(X)
    np.testing.assert_allclose(sae.components_, atoms, atol=1e-12)
    assert np.abs(sae.encoder_ - encoder).max() > 1e-6
