"""Errors of allocation."""


class OutOfMemoryError(MemoryError):
    """As the real one."""
