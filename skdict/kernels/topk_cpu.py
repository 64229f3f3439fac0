"""Row-wise top-k, compiled; see :mod:`skdict.kernels.topk`."""

import numpy as np

from skdict.kernels import threads
from skdict.kernels._jit import jit
from skdict.kernels.dense import with_padding

_FEW = 64  # up to here insertion sort and dropping one by one win
_BLOCK = 64  # rows a thread takes at a time


def topk(U, bias, k, in_order=True):
    n, m = U.shape
    indices = np.empty((n, k), dtype=np.int32)
    values = np.empty((n, k), dtype=U.dtype)
    if k == 0:
        return indices, values
    group = max(1, min(16, m // (2 * k)))
    U = with_padding(U)
    threads.current().blocks(
        lambda start, stop: _topk_rows(U, bias, k, group, indices, values, start, stop, in_order),
        n,
        _BLOCK,
        U.size,
    )
    return indices, values


@jit
def _topk_rows(U, bias, k, group, indices, values, start, stop, in_order):
    # Column j belongs to group j % n_groups; the last m - group * n_groups columns, fewer than
    # `group`, are groups of their own.
    m = bias.size
    n_groups = m // group
    n_whole = group * n_groups
    maxima = np.empty(n_groups + m - n_whole, dtype=U.dtype)
    groups = np.empty(maxima.size + 1, dtype=np.int32)
    found = np.empty(m + 1, dtype=np.int32)
    found_values = np.empty(m + 1, dtype=U.dtype)
    chosen = np.zeros(m, dtype=np.uint8)
    for i in range(start, stop):
        group_maxima(U, bias, i, group, n_groups, maxima)
        low = _threshold(maxima, k)
        # Write, then count what is to stay: no branch for the processor to guess.
        n_reached = 0
        for g in range(maxima.size):
            groups[n_reached] = g
            n_reached += 1 if maxima[g] >= low else 0
        count = 0
        for r in range(n_reached):
            g = groups[r]
            first = g if g < n_groups else n_whole + g - n_groups
            for j in range(first, n_whole if g < n_groups else first + 1, n_groups):
                value = U[i, j] + bias[j]
                found[count] = j
                found_values[count] = value
                count += 1 if value >= low else 0
        if count < k:  # fewer than k numbers, the rest is NaN
            count = _rank_row(U, bias, i, found, found_values)
        elif count - k > _FEW:
            _rank(found, found_values, count)
        else:
            _drop_smallest(found, found_values, count, k)
        if not in_order:
            for p in range(k):
                indices[i, p] = found[p]
                values[i, p] = found_values[p]
        elif k > _FEW:
            _sweep(U, bias, i, chosen, found, k, indices, values)
        else:
            _insert_in_order(found, found_values, k, indices, values, i)


@jit
def group_maxima(U, bias, i, group, n_groups, maxima):
    # Of row i of U + bias; NaN is passed over. The elementwise maximum of slabs is vectorised.
    maxima[:] = -np.inf
    for s in range(group):
        offset = np.uint64(s * n_groups)
        for g in range(np.uint64(n_groups)):
            value = U[i, offset + g] + bias[offset + g]
            maxima[g] = value if value > maxima[g] else maxima[g]
    for j in range(group * n_groups, bias.size):
        maxima[n_groups + j - group * n_groups] = U[i, j] + bias[j]


@jit
def _threshold(maxima, k):
    # Largest value found by bisection that at least k of the maxima reach. Then at least k
    # entries reach it, so every one of the k largest does.
    low = maxima[0]
    high = maxima[0]
    for g in range(maxima.size):
        low = maxima[g] if maxima[g] < low else low
        high = maxima[g] if maxima[g] > high else high
    for _ in range(400):  # ends far earlier; infinities must not make it endless
        middle = low / 2 + high / 2
        if not (middle > low and middle < high):
            break
        reached = 0
        for g in range(maxima.size):
            reached += 1 if maxima[g] >= middle else 0
        if reached >= k:
            low = middle
            if reached <= k + 1:
                break
        else:
            high = middle
    return low


@jit
def _before(value, index, other_value, other_index):
    # Order of preference: larger value, then lower index; NaN last.
    if value > other_value:
        return True
    if value < other_value:
        return False
    if np.isnan(value) != np.isnan(other_value):
        return np.isnan(other_value)
    return index < other_index


@jit
def _drop_smallest(found, found_values, count, k):
    while count > k:
        worst = 0
        for p in range(1, count):
            if _before(found_values[worst], found[worst], found_values[p], found[p]):
                worst = p
        count -= 1
        found[worst] = found[count]
        found_values[worst] = found_values[count]


@jit
def _rank_row(U, bias, i, found, found_values):
    for j in range(bias.size):
        found[j] = j
        found_values[j] = U[i, j] + bias[j]
    _rank(found, found_values, bias.size)
    return bias.size


@jit
def _rank(found, found_values, count):
    # Heap sort by preference: rare (many ties, NaN), so small code matters more than speed.
    for root in range(count // 2 - 1, -1, -1):
        _sift(found, found_values, root, count)
    for last in range(count - 1, 0, -1):
        found[0], found[last] = found[last], found[0]
        found_values[0], found_values[last] = found_values[last], found_values[0]
        _sift(found, found_values, 0, last)


@jit
def _sift(found, found_values, root, count):
    index = found[root]
    value = found_values[root]
    child = 2 * root + 1
    while child < count:
        right = child + 1
        if right < count and _before(
            found_values[child], found[child], found_values[right], found[right]
        ):
            child = right
        if not _before(value, index, found_values[child], found[child]):
            break
        found[root] = found[child]
        found_values[root] = found_values[child]
        root = child
        child = 2 * root + 1
    found[root] = index
    found_values[root] = value


@jit
def _sweep(U, bias, i, chosen, found, k, indices, values):
    for p in range(k):
        chosen[found[p]] = 1
    p = 0
    for j in range(chosen.size):
        if chosen[j]:
            indices[i, p] = j
            values[i, p] = U[i, j] + bias[j]
            chosen[j] = 0
            p += 1


@jit
def _insert_in_order(found, found_values, k, indices, values, i):
    for p in range(k):
        index = found[p]
        q = p
        while q > 0 and indices[i, q - 1] > index:
            indices[i, q] = indices[i, q - 1]
            values[i, q] = values[i, q - 1]
            q -= 1
        indices[i, q] = index
        values[i, q] = found_values[p]
