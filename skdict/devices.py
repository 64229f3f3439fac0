"""Where estimators compute: beside their data, or on the GPU that `device` names.

Host rows visit a GPU a batch at a time; tensors of torch come in as NumPy's or CuPy's arrays over
the same memory, and leave as tensors.
"""

import contextlib
import re

from skdict.backend import (
    as_torch,
    available_bytes,
    cuda_device,
    current_device_of,
    device,
    empty_on_gpu,
    is_array_api_obj,
    is_gpu,
    is_host,
    is_of_gpu,
    namespace,
    native,
)
from skdict.kernels.dense import GPU_BYTES

_GIB = 1 << 30


def parsed(name, estimator):
    """`device` of an estimator: None for the data's own, "cpu", or the CuPy device."""
    if name is None or name == "cpu":
        return name
    if not re.fullmatch(r"cuda(:\d+)?", name):
        raise ValueError(
            f"{estimator}: device={name!r} is unknown. Choose None to compute where X is, "
            "'cuda' or 'cuda:0' to send host arrays to a GPU, or 'cpu'."
        )
    return cuda_device(name, estimator)


def visited(like, name, estimator):
    """The device that host rows like `like` visit, None where they are computed on where they are.

    Raises ValueError where X is elsewhere than `name` says.
    """
    wanted = parsed(name, estimator)
    if wanted is None:
        return None
    if is_host(namespace(like)):
        return None if wanted == "cpu" else wanted
    here = device(like) if is_gpu(like) else str(device(like))
    if here != wanted:
        raise ValueError(
            f"{estimator}: device={name!r}, but X is on {_name(here)}. Set device=None, which "
            "computes where X is, or move X."
        )
    return None


def on_device(like, where):
    """An empty array like `like`, a host array, on a CuPy device."""
    return empty_on_gpu(like.shape, like.dtype, where)


def _name(place):
    return f"cuda:{place.id}" if hasattr(place, "id") else str(place)


@contextlib.contextmanager
def arrived(X):
    """Context with X as skdict computes on it, on its device, and what turns results back.

    The second is a function of an array: those of a torch tensor become tensors.
    """
    came, X = X, native(X) if is_array_api_obj(X) else X
    with current_device_of(X) if is_array_api_obj(X) else contextlib.nullcontext():
        yield X, as_torch if X is not came else _unchanged


def _unchanged(array):
    return array


@contextlib.contextmanager
def explaining_memory(estimator, place, n_rows, step_bytes, resident):
    """Context in which a GPU that runs out of memory says how much is needed, and what fits.

    ``step_bytes(n)`` is what a step on n rows needs, `n_rows` how many it has, `resident` what is
    there anyway.
    """
    try:
        yield
    except MemoryError as error:
        if not is_of_gpu(error):
            raise
        free = available_bytes(place) - resident
        needed = step_bytes(n_rows)
        fits = n_rows
        while fits and step_bytes(fits) > free:
            fits //= 2
        way_out = f"batch_size={fits} fits" if fits else "lower n_components"
        if fits == n_rows:  # others took the memory meanwhile
            way_out = f"try batch_size={max(1, n_rows // 2)}, or free memory"
        raise MemoryError(
            f"{estimator}: out of memory on {_name(place)}. A step at batch_size={n_rows} needs "
            f"about {needed / _GIB:.3g} GiB, parameters and moments included, and "
            f"at most {free / _GIB:.3g} GiB are to be had: {way_out}."
        ) from error


def bytes_of_step(n, n_features, n_components, itemsize, k=None):
    """About what a step of training on n rows takes on a GPU, parameters and moments included.

    With `k` codes are sparse; without, a few dense matrices of codes are needed.
    """
    matrices = n_features * n_components * itemsize
    rows = 5 * n * n_features * itemsize
    if k is None:
        return 8 * matrices + rows + 8 * n * n_components * itemsize
    product = min(n * n_components * itemsize, max(GPU_BYTES, 64 * n_components * itemsize))
    return 6 * matrices + rows + product + 12 * n * k * itemsize
