"""The reproduction of log against L1 says what its page says, and its helpers compute it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PAPERS = Path(__file__).parents[2] / "examples" / "papers"
sys.path.insert(0, str(PAPERS))
import feature_suppression  # noqa: E402
import log_against_l1 as script  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    text = subprocess.run(
        [sys.executable, str(PAPERS / "log_against_l1.py"), "--output", str(folder)],
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    ).stdout
    assert (folder / "log_against_l1.txt").read_text("utf-8") == text
    assert (folder / "log_against_l1.png").stat().st_size > 10_000
    return text


def at_16(printed, title):
    """Explained variance and shrinkage, by penalty."""
    text = printed.split(f"\n{title}, at equal L0", 1)[1].split("\n\n", 1)[0]
    pattern = r"^16 +(\S.*?) +([\d.]+) \+- \S+ +-?[\d.]+ \+- \S+ +([\d.]+) "
    return {name: (float(e), float(g)) for name, e, g in re.findall(pattern, text, re.M)}


def test_log_is_ahead_until_both_are_refitted(printed):
    # Catches a log penalty that shrinks like l1, and a refit that leaves the gap as it was.
    rows = at_16(printed, "tokens")
    l1, log, l1_refit, log_refit = (rows[name] for name in script.SMALL.names)
    assert log[0] > l1[0] + 0.02 and log[1] > l1[1] + 0.05
    assert l1_refit[0] > log[0]
    assert abs(l1_refit[0] - log_refit[0]) < (log[0] - l1[0]) / 2


def test_codes_over_one_dictionary(printed):
    # Catches a coder whose penalty is not the one asked for.
    rows = at_16(printed, "dictionary held")
    assert rows["l0"][0] > rows["log"][0] > rows["l1"][0]
    assert rows["l0"][1] > rows["log"][1] > rows["l1"][1]


def test_known_dictionary_is_recovered_by_either(printed):
    # Catches alphas that leave out the useful range of one of the two.
    (text,) = re.findall(r"recovered at the best alpha of each: (.+)", printed)
    shares = {name: float(s) for name, s in re.findall(r"(l1|log, w = 1) ([\d.]+) \+-", text)}
    assert set(shares) == {"l1", "log, w = 1"} and min(shares.values()) > 0.5


def test_order_leaves_out_what_was_not_reached():
    # Catches means over NaN, and intervals that are not of paired differences.
    explained = {
        "best": np.array([0.5, 0.6, 0.7]),
        "noisy": np.array([0.49, 0.61, 0.68]),
        "worse": np.array([0.4, 0.501, 0.6]),
        "short": np.array([0.9, np.nan, 0.9]),
    }
    order, level = script.best_of(explained, list(explained))
    assert order == ["best", "noisy", "worse"] and level == ["noisy"]


def test_common_l0_is_by_seed():
    # Catches seeds that are pooled before they are interpolated.
    def run(l0, explained):
        return feature_suppression.Run(1, l0, explained, 1, 0, 0)

    runs = {"l1": {0: [run(8, 0.2), run(32, 0.4)], 1: [run(8, 0.4), run(32, 0.8)]}}
    np.testing.assert_allclose(script.at_common(runs, 16)["l1"], [0.3, 0.6])
