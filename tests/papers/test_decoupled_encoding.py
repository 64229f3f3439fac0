"""The reproduction with encoding apart from learning says what its page says; its measures too."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from skdict import MatchingPursuitCoder, TopKAutoencoder
from skdict.datasets import make_superposition
from skdict.metrics import mean_l0

PAPERS = Path(__file__).parents[2] / "examples" / "papers"
sys.path.insert(0, str(PAPERS))
import decoupled_encoding as script  # noqa: E402
import decoupled_probes as measures  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoupled")
    text = subprocess.run(
        [sys.executable, str(PAPERS / "decoupled_encoding.py"), "--output", str(folder)],
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    ).stdout
    assert (folder / "decoupled_encoding.txt").read_text("utf-8") == text
    assert (folder / "decoupled_encoding.png").stat().st_size > 10_000
    return text


def rows_of(printed, title):
    """Dictionary -> encoder -> number, of the table with this title."""
    head, *lines = printed.split(f"{title}\n", 1)[1].split("\n+-", 1)[0].split("\n")
    names = re.split(r" {2,}", head)[1:]
    rows = {}
    for line in lines:
        name, *numbers = line.split()
        rows[name] = dict(zip(names, map(float, numbers), strict=True))
    return rows


def test_pursuit_explains_more_and_finds_other_supports(printed):
    # Catches encoders mixed up, a pursuit that misses its offset, and a lasso at another L0.
    variance = rows_of(printed, "Explained variance of held-out tokens")
    l0 = rows_of(printed, "Mean L0, tokens")
    overlap = rows_of(printed, "F1 of the support with that of the own codes")
    for name in script.AUTOENCODERS:
        row = variance[name]
        assert row["top-k"] < row["own"] < row["own, refit"] < row["OMP"]
        assert row["MP"] < row["OMP"] < row["OLS"] + 0.01
        assert overlap[name]["OMP"] < 0.95 < overlap[name]["own, refit"] + 0.05
        assert abs(l0[name]["lasso"] - l0[name]["own"]) < 0.05 * l0[name]["own"]
        assert abs(l0[name]["OMP"] - l0[name]["own"]) < 0.02 * l0[name]["own"]
    gain = {name: variance[name]["OMP"] - variance[name]["own"] for name in script.AUTOENCODERS}
    assert gain["ReLU"] > gain["Gated"] and gain["ReLU"] > gain["TopK"]


def test_a_coder_is_its_own_encoder(printed):
    # Catches a dictionary, an offset or a sign that is lost on the way to the coder.
    variance = rows_of(printed, "Explained variance of held-out tokens")
    overlap = rows_of(printed, "F1 of the support with that of the own codes")
    for name in ("OMP", "top-k"):
        assert variance[name][name] == variance[name]["own"] and overlap[name][name] == 1
    assert abs(variance["lasso"]["lasso"] - variance["lasso"]["own"]) < 0.02
    assert overlap["lasso"]["lasso"] > 0.95


def test_probes_of_intents(printed):
    # Catches labels shuffled against codes, and a probe that learns from its test set.
    if "No probes" in printed:
        pytest.skip(re.search("No probes.*", printed)[0])
    f1 = rows_of(printed, "Best F1 of a single latent, mean over intents")
    coordinate = float(re.search(r"coordinate, either sign, ([\d.]+)", printed)[1])
    assert all(f1[name]["own"] > coordinate for name in script.AUTOENCODERS)
    assert f1["ReLU"]["OMP"] < f1["ReLU"]["own"]
    accuracies = [
        rows_of(printed, f"Balanced accuracy of probes of {width} latents, mean over intents")
        for width in measures.WIDTHS
    ]
    everything = float(re.search(r", all: ([\d.]+)", printed)[1])
    for name in f1:
        values = [table[name]["own"] for table in accuracies]
        assert 0.5 < values[0] < values[-1] < everything + 0.01


def test_without_the_data_set_the_probes_are_left_out(tmp_path, capsys):
    # Catches a script that fails where the data set is missing.
    options = type("Options", (), {"data": tmp_path, "full": False, "seeds": 1})
    assert script.intents(options, script.SMALL) == (None, None)
    assert "No probes: clinc_minilm.npz" in capsys.readouterr().out


# ------------------------------------------------------------------ helpers


@pytest.fixture(scope="module")
def autoencoder():
    X, _, _ = make_superposition(600, 24, 12, k=3, random_state=0)
    X += 1.0  # an offset that matters
    return TopKAutoencoder(24, k=3, max_iter=20, random_state=0).fit(X), X


def test_row_by_row_follows_the_counts(autoencoder):
    # Catches rows that get the k, or the codes, of others.
    sae, X = autoencoder
    counts = np.arange(X.shape[0]) % 4
    Z = script.row_by_row("OMP", sae, X, counts)
    assert (np.count_nonzero(Z, axis=1) <= counts).all() and (Z[counts == 3] != 0).any()
    coder = MatchingPursuitCoder(
        k=2, dictionary=sae.components_, offset=sae.decoder_bias_, positive=True
    )
    np.testing.assert_allclose(Z[counts == 2], coder.fit(X).transform(X[counts == 2]), atol=1e-5)


def test_alpha_at_reaches_the_l0(autoencoder):
    # Catches a bisection that goes the wrong way.
    sae, X = autoencoder
    for l0 in (2.0, 5.0):
        alpha = script.alpha_at(sae, X, l0)
        Z = script.coder("lasso", sae, X, alpha=alpha).transform(X)
        assert abs(mean_l0(Z) - l0) < 0.05 * l0


def test_refitted_codes_are_the_best_on_their_support(autoencoder):
    # Catches least squares without the offset, and codes put back in other places.
    sae, X = autoencoder
    Z = sae.transform(X[:50])
    refit = script.refitted(Z, sae, X[:50])
    assert (refit >= 0).all() and not refit[Z == 0].any()
    residual = X[:50] - sae.inverse_transform(refit)
    gradient = residual @ sae.components_.T
    inside = Z != 0
    assert np.abs(gradient[inside & (refit > 0)]).max() < 1e-5  # nothing left to gain
    assert gradient[inside & (refit == 0)].max(initial=-1.0) < 1e-5
    assert np.square(residual).sum() < np.square(X[:50] - sae.inverse_transform(Z)).sum()


def test_best_f1_is_that_of_all_thresholds():
    # Catches thresholds off by one, ties that are parted, and classes mixed up.
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    scores = np.maximum(rng.normal(size=(60, 5)) + np.eye(3, 5)[labels], 0).round(1)
    found = measures.best_f1(scores, labels, scores, labels)
    for label in range(3):
        best = max(
            f1_score(labels == label, scores[:, j] > threshold)
            for j in range(5)
            for threshold in [0.0, *scores[:, j]]
        )
        assert np.isclose(found[label], best)
    ties, labels = np.ones((4, 1)), np.array([0, 0, 1, 1])
    assert np.allclose(measures.best_f1(ties, labels, ties, labels), 2 / 3)


def test_logistic_is_that_of_scikit_learn():
    # Catches a wrong weight, penalty or Newton step.
    rng = np.random.default_rng(0)
    y = np.arange(120) < 20
    Z = rng.normal(size=(4, 120, 3)) * (rng.random((4, 120, 3)) < 0.4)
    Z[:, y, 0] += 1.5
    found = measures.logistic(Z, np.tile(y, (4, 1)))
    for block, w in zip(Z, found, strict=True):
        model = LogisticRegression(class_weight="balanced", tol=1e-8, max_iter=1000).fit(block, y)
        # scikit-learn's balanced weights have mean 1, as here, so that C means the same
        np.testing.assert_allclose(w, np.append(model.coef_[0], model.intercept_), atol=1e-3)


def test_strongest_finds_the_latent_of_a_class():
    # Catches means over the wrong axis.
    labels = np.repeat(np.arange(4), 10)
    Z = np.zeros((40, 6))
    Z[np.arange(40), labels + 1] = 1.0
    assert measures.strongest(Z, labels, 1)[:, 0].tolist() == [1, 2, 3, 4]


def test_agreements():
    # Catches F1 that counts zeros, and a cosine that a scale changes.
    Z, other = np.array([[1.0, 2.0, 0.0]]), np.array([[0.0, 3.0, 1.0]])
    assert script.support_f1(Z, Z) == 1 and script.support_f1(Z, other) == 0.5
    assert np.isclose(script.code_cosine(Z, 5 * Z), 1)
