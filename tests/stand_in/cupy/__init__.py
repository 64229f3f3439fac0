"""A stand-in for the few calls of CuPy that skdict makes, over NumPy, for machines without a GPU.

On the path before anything imports cupy (SKDICT_CUPY=emulated, see tests/conftest.py). Kernels run
through :mod:`emulation`. It is stricter than CuPy where that catches mistakes: arrays of another
device than the current one are refused, copies on another stream happen only once somebody waits
for them, and whatever waits for the device is refused where synchronisation is.
"""

import operator
import sys
from pathlib import Path

import numpy as np

from cupy import _state as fake
from cupy._names import NAMES

ALLOWED = frozenset(NAMES)
__version__ = "14.0.0+emulated"
__all__ = [*sorted(ALLOWED), "asnumpy", "ndarray"]


class ndarray:
    """Host memory that only this module looks at, and the number of the device it stands for."""

    __array_priority__ = 100
    __hash__ = None

    def __init__(self, host, device=None):
        self._host = host
        self._device = fake.current_device() if device is None else device

    # ---- what it is

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    strides = property(lambda self: self._host.strides)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    flags = property(lambda self: self._host.flags)
    T = property(lambda self: ndarray(self._host.T, self._device))
    mT = property(lambda self: ndarray(self._host.mT, self._device))
    device = property(lambda self: cuda.Device(self._device))

    @property
    def data(self):
        return Memory(self._host.ctypes.data, self.device)

    # ---- to and from the host

    def get(self, stream=None, order="C", out=None, blocking=True):
        target = np.empty(self.shape, self.dtype) if out is None else out
        if blocking:
            fake.declare_synchronize("get")
        here = stream is None or stream == cuda.get_current_stream()

        def copy():
            fake.log.append(("d2h", self.nbytes))
            np.copyto(target, self._host)

        if here:
            copy()
        else:
            stream._pending.append(copy)
            if blocking:
                stream._run()
        return target

    def set(self, host, stream=None):
        if not isinstance(host, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if host.shape != self.shape or host.dtype != self.dtype:
            raise ValueError("shape or dtype mismatch")

        def copy():
            fake.log.append(("h2d", self.nbytes))
            np.copyto(self._host, host)

        if stream is None or stream == cuda.get_current_stream():
            copy()
        else:
            stream._pending.append(copy)

    def item(self, *index):
        fake.declare_synchronize("item")
        return self._host.item(*index)

    def tolist(self):
        fake.declare_synchronize("tolist")
        return self._host.tolist()

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct "
            "a NumPy array explicitly."
        )

    def __dlpack__(self, **kwargs):
        return self._host.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self._host.__dlpack_device__()

    def __reduce__(self):
        return _rebuilt, (self._host, self._device)

    def __deepcopy__(self, memo):
        return ndarray(self._host.copy(), self._device)

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return repr(self._host)

    # ---- parts

    def __getitem__(self, key):
        key = _index(key)
        for part in key if isinstance(key, tuple) else (key,):
            if isinstance(part, np.ndarray) and part.dtype == bool:
                fake.declare_synchronize("boolean mask")
        return _wrapped(self._checked()[key])

    def __setitem__(self, key, value):
        self._checked()[_index(key)] = _unwrapped(value)

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        return ndarray(fake.fits(self._checked().astype(dtype, copy=copy)))

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _function(getattr(self._checked(), name), name)

    def _checked(self):
        if self._device != fake.current_device():
            raise RuntimeError(
                f"an array of device {self._device} while device {fake.current_device()} is current"
            )
        return self._host


def _rebuilt(host, device):
    return ndarray(host, device)


class Memory:
    """Where an array lies."""

    def __init__(self, ptr, device):
        self.ptr, self.device = ptr, device


def _index(key):
    if isinstance(key, tuple):
        return tuple(_index(part) for part in key)
    return key._checked() if isinstance(key, ndarray) else key


def _unwrapped(value):
    if isinstance(value, ndarray):
        return value._checked()
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, tuple | list):
        return type(value)(_unwrapped(part) for part in value)
    return value


def _wrapped(value):
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(fake.fits(np.asarray(value)))
    if isinstance(value, tuple | list):
        return type(value)(_wrapped(part) for part in value)
    return value


_WAIT = {"nonzero", "flatnonzero", "argwhere", "unique", "bincount", "array_equal", "allclose"}


def _function(function, name):
    def call(*args, **kwargs):
        if name in _WAIT:
            fake.declare_synchronize(name)
        out = kwargs.get("out")
        if name == "repeat" and isinstance(args[-1], ndarray):
            raise TypeError("cupy.repeat takes no array of repeats")
        kwargs = {key: _unwrapped(value) for key, value in kwargs.items()}
        result = function(*map(_unwrapped, args), **kwargs)
        return out if isinstance(out, ndarray) else _wrapped(result)

    return call


