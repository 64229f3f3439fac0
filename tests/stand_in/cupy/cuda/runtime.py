"""The runtime."""

from cupy import _state as fake


class CUDARuntimeError(RuntimeError):
    """As the real one."""


def getDeviceCount():
    """How many devices there are; an error where there are none, as without a driver."""
    if fake.n_devices == 0:
        raise CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
    return fake.n_devices


def getDevice():
    """Number of the current device."""
    return fake.current_device()


def getDeviceProperties(device):
    """A name."""
    return {"name": b"emulated"}


def driverGetVersion():
    """None."""
    return 0


def runtimeGetVersion():
    """None."""
    return 0
