"""The examples and the README's snippet run, and say what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
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
    # Catches the claim that explained variance would choose the densest code becoming untrue, a
    # front with a beaten candidate, and a rule that picks one off the front.
    printed = run([str(ROOT / "examples/plot_grid_search.py"), "--figure", "f.png"], tmp_path)
    pattern = r"^(k|alpha) = ([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) +(yes|no)(.*)$"
    rows = re.findall(pattern, printed, re.M)
    assert [row[0] for row in rows].count("k") == 6 and len(rows) == 12
    l0, explained = ([float(row[column]) for row in rows] for column in (2, 3))
    assert l0 == sorted(l0)
    assert "explained variance would choose this" in rows[-1][7]
    front = [e for e, row in zip(explained, rows, strict=True) if row[6] == "yes"]
    assert front == sorted(front) and len(front) >= 3
    for rule in ("of the best explained variance", "of the best accuracy", "at most 8 latents"):
        (chosen,) = (row for row in rows if rule in row[7])
        assert chosen[6] == "yes" or "accuracy" in rule
    assert (tmp_path / "f.png").stat().st_size > 10_000


def test_sparsity_laws(tmp_path):
    # Catches a table without the two measures that obey everything, and an invention that passes.
    printed = run([str(ROOT / "examples/plot_sparsity_laws.py"), "--figure", "f.png"], tmp_path)
    rows = {
        name: marks.split() for name, marks in re.findall(r"^(\w+) +((?:X *)+)$", printed, re.M)
    }
    assert rows["gini"] == rows["pq_mean"] == ["X"] * 6
    assert rows["hoyer"] == ["X"] * 5 and rows["n_zeros"] == ["X"] * 2
    assert re.search(r"^share_below_a_tenth fails D1 \(Robin Hood\)", printed, re.M)
    assert (tmp_path / "f.png").stat().st_size > 10_000


def test_readme_snippet(tmp_path):
    # Catches a README that no longer runs as it is printed.
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    *searches, streaming = (block for block in blocks if "cupy" not in block)  # tests/test_gpu.py
    text = "".join(f"{block}\nprint(search.best_params_)\n" for block in searches) + streaming
    (tmp_path / "snippet.py").write_text(text, encoding="utf-8")
    (tmp_path / "activations").mkdir()
    np.save(tmp_path / "activations" / "0.npy", np.random.default_rng(0).random((300, 4)))
    found = run(["snippet.py"], tmp_path)
    assert "topkautoencoder__k" in found and "{'k': " in found
    assert "[TopKAutoencoder] epoch 1" in found and list((tmp_path / "run1").glob("*.json"))
