"""What skdict's tests use of cupyx."""

import contextlib

from cupy import _state as fake


@contextlib.contextmanager
def allow_synchronize(allow):
    """Whether something may wait for the device."""
    before = fake.is_synchronization_allowed()
    fake.allow_synchronization(allow)
    try:
        yield
    finally:
        fake.allow_synchronization(before)
