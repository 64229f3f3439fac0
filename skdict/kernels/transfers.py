"""Host rows on their way to a GPU, and results on their way back, while it computes."""

import importlib

from skdict.backend import is_gpu


def uploads_to(like):
    """What brings host rows beside `like`; None where that is not on a GPU.

    Returns
    -------
    uploads : callable
        ``uploads(shape, dtype, fill)`` returns a device array; ``fill(out)`` writes it into host
        memory from which it is copied on a stream of its own, while the work that was queued before
        goes on. The array is overwritten by the next call but one: whoever wants to keep it copies.
    """
    return _implementation().Uploads() if is_gpu(like) else None


def downloads_from(like):
    """What reads arrays beside `like` without waiting for later work; None if not on a GPU.

    Returns
    -------
    downloads : callable
        ``downloads(arrays)`` marks the place in the queue; the function that it returns copies the
        contiguous device arrays, once the work up to there has been done, and gives host arrays.
    """
    return _implementation().Downloads() if is_gpu(like) else None


def _implementation():
    return importlib.import_module("skdict.kernels.transfers_cuda")
