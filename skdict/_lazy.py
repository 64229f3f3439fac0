"""Encoding and decoding dask arrays: others, of which nothing is computed yet."""

import copy

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import validate_data

from skdict._sklearn import as_configured, output_config
from skdict._validation import check_same_place
from skdict.sources.reading import check_shape, dtype_of_rows, empty_like


def transform_blocks(estimator, X):
    """Codes of the dask array X, block by block of rows, as a dask array."""
    import dask

    X, D = _checked(estimator, X), estimator.components_
    empty = np.zeros((0, D.shape[0]), dtype=D.dtype)
    if estimator.sparse_output:
        empty = as_configured(sp.csr_array(empty))
    # As one node of the graph the model is sent to a worker once, not with each block.
    model = dask.delayed(_model(estimator), pure=True, traverse=False)
    chunks = X.chunks[0], (D.shape[0],)
    return X.map_blocks(_codes, dtype=D.dtype, chunks=chunks, meta=empty, model=model, empty=empty)


def decode_blocks(estimator, Z):
    """What codes, a dask array, stand for, block by block of rows, as a dask array."""
    import dask

    D = estimator.components_
    if Z.ndim != 2 or Z.shape[1] != D.shape[0]:
        raise ValueError(
            f"{type(estimator).__name__}: codes have shape {tuple(Z.shape)}, but (n_samples, "
            f"{D.shape[0]}) is needed. Pass what transform returns."
        )
    Z = Z.rechunk({1: -1}) if len(Z.chunks[1]) > 1 else Z
    model = dask.delayed(_model(estimator), pure=True, traverse=False)
    chunks, meta = (Z.chunks[0], (D.shape[1],)), np.zeros((0, D.shape[1]), dtype=D.dtype)
    return Z.map_blocks(_decoded, dtype=D.dtype, chunks=chunks, meta=meta, model=model)


def _decoded(block, model):
    return model.inverse_transform(block)


def _checked(estimator, X):
    name = type(estimator).__name__
    container = output_config("transform", estimator)["dense"]
    if container != "default":
        raise ValueError(
            f"{name}: {container} cannot hold the codes of a dask array, which are not computed "
            "yet. Disable it with set_output(transform='default'), or transform X.compute()."
        )
    check_shape(X.shape, name)
    dtype = dtype_of_rows(X.dtype, name)
    check_same_place(estimator, empty_like(estimator.n_features_in_, dtype), "transform")
    validate_data(estimator, X, reset=False, skip_check_array=True)
    X = X.rechunk({1: -1}) if len(X.chunks[1]) > 1 else X
    return X if X.dtype == dtype else X.astype(dtype)


def _model(estimator):
    # A copy: what happens to the estimator before the codes are computed does not change them.
    model = copy.copy(estimator)
    for name in ("feature_names_in_", "_state", "history_", "loss_curve_"):
        vars(model).pop(name, None)  # the first would warn of each block, the rest are not needed
    if model.n_jobs is None:
        model.n_jobs = 1  # the blocks are encoded side by side already
    return model


def _codes(block, model, empty):
    if not block.shape[0]:
        return empty
    Z = model.transform(block)
    return type(empty)(Z) if sp.issparse(empty) else Z  # a worker has a configuration of its own
