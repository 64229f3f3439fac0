"""Fixtures that all tests share; helper modules beside this file are importable everywhere."""

import importlib
import importlib.util
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import array_api_compat
import joblib
import numpy as np
import pytest
from hypothesis import settings

from skdict.kernels import CUDA

# `from strategies import ...` works in every folder of tests, whatever pytest's import mode.
sys.path.insert(0, str(Path(__file__).parent))

# A stand-in for CuPy whose kernels run on the host, where it is asked for (tests/stand_in).
collect_ignore = ["stand_in"]
EMULATED = os.environ.get("SKDICT_CUPY") == "emulated"
if EMULATED:
    sys.path.insert(0, str(Path(__file__).parent / "stand_in"))

# Shells start processes in the background with SIGINT ignored, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("skdict", deadline=None)  # the first call of a kernel compiles it
settings.register_profile("skdict-ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("skdict-ci" if os.environ.get("CI") else "skdict")


def _usable(name):
    """The namespace of an array library, None where it is not installed or has no device."""
    try:
        array = importlib.import_module(name).ones(1)
        return array_api_compat.array_namespace(array + array)
    except Exception:  # cupy without a device or a driver raises errors of its own
        return None


NAMESPACES = {
    name: xp
    for name in ("numpy", "array_api_strict", "cupy", "torch")
    if (xp := _usable(name)) is not None
}


def _marked(names):
    gpu = pytest.mark.gpu
    return [pytest.param(name, marks=gpu if "cupy" in name else ()) for name in names]


@pytest.fixture(scope="session", params=_marked(NAMESPACES))
def xp(request):
    """Namespace of every array library that works here."""
    return NAMESPACES[request.param]


@pytest.fixture
def cupy():
    """CuPy where it has a GPU, or its stand-in."""
    if "cupy" not in NAMESPACES:
        pytest.skip("no GPU that CuPy can use (SKDICT_CUPY=emulated runs kernels on the host)")
    return importlib.import_module("cupy")


@pytest.fixture
def fake(cupy):
    """What the stand-in for CuPy remembers: transfers, launches; fresh for each test."""
    if not EMULATED:
        pytest.skip("only the stand-in for CuPy tells of its transfers (SKDICT_CUPY=emulated)")
    state = cupy.fake
    before = state.n_devices, state.largest_array
    state.log.clear()
    yield state
    state.n_devices, state.largest_array = before


@pytest.fixture
def many_cores(monkeypatch):
    """As many threads as are asked for, on any machine."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)


@pytest.fixture(scope="session", params=["float32", "float64"])
def dtype(request):
    """Name of a floating dtype."""
    return request.param


@dataclass(frozen=True)
class Implementation:
    """One kind of kernels, with the namespace whose arrays it is given."""

    kind: str
    xp: ModuleType

    def load(self, kernel):
        if self.kind == "cuda" and kernel not in CUDA:
            pytest.skip(f"CuPy arrays take the reference of {kernel}: it has no CUDA version")
        return importlib.import_module(f"skdict.kernels.{kernel}_{self.kind}")

    def asarray(self, array, dtype=None):
        array = np.ascontiguousarray(array)
        return self.xp.asarray(array, dtype=None if dtype is None else getattr(self.xp, dtype))


def _implementations():
    if importlib.util.find_spec("numba"):
        yield "cpu-numpy", Implementation("cpu", NAMESPACES["numpy"])
    for name, xp in NAMESPACES.items():
        yield f"reference-{name}", Implementation("reference", xp)
    if "cupy" in NAMESPACES:
        yield "cuda-cupy", Implementation("cuda", NAMESPACES["cupy"])


IMPLEMENTATIONS = dict(_implementations())


@pytest.fixture(scope="session", params=_marked(IMPLEMENTATIONS))
def implementation(request):
    """Compiled kernels with numpy and CuPy, the reference with every namespace."""
    return IMPLEMENTATIONS[request.param]


@pytest.fixture(scope="session")
def data_folder():
    """Folder of real data sets: $SKDICT_DATA, else ../shared/data beside the checkout."""
    checkout = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("SKDICT_DATA") or checkout.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder (set $SKDICT_DATA)")
    return folder
