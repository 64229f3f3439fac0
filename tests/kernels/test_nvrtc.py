"""Every CUDA source compiles for the GPUs that matter, which needs the compiler but no driver."""

from pathlib import Path

import pytest

from skdict.kernels import _cuda

FILES = sorted(path.stem for path in Path(_cuda.__file__).parent.glob("*.cu"))
SOURCES = [name for name in FILES if name != "common"]


def nvrtc():
    """The classes Program and ProgramOptions; skips, with the reason, where they do not work."""
    core = pytest.importorskip("cuda.core", reason="NVRTC is not installed: pip install cuda-core")
    try:
        core.Program("__global__ void f() {}", "c++", core.ProgramOptions(arch="sm_80")).close()
    except Exception as error:
        pytest.skip(f"NVRTC cannot be loaded: {error}")
    return core.Program, core.ProgramOptions


def compiled(text, arch, dtype="float32"):
    """Device code for an architecture, as bytes."""
    Program, ProgramOptions = nvrtc()
    standard, real = _cuda.options(dtype)
    name, value = real.removeprefix("-D").split("=")
    options = ProgramOptions(
        std=standard.removeprefix("-std="), arch=arch, define_macro=(name, value)
    )
    return Program(text, "c++", options).compile("cubin").code


def test_all_sources_are_found():
    # Catches a kernel whose file is in no package, or is not looked at here.
    assert {"adam", "dense", "products", "pursuit", "sparse_step", "topk"} <= set(SOURCES)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("file", SOURCES)
def test_sources_compile(file, dtype, arch):
    # Catches what g++ accepts and a GPU does not.
    assert compiled(_cuda.source(file), arch, dtype)[:4] == b"\x7fELF"


def test_an_error_is_seen():
    # Catches a compiler that accepts whatever it is given.
    with pytest.raises(Exception, match="undefined"):
        compiled("__global__ void f() { undefined(); }", "sm_90")