def _binary(name):
    function = getattr(operator, name.strip("_"), None) or getattr(operator, name.strip("_") + "_")

    def method(self, other):
        if other is None or isinstance(other, str):
            return NotImplemented
        return _wrapped(function(self._checked(), _unwrapped(other)))

    def reflected(self, other):
        return _wrapped(function(_unwrapped(other), self._checked()))

    def in_place(self, other):
        other = _unwrapped(other)
        host = self._checked()
        with np.errstate(all="ignore"):
            result = function(host, other)
        if not np.can_cast(result.dtype, host.dtype, "same_kind"):
            raise TypeError(f"cannot cast {result.dtype} to {host.dtype}")
        host[...] = result
        return self

    return method, reflected, in_place


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or",
              "xor", "lshift", "rshift"):  # fmt: skip
    _method, _reflected, _in_place = _binary(_name)
    setattr(ndarray, f"__{_name}__", _method)
    setattr(ndarray, f"__r{_name}__", _reflected)
    setattr(ndarray, f"__i{_name}__", _in_place)
for _name in ("lt", "le", "eq", "ne", "gt", "ge"):
    setattr(ndarray, f"__{_name}__", _binary(_name)[0])
for _name in ("neg", "pos", "abs", "invert"):
    _operator = getattr(operator, _name)
    setattr(ndarray, f"__{_name}__", lambda self, f=_operator: _wrapped(f(self._checked())))
for _name, _type in (("float", float), ("int", int), ("bool", bool), ("index", operator.index),
                     ("complex", complex)):  # fmt: skip

    def _scalar(self, convert=_type, name=_name):
        fake.declare_synchronize(name)
        return convert(self._host)

    setattr(ndarray, f"__{_name}__", _scalar)


# ---- functions


def asarray(a, dtype=None, order=None, *, blocking=False):
    """An array on the current device; one of the host is copied without waiting."""
    if isinstance(a, ndarray):
        return ndarray(np.asarray(a._checked(), dtype=dtype, order=order))
    return array(a, dtype=dtype)


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    """A new array on the current device."""
    if isinstance(obj, ndarray):
        return ndarray(fake.fits(np.array(obj._checked(), dtype=dtype, copy=copy)))
    if isinstance(obj, list | tuple):
        obj = [part.item() if isinstance(part, ndarray) else part for part in obj]
    host = fake.fits(np.array(obj, dtype=dtype, ndmin=ndmin))
    if host.dtype.kind not in "fiubc":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    fake.log.append(("h2d", host.nbytes))
    return ndarray(host)


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    """The array on the host."""
    return a.get(stream=stream, out=out, blocking=blocking) if isinstance(a, ndarray) else a


def from_dlpack(x):
    """An array over the memory of another, which here is on the host."""
    return x if isinstance(x, ndarray) else ndarray(np.from_dlpack(x))


def get_default_memory_pool():
    """What is told of memory."""
    return cuda.MemoryPool()


def ascontiguousarray(a, dtype=None):
    """The array itself where it is contiguous."""
    if a.flags.c_contiguous and dtype in (None, a.dtype):
        return a
    return ndarray(np.ascontiguousarray(a._checked(), dtype=dtype))


class RawModule:
    """Kernels from source text, run by the emulation."""

    def __init__(self, *, code, options=(), backend="nvrtc", name_expressions=None):
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
        try:
            import emulation
        finally:
            sys.path.pop(0)
        self._module = emulation.Module(code, tuple(options))

    def get_function(self, name):
        function = self._module.get_function(name)

        def launch(grid, block, args, *, shared_mem=0, stream=None):
            for argument in args:
                if isinstance(argument, ndarray):
                    if not argument._checked().flags.c_contiguous:
                        raise ValueError(f"{name}: an argument is not contiguous")
                elif not (argument is None or isinstance(argument, np.generic)):
                    raise TypeError(f"{name}: pass scalars of NumPy, not {type(argument)}")
            fake.log.append(("launch", name))
            function(grid, block, args, shared_mem=shared_mem)

        return launch


_SAME = {"float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16",
         "uint32", "uint64", "bool_", "complex64", "complex128", "inf", "nan", "pi", "e", "newaxis",
         "dtype", "finfo", "iinfo", "generic", "integer", "floating", "number", "inexact",
         "issubdtype", "result_type", "can_cast", "signedinteger", "unsignedinteger",
         "complexfloating", "promote_types", "broadcast_shapes"}  # fmt: skip


def __getattr__(name):
    if name.startswith("_") or name not in ALLOWED:
        raise AttributeError(f"module 'cupy' has no attribute {name!r}")
    value = getattr(np, name)
    if name in _SAME or isinstance(value, type) or not callable(value):
        if name in ("result_type", "can_cast"):
            return lambda *args, **kwargs: value(*map(_unwrapped, args), **kwargs)
        return value
    return _function(value, name)


from cupy import cuda, linalg  # noqa: E402, F401  (they need ndarray)
