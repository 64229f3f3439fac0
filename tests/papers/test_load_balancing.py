"""The reproduction of load balancing says what its page says, and its helpers compute it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

PAPERS = Path(__file__).parents[2] / "examples" / "papers"
sys.path.insert(0, str(PAPERS))
import load_balancing as script  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("load_balancing")
    done = subprocess.run(
        [sys.executable, str(PAPERS / "load_balancing.py"), "--output", str(folder)],
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert (folder / "load_balancing.png").stat().st_size > 10_000
    assert (folder / "load_balancing.txt").read_text("utf-8") == done.stdout
    return done.stdout


def rows(printed, title):
    """Columns of the rows of a table, halves of intervals left out."""
    text = printed.split(title, 1)[1].split("\n\n", 1)[0]
    text = re.sub(r" \+- \S+", "", text)
    return [line.split() for line in text.splitlines() if re.search(r"(TopK|L1|Gated) ", line)]


def test_tokens(printed):
    # Catches balancing that has no effect on TopK, and comparisons at other L0.
    table = {(name, float(s)): row for name, s, *row in rows(printed, "tokens: means")}
    for (name, _), (_, l0, *_) in table.items():
        assert abs(float(l0) / script.L0 - 1) < 0.05, name
    entropy = {key: float(row[4]) for key, row in table.items()}
    assert entropy["TopK", 1e-2] > entropy["TopK", 0]
    gini = {key: float(row[5]) for key, row in table.items()}
    assert gini["TopK", 1e-2] < gini["TopK", 0]


def test_price_of_the_penalty(printed):
    # Catches a heavy penalty that costs nothing where alpha is tuned again.
    table = {(name, float(s)): row for name, s, *row in rows(printed, "tokens: means")}
    assert float(table["L1", 100][2]) < float(table["L1", 0][2]) - 0.02


def test_heavy_tails(printed):
    # Catches the claim that balancing hurts where features are rare, and can be turned down,
    # becoming untrue.
    table = {
        (law, name, int(latents), float(s)): [float(value) for value in row]
        for law, name, latents, s, *row in rows(printed, "synthetic: 64")
    }
    L0, EXPLAINED, ENTROPY, FOUND, _, REST = range(6)
    for latents in (64, 128):
        off, weak, strong = (table["Zipf", "TopK", latents, s] for s in (0, 1e-5, 1e-2))
        assert strong[ENTROPY] > 0.98 > off[ENTROPY]
        assert strong[EXPLAINED] < off[EXPLAINED] - 0.02
        assert strong[FOUND] < off[FOUND] - 0.05
        assert strong[REST] < off[REST] - 0.05
        assert abs(weak[FOUND] - off[FOUND]) < 0.05
        assert abs(weak[EXPLAINED] - off[EXPLAINED]) < 0.01
        even, evened = (table["uniform", "TopK", latents, s] for s in (0, 1e-2))
        assert evened[FOUND] > even[FOUND] - 0.05
    for key, row in table.items():
        wanted = script.K if key[1] == "TopK" else script.L0_L1
        assert abs(row[L0] / wanted - 1) < 0.05, key


@settings(max_examples=60, deadline=None)
@given(
    steepness=st.floats(0.4, 3), scale=st.floats(0.1, 10), start=st.floats(0.2, 5),
)  # fmt: skip
def test_tuning_meets_its_target(steepness, scale, start):
    # Catches a secant with a wrong sign, and one that forgets its best point.
    seen = []

    def l0_at(alpha):
        seen.append(alpha)
        return 20 * (alpha / scale) ** -steepness

    alpha = script.tuned_alpha(l0_at, 20.0, start, most=30)
    assert abs(l0_at(alpha) / 20 - 1) < script.MISS
    assert len(seen) < 30


def test_tuning_ends_where_the_target_is_out_of_reach():
    # Catches an endless search, or an answer that was not tried.
    tried = []
    alpha = script.tuned_alpha(lambda alpha: tried.append(alpha) or 5.0, 20.0, 1.0, most=6)
    assert len(tried) == 6 and min(abs(np.log(alpha / value)) for value in tried) < 1e-9


def test_recovery_counts_halves_and_copies():
    # Catches halves exchanged, and copies counted for the wrong atoms.
    D = np.eye(4)
    components = np.vstack([D[0], 2 * D[0], D[1], D[3]])  # two copies of atom 0, none of atom 2
    codes = np.abs(np.random.default_rng(0).standard_normal((50, 4)))
    estimator = SimpleNamespace(
        components_=components,
        transform=lambda X: codes,
        inverse_transform=lambda Z: Z @ components,
    )
    result = script.recovery(estimator, codes @ components, D, -np.arange(4))
    assert (result.found, result.common, result.rare) == (0.75, 1.0, 0.5)
    assert result.copies == 1.5 and result.l0 == 4
    assert result.explained == pytest.approx(1)


def test_changes_are_paired_by_seed():
    # Catches differences between different seeds, whose spread would not cancel.
    runs = {}
    for seed, level in enumerate((0.1, 5.0, 9.0)):
        runs["a", 0, seed] = SimpleNamespace(found=level)
        runs["a", 1, seed] = SimpleNamespace(found=level + 0.5)
    mean, half = script.change(runs, ("a",), 1, "found")
    assert mean == pytest.approx(0.5) and half < 1e-9
