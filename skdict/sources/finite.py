"""Is there NaN or infinity? Asked of every block that is read, while it lies in the cache."""

import numpy as np

from skdict.backend import is_host, namespace

_AT_ONCE = 1 << 20  # bytes
# All bits of the exponent are set in NaN and in infinity alone. Integers are compared faster than
# floating numbers are classified, for float16 many times so.
_EXPONENTS = {
    "float16": (np.uint16, 0x7C00),
    "float32": (np.uint32, 0x7F80_0000),
    "float64": (np.uint64, 0x7FF0_0000_0000_0000),
}


def first_not_finite(array):
    """Number of the first row with NaN or infinity, None where there is none."""
    xp = namespace(array)
    if not is_host(xp):
        bad = ~xp.all(xp.isfinite(array), axis=1)
        return int(xp.argmax(xp.astype(bad, xp.int8))) if bool(xp.any(bad)) else None
    if array.dtype.kind != "f":
        return None
    n_rows = max(1, _AT_ONCE // max(1, array.shape[1] * array.itemsize))
    for start in range(0, array.shape[0], n_rows):
        part = array[start : start + n_rows]
        if not _all_finite(part):
            return start + int(np.isfinite(part).all(axis=1).argmin())
    return None


def _all_finite(part):
    if part.dtype.name not in _EXPONENTS:  # long double
        return bool(np.isfinite(part).all())
    unsigned, exponent = _EXPONENTS[part.dtype.name]
    bits = part.view(unsigned) & unsigned(exponent)
    return bits.max(initial=0) < exponent
