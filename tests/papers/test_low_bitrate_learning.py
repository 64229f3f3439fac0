"""The reproduction of learning at low bitrates."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "examples" / "papers"
sys.path.insert(0, str(SCRIPTS))

import low_bitrate_learning as script  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learning")
    text = subprocess.run(
        [sys.executable, str(SCRIPTS / "low_bitrate_learning.py"), "--output", str(folder)],
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    ).stdout
    assert (folder / "low_bitrate_learning.txt").read_text("utf-8") == text
    assert (folder / "low_bitrate_learning.png").stat().st_size > 10_000
    return text


def rows(printed):
    """d / H: shares of TopK, MP, OMP and chance, then F1 of the three ways to code."""
    found = {}
    for line in re.findall(r"^ *\d\.\d\d +\d+  .*$", printed, re.M):
        ratio = float(line.split()[0])
        shares = [float(x) for x in re.findall(r"([\d.]+) \+- [\d.]+, ", line)]
        chance = float(re.search(r" s +([\d.]+) +[\d.]+ \+- [\d.]+ /", line)[1])
        scores = [float(x) for x in re.findall(r"([\d.]+) \+- [\d.]+ /", line)]
        found[ratio] = (*shares, chance), scores
    return found


def test_orders_that_the_page_claims(printed):
    # would catch atoms compared with the offset still in them, learners mixed up, and a page that
    # is no longer true
    found = rows(printed)
    low, between, high = (found[ratio] for ratio in sorted(found))
    assert max(low[0]) < 0.5  # nobody learns
    assert between[0][0] > 0.7 and high[0][0] > 0.8  # TopK does, below what its codes need
    assert abs(between[0][0] - max(between[0][1:3])) < 0.25
    assert max(row[0][3] for row in found.values()) < 0.1  # chance
    assert between[1][0] < between[1][2]  # its codes are worse than a pursuit over the true atoms


def test_needs_of_known_dictionaries(printed):
    # would catch coders in the wrong order
    mp, top_k = (
        float(x) for x in re.findall(r"known dictionary, \S+ *: .* d / H = ([\d.]+) \[", printed)
    )
    assert mp < 1.2 < top_k


def test_atoms_get_their_part_of_the_offset_back():
    # would catch a part that is not 1 / k, and sizes averaged over codes that are zero
    rng = np.random.default_rng(0)
    D, v, k = rng.standard_normal((5, 4)), rng.standard_normal(4), 2
    shifted = D - v
    norms = np.linalg.norm(shifted, axis=1)
    Z = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 1, 0, 0, 1]])
    model = SimpleNamespace(
        components_=shifted / norms[:, None], decoder_bias_=k * v, transform=lambda X: Z * norms
    )
    problem = 5, k, "ones", 3
    np.testing.assert_allclose(script.atoms_of(model, problem, Z @ D), D, atol=1e-12)
    other = 5, k, "half_normal", 3
    assert script.atoms_of(model, other, None) is model.components_


def test_half_of_the_atoms_are_learned_from():
    # would catch a first success that is followed by a failure
    def results(*shares):
        return {ratio: {"MP": [(share, 0.0)]} for ratio, share in enumerate(shares, start=1)}

    assert script.needed(results(0.1, 0.6, 0.4, 0.7, 0.9), "MP") == 4
    assert script.needed(results(0.6, 0.7), "MP") == 1
    assert script.needed(results(0.6, 0.1), "MP") == np.inf
