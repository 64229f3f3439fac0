"""Transfers on streams of their own; see :mod:`skdict.kernels.transfers`."""

import numpy as np


class Uploads:
    """Two slots, used in turn: pinned memory on the host, memory on the device, and two events.

    ``copied``: the copy has ended, the host may write again. ``used``: the work that reads the
    device memory has ended, the next copy may overwrite it.
    """

    def __init__(self):
        import cupy

        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._slots = [None, None]

    def __call__(self, shape, dtype, fill):
        import cupy

        now, size = cupy.cuda.get_current_stream(), int(np.prod(shape))
        before, slot = self._slots[1], self._slots[0]
        if before is not None:
            before.used.record(now)  # all that reads it is queued by now
        if slot is not None:
            slot.copied.synchronize()
        if slot is None or slot.dtype != dtype or slot.size < size:
            slot = _Slot(size, np.dtype(dtype))
            slot.used.record(now)  # the pool may have taken the memory from work that is queued
        host, array = slot.host[:size].reshape(shape), slot.device[:size].reshape(shape)
        fill(host)
        self._stream.wait_event(slot.used)
        array.set(host, stream=self._stream)
        slot.copied.record(self._stream)
        now.wait_event(slot.copied)
        self._slots = [before, slot]
        return array


class _Slot:
    def __init__(self, size, dtype):
        import cupy

        self.size, self.dtype = size, dtype
        memory = cupy.cuda.alloc_pinned_memory(max(1, size * dtype.itemsize))
        self.host = np.frombuffer(memory, dtype=dtype, count=size)
        self.device = cupy.empty(size, dtype=dtype)
        self.copied, self.used = (cupy.cuda.Event(disable_timing=True) for _ in range(2))

    def __del__(self):
        # The next to ask for pinned memory may get this, and write to it at once.
        copied = getattr(self, "copied", None)
        if copied is not None:
            copied.synchronize()


class Downloads:
    """Copies to the host on a stream that waits for what is queued now, and for nothing later.

    They are made when they are asked for: arrays must be contiguous, else CuPy would first make
    copies that are, on the current stream.
    """

    def __init__(self):
        import cupy

        self._stream = cupy.cuda.Stream(non_blocking=True)

    def __call__(self, arrays):
        import cupy

        ready = cupy.cuda.Event(disable_timing=True)
        ready.record(cupy.cuda.get_current_stream())
        self._stream.wait_event(ready)

        def wait():
            return [array.get(stream=self._stream) for array in arrays]

        return wait
