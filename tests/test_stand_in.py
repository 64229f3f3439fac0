"""The stand-in for CuPy is as strict as it says; each test has a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import emulation
import pytest

BEGIN = """
import copy, pickle, sys, warnings
import array_api_compat, numpy as np, pytest
import cupy, cupyx
warnings.simplefilter("ignore")
x = cupy.asarray(np.arange(6, dtype=np.float32).reshape(2, 3))
"""


HERE = Path(__file__).parent
STAND_IN = HERE / "stand_in"


def run(program):
    path = os.pathsep.join(map(str, (STAND_IN, HERE)))
    command = [sys.executable, "-c", BEGIN + program]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_arrays():
    run("""
xp = array_api_compat.array_namespace(x)
assert array_api_compat.is_cupy_array(x) and array_api_compat.is_cupy_namespace(xp)
assert isinstance(xp.sum(x), cupy.ndarray) and xp.sum(x).shape == () and float(xp.sum(x)) == 15
assert (x * 2.0).dtype == (2 - x).dtype == np.float32 and (x * np.float64(2)).dtype == np.float64
y = x[:, 1]
y += 1
x[0, 0] = 5
assert x.tolist() == [[5, 2, 2], [3, 5, 5]] and x.T.data.ptr == x.data.ptr
for call in (lambda: x + np.ones(3), lambda: np.ones(3) + x, lambda: cupy.add(x, np.ones(3)),
             lambda: x.__setitem__(0, np.ones(3)), lambda: np.asarray(x), lambda: x + [1, 2, 3],
             lambda: cupy.sum(x, where=True), lambda: cupy.sqrt([1.0])):
    with pytest.raises(TypeError):
        call()
with pytest.raises(ValueError, match="repeats"):
    cupy.repeat(x, x)
with pytest.raises(AttributeError):
    cupy.ptp_of_nothing
for other in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), copy.copy(x), cupy.array(x)):
    assert (other == x).all() and other.data.ptr != x.data.ptr
assert cupy.asarray(x) is x and x[np.array([1, 0])].tolist() == x[cupy.array([1, 0])].tolist()
assert np.isnan(cupy.empty(3).get()).all() and isinstance(cupy.array_equal(x, x), cupy.ndarray)
assert isinstance(cupy.linalg.svd(x)[1], cupy.ndarray) and xp.matmul(x, x.T).shape == (2, 2)
""")


def test_devices():
    run("""
assert cupy.cuda.Device(1) == cupy.cuda.Device(1) != cupy.cuda.Device()
with cupy.cuda.Device(1) as device:
    with pytest.raises(RuntimeError, match="device 0"):
        x + 1
    y = cupy.asarray(x)
    assert y.device == device and y.tolist() == x.tolist() and x.device.id == 0
with pytest.raises(RuntimeError, match="device 1"):
    cupy.sum(y)
with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
    cupy.cuda.Device(2)
""")


def test_synchronisation():
    run("""
mask = x > 1
with cupyx.allow_synchronize(False):
    for wait in (x.get, x.tolist, lambda: float(x[0, 0]), lambda: x[0, 0].item(), lambda: x[mask],
                 lambda: x.__setitem__(mask, 0), lambda: cupy.nonzero(x), lambda: bool(x.any()),
                 lambda: cupy.where(x), cupy.cuda.Event().synchronize,
                 cupy.cuda.Device().synchronize, cupy.cuda.Stream().synchronize,
                 lambda: cupy.array([x[0, 0]]),
                 lambda: cupy.zeros(x[0, 0]), lambda: cupy.asnumpy(x), lambda: cupy.unique(x)):
        with pytest.raises(cupyx.DeviceSynchronized):
            wait()
    cupy.asarray(np.ones(3)), x.set(np.ones((2, 3), np.float32)), x.get(blocking=False)
    cupy.where(mask, x, 0.0).sum(), x[cupy.asarray([1])], cupy.allclose(x, x)
""")


def test_streams():
    run("""
