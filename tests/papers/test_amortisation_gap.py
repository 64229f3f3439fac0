"""The reproduction of the amortisation gap says what its page says, and its helpers compute it."""

import os
import re
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

PAPERS = Path(__file__).parents[2] / "examples" / "papers"
sys.path.insert(0, str(PAPERS))
import amortisation_methods as methods  # noqa: E402
import amortisation_paper as paper  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("amortisation")
    done = subprocess.run(
        [sys.executable, str(PAPERS / "amortisation_gap.py"), "--output", str(folder)],
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert (folder / "amortisation_gap.png").stat().st_size > 10_000
    assert (folder / "amortisation_gap.txt").read_text("utf-8") == done.stdout
    return done.stdout


def section(printed, title):
    """Name -> numbers of the rows of a table."""
    text = printed.split(title, 1)[1].split("\n\n", 1)[0]
    rows = re.findall(r"^  (\S.*?)  +([\d.].*)$", text, re.M)
    numbers = {name: [float(x) for x in re.findall(r"\d\.\d+", rest)] for name, rest in rows}
    return {name: row for name, row in numbers.items() if row}  # but for the heads


def test_the_order_of_the_theorem(printed):
    # Catches an encoder that recovers what the theorem forbids, and a search that does not.
    known = section(printed, "Codes known")
    for mean, _, more, *_ in known.values():
        assert 0.75 < mean < 0.99 and 0.75 < more < 0.99
    assert known["SAE"][2] < known["MLP 32"][2]
    rows = section(printed, "Dictionary known")
    assert rows["exhaustive"][0] == 1
    last = max((name for name in rows if name.startswith("optimisation")), key=len)
    for name in ("SAE", "MLP 32", "largest K correlations"):
        assert rows[name][0] < rows[last][0] < 1
    assert rows["largest K correlations"][0] < rows["OMP, K steps"][0] < 1


def test_the_order_of_what_is_learnt(printed):
    # Catches sparse coding that no longer pays, and optimisation that rescues a poor dictionary.
    rows = section(printed, "Neither known, the chosen")
    assert rows["SAE"][0] < rows["sparse coding"][0] - 0.05
    assert rows["SAE"][2] < rows["OMP, K steps"][2]  # dictionary MCC
    for name in ("SAE, optimised from zero", "SAE, optimised from its codes"):
        assert abs(rows[name][0] - rows["SAE"][0]) < 0.1
        assert rows[name][2] == rows["SAE"][2]
    assert re.search(r"^  SAE < MLP 32 < sparse coding with chosen weights: yes$", printed, re.M)
    assert "52,477,952 operations as its code counts" in printed


def test_chance_is_drawn(printed):
    # Catches scores shown without what random atoms reach: 0.67 in 8 dimensions.
    chance = float(re.search(r"random atoms (\d\.\d+)", printed)[1])
    assert 0.63 < chance < 0.71


# ---------------------------------------------------------------------- helpers


def brute_force(Z, S):
    C = np.abs(np.corrcoef(Z.T, S.T)[: Z.shape[1], Z.shape[1] :])
    return max(C[list(order), range(len(C))].mean() for order in permutations(range(len(C))))


def test_latent_mcc_is_the_best_matching():
    # Catches a greedy or unmatched mean, signs that count, and NaN from a silent latent.
    rng = np.random.default_rng(0)
    Z, S = rng.normal(size=(2, 50, 5)) + 3
    assert methods.latent_mcc(Z, S) == pytest.approx(brute_force(Z, S))
    assert methods.latent_mcc(-2 * S[:, ::-1] + 7, S) == pytest.approx(1)
    Z = S.copy()
    Z[:, 2] = 4.0
    assert methods.latent_mcc(Z, S) == pytest.approx(4 / 5)


def test_exhaustive_search_is_exact():
    # Catches a search that stops at atoms of negative codes, or misses a set.
    data = methods.problem(3, n_train=10)
    codes = methods.exhaustive(data.test[:100], data.dictionary, 3)
    np.testing.assert_allclose(codes, data.test_codes[:100], atol=1e-9)


def test_cosine_has_its_gradient():
    # Catches a wrong gradient, which would make the gap of encoders larger than it is.
    rng = np.random.default_rng(0)
    Z, S = rng.random((2, 20, 4))
    term = methods.Cosine(S)

    def value(Z):
        return term(None, {"codes": Z}, {}, None, {})[0]

    gradient = term(None, {"codes": Z}, {}, None, {})[1]["codes"]
    direction = rng.normal(size=Z.shape)
    slope = (value(Z + 1e-6 * direction) - value(Z - 1e-6 * direction)) / 2e-6
    assert slope == pytest.approx((gradient * direction).sum(), rel=1e-6)


def test_gradient_steps_warm_and_cold_meet():
    # Catches first codes that are not used: they are nearer after one step, equal after many.
    data = methods.problem(0, n_train=10)
    truth = data.test_codes

    def codes(n_steps, first=None):
        coder = methods.gradient_steps(data.dictionary, 0.05, n_steps)
        return methods.quietly(coder.transform, data.test, code_init=first)

    def distance(Z):
        return np.abs(Z - truth).mean()

    assert distance(codes(1, truth)) < distance(codes(1))
    np.testing.assert_allclose(codes(3000, truth), codes(3000), atol=1e-3)


def test_numbers_of_the_paper():
    # Catches a row of the grid in the wrong place, and the conversion of its weight.
    assert paper.published("SAE", (64, 16, 3)) == 0.37
    assert paper.published("sparse coding", (16, 32, 9)) == 0.89
    assert np.isnan(paper.published("SAE", (8, 8, 3)))
    assert paper.paper_weight(16, 8) == pytest.approx(0.0025)
    as_coded, correct = paper.sparse_coding_step(16, 8, 1024)
    assert as_coded / correct == pytest.approx(59, abs=1)
