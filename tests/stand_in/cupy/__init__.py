"""A stand-in for the few calls of CuPy that skdict makes, over NumPy, for machines without a GPU.

On the path before anything imports cupy (SKDICT_CUPY=emulated, see tests/conftest.py). Kernels run
through :mod:`emulation`. It is stricter than CuPy where that catches mistakes: arrays of another
device than the current one are refused, copies on another stream happen only once somebody waits
for them, whatever waits for the device is refused where synchronisation is, and memory that nobody
has written to holds garbage.
"""

import operator
import sys
from pathlib import Path

import numpy as np

from cupy import _state as fake
from cupy._names import ABSENT, METHODS, NAMES

__version__ = "14.2.0+emulated"
__all__ = sorted({*NAMES, "asnumpy", "cuda", "get_array_module", "get_default_memory_pool",
                  "ndarray", "RawModule"})  # fmt: skip


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
    real = property(lambda self: ndarray(self._host.real, self._device))
    imag = property(lambda self: ndarray(self._host.imag, self._device))
    device = property(lambda self: cuda.Device(self._device))
    data = property(lambda self: Memory(self._host.ctypes.data, self.device))

    # ---- to and from the host

    def get(self, stream=None, order="C", out=None, blocking=True):
        if out is None:
            order = ("F" if self.flags.fnc else "C") if order == "A" else order
            out = fake.with_garbage(np.empty(self.shape, self.dtype, order))
        elif not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        self._must_match(out)
        if blocking:
            fake.declare_synchronize("get")
        # CuPy makes what is not contiguous so at once, and copies that.
        source = self._host if self.flags.forc else self._host.copy()

        def copy():
            fake.log.append(("d2h", self.nbytes))
            np.copyto(out, source)

        stream = cuda.get_current_stream() if stream is None else stream
        stream._do(copy)
        if blocking:
            stream._run()
        return out

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        self._must_match(arr)
        if not self.flags.forc:
            raise RuntimeError("Cannot set to non-contiguous array")
        source = np.asarray(arr, order="C" if self.flags.c_contiguous else "F")

        def copy():
            fake.log.append(("h2d", self.nbytes))
            np.copyto(self._host, source)

        (cuda.get_current_stream() if stream is None else stream)._do(copy)

    def _must_match(self, host):
        if host.dtype != self.dtype:
            raise TypeError(f"{host.dtype} array cannot be set to {self.dtype} array")
        if host.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {host.shape}")

    def item(self):
        fake.declare_synchronize("item")
        fake.log.append(("d2h", self.nbytes))
        return self._host.item()

    def tolist(self):
        return self.get().tolist()

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct "
            "a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if method != "__call__" or ufunc.__name__ not in NAMES:
            return NotImplemented
        out = kwargs.pop("out", None)
        if out is not None:
            kwargs["out"] = out[0]
        return _function(ufunc, ufunc.__name__)(*inputs, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        own = globals().get(function.__name__) or __getattr__(function.__name__)
        return own(*args, **kwargs)

    def __dlpack__(self, *, stream=None, **kwargs):
        return self._host.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self._host.__dlpack_device__()

    def __reduce__(self):
        return array, (self.get(),)

    def __copy__(self):
        return self.__deepcopy__(None)

    def __deepcopy__(self, memo):
        with self.device:
            return self.copy()

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return repr(self._host)

    def __str__(self):
        return str(self._host)

    def __format__(self, spec):
        return format(self.get()[()], spec)

    # ---- parts

    def __getitem__(self, key):
        return _wrapped(self._checked()[_index(key)])

    def __setitem__(self, key, value):
        if isinstance(value, list | tuple):
            raise TypeError(f"Unsupported type {type(value)}")
        self._checked()[_index(key)] = _unwrapped(value)

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        host = self._checked()
        if (
            not copy
            and host.dtype == dtype
            and (order in "KA" or host.flags[f"{order}_CONTIGUOUS"])
        ):
            return self
        with np.errstate(all="ignore"):
            return ndarray(fake.allocated(host.astype(dtype, order, casting or "unsafe")))

    def copy(self, order="C"):
        """On the current device, which need not be that of the array."""
        return ndarray(fake.allocated(self._host.copy(order)))

    def __getattr__(self, name):
        if name not in METHODS:
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")
        return _function(getattr(self._checked(), name), name, is_method=True)

    def _checked(self):
        if self._device != fake.current_device():
            raise RuntimeError(
                f"an array of device {self._device} while device {fake.current_device()} is current"
            )
        return self._host


class Memory:
    """Where an array lies."""

    def __init__(self, ptr, device):
        self.ptr, self.device, self.device_id = ptr, device, device.id


def _index(key):
    if isinstance(key, tuple):
        return tuple(_index(part) for part in key)
    if isinstance(key, np.ndarray):
        fake.log.append(("h2d", key.nbytes))
    elif isinstance(key, ndarray):
        key = key._checked()
    if isinstance(key, np.ndarray) and key.dtype == bool:
        fake.declare_synchronize("boolean mask")
    return key


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
        return ndarray(fake.allocated(np.asarray(value)))
    if isinstance(value, tuple | list):
        parts = [_wrapped(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


_WAIT = set("""argwhere bincount choose compress delete digitize extract flatnonzero histogram
    intersect1d nonzero put setdiff1d setxor1d trim_zeros union1d unique unique_all unique_counts
    unique_inverse unique_values""".split())  # fmt: skip
_SHAPES = set("arange empty eye full identity linspace ones reshape tri zeros".split())
_BOOLEANS = set("allclose array_equal array_equiv".split())  # that NumPy gives as bool


def _function(function, name, is_method=False):
    absent = {
        key for keys, names in ABSENT.items() for key in keys.split() if name in names.split()
    }
    absent = set() if is_method and name == "clip" else absent

    def call(*args, **kwargs):
        if absent.intersection(kwargs):
            raise TypeError(f"{name}() got an unexpected keyword argument in {[*kwargs]}")
        if isinstance(function, np.ufunc) and any(isinstance(a, list | tuple) for a in args):
            raise TypeError("Unsupported type <class 'list'>")
        if name in _WAIT or (name == "where" and len(args) == 1):
            fake.declare_synchronize(name)
        if name in _SHAPES and any(isinstance(a, ndarray) for a in args[name == "reshape" :]):
            fake.declare_synchronize(f"{name}, of an argument on the device")
        out = kwargs.get("out")
        kwargs = {key: _unwrapped(value) for key, value in kwargs.items()}
        with np.errstate(all="ignore"):
            result = function(*map(_unwrapped, args), **kwargs)
        if name in ("empty", "empty_like"):
            fake.with_garbage(result)
        if name in _BOOLEANS:
            result = np.bool_(result)
        return out if isinstance(out, ndarray) else _wrapped(result)

    return call


def _binary(name):
    function = getattr(operator, name, None) or getattr(operator, f"{name}_", divmod)

    def apply(one, other):
        if any(a is None or isinstance(a, str | list | tuple) for a in (one, other)):
            raise TypeError(f"Unsupported type in {name}: {type(one)}, {type(other)}")
        with np.errstate(all="ignore"):
            return function(_unwrapped(one), _unwrapped(other))

    def in_place(self, other):
        result = apply(self, other)
        if not np.can_cast(result.dtype, self.dtype, "same_kind"):
            raise TypeError(f"cannot cast {result.dtype} to {self.dtype}")
        self._host[...] = result
        return self

    return {
        "": lambda self, other: _wrapped(apply(self, other)),
        "r": lambda self, other: _wrapped(apply(other, self)),
        "i": in_place,
    }


for _name in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift divmod".split():
    for _kind, _method in _binary(_name).items():
        if _kind != "i" or _name not in ("matmul", "divmod"):
            setattr(ndarray, f"__{_kind}{_name}__", _method)
for _name in ("lt", "le", "eq", "ne", "gt", "ge"):
    setattr(ndarray, f"__{_name}__", _binary(_name)[""])
for _name in ("neg", "pos", "abs", "invert"):
    _operator = getattr(operator, _name)
    setattr(ndarray, f"__{_name}__", lambda self, f=_operator: _wrapped(f(self._checked())))
for _name, _type in (("float", float), ("int", int), ("bool", bool), ("index", operator.index),
                     ("complex", complex)):  # fmt: skip

    def _scalar(self, convert=_type, name=_name):
        fake.declare_synchronize(name)
        fake.log.append(("d2h", self.nbytes))
        return convert(self._host)

    setattr(ndarray, f"__{_name}__", _scalar)


# ---- functions


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    """An array on the current device; one of the host is copied without waiting."""
    return array(a, dtype, copy=bool(copy), order=order or "K", blocking=blocking)


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    """An array on the current device, from anywhere."""
    if isinstance(obj, ndarray):
        if obj._device != fake.current_device():
            obj = obj.copy()
        obj = obj.astype(obj.dtype if dtype is None else dtype, order, copy=copy)
        return obj if obj.ndim >= ndmin else obj[(None,) * (ndmin - obj.ndim)]
    host = fake.allocated(np.array(_items(obj), dtype, order=order, ndmin=ndmin))
    if host.dtype.kind not in "fiubc":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    if blocking:
        fake.declare_synchronize("array")
    fake.log.append(("h2d", host.nbytes))
    return ndarray(host)


def _items(obj):
    """Nested lists may hold arrays of the device, which have to be read first."""
    if isinstance(obj, list | tuple):
        return [_items(part) for part in obj]
    return obj.get() if isinstance(obj, ndarray) else obj


asanyarray = asarray


def ascontiguousarray(a, dtype=None):
    """The array itself where it is contiguous."""
    return asarray(a, dtype, order="C")


def asfortranarray(a, dtype=None):
    """The array itself where it is contiguous, columns first."""
    return asarray(a, dtype, order="F")


def astype(x, dtype, copy=True):
    """As the method."""
    return x.astype(dtype, copy=copy)


def copy(a, order="K"):
    """On the current device, too."""
    return a.copy(order)


def repeat(a, repeats, axis=None):
    """Not as often as an array of the device says, which CuPy 13 refuses, and 14 waits for."""
    if isinstance(repeats, ndarray | np.ndarray):
        raise ValueError("cupy.ndarray cannot be specified as `repeats` argument.")
    return a.repeat(repeats, axis)


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    """The array on the host."""
    if isinstance(a, ndarray):
        return a.get(stream=stream, order=order, out=out, blocking=blocking)
    return np.asarray(a)


def from_dlpack(array, *, device=None, copy=None):
    """An array over the memory of another, which here is on the host."""
    if isinstance(array, ndarray):
        array = array._checked()
    return ndarray(np.from_dlpack(array, copy=copy))


def get_array_module(*args):
    """Of some arrays."""
    return sys.modules[__name__ if any(isinstance(a, ndarray) for a in args) else "numpy"]


def get_default_memory_pool():
    """What is told of memory."""
    return cuda.MemoryPool()


def get_default_pinned_memory_pool():
    """Nothing is told of memory of the host."""
    return cuda.PinnedMemoryPool()


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
        return _Kernel(self._module.get_function(name))


class _Kernel:
    """A kernel that is given arrays of the current device, contiguous, and scalars of NumPy."""

    def __init__(self, function):
        self._function, self.name = function, function.name
        self.max_dynamic_shared_size_bytes = 48 << 10

    def __call__(self, grid, block, args, *, shared_mem=0, stream=None):
        if np.prod(block) % 32 or np.prod(block) > 1024 or min(*grid, *block) < 1:
            raise ValueError(f"{self.name}: blocks {grid} of threads {block}")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise ValueError(f"{self.name}: {shared_mem} bytes of shared memory were not asked for")
        for argument in args:
            if isinstance(argument, ndarray):
                if not argument._checked().flags.c_contiguous:
                    raise ValueError(f"{self.name}: an argument is not contiguous")
            elif not (argument is None or isinstance(argument, np.generic)):
                raise TypeError(f"{self.name}: pass scalars of NumPy, not {type(argument)}")

        def launch():
            fake.log.append(("launch", self.name))
            self._function.max_dynamic_shared_size_bytes = self.max_dynamic_shared_size_bytes
            self._function(grid, block, args, shared_mem=shared_mem)

        (cuda.get_current_stream() if stream is None else stream)._do(launch)


_SAME = {"dtype", "finfo", "iinfo", "issubdtype", "promote_types", "broadcast_shapes"}


def __getattr__(name):
    if name not in NAMES:
        raise AttributeError(f"module 'cupy' has no attribute {name!r}")
    value = getattr(np, name)
    if name in _SAME or isinstance(value, type) or not callable(value):
        return value
    return _function(value, name)


from cupy import cuda  # noqa: E402  (it needs the array)
from cupy import linalg as linalg  # noqa: E402
