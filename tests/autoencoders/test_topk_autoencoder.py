"""What is particular to TopK autoencoders (Gao et al., arXiv 2406.04093)."""

import numpy as np
import pytest
from estimators import data, small
from hypothesis import given, settings
from hypothesis import strategies as st

from skdict import SparseAutoencoder, TopKAutoencoder
from skdict.autoencoders import topk as module
from skdict.autoencoders.topk import TopKEncoder
from skdict.datasets import make_superposition
from skdict.metrics import explained_variance
from skdict.terms import Reconstruction


class WithoutAuxK(TopKAutoencoder):
    """The same estimator without the revival of dead latents."""

    def _parts(self, n_components, unit):
        return TopKEncoder(self.k), [Reconstruction()]


@settings(max_examples=20)
@given(k=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_at_most_k_codes_and_none_negative(k, seed):
    # Catches a selection of more than k, and one without the ReLU after it.
    X = data(seed=seed)
    codes = TopKAutoencoder(12, k=k, max_iter=2, random_state=0).fit(X).transform(X)
    assert (codes != 0).sum(axis=1).max() <= k
    assert codes.min() >= 0


def test_codes_are_the_largest_pre_activations():
    # Catches a selection by magnitude, or before the bias is added.
    X = data()
    sae = small(TopKAutoencoder, max_iter=20).fit(X)
    A = (X - sae.decoder_bias_) @ sae.encoder_.T + sae.encoder_bias_
    kth = np.sort(A, axis=1)[:, -sae.k, None]
    np.testing.assert_allclose(sae.transform(X), np.where(A >= kth, np.maximum(A, 0), 0))


def test_k_equal_to_n_components_is_a_relu(monkeypatch):
    # Catches gradients of TopK that differ from ReLU's where nothing is left out.
    X = data(300)
    shared = {"max_iter": 10, "dead_after": 10**6, "learning_rate": 3e-3}
    monkeypatch.setattr(module, "FIRST_NORM", 1.0)
    topk = small(TopKAutoencoder, k=16, **shared).fit(X)
    relu = small(SparseAutoencoder, alpha=0.0, **shared).fit(X)
    for name in ("components_", "encoder_", "encoder_bias_", "decoder_bias_"):
        np.testing.assert_allclose(getattr(topk, name), getattr(relu, name), atol=1e-8)
    np.testing.assert_allclose(topk.transform(X), relu.transform(X), atol=1e-8)


def test_encoder_starts_as_half_the_transposed_decoder():
    # Catches another direction, with which many latents begin dead, and a norm of one, with which
    # the k best of many overlapping atoms overshoot.
    X = np.random.default_rng(0).standard_normal((500, 64))
    sae = TopKAutoencoder(512, k=32, learning_rate=1e-12, max_iter=1, random_state=0).fit(X)
    np.testing.assert_allclose(sae.encoder_, 0.5 * sae.components_, atol=1e-9)
    of_norm_one = sae.inverse_transform(2 * sae.transform(X))
    assert sae.score(X) > explained_variance(X, of_norm_one)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_auxk_revives_dead_latents(seed):
    # Catches an AuxK whose gradient does not reach the dead: the living alone are too few.
    X, _, _ = make_superposition(4000, 32, 16, 3, random_state=seed)
    shared = {"k": 3, "dead_after": 1000, "random_state": seed}
    shared |= {"learning_rate": 2e-3, "weight_decay": 0.0}  # which let latents die on their own
    silent = {}
    for cls in (TopKAutoencoder, WithoutAuxK):
        sae = cls(64, **shared, max_iter=1).fit(X)
        sae.encoder_[:48] *= 0.02  # never among the k largest, though often positive
        sae.set_params(warm_start=True, max_iter=40).fit(X)
        silent[cls] = np.mean(np.all(sae.transform(X) == 0, axis=0))
    assert silent[WithoutAuxK] >= 0.6
    assert silent[TopKAutoencoder] < 0.75 * silent[WithoutAuxK]


def test_a_larger_k_explains_more():
    # Catches a k that the fit does not use.
    X, _, _ = make_superposition(2000, 32, 16, 6, random_state=0)
    scores = [TopKAutoencoder(32, k=k, max_iter=30, random_state=0).fit(X).score(X) for k in (1, 4)]
    assert scores[0] + 0.1 < scores[1]
