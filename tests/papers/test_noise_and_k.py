"""The reproduction of noise and k says what its page says, and its laws and curves compute it."""

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
import noise_and_k as paper  # noqa: E402
import report  # noqa: E402

pytestmark = pytest.mark.slow

KS = np.array([4.0, 8, 16, 32, 64, 128])
IMAGES = report.DATA / "cifar10_4k.npz"


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    if not IMAGES.exists():
        pytest.skip(f"no {IMAGES.name} in the folder of data sets ($SKDICT_DATA)")
    folder = tmp_path_factory.mktemp("noise")
    done = subprocess.run(
        [sys.executable, str(PAPERS / "noise_and_k.py"), "--output", str(folder)],
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert (folder / "noise_and_k.png").stat().st_size > 10_000
    assert (folder / "noise_and_k.txt").read_text("utf-8") == done.stdout
    return done.stdout


def losses(printed, target):
    """Noise -> mean losses by k."""
    table = printed.split(f"TopK, loss against the {target} patch", 1)[1].split("\n\n", 1)[0]
    rows = re.findall(r"^ +(\d\.\d) +(.*±.*)$", table, re.M)
    return {float(noise): [float(x) for x in re.findall(r"(\d\.\d+) ±", r)] for noise, r in rows}


def test_noise_moves_the_best_k(printed):
    # Catches the two targets taken for one another, and noise that does not reach the models.
    noisy, clean = losses(printed, "noisy"), losses(printed, "clean")
    assert list(noisy) == list(clean) == [0.0, 0.2, 0.8] and len(noisy[0.0]) == 4
    assert noisy[0.0] == clean[0.0]
    for row in noisy.values():
        assert all(np.diff(row) < 0)
    assert np.argmin(clean[0.0]) == 3 and np.argmin(clean[0.8]) <= 1
    assert clean[0.8][-1] > 1.5 * min(clean[0.8])
    assert "against the noisy image the largest k is best at every noise: yes" in printed


def test_the_prefactor_rises_and_the_exponent_moves(printed):
    # Catches fits of another target, and the claim that the exponent stays becoming true.
    line = r"prefactor .* at every step of noise, all k: (\w+) \(([\d.]+) times .* ([\d.]+) times\)"
    rises, ratio, growth = re.search(line, printed).groups()
    assert rises == "yes" and float(ratio) > 2 * float(growth)
    assert_allclose(float(growth), 1.64)
    exponents = re.search(
        r"exponent barely moves .*, k <= 32: no \(([\d.]+) to ([\d.]+)\)", printed
    )
    assert float(exponents[2]) > 1.5 * float(exponents[1])


def test_collapses_are_counted(printed):
    # Catches collapsed runs that are left out, and a default that collapses.
    counts = {
        name: [int(x) for x in numbers]
        for name, *numbers in re.findall(
            r"^(L1.*), collapsed .*: (\d+) of (\d+) at noise 0, (\d+) of (\d+) at", printed, re.M
        )
    }
    assert set(counts) == {"L1", "L1 plain", "L1 plain, 10 times the rate"}
    assert all(n == 3 for _, n, *_ in counts.values())
    as_it_comes, fast = counts["L1"], counts["L1 plain, 10 times the rate"]
    assert as_it_comes[0] <= 1 and as_it_comes[2] <= 1
    assert fast[0] + fast[2] > as_it_comes[0] + as_it_comes[2]


@given(st.floats(0.05, 5), st.floats(0.1, 2), st.floats(0, 0.5))
def test_laws_recover_their_parameters(a, alpha, floor):
    # Catches a sign or a base of the logarithm that is wrong, and a floor that is not fitted.
    assert_allclose(paper.power_law(KS, a * KS**-alpha), (a, alpha), rtol=1e-6)
    loss = floor + a * KS**-alpha
    found = paper.offset_power_law(KS, loss)
    assert_allclose(paper.predicted(found, KS), loss, atol=0.01 * loss[0])
    assert paper.misfit((a, alpha), KS, a * KS**-alpha) < 1e-12
    assert_allclose(paper.misfit((2 * a, alpha), KS, a * KS**-alpha), 1)


def test_offset_law_tells_the_floor():
    # Catches a fit that stops where it begins.
    assert_allclose(paper.offset_power_law(KS, 0.3 + 2 * KS**-0.7), (0.3, 2, 0.7), rtol=1e-4)


def test_bootstrap_covers_and_narrows():
    # Catches intervals of something else, and ends in the wrong order.
    rng = np.random.default_rng(0)
    covered, widths = np.zeros((30, 2)), {3: [], 12: []}
    for trial, repeats in product(range(30), widths):
        k = np.repeat(KS, repeats)
        loss = 0.5 * k**-0.5 * np.exp(0.05 * rng.standard_normal(k.size))
        ends = paper.bootstrap(paper.power_law, k, loss, 100)
        widths[repeats].append(ends[1][1] - ends[1][0])
        if repeats == 12:
            covered[trial] = [low < 0.5 < high for low, high in ends]
    assert (covered.mean(axis=0) > 0.75).all()
    assert np.mean(widths[12]) < 0.7 * np.mean(widths[3])


def test_patches_are_pieces_of_images():
    # Catches rows and columns exchanged, and colours out of order.
    images = np.arange(2 * 10 * 12 * 3, dtype=np.float32).reshape(2, 10, 12, 3)
    for row in paper.patches(images, 50, np.random.default_rng(0)):
        patch = row.reshape(paper.SIDE, paper.SIDE, 3)
        image, rest = divmod(int(patch[0, 0, 0]), 10 * 12 * 3)
        r, c = divmod(rest // 3, 12)
        side = slice(r, r + paper.SIDE), slice(c, c + paper.SIDE)
        assert np.array_equal(patch, images[image][side])


def test_noise_is_in_units_of_the_clean_patches():
    # Catches noise on the clean test patches, in other units, or shared by train and test.
    images = [np.random.default_rng(s).random((20, 32, 32, 3), np.float32) for s in (0, 1)]
    size = paper.SMALL._replace(n_patches=500, n_test=400)
    problem, quiet = (paper.make_problem(images, noise, size, 0) for noise in (0.4, 0.0))
    assert np.array_equal(quiet.test, quiet.clean) and np.array_equal(quiet.clean, problem.clean)
    added = problem.test - problem.clean
    assert_allclose(added.std() / np.sqrt(problem.unit), 0.4, rtol=0.02)
    assert abs(np.corrcoef(added.ravel(), (problem.train - quiet.train)[:400].ravel())[0, 1]) < 0.02


def test_phases_tell_which_curve_settles_first():
    # Catches the two curves exchanged, and a curve that returns counted as settled.
    fast, slow = np.exp(-np.arange(100) / 2.0), np.exp(-np.arange(100) / 20.0)
    assert paper.phases(fast, slow) == "sparsity first"
    assert paper.phases(slow, fast) == "reconstruction first"
    assert paper.phases(slow, slow) == "together"
    assert paper.phases(np.full(100, 32.0), slow) == "L0 is fixed"
    assert paper.settled(np.r_[fast, 1, 0]) == 101
    assert paper.settled(np.ones(5)) == 0


def test_rises_are_counted():
    # Catches falls counted for rises.
    assert paper.rises({"loss": [4, 3, 3.3, 2, 2]}) == (1, 4, pytest.approx(0.1))


def test_without_images_the_script_says_why(tmp_path):
    # Catches a traceback where there is neither the file nor a network.
    code = (
        "import sys, noise_and_k as paper\n"
        "def fetch(*args, **kwargs): raise OSError('no network')\n"
        "paper.fetch_openml = fetch\n"
        f"sys.argv = ['noise_and_k.py', '--data', {str(tmp_path)!r}]\n"
        "paper.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PAPERS, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "cifar10_4k.npz" in done.stderr and "no network" in done.stderr
