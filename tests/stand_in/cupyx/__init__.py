"""What skdict's tests use of cupyx."""

import contextlib
import warnings

from cupy import _state as fake
from cupy._state import DeviceSynchronized

__all__ = ["DeviceSynchronized", "allow_synchronize"]


@contextlib.contextmanager
def allow_synchronize(allow):
    """Whether something may wait for the device."""
    warnings.warn("cupyx.allow_synchronize will be removed in future releases", stacklevel=3)
    before = fake.is_synchronization_allowed()
    fake.allow_synchronization(allow)
    try:
        yield
    finally:
        fake.allow_synchronization(before)
