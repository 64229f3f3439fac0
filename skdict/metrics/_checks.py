"""Checks at the public edge of skdict.metrics; below it, everything is trusted."""

import contextlib
import math
import reprlib
import warnings
from numbers import Integral, Real

import numpy as np
from scipy.sparse import issparse

from skdict.backend import device, is_array_api_obj, namespace, to_numpy


def as_matrix(function, name, X):
    """Return `X` as a two-dimensional, non-empty array of real numbers in its own library."""
    if issparse(X):
        raise TypeError(
            f"{function}: {name} is a sparse {X.format} matrix, and a dense array is needed. "
            f"Pass {name}.toarray()."
        )
    X = as_array(function, name, X)
    check_kind_and_shape(function, name, X)
    return X


def as_array(function, name, X):
    """Return `X` as it is if it is an array, of any library, and as numpy's if it is not."""
    if not is_array_api_obj(X) or isinstance(X, np.ndarray):
        return _as_numpy(function, name, X)
    return X


def as_number(function, name, value, valid, wanted):
    """Return a real number as a float; refuse others, infinity, and what is not `valid`."""
    if not isinstance(value, Real) or isinstance(value, (bool, np.bool_)):
        shown = reprlib.repr(value)  # somebody may pass a whole dict of results
        raise TypeError(f"{function}: {name}={shown} is no number. {wanted}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range
        number = math.inf
    if not (math.isfinite(number) and valid(number)):
        raise ValueError(f"{function}: {name}={value!r} is out of range. {wanted}")
    return number


def check_number_in(function, name, value, *, low, high):
    """Refuse what is not a real number in [low, high]."""
    wanted = f"Choose a number in [{low}, {high}]."
    as_number(function, name, value, lambda number: low <= number <= high, wanted)


def check_positive_integer(function, name, value):
    """Refuse what is not an integer >= 1."""
    wanted = "Choose an integer >= 1."
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{function}: {name}={value!r} is no integer. {wanted}")
    if value < 1:
        raise ValueError(f"{function}: {name}={value!r} is out of range. {wanted}")


def check_boolean(function, name, value):
    """Refuse what is neither True nor False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{function}: {name}={value!r} is no boolean. Choose True or False.")


def check_choice(function, name, value, allowed):
    """Refuse what is not one of the strings `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{function}: {name}={value!r} is unknown. Choose one of {allowed}.")


def as_atoms(function, name, components):
    """Return a dictionary as a new float64 array on the host, atoms as rows."""
    if hasattr(components, "components_"):
        raise TypeError(f"{function}: {name} is an estimator. Pass its components_.")
    D = to_numpy(as_matrix(function, name, components)).astype(np.float64)
    if not np.isfinite(D).all():
        raise ValueError(
            f"{function}: {name} contains NaN or infinity. Leave those atoms out, or "
            "refit: they tell of a diverged fit."
        )
    return D


def two_dictionaries(function, **dictionaries):
    """Return two dictionaries, given by name, that must have the same features."""
    D, D_other = (as_atoms(function, name, atoms) for name, atoms in dictionaries.items())
    if D.shape[1] != D_other.shape[1]:
        name, other_name = dictionaries
        raise ValueError(
            f"{function}: {name} has {D.shape[1]} features but {other_name} has "
            f"{D_other.shape[1]}. Atoms are rows: transpose a dictionary that has them as columns."
        )
    return D, D_other


def _as_numpy(function, name, X):
    try:
        array = np.asarray(X)
    except ValueError as error:  # ragged lists
        raise ValueError(
            f"{function}: {name} cannot become an array ({error}). Pass rows of equal length."
        ) from error
    if array.dtype == object and hasattr(X, "columns"):  # a data frame of several dtypes
        with contextlib.suppress(TypeError, ValueError):  # strings are refused below
            return array.astype(np.float64)
    return array


def check_kind_and_shape(function, name, X):
    if not namespace(X).isdtype(X.dtype, ("bool", "integral", "real floating")):
        raise TypeError(
            f"{function}: {name} has dtype {X.dtype}, and real numbers are needed. "
            f"Convert it first, for example with numpy.asarray({name}, dtype=float)."
        )
    if X.ndim != 2:
        raise ValueError(
            f"{function}: {name} has {X.ndim} dimension(s), shape {tuple(X.shape)}, and two are "
            "needed, one row per sample or atom. Reshape one row to (1, -1), one column to (-1, 1)."
        )
    if 0 in X.shape:
        raise ValueError(
            f"{function}: {name} is empty, shape {tuple(X.shape)}. "
            "Pass at least one row and one column."
        )


def check_finite(xp, function, name, block):
    if xp.isdtype(block.dtype, "real floating") and not bool(xp.all(xp.isfinite(block))):
        raise ValueError(
            f"{function}: {name} contains NaN or infinity. Remove or impute those rows; in "
            "codes and reconstructions they tell of a diverged fit."
        )


def canonical(function, Z, name="Z"):
    """Checked CSR or CSC, sorted and without duplicates; other formats become CSR."""
    check_kind_and_shape(function, name, Z)
    if Z.format not in ("csr", "csc"):
        Z = Z.tocsr()
    if not Z.has_canonical_format:  # duplicates are one entry, their sum
        Z = Z.copy()
        Z.sum_duplicates()
    check_finite(np, function, name, Z.data)
    return Z


def check_range(function, *sums):
    if not all(math.isfinite(value) for value in sums):
        raise ValueError(
            f"{function}: a sum of squares exceeds the range of float64. "
            "Divide X and X_hat by one number."
        )


def matrix_and_reconstruction(function, X, X_hat):
    X, X_hat = as_matrix(function, "X", X), as_matrix(function, "X_hat", X_hat)
    xp = namespace(X)
    if namespace(X_hat) is not xp:
        raise TypeError(
            f"{function}: X is a {_library(X)} array but X_hat is a {_library(X_hat)} array. "
            "Convert one of them."
        )
    if device(X) != device(X_hat):
        raise ValueError(
            f"{function}: X is on {device(X)} but X_hat is on {device(X_hat)}. Move one of them."
        )
    if X.shape != X_hat.shape:
        raise ValueError(
            f"{function}: X_hat has shape {tuple(X_hat.shape)} but X has shape {tuple(X.shape)}. "
            "Pass the reconstruction of this X: "
            "estimator.inverse_transform(estimator.transform(X))."
        )
    return xp, X, X_hat


def _library(X):
    return type(X).__module__.split(".")[0]


def undefined(function, why, *, stacklevel=3):
    """Warn and return NaN; `stacklevel=3` suits a call from the public function itself."""
    warnings.warn(f"{function} is undefined and NaN: {why}.", UserWarning, stacklevel=stacklevel)
    return math.nan
