"""Codes, dense or sparse, and the operations that accept both.

A dense array of shape (n_samples, n_components) or :class:`SparseCodes`, the same matrix as CSR.
No other module asks which kind it has. Decoding and its two adjoints satisfy, for every G,

    <decode(Z, D), G> = <Z, codes_gradient(Z, D, G)> = <D, add_outer(0, Z, G)>
"""

import dataclasses
import functools

import numpy as np

from skdict.backend import asarray_like, device, is_gpu, namespace, to_numpy
from skdict.kernels import implementation, products
from skdict.kernels.dense import matmul
from skdict.kernels.nonzeros import nonzeros


@dataclasses.dataclass(frozen=True)
class SparseCodes:
    """Codes as CSR: `indptr` int64, `indices` int32, `values`.

    Indices increase within a row, except in fused steps, where the order does not matter.
    """

    indptr: object
    indices: object
    values: object
    n_components: int

    @property
    def shape(self):
        return self.indptr.shape[0] - 1, self.n_components

    @functools.cached_property
    def columns(self):
        """The support column by column (:func:`skdict.kernels.products.by_column`)."""
        return products.by_column(self.indptr, self.indices, self.n_components)

    def with_values(self, values):
        """Other values on the same support, which is shared, its column order included."""
        other = SparseCodes(self.indptr, self.indices, values, self.n_components)
        if "columns" in vars(self):
            vars(other)["columns"] = self.columns
        return other


def from_rows(indices, values, n_components):
    """Sparse codes with the same number of entries in each row, given as two (n, k) arrays."""
    xp = namespace(values)
    n, k = values.shape
    indptr = asarray_like(np.arange(n + 1, dtype=np.int64) * k, values)
    return SparseCodes(
        indptr, xp.reshape(indices, (-1,)), xp.reshape(values, (-1,)), int(n_components)
    )


def decode(Z, D):
    """``Z @ D``.  No bias: reconstruction terms add it."""
    if isinstance(Z, SparseCodes):
        return products.decode(Z.indptr, Z.indices, Z.values, D)
    return matmul(Z, D)


def codes_gradient(Z, D, G):
    """``G @ D.T`` on the support of Z (everywhere if Z is dense)."""
    if isinstance(Z, SparseCodes):
        return Z.with_values(products.codes_gradient(Z.indptr, Z.indices, D, G))
    return matmul(G, D.T)


def add_outer(out, Z, G):
    """``out += Z.T @ G``, in place."""
    if isinstance(Z, SparseCodes):
        return products.add_outer(out, Z.columns, Z.values, G)
    out += matmul(Z.T, G)
    return out


def column_sum(Z):
    """Sum over samples, of shape (n_components,)."""
    if isinstance(Z, SparseCodes) and is_gpu(Z.values):  # whose column order serves for more
        kernels = implementation("products", namespace(Z.values))
        return kernels.sum_of_columns(Z.columns, Z.values)
    if isinstance(Z, SparseCodes):
        return products.column_sum(Z.indptr, Z.indices, Z.values, Z.n_components)
    return namespace(Z).sum(Z, axis=0)


def row_sum(Z):
    """Sum over components, of shape (n_samples,)."""
    if isinstance(Z, SparseCodes):
        return decode(Z, _ones(Z))[:, 0]
    return namespace(Z).sum(Z, axis=1)


def per_sample(Z, vector):
    """`vector` of shape (n_samples,), broadcast to the entries of Z."""
    if isinstance(Z, SparseCodes):
        return codes_gradient(Z, _ones(Z), vector[:, None]).values
    return vector[:, None]


def _ones(Z):
    place = {"device": device(Z.values)} if is_gpu(Z.values) else {}
    return namespace(Z.values).ones((Z.n_components, 1), dtype=Z.values.dtype, **place)


def descending_ranks(Z):
    """Place of each entry in its sample, 0 that of the largest, as numbers like the entries."""
    values = entries(Z)
    xp = namespace(values)
    if not isinstance(Z, SparseCodes):
        order = xp.argsort(-values, axis=1, stable=True)
        return xp.astype(xp.argsort(order, axis=1, stable=True), values.dtype)
    # Entries by sample and, within it, by value; then how far each is from the first of its sample.
    numbers = asarray_like(np.arange(values.shape[0]), Z.indptr, Z.indptr.dtype)
    rows = xp.searchsorted(Z.indptr, numbers, side="right") - 1
    order = xp.argsort(-values, stable=True)
    order = xp.take(order, xp.argsort(xp.take(rows, order), stable=True))
    places = numbers - xp.take(Z.indptr, rows)  # samples are in order before and after
    return xp.astype(xp.take(places, xp.argsort(order)), values.dtype)


