"""Nothing: the module must exist."""

__all__ = []


def __getattr__(name):
    def absent(*args, **kwargs):
        raise NotImplementedError(name)

    if name.startswith("_"):
        raise AttributeError(name)
    return absent
