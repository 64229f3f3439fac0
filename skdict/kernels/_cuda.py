"""Loading and launching kernels for CuPy; sources are the ``.cu`` files beside this one."""

import functools
from pathlib import Path

import numpy as np

THREADS = 256  # of a block, where nothing speaks for another number
USES = {"sparse_step": ("adam",)}  # files whose text a file of kernels needs before its own
_C_NAMES = {"float32": "float", "float64": "double"}


def source(file):
    """Text of a file of kernels, with what all of them share."""
    folder, files = Path(__file__).parent, ["common", *USES.get(file, ()), file]
    return "\n".join((folder / f"{name}.cu").read_text("utf-8") for name in files)


def options(dtype):
    """Options of the compiler for kernels on arrays of `dtype`."""
    return "-std=c++17", f"-DREAL={_C_NAMES[np.dtype(dtype).name]}"


@functools.cache
def _module(file, dtype, device):
    import cupy

    return cupy.RawModule(code=source(file), options=options(dtype))


def launch(file, name, dtype, n_blocks, *arguments, threads=THREADS, shared=0):
    """Run a kernel on the current device and stream; the host does not wait for it.

    Arguments are C-contiguous CuPy arrays and NumPy scalars of the kernel's own types.
    """
    import cupy

    if n_blocks == 0:
        return
    function = _module(file, np.dtype(dtype).name, cupy.cuda.Device().id).get_function(name)
    function((n_blocks,), (threads,), arguments, shared_mem=shared)


def threads_for(n):
    """Threads of a block that shares n numbers: at least four each, for waiting costs more."""
    return min(THREADS, 32 * max(1, -(-n // 128)))


def contiguous(*arrays):
    """The arrays, C-contiguous."""
    import cupy

    return tuple(cupy.ascontiguousarray(array) for array in arrays)
