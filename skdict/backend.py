"""Array namespaces, moves to and from the host, and random streams drawn on the host.

Computation follows the data: everything above this module works with the namespace ``xp`` of the
arrays it is given, in the vocabulary of the Python array API standard (data-apis.org).
"""

import contextlib

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


def is_gpu(array):
    """Whether `array` is CuPy's, whose kernels run while the host goes on."""
    return is_cupy_array(array)


def current_device_of(array):
    """Context in which the device of a CuPy array is the current one; nothing for other arrays."""
    return array.device if is_cupy_array(array) else contextlib.nullcontext()


def cuda_device(device, name):
    """The CuPy device that ``"cuda"`` or ``"cuda:N"`` means, or an error that begins with `name`.

    ``"cuda"`` is the device that is current.
    """
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            f"{name}: device={device!r} needs CuPy, which cannot be imported ({error}). Install "
            "skdict[cuda13] or skdict[cuda12], whichever goes with the driver, or set device=None."
        ) from error
    try:
        n_devices = cupy.cuda.runtime.getDeviceCount()
    except (cupy.cuda.runtime.CUDARuntimeError, ImportError, RuntimeError) as error:
        raise RuntimeError(
            f"{name}: device={device!r}, but no GPU can be used here ({error}). Install the NVIDIA "
            "driver, or set device=None."
        ) from error
    _, _, number = device.partition(":")
    if number and int(number) >= n_devices:
        raise ValueError(
            f"{name}: device={device!r}, but {n_devices} GPUs are visible, which count from 0. "
            "Choose one of them."
        )
    return cupy.cuda.Device(int(number)) if number else cupy.cuda.Device()


def empty_on_gpu(shape, dtype, device):
    """Uninitialised CuPy array on a device."""
    import cupy

    with device:
        return cupy.empty(shape, dtype=dtype)


def is_of_gpu(error):
    """Whether a MemoryError is CuPy's."""
    return type(error).__module__.split(".")[0].startswith("cupy")


def available_bytes(device):
    """Bytes of a CuPy device that are free or that CuPy holds."""
    import cupy

    with device:
        return device.mem_info[0] + cupy.get_default_memory_pool().total_bytes()


def native(array):
    """A torch tensor as the array that skdict computes with, without a copy; others as they are.

    On the CPU that is NumPy's, on a CUDA device CuPy's. NumPy has no bfloat16: such tensors become
    float32, by a copy. Tensors of other devices stay tensors.
    """
    if not is_torch_array(array):
        return array
    if array.device.type == "meta" or array.layout != _layout(array):
        raise TypeError(
            f"X is a tensor of torch on device {array.device} with layout {array.layout}; a dense "
            "tensor that has values is needed. Call to_dense(), or move it."
        )
    if array.device.type not in ("cpu", "cuda"):
        return array
    array = array.detach().resolve_neg()
    if str(array.dtype) == "torch.bfloat16":
        array = array.float()
    if array.device.type == "cpu":
        return array.numpy()
    cuda_device(f"cuda:{array.device.index}", "torch tensor")
    import cupy

    return cupy.from_dlpack(array)


def _layout(array):
    import torch

    return torch.strided


def as_torch(array):
    """A NumPy or CuPy array as a torch tensor on the same device, without a copy."""
    import torch

    return torch.from_dlpack(array)


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
    if _assigns_by_indices(array):
        array[asarray_like(rows, array)] += values
        return
    for i, row in enumerate(rows):
        array[int(row), ...] += values[i, ...]


def set_rows(array, rows, values):
    """``array[rows] = values`` in place, for host indices and host values."""
    values = asarray_like(values, array, array.dtype)
    if _assigns_by_indices(array):
        array[asarray_like(rows, array)] = values
        return
    for i, row in enumerate(rows):
        array[int(row), ...] = values[i, ...]


def _assigns_by_indices(array):  # which the standard does not ask for
    return is_host(namespace(array)) or is_cupy_array(array) or is_torch_array(array)


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
    "as_torch",
    "asarray_like",
    "available_bytes",
    "computation_dtype",
    "cuda_device",
    "current_device_of",
    "device",
    "empty_on_gpu",
    "generator",
    "is_array_api_obj",
    "is_gpu",
    "is_host",
    "is_of_gpu",
    "is_torch_array",
    "namespace",
    "native",
    "set_rows",
    "take_rows",
    "to_numpy",
]
