"""Devices, streams and events. A stream other than the current one works when it is waited for."""

import threading
import weakref

import numpy as np

from cupy import _state as fake
from cupy.cuda import cublas, device, memory, runtime
from cupy.cuda.device import Device, get_cublas_handle, get_device_id
from cupy.cuda.memory import MemoryPool, PinnedMemoryPool

__all__ = ["Device", "Event", "MemoryPool", "PinnedMemoryPool", "Stream", "alloc_pinned_memory",
           "cublas", "device", "get_cublas_handle", "get_current_stream", "get_device_id",
           "get_elapsed_time", "is_available", "memory", "runtime"]  # fmt: skip
_streams = weakref.WeakSet()
_current = threading.local()


class Stream:
    """Work in order; of a stream that is not the current one it is put off until waited for."""

    null = None

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self._pending, self._before = [], []
        self.is_non_blocking = non_blocking
        _streams.add(self)

    def _do(self, work):
        """Do it now, if this stream is the current one."""
        if self is get_current_stream():
            self._run()
            work()
        else:
            self._pending.append(work)

    def _run(self, until=None):
        while self._pending and (until is None or until in self._pending):
            self._pending.pop(0)()

    def use(self):
        self._run()
        _current.stream = self
        return self

    def record(self, event=None):
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event):
        self._do(event._reached())

    def synchronize(self):
        fake.declare_synchronize("stream")
        self._run()

    @property
    def done(self):
        was, _ = not self._pending, self._run()
        return was

    def __enter__(self):
        self._before.append(get_current_stream())
        return self.use()

    def __exit__(self, *exception):
        self._before.pop().use()


def get_current_stream(device_id=-1):
    """The stream of this thread whose work is done at once."""
    return getattr(_current, "stream", Stream.null)


class Event:
    """A place in a stream."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self._stream = self._place = None
        self._is_timed = not disable_timing

    def record(self, stream=None):
        self._stream = get_current_stream() if stream is None else stream
        self._place = lambda: None  # each is another
        self._stream._do(self._place)

    def _reached(self):
        """What does the work up to where it was recorded last before this call."""
        stream, place = self._stream, self._place
        return lambda: stream._run(place) if stream is not None else None

    def synchronize(self):
        fake.declare_synchronize("event")
        self._reached()()

    @property
    def done(self):
        was = self._stream is None or self._place not in self._stream._pending
        self._reached()()  # so that loops end
        return was


def get_elapsed_time(start, stop):
    """Nothing is measured here."""
    if not (start._is_timed and stop._is_timed):
        raise runtime.CUDARuntimeError("cudaErrorInvalidResourceHandle: timing was disabled")
    return 1.0


def alloc_pinned_memory(size):
    """Host memory that nobody has written to."""
    return np.full(size, 0xFF, dtype=np.uint8)


def is_available():
    """Is there a device?"""
    return fake.n_devices > 0


Stream.null = Stream(null=True)
