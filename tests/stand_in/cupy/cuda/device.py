"""Devices, and the handle of cuBLAS."""

from cupy import _state as fake
from cupy.cuda import runtime


class Device:
    """A device by number; as a context the current one."""

    compute_capability = "90"

    def __init__(self, device=None):
        if isinstance(device, Device):
            device = device.id
        self.id = fake.current_device() if device is None else int(device)
        if not 0 <= self.id < fake.n_devices:
            raise runtime.CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self._before = []

    @property
    def mem_info(self):
        return max(0, fake.total_memory - fake.used[self.id]), fake.total_memory

    def use(self):
        fake.use_device(self.id)

    def synchronize(self):
        from cupy.cuda import _streams

        fake.declare_synchronize("device")
        for stream in list(_streams):
            stream._run()

    def __enter__(self):
        self._before.append(fake.current_device())
        fake.use_device(self.id)
        return self

    def __exit__(self, *exception):
        fake.use_device(self._before.pop())

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return hash(self.id)

    def __repr__(self):
        return f"<CUDA Device {self.id}>"


def get_device_id():
    """Number of the current device."""
    return fake.current_device()


def get_cublas_handle():
    """None is needed."""
    return 1
