"""The reproduction of feature suppression says what its page says, and its helpers compute it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skdict import GatedAutoencoder
from skdict.datasets import make_superposition

PAPERS = Path(__file__).parents[2] / "examples" / "papers"
sys.path.insert(0, str(PAPERS))
import feature_suppression as script  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suppression")
    text = subprocess.run(
        [sys.executable, str(PAPERS / "feature_suppression.py"), "--output", str(folder)],
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    ).stdout
    assert (folder / "feature_suppression.txt").read_text("utf-8") == text
    assert (folder / "feature_suppression.png").stat().st_size > 10_000
    return text


def at_16(printed):
    """Explained variance, share of the squared error saved and shrinkage, by method."""
    pattern = r"^16 +(\S.*?) +([\d.]+) \+- \S+ +(-?[\d.]+) \+- \S+ % +([\d.]+) \+-"
    return {name: tuple(map(float, rest)) for name, *rest in re.findall(pattern, printed, re.M)}


def test_methods_keep_their_order_at_equal_l0(printed):
    # Catches a repair that does not repair, and an L1 penalty that does not shorten.
    rows = at_16(printed)
    assert list(rows) == list(script.METHODS)
    explained = [row[0] for row in rows.values()]
    assert explained == sorted(explained)
    assert rows["L1"][2] < 0.85
    assert all(abs(rows[name][2] - 1) < 0.1 for name in rows if name != "L1")
    assert rows["gated"][1] > rows["L1, decoder"][1] > rows["L1, scales"][1] > 5


def test_gated_needs_fewer_latents(printed):
    # Catches a gated encoder that is no better at equal fidelity than L1, or than L1 refitted.
    found = re.findall(r"of (L1.*?) at L0 16: ([\d.]+) \+- ([\d.]+) of it", printed)
    ratios = {name: float(ratio) for name, ratio, _ in found}
    assert ratios["L1"] < 0.6
    assert ratios["L1"] < ratios["L1, decoder"] < 0.9


def test_scalar_case_is_the_formula(printed):
    # Catches an alpha in another unit, by a factor of two in particular.
    rows = re.findall(r"^ +([\d. ]+) of 16$", printed, re.M)
    table = np.array([row.split() for row in rows], float)
    price, predicted, lasso, of_code, code, decoded, encoded = table.T
    assert len(price) == len(script.PRICES)
    np.testing.assert_allclose(predicted, np.maximum(1 - price / 2, 0), atol=1e-5)
    np.testing.assert_allclose(lasso, predicted, atol=1e-5)
    active = encoded > 0
    np.testing.assert_allclose(decoded[active], predicted[active], atol=0.01)
    np.testing.assert_allclose(code[active], of_code[active], atol=0.03)
    assert (encoded[price >= 2] == 0).all() and (encoded[price <= 1] == 16).all()


def test_gated_is_its_jumprelu_form():
    # Catches a threshold of the wrong sign or scale, and a gate that is left out.
    X, _, _ = make_superposition(2000, 32, 16, 3, random_state=0)
    gated = GatedAutoencoder(32, alpha=0.3, max_iter=20, random_state=0).fit(X)
    codes, _, theta = script.as_jumprelu(gated, X)
    np.testing.assert_allclose(codes, gated.transform(X), rtol=1e-9, atol=1e-12)
    assert 0 < np.mean(codes > 0) < 1 and (theta > 0).any()
    form = script.jumprelu_case(gated, X)
    assert form.support == 0 and form.largest < 1e-12


def test_price_with_a_bias_is_the_minimum():
    # Catches a wrong share of the decoder bias: the closed form against a search over a grid.
    price, share = 0.7, 0.1
    code, bias = np.meshgrid(np.linspace(0, 1, 501), np.linspace(0, 1, 501), indexing="ij")
    active = (1 - bias - code) ** 2 + price * code
    cost = share * active + (1 - share) * bias**2
    best = np.unravel_index(cost.argmin(), cost.shape)
    assert code[best] == pytest.approx(script.short(price, share), abs=0.003)
    assert code[best] + bias[best] == pytest.approx(script.short(price), abs=0.003)


def test_interpolation_is_straight_in_log_l0():
    # Catches a line that is straight in L0, and values invented outside the settings.
    runs = [script.Run(0, l0, explained, 1, 0, 0) for l0, explained in [(32, 0.8), (8, 0.4)]]
    assert script.at_l0(runs, 16) == pytest.approx(0.6)
    assert script.l0_at(runs, 0.6) == pytest.approx(16)
    assert np.isnan(script.at_l0(runs, 7)) and np.isnan(script.l0_at(runs, 0.9))
