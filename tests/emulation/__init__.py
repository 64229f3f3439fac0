"""CUDA kernels on the CPU: a stand-in for ``cupy.RawModule``, by way of g++.

``Module(code, options).get_function(name)`` returns a function ``f(grid, block, args,
shared_mem=0)`` that runs the kernel with ``cuda_on_cpu.hpp`` beside this file, which says what is
emulated. Arguments are numpy arrays, objects with ``.data.ptr`` as cupy's arrays have, and numpy
scalars, whose dtypes must be those of the kernel: the driver could not check them, here a mismatch
is a TypeError.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import numpy as np

HEADER = Path(__file__).with_name("cuda_on_cpu.hpp")
FLAGS = ("-std=c++20", "-O1", "-fPIC", "-shared", "-ffp-contract=off", "-Wall", "-Werror",
         "-Wno-unknown-pragmas", "-Wno-sign-compare",
         "-Wno-unused-function", "-Wno-unused-variable")  # fmt: skip
_KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(")
_lock = threading.Lock()  # the emulated device has one set of shared memory and threads
_order = 0


@functools.cache
def available():
    """Whether there is a g++ that compiles C++20."""
    if shutil.which("g++") is None:
        return False
    check = ["g++", "-std=c++20", "-fsyntax-only", "-x", "c++", "-"]
    source = "#include <atomic>\n#include <bit>\n#include <ucontext.h>\nstd::atomic_ref<int>* p;"
    return subprocess.run(check, input=source, text=True, capture_output=True).returncode == 0


@contextlib.contextmanager
def backwards():
    """Within, threads and blocks run in decreasing order: no result may change."""
    global _order
    _order = 1
    try:
        yield
    finally:
        _order = 0


class Module:
    """The kernels of a CUDA source text, compiled for the CPU; of the options only -D count."""

    def __init__(self, code, options=()):
        defines = tuple(option for option in options if option.startswith("-D"))
        self.library = ctypes.CDLL(str(build(code, defines)))

    def get_function(self, name):
        return Function(self.library, name)


class Function:
    """A kernel, to be launched as cupy's functions are."""

    max_dynamic_shared_size_bytes = 48 << 10

    def __init__(self, library, name):
        self.name = name
        self._launch = library[f"emulated_launch_{name}"]
        text = ctypes.create_string_buffer(4096)
        library[f"emulated_signature_{name}"](text)
        self.parameters = text.value.decode().split()

    def __call__(self, grid, block, args, *, shared_mem=0):
        if len(args) != len(self.parameters):
            raise TypeError(f"{self.name} takes {len(self.parameters)} arguments, not {len(args)}")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise ValueError(f"{self.name}: {shared_mem} bytes of shared memory were not asked for")
        values = [self._as_bytes(i, argument) for i, argument in enumerate(args)]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        sizes = [(ctypes.c_uint * 3)(*(*size, 1, 1)[:3]) for size in (grid, block)]
        with _lock:
            self._launch(*sizes, ctypes.c_size_t(shared_mem), _order, pointers)

    def _as_bytes(self, i, argument):
        parameter, message = self.parameters[i], f"{self.name}, argument {i}"
        if argument is None:
            given, value = "*V0", np.uint64(0)
        elif hasattr(argument, "data") and hasattr(argument.data, "ptr"):
            given, value = f"*{_kind(argument.dtype)}", np.uint64(argument.data.ptr)
        elif isinstance(argument, np.ndarray):
            given, value = f"*{_kind(argument.dtype)}", np.uint64(argument.ctypes.data)
        elif isinstance(argument, np.generic | int | float):  # as cupy: int is long long
            value = np.asarray(argument)[()]
            given = _kind(value.dtype)
        else:
            raise TypeError(f"{message}: {type(argument).__name__} cannot be passed to a kernel")
        if given != parameter and not ("V0" in parameter + given and "*" in given):
            raise TypeError(f"{message} is {given}, and the kernel takes {parameter}")
        return np.array([value])


def _kind(dtype):
    dtype = np.dtype(dtype)
    return f"{dtype.kind}{dtype.itemsize}"


def build(code, defines=(), flags=()):
    """Path of the shared library of this source, compiled once for all processes."""
    names = _KERNEL.findall(code)
    source = "\n".join(['#include "cuda_on_cpu.hpp"', "#line 1", code, *map(_trampoline, names)])
    flags = (*FLAGS, *flags, *defines)
    key = hashlib.sha256("\0".join((HEADER.read_text(), source, *flags)).encode()).hexdigest()
    folder = Path(tempfile.gettempdir()) / f"skdict-emulation-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"{key[:32]}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            built = Path(scratch) / "built.so"
            command = ["g++", *flags, f"-I{HEADER.parent}", "-x", "c++", "-", "-o", str(built)]
            result = subprocess.run(command, input=source, text=True, capture_output=True)
            if result.returncode:
                raise RuntimeError(f"g++ rejects the kernels:\n{result.stderr}")
            built.rename(library)  # atomic: another process may do the same
    return library


def _trampoline(name):
    return f"""
extern "C" void emulated_launch_{name}(const unsigned* grid, const unsigned* block, size_t shared,
                                       int order, void** arguments) {{
    emulation::launch({name}, grid, block, shared, order, arguments);
}}
extern "C" void emulated_signature_{name}(char* text) {{ emulation::signature({name}, text); }}"""
