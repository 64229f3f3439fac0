"""Products of sparse codes with dense matrices, and the pass from dense to sparse.

Codes come as CSR: `indptr` int64 (n + 1,), `indices` int32 (nnz,) increasing within a row, `values`
(nnz,). ``Z`` stands for the matrix they describe, of shape (n, m). All functions are deterministic:
sums run in the order of the entries, whatever the number of threads.
"""

from skdict.backend import namespace
from skdict.kernels import implementation


def decode(indptr, indices, values, D):
    """``Z @ D``, of shape (n, d).  Cost 2 d nnz."""
    return implementation("products", namespace(D)).decode(indptr, indices, values, D)


def codes_gradient(indptr, indices, D, G):
    """Entries of ``G @ D.T`` on the support of Z, of shape (nnz,): the adjoint of decode in Z."""
    return implementation("products", namespace(D)).codes_gradient(indptr, indices, D, G)


def add_outer(out, columns, values, G):
    """``out += Z.T @ G`` in place, `out` of shape (m, d): the adjoint of decode in D.

    `columns` is what :func:`by_column` returns for the support of Z.
    """
    return implementation("products", namespace(G)).add_outer(out, columns, values, G)


def column_sum(indptr, indices, values, n_components):
    """``Z.sum(axis=0)``, of shape (m,), summed in double precision."""
    xp = namespace(values)
    return implementation("products", xp).column_sum(indptr, indices, values, n_components)


def by_column(indptr, indices, n_components):
    """The support, column by column: starts (m + 1,), entry and row of each place (nnz,).

    Place p of column j, ``starts[j] <= p < starts[j + 1]``, holds entry ``entries[p]`` of the CSR
    arrays, which stands in row ``rows[p]``; rows increase within a column.
    """
    xp = namespace(indices)
    return implementation("products", xp).by_column(indptr, indices, n_components)


def positive_support(U, bias, in_order=True):
    """CSR of the entries where ``U + bias > 0``: indptr, indices and the entries of `U` there.

    The values are those of `U`, without the bias, so that several activations may share them.
    Where `in_order` is False, entries of a row may come in any order.
    """
    return implementation("products", namespace(U)).positive_support(U, bias, in_order)


def to_dense(indptr, indices, values, n_components):
    """Z as a dense array of shape (n, m)."""
    xp = namespace(values)
    return implementation("products", xp).to_dense(indptr, indices, values, n_components)
