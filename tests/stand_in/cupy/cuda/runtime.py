"""The runtime."""

from cupy import _state as fake


class CUDARuntimeError(RuntimeError):
    """As the real one."""


def getDeviceCount():  # noqa: N802
    """How many devices there are; an error where there are none, as without a driver."""
    if fake.n_devices == 0:
        raise CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
    return fake.n_devices


def getDeviceProperties(device):  # noqa: N802
    """A name."""
    return {"name": b"emulated"}


def driverGetVersion():  # noqa: N802
    """None."""
    return 0


def runtimeGetVersion():  # noqa: N802
    """None."""
    return 0
