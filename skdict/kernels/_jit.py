"""How kernels are compiled: without the GIL, cached on disk, never with numba's own threads.

``reassoc`` and ``contract`` let sums be vectorised and fused; nothing else of fastmath is on, so
NaN and infinity keep their meaning. Functions that kernels call are always inlined: of a call that
is left, the process that compiles runs another copy, with sums in another order, than one that
loads from the cache.
"""

from numba import njit

OPTIONS = {
    "nogil": True,
    "forceinline": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz"},
}


def jit(function):
    """Compile `function` at its first call; without a cache where no folder can be written."""
    try:
        return njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # numba: "no locator available"
        return njit(**OPTIONS)(function)
