"""What the stand-in remembers, and what tests look at and change."""

import threading

log = []  # ("h2d" or "d2h", bytes), ("launch" or "gemm" or "wait", name)
n_devices = 2
largest_array = None  # bytes; larger ones do not fit
total_memory = 80 << 30
_local = threading.local()


def current_device():
    """Number of the current device."""
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


def declare_synchronize(what):
    """Something waits for the device."""
    if not is_synchronization_allowed():
        raise RuntimeError(f"Device synchronization was detected while disallowed: {what}")
    log.append(("wait", what))


def fits(host):
    """The array, if there is memory for it."""
    if largest_array is not None and host.nbytes > largest_array and host.base is None:
        from cupy.cuda.memory import OutOfMemoryError

        raise OutOfMemoryError(f"Out of memory allocating {host.nbytes} bytes")
    return host
