"""Devices, and the handle of cuBLAS."""

from cupy import _state as fake
from cupy.cuda import runtime


class Device:
    """A device by number; as a context the current one."""

    def __init__(self, device=None):
        if isinstance(device, Device):
            device = device.id
        self.id = fake.current_device() if device is None else int(device)
        if self.id >= fake.n_devices:
            raise runtime.CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self._before = []

    compute_capability = "90"

    @property
    def mem_info(self):
        return fake.total_memory, fake.total_memory

    def use(self):
        fake.use_device(self.id)

    def synchronize(self):
        fake.declare_synchronize("device")

    def __enter__(self):
        self._before.append(fake.current_device())
        fake.use_device(self.id)
        return self

    def __exit__(self, *exception):
        fake.use_device(self._before.pop())

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return hash(self.id)

    def __repr__(self):
        return f"<CUDA Device {self.id}>"


def get_cublas_handle():
    """None is needed."""
    return 1
