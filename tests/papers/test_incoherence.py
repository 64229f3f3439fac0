"""The reproduction of incoherence says what its page says, and its helpers compute it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skdict.metrics import mutual_coherence

PAPERS = Path(__file__).parents[2] / "examples" / "papers"
sys.path.insert(0, str(PAPERS))
import incoherence as script  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("incoherence")
    done = subprocess.run(
        [sys.executable, str(PAPERS / "incoherence.py"), "--output", str(folder)],
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert (folder / "incoherence.png").stat().st_size > 10_000
    assert (folder / "incoherence.txt").read_text("utf-8") == done.stdout
    return done.stdout


def table(printed, title):
    """Columns by method, form and weight, halves of intervals left out."""
    text = printed.split(title, 1)[1].split("\n\n", 1)[0]
    pattern = r"^(TopK|L1|\d+ latents) +(off|plain|hinge [\d.]+) +([\d.]+) +(\d.*)$"
    found = re.findall(pattern, re.sub(r" \+- \S+", "", text).replace("%", ""), re.M)
    return {(name, form, float(w)): [float(v) for v in row.split()] for name, form, w, row in found}


L0, EXPLAINED, SILENT, COHERENCE, EXCESS, FRAME, NEAR, TAIL, FOUND = range(9)


def test_doubled_basis(printed):
    # Catches the fact that the plain form spares duplicates becoming untrue of the term.
    text = printed.split("two copies of a basis", 1)[1]
    value, share, coherence = map(float, text.splitlines()[0].split())
    assert (share, coherence) == (1, 1) and value == script.frame_bound(64, 32)
    assert "with a largest cosine of 1: yes" in printed


def test_tokens(printed):
    # Catches forms that do not do what they are for, and comparisons at other L0.
    runs = table(printed, "means over seeds")
    assert {name for name, *_ in runs} == {"TopK", "L1"}
    for name in ("TopK", "L1"):
        off, plain, hinge = (
            next(row for key, row in runs.items() if key[:2] == (name, form))
            for form in ("off", "plain", f"hinge {script.LIMIT:g}")
        )
        assert plain[FRAME] < off[FRAME]
        assert plain[EXPLAINED] < off[EXPLAINED]
        assert hinge[COHERENCE] < script.LIMIT + script.SLACK
        assert abs(hinge[EXPLAINED] - off[EXPLAINED]) < 0.02
    assert all(abs(row[L0] / script.L0 - 1) < 0.05 for row in runs.values())


def test_recovery(printed):
    # Catches the claims that the plain form hurts recovery and that the hinge holds its limit.
    runs = table(printed, "synthetic, TopK")
    for name in ("64 latents", "128 latents"):
        off, plain, hinge = (
            runs[name, form, weight]
            for form, weight in (("off", 0), ("plain", 1), ("hinge 0.4", 1))
        )
        assert plain[FRAME] < 1.02 < off[FRAME]
        assert plain[FOUND] < off[FOUND] - 0.3
        assert plain[EXPLAINED] < off[EXPLAINED] - 0.1
        assert hinge[COHERENCE] < 0.4 + script.SLACK < off[COHERENCE]
        assert plain[COHERENCE] > hinge[COHERENCE]
        assert abs(hinge[FOUND] - off[FOUND]) < 0.25


@st.composite
def dictionaries(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.standard_normal((draw(st.integers(2, 9)), draw(st.integers(1, 6))))


@settings(max_examples=50, deadline=None)
@given(dictionaries())
def test_frame_value_and_neighbours_by_pairs(D):
    # Catches a sum that holds the diagonal, and atoms that are their own neighbours.
    U = [atom / np.linalg.norm(atom) for atom in D]
    cosines = [[float(a @ b) for j, b in enumerate(U) if j != i] for i, a in enumerate(U)]
    assert script.frame_value(D) == pytest.approx(np.sum(np.square(cosines)), abs=1e-9)
    assert script.neighbours(D) == pytest.approx(np.abs(cosines).max(axis=1), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(dictionaries())
def test_no_dictionary_beats_the_bound(D):
    # Catches a bound that is none.
    assert script.frame_value(D) >= script.frame_bound(*D.shape) - 1e-9


def test_what_either_form_minimises():
    # Catches descent that does not reach the bound, and a limit that is not kept.
    rng = np.random.default_rng(1)
    D = rng.standard_normal((16, 8))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    plain, hinge = script.minimised(D), script.minimised(D, 0.5)
    assert script.frame_value(plain) == pytest.approx(script.frame_bound(16, 8), rel=1e-6)
    assert mutual_coherence(D) > 0.6 and mutual_coherence(hinge) < 0.51
    assert script.frame_value(hinge) > 1.05 * script.frame_bound(16, 8)


def test_verdicts():
    # Catches signs exchanged, and a verdict where the interval holds zero.
    cases = [(0.2, 0.1), (-0.2, 0.1), (0.1, 0.2), (-0.1, 0.2)]
    assert [script.verdict(*case) for case in cases] == ["gains", "loses", "neither", "neither"]
