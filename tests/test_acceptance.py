"""What the library promises to reach: known dictionaries recovered, real activations explained."""

import numpy as np
import pytest

from skdict import TopKAutoencoder
from skdict.datasets import make_superposition
from skdict.metrics import dead_fraction, dictionary_match

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("sizes, at_least", [((32, 16, 3), 0.90), ((64, 32, 3), 0.93)])
def test_topk_recovers_a_known_dictionary(sizes, at_least, record_property):
    # Catches training that no longer finds the truth (methods.md C.9: cosine > 0.9, five seeds).
    n_components, n_features, k = sizes
    recovered = []
    for seed in range(5):
        X, truth, _ = make_superposition(20_000, n_components, n_features, k, random_state=seed)
        sae = TopKAutoencoder(n_components, k=k, random_state=seed).fit(X)
        recovered.append(dictionary_match(sae.components_, truth, threshold=0.9).recovery_rate)
    record_property("recovered", recovered)
    print(f"{sizes}: recovered {np.mean(recovered):.3f}, by seed {np.round(recovered, 3)}")
    assert np.mean(recovered) >= at_least


def test_topk_explains_minilm_tokens(data_folder, record_property):
    # Catches training that explains less of real activations, or leaves latents dead (issue 2).
    files = [data_folder / f"minilm_layer3_{part}.npy" for part in ("train", "test")]
    for file in files:
        if not file.exists():
            pytest.skip(f"no real data: {file} does not exist (set $SKDICT_DATA)")
    train, test = (np.load(file).astype(np.float32) for file in files)
    sae = TopKAutoencoder(n_components=2048, k=32, max_iter=6, random_state=0).fit(train)
    explained, dead = sae.score(test), np.mean(sae.dead_latents_)
    silent = dead_fraction(sae.transform(train))
    record_property("explained_variance", explained)
    print(f"held-out explained variance {explained:.4f}, dead {dead:.4f}, silent {silent:.4f}")
    assert explained >= 0.775
    assert dead < 0.01 and silent < 0.01
