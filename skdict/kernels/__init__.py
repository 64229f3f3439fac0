"""Compute kernels: one public function, a readable reference, and compiled twins.

``topk.py`` holds documentation and dispatch, ``topk_reference.py`` the same function in plain
array-API code for any namespace, ``topk_cpu.py`` the numba version for numpy arrays,
``topk_cuda.py`` that for CuPy arrays with its source ``topk.cu``; and so on for the other kernels.
Function names, arguments and results agree in all of them.
"""

import functools
import importlib
import warnings

from array_api_compat import is_cupy_namespace

from skdict.backend import is_gpu, is_host, namespace

# What CuPy arrays have a version of; they take the references of all others.
CUDA = {"adam", "products", "pursuit", "refit", "sparse_step", "topk"}


@functools.cache
def implementation(kernel, xp):
    """Module that implements `kernel` for arrays of namespace `xp`."""
    kind = "reference"
    if is_host(xp):
        kind = "cpu" if _has_numba() else kind
    elif kernel in CUDA and is_cupy_namespace(xp):
        kind = "cuda"
    return importlib.import_module(f"skdict.kernels.{kernel}_{kind}")


def has_compiled(array):
    """Whether arrays like this one have compiled kernels."""
    return is_gpu(array) or (is_host(namespace(array)) and _has_numba())


@functools.cache
def _has_numba():
    try:
        import numba  # noqa: F401
    except ImportError as error:
        warnings.warn(
            f"numba cannot be imported ({error}); skdict falls back to its reference kernels, "
            "which are many times slower. Install numba to get the compiled ones.",
            RuntimeWarning,
            stacklevel=3,
        )
        return False
    return True
