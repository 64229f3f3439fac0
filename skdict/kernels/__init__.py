"""Compute kernels: one public function, a readable reference, and a compiled twin for the CPU.

``topk.py`` holds documentation and dispatch, ``topk_reference.py`` the same function in plain
array-API code for any namespace, ``topk_cpu.py`` the numba version for numpy arrays; and so on for
the other kernels. Function names, arguments and results agree in all of them.
"""

import functools
import importlib
import warnings

from skdict.backend import is_host, namespace


@functools.cache
def implementation(kernel, xp):
    """Module that implements `kernel` for arrays of namespace `xp`."""
    kind = "cpu" if is_host(xp) and _has_numba() else "reference"
    return importlib.import_module(f"skdict.kernels.{kernel}_{kind}")


def has_compiled(array):
    """Whether arrays like this one have compiled kernels."""
    return is_host(namespace(array)) and _has_numba()


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
