"""Memory of a device, and errors of allocation."""

from cupy import _state as fake


class OutOfMemoryError(MemoryError):
    """As the real one."""


class MemoryPool:
    """Tells of the arrays that live on the current device; what is freed it does not keep."""

    def used_bytes(self):
        return fake.used[fake.current_device()]

    total_bytes = used_bytes

    def free_bytes(self):
        return 0

    def free_all_blocks(self, stream=None):
        pass

    def get_limit(self):
        return fake.limit or 0

    def set_limit(self, size=None, fraction=None):
        size = int(fraction * fake.total_memory) if size is None else size
        fake.limit = size or None  # 0: none


class PinnedMemoryPool:
    """Keeps nothing."""

    def free_all_blocks(self):
        pass

    def n_free_blocks(self):
        return 0
