"""What the stand-in remembers, and what tests look at and change; they know it as `cupy.fake`."""

import collections
import threading
import weakref

import numpy as np

log = []  # ("h2d" or "d2h", bytes), ("launch" or "gemm" or "sync", name), in order
n_devices = 2
largest_array = None  # bytes; larger ones do not fit
total_memory = 80 << 30  # bytes of each device
limit = None  # of what the pool of a device may hold, in bytes
used = collections.Counter()  # bytes of the arrays that live on each device

_local = threading.local()
_lock = threading.RLock()
_living = set()
_GARBAGE = {"f": np.nan, "c": np.nan, "b": True, "i": -1}


def reset():
    """Forget what was logged, and undo what tests have changed."""
    global n_devices, largest_array, total_memory, limit
    log.clear()
    n_devices, largest_array, total_memory, limit = 2, None, 80 << 30, None


def current_device():
    """Number of the current device, of this thread."""
    return getattr(_local, "device", 0)


def use_device(number):
    """Make a device the current one."""
    _local.device = number


def is_synchronization_allowed():
    """May something wait for the device?"""
    return getattr(_local, "allowed", True)


def allow_synchronization(allowed):
    """Set that."""
    _local.allowed = allowed


class DeviceSynchronized(RuntimeError):
    """As cupyx.DeviceSynchronized."""


def declare_synchronize(what):
    """Something waits for the device."""
    if not is_synchronization_allowed():
        raise DeviceSynchronized(f"Device synchronization was detected while disallowed: {what}")
    log.append(("sync", what))


def allocated(host):
    """The array, if there is memory for it on the current device."""
    if host.base is not None or id(host) in _living:
        return host
    device = current_device()
    too_much = limit is not None and used[device] + host.nbytes > limit
    if too_much or (largest_array is not None and host.nbytes > largest_array):
        from cupy.cuda.memory import OutOfMemoryError

        raise OutOfMemoryError(f"Out of memory allocating {host.nbytes:,} bytes.")
    with _lock:
        _living.add(id(host))
        used[device] += host.nbytes
    weakref.finalize(host, _freed, id(host), device, host.nbytes).atexit = False
    return host


def _freed(number, device, size):
    with _lock:
        _living.discard(number)
        used[device] -= size


def with_garbage(host):
    """An array nobody has written to, of values that show where they are read."""
    host.fill(_GARBAGE.get(host.dtype.kind, np.array(-1).astype(host.dtype)))
    return host
