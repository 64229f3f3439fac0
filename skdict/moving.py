"""Moving fitted estimators from one device to another."""

import copy
import dataclasses

import numpy as np
from sklearn.base import BaseEstimator

from skdict.backend import empty_on_gpu, is_gpu, is_torch_array, to_numpy
from skdict.devices import parsed


def to_device(estimator, device):
    """A copy of an estimator whose fitted arrays live on another device.

    Parameters
    ----------
    estimator : estimator
        Of skdict, or one that contains such, as a Pipeline does.
    device : {"cpu", "cuda", "cuda:N"}
        "cpu" turns CuPy's arrays into NumPy's; the others turn NumPy's into CuPy's on that GPU.
        Tensors of torch stay tensors.

    Returns
    -------
    moved : estimator
        It computes where its arrays and its data are: `device` is None in it. What `partial_fit`
        keeps comes along.

    Raises
    ------
    ImportError, RuntimeError
        If a GPU is asked for, and CuPy is not installed or there is no driver.
    ValueError
        If there is no such device.

    Examples
    --------
    >>> import numpy as np
    >>> import skdict
    >>> sae = skdict.TopKAutoencoder(8, k=2, max_iter=1).fit(np.eye(6))
    >>> type(skdict.to_device(sae, "cpu").components_).__name__
    'ndarray'
    """
    if not isinstance(device, str):
        raise TypeError(
            f"to_device: device={device!r} is no name of a device. Choose 'cpu', 'cuda' or "
            "'cuda:0'."
        )
    place = parsed(device, "to_device")
    moved = copy.deepcopy(estimator)
    for one in _ours(moved, set()):
        _move(one, place)
    return moved


def _ours(value, seen):
    """All estimators of skdict in a value, itself included."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, BaseEstimator):
        if type(value).__module__.split(".")[0] == "skdict":
            yield value
        for part in list(vars(value).values()):
            yield from _ours(part, seen)
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _ours(part, seen)


def _move(estimator, place):
    estimator.device = None
    arrays = [name for name, value in vars(estimator).items() if _is_fitted(name, value)]
    for name in arrays:
        setattr(estimator, name, _moved(getattr(estimator, name), place))
    state = getattr(estimator, "_state", None)
    if state is not None:
        estimator._state = _moved_state(state, place)


def _is_fitted(name, value):
    array = isinstance(value, np.ndarray) or is_gpu(value) or is_torch_array(value)
    return name.endswith("_") and array and name != "feature_names_in_"


def _moved_state(state, place):
    on_gpu = is_gpu(state.center) or place != "cpu"
    names = ["params", "center", *(["silent_for"] if on_gpu else [])]
    # Statistics of dictionary updates stay on the host, the moments of Adam do not.
    if set(state.optimizer) == {"step", "mean", "square"}:
        names.append("optimizer")
    changes = {name: _moved(getattr(state, name), place) for name in names}
    return dataclasses.replace(state, visiting=False, **changes)


def _moved(value, place):
    if isinstance(value, dict):
        return {name: _moved(part, place) for name, part in value.items()}
    if is_torch_array(value):
        return value.to("cpu" if place == "cpu" else f"cuda:{place.id}")
    if isinstance(value, np.ndarray | np.generic) or is_gpu(value):
        value = to_numpy(value)
        return value if place == "cpu" else _on_gpu(value, place)
    return value


def _on_gpu(array, place):
    out = empty_on_gpu(array.shape, array.dtype, place)
    with place:
        out.set(np.asarray(array, order="C"))
    return out
