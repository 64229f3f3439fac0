"""Devices, streams and events. A stream other than the current one works when it is waited for."""

import numpy as np

from cupy import _state as fake
from cupy.cuda import cublas, device, memory, runtime
from cupy.cuda.device import Device

__all__ = ["Device", "Event", "MemoryPool", "Stream", "cublas", "device", "memory", "runtime"]


class Stream:
    """Work in order; of a stream that is not the current one it is put off until waited for."""

    null = None

    def __init__(self, null=False, non_blocking=False, ptds=False):
        self._pending = []

    def _run(self, until=None):
        n = len(self._pending) if until is None else self._pending.index(until) + 1
        work, self._pending = self._pending[:n], self._pending[n:]
        for each in work:
            each()

    def record(self, event=None):
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event):
        fake.log.append(("wait_event", "stream"))
        if self is Stream.null:
            event._reach()
        else:
            self._pending.append(event._reach)

    def synchronize(self):
        fake.declare_synchronize("stream")
        self._run()


Stream.null = Stream(null=True)


def get_current_stream(device_id=-1):
    """The stream that everything runs on here."""
    return Stream.null


class Event:
    """A place in a stream."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self._stream = self._place = None

    def record(self, stream=None):
        self._stream = Stream.null if stream is None else stream

        def place():
            pass

        self._place = place
        self._stream._pending.append(place)
        if self._stream is Stream.null:
            self._stream._run()

    def _reach(self):
        if self._stream is not None and self._place in self._stream._pending:
            self._stream._run(self._place)

    def synchronize(self):
        fake.declare_synchronize("event") if self._stream is not None else None
        self._reach()

    @property
    def done(self):
        return self._stream is None or self._place not in self._stream._pending


def get_elapsed_time(start, stop):
    """Nothing is measured here."""
    return 1.0


def alloc_pinned_memory(size):
    """Host memory."""
    return np.zeros(size, dtype=np.uint8)


class MemoryPool:
    """Says that it holds nothing."""

    def used_bytes(self):
        return 0

    def free_bytes(self):
        return 0

    def total_bytes(self):
        return 0

    def free_all_blocks(self):
        pass