def add(Y, Z):
    """``Y + Z`` for codes of one support."""
    return with_entries(Y, entries(Y) + entries(Z))


def entries(Z):
    """The stored entries, for element-wise work; :func:`with_entries` puts them back."""
    return Z.values if isinstance(Z, SparseCodes) else Z


def with_entries(Z, values):
    """Codes of the kind and support of Z with other entries."""
    return Z.with_values(values) if isinstance(Z, SparseCodes) else values


def positive(values):
    """One where an entry is positive and zero elsewhere: the derivative of ReLU."""
    return namespace(values).astype(values > 0, values.dtype)


def per_component(Z, vector):
    """`vector` of shape (n_components,), broadcast to the entries of Z."""
    if isinstance(Z, SparseCodes):
        return namespace(vector).take(vector, Z.indices, axis=0)
    return vector


def n_fired(Z):
    """Integers (n_components,): in how many samples is the latent's code not zero?

    A stored zero did not fire. On the host, but for codes on a GPU there too.
    """
    if is_gpu(entries(Z)):
        xp = namespace(entries(Z))
        if not isinstance(Z, SparseCodes):
            return xp.count_nonzero(Z, axis=0)
        fired = xp.astype(Z.values != 0, Z.values.dtype)
        return xp.astype(column_sum(Z.with_values(fired)), xp.int64)
    if isinstance(Z, SparseCodes):
        fired = to_numpy(Z.indices)[to_numpy(Z.values) != 0]
        return np.bincount(fired, minlength=Z.n_components)
    return to_numpy(namespace(Z).count_nonzero(Z, axis=0))


def to_dense(Z):
    """The dense array."""
    if isinstance(Z, SparseCodes):
        return products.to_dense(Z.indptr, Z.indices, Z.values, Z.n_components)
    return Z


def to_csr(Z):
    """Host CSR triple without stored zeros: values, int32 indices, indptr."""
    if not isinstance(Z, SparseCodes) and not is_gpu(Z):
        Z = to_numpy(Z)
        rows, indices = np.nonzero(Z)
        indptr = np.searchsorted(rows, np.arange(Z.shape[0] + 1))
        return Z[rows, indices], indices.astype(np.int32), indptr
    return without_zeros(*(to_numpy(array) for array in csr_arrays(Z)))


def csr_arrays(Z):
    """Values, indices and indptr of codes, where they are; zeros may be stored."""
    indptr, indices, values = _triple(Z) if isinstance(Z, SparseCodes) else nonzeros(Z)
    return values, indices, indptr


def _triple(Z):
    return Z.indptr, Z.indices, Z.values


def without_zeros(values, indices, indptr):
    """Host CSR triple less the zeros that are stored."""
    kept = values != 0
    if not kept.all():
        before = np.concatenate([[0], np.cumsum(kept)])
        values, indices, indptr = values[kept], indices[kept], before[indptr]
    return values, indices, indptr


def stack(parts):
    """Join what tiles of rows gave: codes, arrays, or dicts and tuples of them; None stays."""
    first = parts[0]
    if len(parts) == 1 or first is None:
        return first
    if isinstance(first, dict):
        return {key: stack([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple):
        return tuple(stack([part[i] for part in parts]) for i in range(len(first)))
    if not isinstance(first, SparseCodes):
        return namespace(first).concat(parts, axis=0)
    xp = namespace(first.values)
    offsets = np.cumsum([0] + [part.values.shape[0] for part in parts])
    indptr = [first.indptr[:1]]
    indptr += [part.indptr[1:] + int(o) for part, o in zip(parts, offsets, strict=False)]
    return SparseCodes(
        xp.concat(indptr),
        xp.concat([part.indices for part in parts]),
        xp.concat([part.values for part in parts]),
        first.n_components,
    )


def zeros_like(Z):
    """Codes of the same support with all entries zero; None for None."""
    return None if Z is None else with_entries(Z, namespace(entries(Z)).zeros_like(entries(Z)))
