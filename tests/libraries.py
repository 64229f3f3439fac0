"""Array libraries that functions are tried on, as parameters of tests."""

import importlib

import pytest

LIBRARIES = ["numpy", "array_api_strict", pytest.param("cupy", marks=pytest.mark.gpu)]
each_library = pytest.mark.parametrize("library", LIBRARIES)


def load(library):
    """The library; skips where it is not installed or has no device."""
    xp = pytest.importorskip(library)
    try:
        xp.ones(1) + xp.ones(1)
    except Exception as error:  # of CuPy, without a driver
        pytest.skip(f"{library} cannot be used: {error}")
    return importlib.import_module(library)
