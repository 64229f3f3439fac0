"""The examples and the README's snippet run, and say what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def run(arguments, folder):
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    ).stdout


def test_quickstart(tmp_path):
    # Catches an example that breaks, explains less, kills latents, or shows nothing to read.
    printed = run([str(ROOT / "examples/plot_quickstart.py"), "--figure", "f.png"], tmp_path)
    assert float(re.search(r"held-out explained variance +([\d.]+)", printed)[1]) > 0.7
    assert float(re.search(r"dead latents +([\d.]+)%", printed)[1]) < 1
    assert len(re.findall(r"^  latent \d+, active", printed, re.M)) == 10
    assert len(re.findall(r"\[.+\]", printed)) >= 30  # tokens in their context
    assert (tmp_path / "f.png").stat().st_size > 10_000


def test_grid_search(tmp_path):
    # Catches the claim that explained variance would choose the densest code becoming untrue.
    printed = run([str(ROOT / "examples/plot_grid_search.py"), "--figure", "f.png"], tmp_path)
    rows = re.findall(r"^ +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)(.*)$", printed, re.M)
    by_k, by_alpha = rows[:6], rows[6:]
    assert len(by_k) == 6 and len(by_alpha) == 5
    for table in (by_k, by_alpha):
        densest = max(table, key=lambda row: float(row[3]))
        assert "explained variance would choose this" in densest[4]
        assert sum("chosen" in row[4] for row in table) == 1
    assert (tmp_path / "f.png").stat().st_size > 10_000


def test_readme_snippet(tmp_path):
    # Catches a README that no longer runs as it is printed.
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    assert len(blocks) == 1
    (tmp_path / "snippet.py").write_text(
        blocks[0] + "\nprint(search.best_params_)\n", encoding="utf-8"
    )
    assert "topkautoencoder__k" in run(["snippet.py"], tmp_path)
