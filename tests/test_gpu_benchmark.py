"""The GPU benchmark runs, on tiny shapes; without a GPU over the stand-in for CuPy."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
SCRIPT = Path(__file__).parents[1] / "doc" / "benchmarks" / "gpu.py"


@pytest.fixture
def script(cupy, monkeypatch):
    """The script as a module, with shorter passes."""
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    monkeypatch.setattr(module, "STEPS", (2, 4))
    yield module
    module.free()


@pytest.fixture
def printed(script, capsys):
    """A function that runs the script and returns its lines below each title, by title."""

    def run(*arguments):
        common = ["--no-tests", "--shapes", "small", "--rounds", "1", "--torch-device", "cpu"]
        script.main([*common, *arguments])
        tables, title = {}, ""
        for line in capsys.readouterr().out.splitlines():
            if line.startswith("    "):
                tables.setdefault(title, []).append(line)
            elif line.startswith("  "):
                title = title.split(" | ")[0] + " | " + line.strip()
            else:
                title = line
        return tables

    return run


def assert_rows(lines, labels, n_cells, reason=None):
    """Each label has a row of so many numbers, or of the reason for none; "any": of either."""
    for label in labels:
        rows = [line[22:] for line in lines if line[4:22].strip() == label]
        assert rows, (label, lines)
        if reason == "any" and re.match("not run|does not fit|failed", rows[0]):
            continue
        if reason in (None, "any"):
            assert len(rows[0].split()) == n_cells, rows
            assert all(re.fullmatch(r"-?[\d.e+-]+", cell) for cell in rows[0].split()), rows
        else:
            assert re.match(reason, rows[0]), rows


def test_tables(script, printed):
    # Catches a call that does not fit the kernels, and a shape or precision that is left out.
    tables = printed("--parts", "steps", "encode", "streaming")
    for shape in map(script.name_of, script.SHAPES["small"]):
        (steps,) = (lines for title, lines in tables.items() if title == f"training step, {shape}")
        assert_rows(steps, script.PRECISIONS, 8)
        assert_rows(steps[steps.index(next(x for x in steps if "stages" in x)) :],
                    script.PRECISIONS, 6)  # fmt: skip
        assert_rows(tables[f"encode and transform, {shape}"], script.PRECISIONS, 7)
        (fits,) = (x for title, x in tables.items() if title.startswith("fit") and shape in title)
        assert_rows(fits, script.PRECISIONS, 7)


def test_pursuits(script, printed):
    # Catches the same of the table of pursuits, with the other library or without.
    tables = printed("--parts", "omp")
    ours = [f"skdict {precision}" for precision in script.PRECISIONS]
    found = [lines for title, lines in tables.items() if title.startswith("orthogonal")]
    assert len(found) == len(script.PURSUITS["small"])
    for lines in found:
        assert_rows(lines, [*ours, "skdict Gram"], 6)
        assert_rows(lines, script.OMP_GPU, 6, "any")  # it is another's


@pytest.mark.parametrize("name", ["torch", "sparsify"])
def test_peers(name, script, printed):
    # Catches a peer that trains on something else, whose first loss is not that of skdict.
    missing = script.reason_against(script.PEERS[name].needs, "cpu")
    reason = missing and "not run: .* is not installed"
    reason = "any" if name == "sparsify" else reason  # Triton's decoder needs a GPU
    tables = printed("--parts", "peers", "--peers", name)
    for shape in map(script.name_of, script.SHAPES["small"]):
        (lines,) = (lines for title, lines in tables.items() if title.endswith(f" | {shape}"))
        assert_rows(lines, script.PRECISIONS, 7, reason)
        for line in (line for line in lines[1:] if len(line.split()) == 8):
            assert float(line.split()[6]) == pytest.approx(1, abs=0.01)


def test_reasons(script, printed, monkeypatch):
    # Catches a shape that vanishes where memory or time is short.
    parts = "--parts", "steps", "encode", "streaming"
    for name, lines in printed(*parts, "--seconds", "0").items():
        if "batch" in name:
            assert_rows(lines, script.PRECISIONS, 0, "not run: no time is left")

    def full(shape):
        raise MemoryError("out of memory allocating 3 bytes")

    full.cache_clear = lambda: None
    monkeypatch.setattr(script, "problem_of", full)
    for name, lines in printed(*parts).items():
        if "batch" in name:
            assert_rows(lines, script.PRECISIONS, 0, "does not fit: out of memory allocating 3")


def test_children_that_die(script, monkeypatch):
    # Catches cases that vanish behind one that ends the process.
    options = type("Options", (), {"rounds": 1, "torch_device": "cpu"})
    program = (
        "import sys, json; cases = json.loads(sys.argv[sys.argv.index('--child') + 1])\n"
        f"for case in cases: assert case != 2; print({script.MARK!r} + str(case))"
    )
    run = script.subprocess.run
    monkeypatch.setattr(
        script.subprocess,
        "run",
        lambda command, **k: run([command[0], "-c", program, *command], **k),
    )
    found = script.in_children([1, 2, 3], options, script.time.perf_counter() + 60)
    assert found[0] == 1 and found[2] == 3
    assert found[1] == "failed: the process ended with 1: AssertionError"


def test_nothing_is_measured_when_tests_fail(script, monkeypatch):
    # Catches figures of kernels that are wrong.
    failed = type("Done", (), {"returncode": 1})
    monkeypatch.setattr(script.subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(SystemExit, match="the tests failed"):
        script.main(["--shapes", "small"])
