"""Imports point one way, and importing skdict loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skdict

ROOT = Path(skdict.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# A unit may import those before it; within a unit (a file or a folder) anything goes.
ENGINE = ["backend", "tensor_files", "checkpoint_files", "kernels"]
ENGINE += [("sources", "checkpoints", "interruption", "devices"), "codes"]
ENGINE += [("constraints", "penalties"), ("encoders", "terms", "optimizers")]
ENGINE += [("objective", "fusion", "dictionary_updates", "batches"), "revival", "training"]
ENGINE += [("encoding", "runs", "repair"), ("progress", "saving")]
SHELL = ["_sklearn", "_validation", ("_callbacks", "_configuration", "_lazy", "_warnings")]
SHELL += ["_fitting", "_base", ("autoencoders", "coders"), "moving"]
BEYOND = [("distributed", "plotting")]
ALLOWED = {
    "metrics": {"backend", "kernels"},
    "datasets": {"backend", "kernels", "tensor_files", "sources"},
    "model_selection": {"metrics"},
    "testing": {"metrics"},
}
ALSO = {"flops.py": {"autoencoders", "coders"}}  # what it counts
ALSO |= {"bitrate.py": {"datasets"}, "_trials.py": {"datasets"}}  # laws to draw from
KNOWS_SKLEARN = {"_sklearn", "_validation", "_lazy", "_fitting", "_base", "autoencoders", "coders"}
KNOWS_SKLEARN |= {"moving", "_warnings"}
KNOWS_SKLEARN |= {"datasets", "model_selection", "testing", "distributed", "plotting"}


def _before():
    seen, before = set(), {}
    for level in [*ENGINE, *SHELL, *BEYOND]:
        units = level if isinstance(level, tuple) else (level,)
        before.update(dict.fromkeys(units, frozenset(seen)))
        seen |= set(units)
    return before


BEFORE = {**_before(), **ALLOWED}


def unit_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    """(module, imported names) of every import statement, those in functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it points"
            yield node.module, tuple(alias.name for alias in node.names)


def imported_units(path):
    for module, names in imports(path):
        parts = module.split(".")
        if parts[0] == "skdict":
            yield from parts[1:2] or names


each_file = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
each_inner_file = pytest.mark.parametrize(
    "path", [p for p in FILES if p != ROOT / "__init__.py"], ids=lambda p: str(p.relative_to(ROOT))
)


@each_inner_file
def test_imports_point_one_way(path):
    # Catches an upward import, which ends in a cycle or in an engine that knows its users.
    unit = unit_of(path)
    assert unit in BEFORE, f"say in this file where skdict.{unit} stands"
    upward = set(imported_units(path)) - BEFORE[unit] - {unit} - ALSO.get(path.name, set())
    assert not upward, f"skdict.{unit} must not import {sorted(upward)}"


@each_file
def test_scikit_learn_stays_at_the_edge(path):
    # Catches an engine that needs scikit-learn, and private names scattered over the package.
    sklearn = [(m, names) for m, names in imports(path) if m.split(".")[0] == "sklearn"]
    names = ("scorers.py", "bitrate.py", "_trials.py")
    knows = unit_of(path) in KNOWS_SKLEARN or path.name in names
    assert not sklearn or knows, f"{path.name} is below the code that may import scikit-learn"
    private = [
        (module, names)
        for module, names in sklearn
        if any(word.startswith("_") for word in (*module.split("."), *names))
    ]
    assert not private or unit_of(path) == "_sklearn", f"move {private} to skdict/_sklearn.py"


@each_file
def test_cupy_is_named_in_few_places(path):
    # Catches code above the kernels that asks which device it runs on.
    named = any(module.split(".")[0] == "cupy" for module, _ in imports(path))
    assert not named or path.name == "backend.py" or path.stem.endswith("_cuda")


def test_import_loads_nothing_heavy():
    # Catches a slow import, or one that reserves memory of a GPU.
    heavy = ["numba", "cupy", "matplotlib", "dask", "distributed"]
    code = f"import skdict, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
