"""Array namespaces, moves to and from the host, and random streams drawn on the host.

Computation follows the data: everything above this module works with the namespace ``xp`` of the
arrays it is given, in the vocabulary of the Python array API standard (data-apis.org).
"""

import numpy as np
from array_api_compat import (
    array_namespace,
    device,
    is_array_api_obj,
    is_cupy_array,
    is_numpy_namespace,
    is_torch_array,
)

_NUMPY = array_namespace(np.empty(0))


def namespace(*arrays):
    """Array-API namespace shared by `arrays`; numpy's where none of them is an array."""
    if all(type(array) is np.ndarray for array in arrays):  # the usual case, asked for often
        return _NUMPY
    arrays = [array for array in arrays if is_array_api_obj(array)]
    return array_namespace(*arrays) if arrays else _NUMPY


def is_host(xp):
    """Whether `xp` is numpy's namespace, the one that has compiled kernels."""
    return is_numpy_namespace(xp)


def to_numpy(array):
    """Copy an array of any namespace to the host, or return it as it is if it lives there."""
    if is_cupy_array(array):
        return array.get()
    if is_torch_array(array):
        return array.detach().cpu().numpy()
    try:
        return np.asarray(array)
    except (TypeError, RuntimeError):  # a device that NumPy cannot read: through DLPack
        return np.asarray(np.from_dlpack(array, device="cpu"))


def asarray_like(host_array, like, dtype=None):
    """Put a host array beside `like`: same namespace, same device."""
    xp = namespace(like)
    if is_host(xp):
        return np.asarray(host_array, dtype=dtype)
    return xp.asarray(host_array, dtype=dtype, device=device(like))


def take_rows(array, rows):
    """Rows of an array by slice or by host indices, in its namespace."""
    if isinstance(rows, slice):
        return array[rows, ...]
    xp = namespace(array)
    if is_host(xp):
        return array[rows]
    return xp.take(array, asarray_like(rows, array), axis=0)


def add_to_rows(array, rows, values):
    """``array[rows] += values`` in place, for host indices that differ from each other."""
    if is_host(namespace(array)) or is_cupy_array(array) or is_torch_array(array):
        array[asarray_like(rows, array)] += values
        return
    for i, row in enumerate(rows):  # the standard has no assignment by an array of indices
        array[int(row), ...] += values[i, ...]


def computation_dtype(array):
    """Dtype in which computation on `array` runs: its own, float32 for float16.

    Everything that is not floating becomes float64, as in scikit-learn.
    """
    xp = namespace(array)
    if array.dtype in (xp.float32, xp.float64):
        return array.dtype
    return xp.float32 if str(array.dtype).endswith("float16") else xp.float64


def generator(random_state):
    """Host random stream from a scikit-learn ``random_state`` that was already checked."""
    return np.random.default_rng(random_state.randint(0, 2**31 - 1, size=4))


__all__ = [
    "add_to_rows",
    "asarray_like",
    "computation_dtype",
    "device",
    "generator",
    "is_array_api_obj",
    "is_host",
    "namespace",
    "take_rows",
    "to_numpy",
]
