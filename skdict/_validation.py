"""Arrays in, at the public edge; below it, everything is trusted."""

import contextlib
import numbers

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import validate_data

from skdict import devices
from skdict.backend import asarray_like, device, is_array_api_obj, is_host, namespace, native
from skdict.codes import SparseCodes
from skdict.sources import ArrayRows, is_source, is_stream, open_source

_FLOATING = (np.float64, np.float32, np.float16)


def check_X(estimator, X, *, reset, method):
    """Validated data matrix of `estimator`: 2-d, real, finite, never copied needlessly.

    float16, float32 and float64 stay as they are (batches are cast when they are taken); other
    numbers become float64. Arrays of other namespaces stay where they are.
    """
    if is_array_api_obj(X) and not is_host(namespace(X)):
        _check_foreign(estimator, X)
        if not reset:
            check_same_place(estimator, X, method)
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        return X
    X = _validated(estimator, X, reset)
    if not reset:
        check_same_place(estimator, X, method)
    dtype = X.dtype.newbyteorder("=")
    return X.astype(dtype if dtype in _FLOATING else np.float64, copy=False)


def open_X(estimator, X, *, reset, method, n_samples=None):
    """X as a source of rows (:mod:`skdict.sources`), which only an array is read whole for."""
    name = type(estimator).__name__
    if n_samples is not None:
        n_samples = _number_of(n_samples, name)
    if not is_source(X):
        X = ArrayRows(check_X(estimator, X, reset=reset, method=method), name)
        return open_source(X, name, n_samples)
    source = open_source(X, name, n_samples)
    if not reset:
        check_same_place(estimator, source.like, method)
    validate_data(estimator, source, reset=reset, skip_check_array=True)
    return source


def _number_of(n_samples, name):
    whole = isinstance(n_samples, numbers.Integral) or (
        isinstance(n_samples, numbers.Real) and float(n_samples).is_integer()
    )
    if not whole or isinstance(n_samples, bool):
        raise TypeError(f"{name}: n_samples={n_samples!r} is no integer. Give a number of rows.")
    if n_samples < 1:
        raise ValueError(f"{name}: n_samples={n_samples} is out of range. Choose one >= 1.")
    return int(n_samples)


def rows_of(estimator, X, *, method):
    """X as an array, or as what is sliced like one."""
    if not is_source(X):
        return check_X(estimator, X, reset=False, method=method)
    refuse_streams(estimator, X, method)
    return open_X(estimator, X, reset=False, method=method)


def refuse_streams(estimator, X, method):
    """Raise where X is an iterable of blocks."""
    if is_stream(X):
        raise TypeError(
            f"{type(estimator).__name__}: {method} needs rows that can be read in any order, which "
            "those of an iterable cannot. Call it on each block."
        )


@contextlib.contextmanager
def arrived(estimator, X, method):
    """:func:`skdict.devices.arrived`, but X must be where `estimator` was fitted."""
    if is_array_api_obj(X) and not is_source(X) and method != "fit":
        check_same_place(estimator, X, method, estimator.components_)
    with devices.arrived(X) as both:
        yield both


def check_codes(estimator, Z, D):
    """Validated codes for `estimator` to decode, beside its dictionary D and in its dtype.

    Sparse codes are CSR for a dictionary on the host and :class:`SparseCodes` elsewhere.
    """
    name = type(estimator).__name__
    if not sp.issparse(Z) and not is_array_api_obj(Z):
        Z = np.asarray(Z)
    if Z.ndim != 2 or Z.shape[1] != D.shape[0]:
        raise ValueError(
            f"{name}: codes have shape {tuple(Z.shape)}, but (n_samples, {D.shape[0]}) is needed. "
            "Pass what transform returns."
        )
    xp = namespace(Z)
    if not xp.isdtype(Z.dtype, ("bool", "integral", "real floating")):
        raise TypeError(f"{name}: codes have dtype {Z.dtype}; real numbers are needed.")
    if not sp.issparse(Z):
        check_same_place(estimator, Z, "inverse_transform")
        return xp.astype(Z, D.dtype, copy=False)
    Z, xp = Z.tocsr(), namespace(D)
    if is_host(xp):
        return Z.astype(D.dtype, copy=False)
    indptr, indices = asarray_like(Z.indptr, D, xp.int64), asarray_like(Z.indices, D, xp.int32)
    return SparseCodes(indptr, indices, asarray_like(Z.data, D, D.dtype), D.shape[0])


def _validated(estimator, X, reset):
    # dtype="numeric" and no list of dtypes, which would read numbers out of strings.
    name = type(estimator).__name__
    try:
        X = validate_data(estimator, X, reset=reset, dtype="numeric")
    except ValueError as error:
        if "could not convert string" not in str(error):
            raise
        raise ValueError(f"{name}: X holds strings ({error}). Encode them as numbers.") from error
    if X.dtype.kind not in "fiub":
        raise TypeError(f"{name}: X has dtype {X.dtype}; real numbers are needed.")
    return X


def _check_foreign(estimator, X):
    name, xp = type(estimator).__name__, namespace(X)
    if X.ndim != 2:
        raise ValueError(
            f"{name}: expected 2D array, got {X.ndim}D array instead. Reshape X to "
            "(n_samples, n_features)."
        )
    if not xp.isdtype(X.dtype, ("real floating", "integral", "bool")):
        raise TypeError(f"{name}: X has dtype {X.dtype}; real numbers are needed.")
    if 0 in X.shape:
        raise ValueError(
            f"{name}: found array with shape {tuple(X.shape)} while a minimum of 1 sample and "
            "1 feature is required."
        )
    if xp.isdtype(X.dtype, "real floating") and not bool(xp.all(xp.isfinite(X))):
        raise ValueError(f"{name}: Input X contains NaN or infinity. Remove or impute such rows.")


def check_same_place(estimator, X, method, fitted=None):
    """Raise unless X is beside what `estimator` was fitted with, as skdict computes on both."""
    # The first words are those of scikit-learn, which its array-API checks look for.
    fitted = native(estimator.components_) if fitted is None else fitted
    given, wanted = namespace(X), namespace(fitted)
    if given is not wanted or (not is_host(given) and device(X) != device(fitted)):
        raise ValueError(
            f"Inputs passed to {type(estimator).__name__}.{method}() must use the same namespace "
            f"and the same device as those passed to fit(). Got {given.__name__} on {device(X)}, "
            f"fitted with {wanted.__name__} on {device(fitted)}. Move X, or refit."
        )
