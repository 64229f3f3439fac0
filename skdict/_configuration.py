"""What a checkpoint and the fit that continues it must have in common."""

import hashlib
from numbers import Real

import numpy as np

from skdict.backend import to_numpy

LOOKED_AT = 512  # rows, by which a checkpoint knows its data
NOT_OF_TRAINING = {"n_jobs", "verbose", "sparse_output", "warm_start", "device"}


def configuration(estimator, source):
    """Parameters of an estimator and marks of its data, by name, as JSON can hold them."""
    own = {
        name: _plain(value)
        for name, value in estimator.get_params(deep=False).items()
        if name not in NOT_OF_TRAINING
    }
    first = to_numpy(source.first(source.order(None), LOOKED_AT))
    rows = hashlib.sha256(np.ascontiguousarray(first, dtype=np.float64).data).hexdigest()
    return {
        "estimator": type(estimator).__name__,
        **own,
        "rows of X": source.n_rows,
        "features of X": source.n_features,
        "dtype of training": str(source.like.dtype),
        f"first {LOOKED_AT} rows of X": rows[:16],
    }


def _plain(value):
    """A parameter as JSON can hold it; arrays and objects by what tells them apart."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list) and all(isinstance(each, Real) for each in value):
        each = [_plain(number) for number in value]
        return each[0] if len(each) == 1 else each  # a width of a layer, and a tuple with it
    if isinstance(value, np.random.RandomState):
        return "RandomState"
    if hasattr(value, "fit"):
        return repr(value)
    array = np.ascontiguousarray(to_numpy(value))
    return f"{array.shape}, sha256 {hashlib.sha256(array.data).hexdigest()[:16]}"