stream, event = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Event()
event.synchronize()  # never recorded
host, now = np.ones((2, 3), np.float32), cupy.cuda.get_current_stream()
x.set(host, stream=stream)
event.record(stream)
host[...] = 2  # too early
assert x[0, 1] == 1 and x[0, 0] == 0 and ("h2d", 24) not in cupy.fake.log[1:]
now.wait_event(event)
assert (x == 2).all()
out = np.zeros((2, 3), np.float32)
x.get(stream=stream, out=out, blocking=False)
event.record(stream)
x[...] = 3  # while it is read
assert (out == 0).all()
event.synchronize()
assert (out == 3).all()

ready, other = cupy.cuda.Event(), cupy.cuda.Stream()
other.wait_event(event)
x.set(host, stream=stream)
ready.record(stream)
stream.wait_event(ready)
other.wait_event(ready)
assert (x.get(stream=other) == 2).all()
with stream:
    assert cupy.cuda.get_current_stream() is stream
    x.set(host + 1)
    assert (x == 3).all()
""")


def test_memory():
    run("""
pool = cupy.get_default_memory_pool()
before, y = pool.used_bytes(), cupy.ones(1000)
assert pool.used_bytes() == before + 8000
del y
assert pool.used_bytes() == before
cupy.fake.largest_array = 7999
with pytest.raises(cupy.cuda.memory.OutOfMemoryError):
    cupy.ones(1000)
cupy.fake.reset()
pool.set_limit(before + 8000)
y = cupy.empty(1000)
with pytest.raises(MemoryError):
    y + 1
memory = np.frombuffer(cupy.cuda.alloc_pinned_memory(24), dtype=np.float32, count=6)
memory[...] = 1
assert cupy.fake.log == []
""")


@pytest.mark.parametrize("dtype, kind, compute, tolerance", [
    ("float32", 0, 68, 1e-6), ("float64", 1, 70, 1e-12), ("float32", 0, 77, 2e-3),
])  # fmt: skip
def test_products(dtype, kind, compute, tolerance):
    run(f"""
from cupy_backends.cuda.libs import cublas
assert cupy.cuda.cublas.gemmEx is cublas.gemmEx and not hasattr(cublas, "setMathMode")
random = np.random.default_rng(0)
A, B, C = (random.normal(size=s).astype("{dtype}") for s in ((5, 4), (3, 4), (5, 3)))
a, b, c = map(cupy.asarray, (A, B, C))
two, one = (np.array(number, "{dtype}") for number in (2, 1))
handle = cupy.cuda.device.get_cublas_handle()
cublas.gemmEx(handle, 1, 0, 3, 5, 4, two.ctypes.data, b.data.ptr, {kind}, 4, a.data.ptr, {kind}, 4,
              one.ctypes.data, c.data.ptr, {kind}, 3, {compute}, -1)
error = abs(c.get() - (2 * A @ B.T + C)).max()
assert error < {tolerance} * 10 and ({compute} != 77 or error > 1e-5)
assert ("gemm", {compute}) in cupy.fake.log
with pytest.raises(cublas.CUBLASError):
    cublas.sgemm(1, 1, 0, 3, 5, 4, 0, b.data.ptr, 3, a.data.ptr, 4, 0, c.data.ptr, 3)
""")


@pytest.mark.skipif(not emulation.available(), reason="no g++ with C++20")
def test_kernels():
    run("""
code = '''extern "C" __global__ void fill(float* x, const int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) x[i] = i; }'''
fill = cupy.RawModule(code=code, options=("-std=c++17",)).get_function("fill")
fill((2,), (32,), (x, np.int32(6)))
assert x.tolist() == [[0, 1, 2], [3, 4, 5]] and ("launch", "fill") in cupy.fake.log
six = np.int32(6)
for block, args, shared in ((2048, (x, six), 0), (32, (x, 6), 0), (32, (x.T, six), 0),
                            (32, (x, six), 50_000), (32, (x, np.int64(6)), 0), (0, (x, six), 0)):
    with pytest.raises((TypeError, ValueError)):
        fill((2,), (block,), args, shared_mem=shared)
fill.max_dynamic_shared_size_bytes = 50_000
fill((2,), (32,), (x, np.int32(6)), shared_mem=50_000)
with cupy.cuda.Device(1), pytest.raises(RuntimeError, match="device 0"):
    fill((2,), (32,), (x, np.int32(6)))
""")
