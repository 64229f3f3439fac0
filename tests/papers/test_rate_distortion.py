"""The reproduction of rate and distortion says what its page says, and prices codes correctly."""

import math
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

PAPERS = Path(__file__).parents[2] / "examples" / "papers"
sys.path.insert(0, str(PAPERS))
import rate_distortion as paper  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rate")
    done = subprocess.run(
        [sys.executable, str(PAPERS / "rate_distortion.py"), "--output", str(folder)],
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert (folder / "rate_distortion.png").stat().st_size > 10_000
    assert (folder / "rate_distortion.txt").read_text("utf-8") == done.stdout
    return done.stdout


def bits_at(printed, target):
    """Estimator -> bits a token at an FVU."""
    table = printed.split(f"\nat FVU {target}: bits a token", 1)[1].split("\n\n", 1)[0]
    rows = re.findall(r"^(\S.*?)  +([\d.]+|nan)(?: |$)", table, re.M)
    return {name: float(bits) for name, bits in rows}


def test_bits_at_a_distortion(printed):
    # Catches a rate that forgets a part, a distortion before rounding, and the order of the page.
    half, third = bits_at(printed, 0.5), bits_at(printed, 0.3)
    assert set(half) == {*paper.ESTIMATORS, "PCA", "Gaussian"}
    assert half["LassoCoder"] < half["PCA"] and third["LassoCoder"] < third["PCA"]
    for bits in (half, third):
        assert bits["PCA"] > 1.2 * bits["Gaussian"]  # a rounded Gaussian cannot go below
        assert bits["LassoCoder"] < min(bits["SparseAutoencoder"], bits["GatedAutoencoder"])


def test_support_takes_most_of_the_bits(printed):
    # Catches values priced as supports or the other way round.
    shares = re.findall(r"which latents are active: (\d+)% to (\d+)%", printed)
    assert len(shares) >= 2 and all(50 <= int(low) <= int(high) <= 99 for low, high in shares)


def codes(rng, n, rate=(0.1, 0.4, 0.9), signed=True):
    """Independent latents with values of 1, 2, ... of falling probability."""
    active = rng.random((n, len(rate))) < rate
    signs = rng.choice([-1, 1], active.shape) if signed else 1
    return (active * signs * rng.geometric(0.6, active.shape)).astype(np.int32)


@pytest.mark.parametrize("signed", [True, False])
def test_the_rate_is_that_of_a_code(signed):
    # Catches probabilities that add up to more than 1, for which no code exists, or waste some.
    model = paper.RateModel(codes(np.random.default_rng(0), 200, signed=signed))
    symbols = range(-40 if signed else 0, 41)
    Q = np.array(list(product(symbols, repeat=3)), dtype=np.int32)
    total = np.exp2(-model.support_bits(Q) - model.value_bits(Q)).sum()
    assert 0.9 < total <= 1 + 1e-9


def test_the_rate_of_many_codes_is_their_entropy():
    # Catches nats for bits, a support that is not priced, and a sign that is free.
    rate, p = np.array([0.1, 0.4, 0.9]), 0.6
    rng = np.random.default_rng(0)
    model, Q = paper.RateModel(codes(rng, 20_000)), codes(rng, 20_000)
    coins = -(rate * np.log2(rate) + (1 - rate) * np.log2(1 - rate))
    size = (-p * np.log2(p) - (1 - p) * np.log2(1 - p)) / p
    assert_allclose(model.support_bits(Q).mean(), coins.sum(), rtol=0.02)
    assert_allclose(model.value_bits(Q).mean(), rate.sum() * (size + 1), rtol=0.02)


def test_the_rate_is_held_out():
    # Catches an entropy of the codes themselves, to which codes of another law would cost no more.
    rng = np.random.default_rng(0)
    model = paper.RateModel(codes(rng, 2000))
    same, other = codes(rng, 2000), codes(rng, 2000, rate=(0.9, 0.4, 0.1))
    assert model.support_bits(other).mean() > 1.5 * model.support_bits(same).mean()
    unseen = np.array([[500, -500, 0]], dtype=np.int32)
    assert np.isfinite(model.value_bits(unseen)).all() and model.value_bits(unseen) > 20


@given(st.integers(1, 60), st.data())
def test_uniform_bits(n, data):
    # Catches natural logarithms and a count of one too few.
    active = data.draw(st.integers(0, n))
    expected = math.log2(math.comb(n, active)) + math.log2(n + 1)
    assert_allclose(paper.uniform_bits(np.array([active]), n), [expected], rtol=1e-9)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 9)), min_size=1, max_size=12))
def test_lower_hull(points):
    # Catches a hull with a point above a chord, one that rises, and one that cuts a point off.
    points = np.round([(1.0, 0.0), *points], 3)
    x, y = points.T
    hull = paper.lower_hull(x, y)
    assert (np.diff(x[hull]) < 0).all() and (np.diff(y[hull]) > 0).all() and x[hull[-1]] == x.min()
    below = np.interp(-x, -x[hull], y[hull])
    assert (y >= below - 1e-9).all()
    slopes = np.diff(y[hull]) / -np.diff(x[hull])
    assert (np.diff(slopes) >= -1e-9).all()


@given(st.floats(0.01, 0.99), st.integers(1, 20), st.floats(0.1, 10))
def test_gaussian_rate(fvu, d, variance):
    # Catches nats, a factor of two, and a water level that is not one.
    assert_allclose(paper.gaussian_rate(np.full(d, variance), fvu), -d * math.log2(fvu) / 2)
    uneven = np.geomspace(variance, variance / 50, d)
    assert paper.gaussian_rate(uneven, fvu) <= -d * math.log2(fvu) / 2 + 1e-9
    with_nothing = np.r_[uneven, np.zeros(3)]
    assert_allclose(
        paper.gaussian_rate(with_nothing, fvu), paper.gaussian_rate(uneven, fvu), rtol=1e-6
    )


@given(st.floats(-50, 50), st.floats(0.1, 5), st.sampled_from(paper.ROUND_UP))
def test_rounded(value, step, up):
    # Catches rounding towards one side, and a share of the step taken for its complement.
    (q,) = paper.rounded(np.array([value]), step, up)
    assert paper.rounded(np.array([-value]), step, up) == -q
    assert -1e-6 <= abs(value) / step - abs(q) + (1 - up) <= 1 + 1e-6 or q == 0
    assert (q == 0) == (abs(value) / step < up) or abs(abs(value) / step - up) < 1e-6


def test_gain_undoes_shrinkage():
    # Catches the inverse of the gain, and one about zero.
    X = np.random.default_rng(0).normal(size=(50, 4)) + 7
    centre = X.mean(axis=0)
    assert_allclose(paper.gain_of(X, centre + 0.5 * (X - centre), centre), 2)
    assert paper.gain_of(X, np.broadcast_to(centre, X.shape), centre) == 0
