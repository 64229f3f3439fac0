"""Row blocks on one thread pool, with BLAS held at one thread meanwhile.

Blocks have a size that depends on the problem alone, and any thread may take any block, so results
do not depend on the number of threads. A BLAS pool that spins beside the kernel threads costs more
than it gives; hence each of our threads calls a single-threaded BLAS on its own block.
"""

import contextlib
import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import joblib
import numpy as np
from joblib.parallel import get_active_backend
from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_executor = None
_controller = None
_SMALL = 1 << 20  # multiply-adds below which a second thread does not pay
_blas = {"users": 0}


class Threads:
    """A number of threads and, for each, buffers that live as long as this object.

    ``within_block``: is this what a block sees, one thread that the block has to itself?
    """

    def __init__(self, n_threads=1, within_block=False):
        self.n_threads = n_threads
        self.within_block = within_block
        self._buffers = {}
        self._inner = [] if within_block else [Threads(1, True) for _ in range(n_threads)]

    def blocks(self, function, n_rows, size, work=_SMALL):
        """Call ``function(start, stop)`` for consecutive blocks; the first error is raised.

        `work` is the number of multiply-adds in all: with little of it there is one block.
        """
        starts = range(0, n_rows, size if work >= _SMALL else max(n_rows, 1))
        if self.within_block or len(starts) == 1:
            for start in starts:
                function(start, min(start + starts.step, n_rows))
            return
        queue, stop, on_errors = itertools.count(), threading.Event(), np.geterr()

        def run(inner):
            token = _current.set(inner)
            try:
                with np.errstate(**on_errors):  # of the caller: other threads have their own
                    while (block := next(queue)) < len(starts) and not stop.is_set():
                        function(starts[block], min(starts[block] + starts.step, n_rows))
            except BaseException:
                stop.set()  # an error, or Ctrl-C: the other threads end with their block
                raise
            finally:
                _current.reset(token)

        n_workers = min(self.n_threads, len(starts))
        futures = [_pool().submit(run, inner) for inner in self._inner[1:n_workers]]
        try:
            run(self._inner[0])
        finally:
            errors = [future.exception() for future in futures if not future.cancel()]
        for error in filter(None, errors):
            raise error

    def buffer(self, name, shape, dtype):
        """Uninitialised array, in the same memory at every call with this name."""
        size = int(np.prod(shape))
        held = self._buffers.get(name)
        if held is None or held.dtype != dtype or held.size < size:
            held = self._buffers[name] = np.empty(size, dtype=dtype)
        return held[:size].reshape(shape)


_current = ContextVar("skdict_threads", default=None)


def current():
    """The threads of the enclosing :func:`use_threads`; one thread outside of it."""
    return _current.get() or Threads()


def leave():
    """Make the present context one outside of :func:`use_threads`, for code of others."""
    _current.set(None)


@contextlib.contextmanager
def use_threads(n_jobs=None):
    """Let kernels use `n_jobs` threads; within another such block, those of the outer one."""
    if _current.get() is not None:
        yield _current.get()
        return
    n_threads = _count(n_jobs)
    _hold_blas()
    try:
        token = _current.set(Threads(n_threads))
        try:
            yield _current.get()
        finally:
            _current.reset(token)
    finally:
        _release_blas()


def _count(n_jobs):
    if n_jobs == 0:
        raise ValueError("n_jobs=0 is out of range. Choose 1 or more, -1 for all cores, or None.")
    if n_jobs is not None:
        return max(1, min(joblib.effective_n_jobs(n_jobs), joblib.cpu_count()))
    if getattr(get_active_backend()[0], "nesting_level", 0):
        return 1  # inside a joblib worker the cores are taken
    with _lock:
        if _blas["users"]:
            pools = [_blas["threads"]]
        else:
            pools = [lib.num_threads for lib in _blas_pools().lib_controllers]
    return max(1, min(max(pools, default=1), joblib.cpu_count()))


def _blas_pools():
    global _controller
    if _controller is None:
        _controller = ThreadpoolController().select(user_api="blas")
    return _controller


def _hold_blas():
    # Fits on several Python threads overlap: the first one in limits BLAS, the last one out
    # restores what it found. Each on its own would restore the limit of another.
    with _lock:
        if not _blas["users"]:
            pools = _blas_pools().lib_controllers
            _blas["before"] = [lib.num_threads for lib in pools]
            _blas["threads"] = max(_blas["before"], default=1)
            _set_blas([1] * len(pools))
        _blas["users"] += 1


def _release_blas():
    with _lock:
        _blas["users"] -= 1
        if not _blas["users"]:
            _set_blas(_blas["before"])


def _set_blas(numbers):
    for lib, number in zip(_blas_pools().lib_controllers, numbers, strict=True):
        lib.set_num_threads(number)
        # From 3.8 on threadpoolctl lets only the thread that set OpenBLAS first set it again;
        # the last one out may be another.
        getattr(lib, "clear_controlling_thread", lambda: None)()


def _pool():
    global _executor
    with _lock:
        if _executor is None:
            _executor = ThreadPoolExecutor(max(joblib.cpu_count(), 2), "skdict")
        return _executor


def _after_fork():
    # Threads do not survive a fork, nor does a lock that another thread held, and fits that were
    # under way in the parent never end here.
    global _executor, _lock
    _executor, _lock = None, threading.Lock()
    _blas["users"] = 0
    _current.set(None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
