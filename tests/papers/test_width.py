"""The reproduction on width says what its page says, and its measures compute it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PAPERS = Path(__file__).parents[2] / "examples" / "papers"
sys.path.insert(0, str(PAPERS))
import width as script  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("width")
    text = subprocess.run(
        [sys.executable, str(PAPERS / "width.py"), "--output", str(folder)],
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    ).stdout
    assert (folder / "width.txt").read_text("utf-8") == text
    assert (folder / "width.png").stat().st_size > 10_000
    return text


def rows_of(printed, title):
    """(name, atoms) -> measure -> mean, of the table whose title begins so."""
    _, head, *lines = printed[printed.index(title) :].split("\n\n", 1)[0].split("\n")
    measures = re.split(r" {2,}", head.strip())[1:]
    rows = {}
    for line in lines:
        name, atoms, rest = re.match(r"(.{20}) *(\d+) +(.*)", line).groups()
        numbers = re.findall(r"(-(?= |$)|-?[\d.]+)(?: \+- [\d.]+)?", rest)
        values = [np.nan if number == "-" else float(number) for number in numbers]
        rows[name.strip(), int(atoms)] = dict(zip(measures, values, strict=True))
    return rows


def test_more_atoms_memorise_tokens(printed):
    # Catches training and held-out rows exchanged, and a pursuit over other atoms.
    rows = rows_of(printed, "Token activations, 768")
    for name in ("TopK, k=8", "TopK, k=32"):
        few, many = rows[name, 384], rows[name, 768]
        assert many["train"] > few["train"] and many["gap"] > few["gap"] > 0.2
        assert many["test"] > few["test"] and many["by OMP"] > many["test"] + 0.03
        assert few["copies"] == many["copies"] == few["twins"] == many["twins"] == 0
    assert rows["training rows, k=32", 768]["by OMP"] > rows["TopK, k=32", 768]["by OMP"]


def test_more_atoms_than_true_ones_split(printed):
    # Catches splits counted over the wrong axis, and silent atoms counted as found.
    against, rows = rows_of(printed, "Families, against"), rows_of(printed, "Families, 1024")
    true = against["true atoms", 64]["absorbed"]
    for name in ("TopK, k=2", "TopK, k=4"):
        few, enough, many = (against[name, m] for m in (32, 128, 512))
        assert few["found"] < 0.7 and enough["found"] > 0.9 and many["found"] > 0.95
        assert few["splits"] < 1.15 < enough["splits"] < many["splits"]
        assert rows[name, 512]["silent"] > rows[name, 128]["silent"] > rows[name, 32]["silent"]
        assert rows[name, 128]["test"] > rows[name, 32]["test"] + 0.05
        assert many["absorbed"] > true + 0.03
    assert against["TopK, k=2", 128]["absorbed"] > against["TopK, k=4", 128]["absorbed"] > true


# ------------------------------------------------------------------ helpers


def test_families():
    # Catches a parent that has a parent, and families that overlap.
    parents = script.families()
    first = np.flatnonzero(parents < 0)
    assert first.size == script.FAMILIES
    assert (np.bincount(parents[parents >= 0])[first] == script.CHILDREN).all()
    _, D, codes = script.hierarchical(500, 0)
    children = np.flatnonzero(parents >= 0)
    active = codes[:, children] != 0
    assert active.any() and (codes[:, parents[children]] != 0)[active].all()
    again = script.hierarchical(100, 1, D)
    np.testing.assert_array_equal(again[1], D)


def test_splits_and_found():
    # Catches a threshold on the wrong side, and atoms of which none is found counted as zero.
    true = np.eye(3)
    atoms = np.array([[1.0, 0.1, 0.0], [2.0, 0.0, 0.5], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    assert script.splitting(atoms, true) == 1.5  # two latents of the first, one of the second
    assert script.recovered(atoms, true) == 2 / 3
    assert np.isnan(script.splitting(-true, true))


def absorbed_by(leaning, codes):
    """Two atoms, a parent and its child, whose atom leans on the parent's; both always active."""
    true = np.eye(2)
    atoms = np.array([[1.0, 0.0], [leaning, 1.0]])
    true_codes = np.ones((codes.shape[0], 2))
    return script.absorption(atoms, codes, true, true_codes, np.array([-1, 0]))


def test_absorption_needs_a_silent_parent_and_a_leaning_child():
    # Catches either condition left out.
    codes = np.ones((4, 2))
    codes[0, 0] = 0.0
    assert absorbed_by(0.5, codes) == 0.25
    assert absorbed_by(0.1, codes) == 0.0
    assert absorbed_by(0.5, np.ones((4, 2))) == 0.0


def test_absorption_asks_for_both_active_and_both_matched():
    # Catches samples without the child counted, and pairs that were not found.
    true, atoms = np.eye(2), np.array([[1.0, 0.0], [0.5, 1.0]])
    true_codes = np.array([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    silent = np.zeros((3, 2))
    parents = np.array([-1, 0])
    assert script.absorption(atoms, silent, true, true_codes, parents) == 1.0
    lost = np.array([[0.0, -1.0], [0.5, 1.0]])
    assert np.isnan(script.absorption(lost, silent, true, true_codes, parents))


def test_nearest_and_twins():
    # Catches an offset that is forgotten, and an atom that is its own twin.
    X = np.array([[3.0, 1.0], [1.0, 3.0]])
    offset = np.array([1.0, 1.0])
    np.testing.assert_allclose(script.nearest(np.eye(2), X, offset), 1.0)
    assert script.nearest(np.eye(2), X, 0.0)[0] < 0.96
    assert script.twins(np.eye(3)) == 0.0
    assert script.twins(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])) == 2 / 3


def test_by_pursuit_with_the_true_atoms():
    # Catches a pursuit that loses the offset or the atoms.
    X, D, _ = script.hierarchical(300, 0)
    full = script.by_pursuit(D, np.full(script.FEATURES, 2.0), X + 2.0, script.ACTIVE)
    assert full > 0.95 and script.by_pursuit(D, 0.0, X, 1) < full
