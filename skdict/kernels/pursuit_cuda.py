"""Pursuit for CuPy, all samples of a block in step; see :mod:`skdict.kernels.pursuit`.

Each step is one product of the residuals with the atoms, and one kernel that selects an atom for
each sample and updates its codes and residual. A Gram matrix is not needed; one that is given
spares orthogonal pursuit products of atoms with each other. The host waits for nothing until the
codes are gathered where `k` alone ends a pursuit and no code leaves again. Order-recursive least
squares and gradient pursuit are array code, the former with positive codes on the host.
"""

import itertools
from typing import NamedTuple

import cupy
import numpy as np

from skdict.backend import to_numpy
from skdict.kernels import implementation, pursuit_reference
from skdict.kernels._cuda import THREADS, contiguous, launch
from skdict.kernels.dense import is_rounded
from skdict.kernels.dense_cuda import product, to_bfloat16
from skdict.kernels.pursuit_reference import DEPENDENT, ROUNDING

MEMORY = 1 << 29  # bytes for the samples of a block
EVERY = 8  # steps between looks at which samples go on, where that is not known


def pursuit(X, D, k, residual_tol, algorithm, positive, gram=None, precision="highest"):
    """As documented; of this `precision` are correlations, which decide on the atoms selected."""
    how = k, residual_tol, algorithm, positive
    slots, n = _most_atoms(k, D.shape, algorithm), X.shape[0]
    if algorithm in ("mp", "omp"):
        X, D = contiguous(X, D)
        rounds = precision == "bf16" and is_rounded(X, precision)
        own = gram, slots, precision, to_bfloat16(D) if rounds else D  # once for all products
        codes_of = _pursue
    else:
        own = (gram,)
        codes_of = _on_host if algorithm == "ols" and positive else pursuit_reference.pursuit
    n_blocks = max(1, -(-n * _bytes_per_sample(D, slots, algorithm) // MEMORY))
    n_block = max(1, -(-n // n_blocks))
    starts = range(0, max(n, 1), n_block)
    return _joined([codes_of(X[start : start + n_block], D, *how, *own) for start in starts])


def _most_atoms(k, shape, algorithm):
    most = shape[0] if algorithm in ("mp", "gradient") else min(shape)
    return most if k is None else min(k, most)


def _bytes_per_sample(D, slots, algorithm):
    (m, d), numbers = D.shape, slots
    if algorithm != "mp":
        numbers += d + 5 * slots + slots * (slots + 1) // 2
    return (m + 2 * d + numbers) * D.dtype.itemsize + 4 * slots + m // 8


class _Samples(NamedTuple):
    """Samples divided by their largest entries, these, and what is held of each sample."""

    X: cupy.ndarray
    size: cupy.ndarray
    support: cupy.ndarray
    codes: cupy.ndarray
    held: cupy.ndarray
    squares: cupy.ndarray  # of residuals
    least: cupy.ndarray
    tol: cupy.ndarray


def _begin(X, residual_tol, slots):
    size = cupy.max(cupy.abs(X), axis=1)
    size = cupy.where(size == 0, cupy.ones_like(size), size)
    X = X / size[:, None]  # so that squares neither overflow nor vanish
    squares = cupy.sum(X * X, axis=1)
    return _Samples(
        X,
        size,
        cupy.empty((X.shape[0], slots), dtype=np.int32),
        cupy.zeros((X.shape[0], slots), dtype=X.dtype),
        cupy.zeros(X.shape[0], dtype=np.int32),
        squares,
        ROUNDING * _eps(X) * cupy.sqrt(squares),
        (-1.0 if residual_tol is None else float(residual_tol)) / size,
    )


def _pursue(X, D, k, residual_tol, algorithm, positive, gram, slots, precision, factor):
    samples = _begin(X, residual_tol, slots)
    if algorithm == "mp":
        step, n_steps = _matching(samples, D, positive), k
    else:
        step = _orthogonal(samples, D, positive, gram)
        n_steps = None if positive else slots  # atoms that leave make room for others
    # These have a row for each sample that goes on, in `rows` of all.
    R, rows = samples.X.copy(), cupy.arange(X.shape[0], dtype=np.int32)
    active = (cupy.sqrt(samples.squares) > samples.tol).astype(np.int32) * (slots > 0)
    C = cupy.empty((X.shape[0], D.shape[0]), dtype=X.dtype)
    first_look = slots if residual_tol is None and k is not None else EVERY
    for t in itertools.count():
        if t == n_steps:
            break
        if t >= first_look and (t - first_look) % EVERY == 0:
            on = cupy.flatnonzero(active)
            if on.size == 0:
                break
            if on.size <= rows.size // 2:
                R, rows, active = R[on], rows[on], active[on]
        step(product(R, factor, precision, out=C[: rows.size]), R, rows, active)
    return _gathered(samples)


def _matching(samples, D, positive):
    s, sizes = samples, _int32(*D.shape, samples.codes.shape[1])

    def step(C, R, rows, active):
        _launch("matching_step", D, rows.size, D, C, R, rows, active, s.support, s.codes, s.held,
                s.least, s.tol, *sizes, np.int32(positive))  # fmt: skip

    return step


def _orthogonal(samples, D, positive, gram):
    s, (n, slots), (m, d), dtype = samples, samples.codes.shape, D.shape, D.dtype
    known = D if gram is None else contiguous(gram)[0]
    Q, numbers = cupy.empty((n, d), dtype=dtype), cupy.empty((n, 5, slots), dtype=dtype)
    triangles = cupy.empty((n, slots * (slots + 1) // 2), dtype=dtype)
    closed = cupy.zeros((n, -(-m // 32)), dtype=np.uint32)
    own = numbers, triangles, closed, dtype.type(DEPENDENT * _eps(D))
    sizes = _int32(m, d, slots, gram is not None, positive)

    def step(C, R, rows, active):
        _launch("orthogonal_step", D, rows.size, D, known, s.X, C, R, Q, rows, active, s.support,
                s.codes, s.held, s.squares, s.least, s.tol, *own, *sizes)  # fmt: skip

    return step


def _launch(name, D, n_blocks, *arguments):
    # At least four features or atoms a thread: with fewer, threads wait more than they compute.
    threads = min(THREADS, 32 * -(-max(D.shape) // 128))
    launch("pursuit", name, D.dtype, n_blocks, *arguments, threads=threads)


def _gathered(samples):
    codes, (n, slots) = samples.codes * samples.size[:, None], samples.codes.shape
    indptr = _ends(cupy.count_nonzero(codes, axis=1))
    n_codes = int(indptr[-1])
    indices = cupy.empty(n_codes, dtype=np.int32)
    values = cupy.empty(n_codes, dtype=codes.dtype)
    launch("pursuit", "gather_codes", codes.dtype, n, samples.support, codes, samples.held, indptr,
           indices, values, np.int32(slots), threads=64)  # fmt: skip
    return indptr, indices, values


def _on_host(X, D, k, residual_tol, algorithm, positive, gram):
    gram = None if gram is None else to_numpy(gram)
    how = k, residual_tol, algorithm, positive, gram
    arrays = implementation("pursuit", np).pursuit(to_numpy(X), to_numpy(D), *how)
    return tuple(cupy.asarray(array) for array in arrays)


def _joined(parts):
    if len(parts) == 1:
        return parts[0]
    indptrs, indices, values = zip(*parts)
    counts = cupy.concatenate([cupy.diff(indptr) for indptr in indptrs])
    return _ends(counts), cupy.concatenate(indices), cupy.concatenate(values)


def _ends(counts):
    indptr = cupy.zeros(counts.shape[0] + 1, dtype=np.int64)
    indptr[1:] = cupy.cumsum(counts)
    return indptr


def _int32(*numbers):
    return tuple(np.int32(number) for number in numbers)


def _eps(array):
    return float(np.finfo(array.dtype).eps)
