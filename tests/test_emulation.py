"""The emulation of CUDA finds what it is there to find, and computes what the device computes."""

import os
import subprocess
import sys
from pathlib import Path

import emulation
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdict.kernels import _cuda

pytestmark = pytest.mark.skipif(not emulation.available(), reason="no g++ with C++20")
HERE = Path(__file__).parent

NEIGHBOUR = """
extern "C" __global__ void neighbour(const int *x, int *out) {
    __shared__ int held[64];
    held[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = held[(threadIdx.x + 1) % 64];
}"""


def kernel(body, parameters, name="kernel"):
    """A kernel of this body."""
    code = f'extern "C" __global__ void {name}({parameters}) {{ {body} }}'
    return emulation.Module(code).get_function(name)


def run(program, *paths, **environment):
    """The process that has run a program; `paths` come before those of other modules."""
    path = os.pathsep.join(map(str, (*paths, HERE, HERE.parent)))
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


# ---- what it finds


def test_a_missing_barrier_shows_backwards():
    # Catches an emulation under which a race goes unseen, or barriers that do nothing.
    x = np.arange(64, dtype=np.int32)
    results = []
    for code in (NEIGHBOUR, NEIGHBOUR.replace("__syncthreads();", "")):
        function = emulation.Module(code).get_function("neighbour")
        there, back = np.empty((2, 64), dtype=np.int32)
        function((1,), (64,), (x, there))
        with emulation.backwards():
            function((1,), (64,), (x, back))
        results.append((there, back))
    for result in results[0]:
        assert_array_equal(result, np.roll(x, -1))
    assert (results[1][0] != results[1][1]).any()


def test_blocks_run_backwards():
    # Catches an order of blocks that is never another.
    function = kernel("*last = blockIdx.x * 32 + threadIdx.x;", "unsigned *last")
    last = np.empty(1, dtype=np.uint32)
    function((3,), (32,), (last,))
    assert last[0] == 95
    with emulation.backwards():
        function((3,), (32,), (last,))
    assert last[0] == 0


def test_shared_memory_is_not_zero():
    # Catches kernels that read what nobody has written, or what the block before has left.
    function = kernel("__shared__ int s; if (threadIdx.x == 0) { x[blockIdx.x] = s; s = 5; }",
                      "int *x")  # fmt: skip
    x = np.zeros(2, dtype=np.int32)
    function((2,), (32,), (x,))
    assert_array_equal(x, [-1, -1])


@pytest.mark.parametrize(
    ("body", "threads", "message"),
    [
        ("if (threadIdx.x < 10) __syncthreads();", 64, "never reach __syncthreads"),
        ("if (threadIdx.x % 2) x[0] = __shfl_xor_sync(~0u, 1, 2);", 32, "never reach __shfl_xor"),
        ("if (threadIdx.x >= 32) return; __syncthreads();", 64, "never reach __syncthreads"),
        ("x[0] = __ballot_sync(0xffffu, 1);", 32, "all 32 lanes"),
        ("x[0] = 1;", 33, "multiple of 32"),
        ("x[0] = 1;", 2048, "multiple of 32"),
        ("__shared__ double s[6200]; s[x[0]] = 1; x[0] = s[1];", 32, "too much shared memory"),
    ],
)
def test_what_is_undefined_stops_the_process(body, threads, message):
    # Catches barriers that let threads through where a device would hang or do anything.
    done = run(f"""
import emulation, numpy as np
code = 'extern "C" __global__ void kernel(int *x) {{ {body} }}'
emulation.Module(code).get_function("kernel")((1,), ({threads},), (np.zeros(1, np.int32),))
""")
    assert done.returncode == -6 and message in done.stderr


def test_arguments_are_checked():
    # Catches what the driver would pass on as it is: other dtypes, too few arguments.
    function = kernel("x[0] = y ? *y : a;", "float *x, const double *y, float a, int n")
    x, y, one, n = np.zeros(1, np.float32), np.ones(1), np.float32(2), np.int32(1)
    wrong = [
        (x.astype(float), y, one, n), (x, x, one, n), (x, y, 2.0, n), (x, y, np.float64(2), n),
        (x, y, one, 1), (x, y, one, np.int64(1)), (x, y, one, np.uint32(1)), (x, y, one),
        (one, y, one, n), (x, y, x, n), (x, y, one, n, n), (x, "y", one, n),
    ]  # fmt: skip
    for arguments in wrong:
        with pytest.raises(TypeError):
            function((1,), (32,), arguments)
    assert x[0] == 0
    function((1,), (32,), (x, y, one, n))
    assert x[0] == 1
    function((1,), (32,), (x, None, one, n))
    assert x[0] == 2
    with pytest.raises(RuntimeError, match="rejects"):
        emulation.Module('extern "C" __global__ void bad() { undefined(); }')


def test_dynamic_shared_memory():
    # Catches memory that was not asked for, as the driver refuses it.
    function = kernel("DYNAMIC_SHARED(int, s); s[19999] = 3; __syncthreads(); x[0] = s[19999];",
                      "int *x")  # fmt: skip
    x = np.zeros(1, dtype=np.int32)
    with pytest.raises(ValueError, match="not asked for"):
        function((1,), (32,), (x,), shared_mem=80_000)
    function.max_dynamic_shared_size_bytes = 80_000
    function((1,), (32,), (x,), shared_mem=80_000)
    assert x[0] == 3


# ---- what it computes


@pytest.mark.parametrize("width", [32, 8])
@pytest.mark.parametrize("ctype, dtype", [("float", "float32"), ("double", "float64"),
                                          ("long long", "int64")])  # fmt: skip
def test_shuffles(ctype, dtype, width):
    # Catches values of another lane, another warp, or cut to four bytes.
    body = f"""
const int t = threadIdx.x; const unsigned all = ~0u; x += t;
out[t] = __shfl_sync(all, *x, 5, {width}); out[64 + t] = __shfl_up_sync(all, *x, 3, {width});
out[128 + t] = __shfl_down_sync(all, *x, 3, {width});
out[192 + t] = __shfl_xor_sync(all, *x, 6, {width});"""
    x = (np.arange(64) * 2**31 / 3).astype(dtype)
    out = np.empty((4, 64), dtype=dtype)
    kernel(body, f"const {ctype} *x, {ctype} *out")((1,), (64,), (x, out))
    lane, first = np.arange(64) % width, np.arange(64) // width * width
    sources = 5 + 0 * lane, np.where(lane >= 3, lane - 3, lane)
    sources += np.where(lane + 3 < width, lane + 3, lane), lane ^ 6
    for own, source in zip(out, sources):
        assert_array_equal(own, x[first + source])


def test_votes():
    # Catches votes counted in another warp, or bits of lanes in the wrong order.
    body = """
const int t = threadIdx.x, p = x[t]; const unsigned all = ~0u;
int *o = out + 7 * t; o[0] = __ballot_sync(all, p); o[1] = __any_sync(all, p);
o[2] = __all_sync(all, p); o[3] = __syncthreads_count(p); o[4] = __syncthreads_or(p);
o[5] = __syncthreads_and(p); o[6] = __popc(o[0]) + 100 * __ffs(o[0]);"""
    random = np.random.default_rng(0).integers(0, 2, 64).astype(np.int32)
    function = kernel(body, "const int *x, int *out")
    for x in (random, 7 * (1 - random), np.ones_like(random), np.zeros_like(random),
              np.repeat([0, 4], 32).astype(np.int32)):  # fmt: skip
        out, set_ = np.empty((64, 7), dtype=np.int32), x.reshape(2, 32) != 0
        function((1,), (64,), (x, out))
        warps = np.repeat(np.arange(2), 32)
        ballot = (set_ * (1 << np.arange(32, dtype=np.uint64))).sum(axis=1).astype(np.uint32)
        assert_array_equal(out[:, 0].view(np.uint32), ballot[warps])
        assert_array_equal(out[:, 1], set_.any(axis=1)[warps])
        assert_array_equal(out[:, 2], set_.all(axis=1)[warps])
        assert (out[:, 3:6] == [set_.sum(), set_.any(), set_.all()]).all()
        lowest = np.where(set_.any(axis=1), set_.argmax(axis=1) + 1, 0)
        assert_array_equal(out[:, 6], (set_.sum(axis=1) + 100 * lowest)[warps])


def test_atomics():
    # Catches an operation that is another, or returns the new value.
    body = """
const int i = blockIdx.x * blockDim.x + threadIdx.x, v = x[i];
atomicAdd(&f[0], float(v)); atomicMax(&out[0], v); atomicMin(&out[1], v);
atomicOr(&out[2], v); atomicAnd(&out[3], v | 8); atomicSub(&out[4], v);
places[i] = atomicAdd(&out[5], 1); if (i == 7) places[128] = atomicExch(&out[6], 9);
if (atomicCAS(&out[7], 0, i + 1) == 0) places[129] = i + 1;"""
    x = np.random.default_rng(0).integers(1, 99, 128).astype(np.int32)
    f, out = np.zeros(1, np.float32), np.array([0, 99, 0, -1, 0, 0, 4, 0], dtype=np.int32)
    places = np.full(130, -1, dtype=np.int32)
    kernel(body, "const int *x, float *f, int *out, int *places")((2,), (64,), (x, f, out, places))
    assert f[0] == x.sum() and out[0] == x.max() and out[1] == x.min()
    assert out[2] == np.bitwise_or.reduce(x) and out[3] == np.bitwise_and.reduce(x | 8)
    assert out[4] == -x.sum() and out[5] == 128 and out[6] == 9 and places[128] == 4
    assert sorted(places[:128]) == list(range(128)) and out[7] == places[129] > 0


def test_indices_of_threads():
    # Catches dimensions that change places.
    body = """
const int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
const int b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
out[b * blockDim.x * blockDim.y * blockDim.z + t] = 100 * threadIdx.y + blockIdx.z;"""
    out = np.full((4, 3, 2, 2, 4, 8), -1, dtype=np.int32)
    kernel(body, "int *out")((2, 3, 4), (8, 4, 2), (out,))
    expected = 100 * np.arange(4)[:, None] + np.arange(4)[:, None, None, None, None, None]
    assert_array_equal(out, np.broadcast_to(expected, out.shape))


# ---- races, by the thread sanitizer


SANITIZED = """
import numpy as np
import emulation
emulation.FLAGS += ("-fsanitize=thread", "-g")
from skdict.kernels import _cuda
"""
ALL_KERNELS = """
import cupy
from types import SimpleNamespace
from skdict.kernels import adam_cuda, dense_cuda, products_cuda, pursuit_cuda, topk_cuda
from skdict.kernels import sparse_step_cuda
random, m, d, betas = np.random.default_rng(0), 5, 40, (0.9, 0.99, 1e-8)
def normal(*shape):
    return cupy.asarray(random.standard_normal(shape).astype(np.float32))
def codes(n):  # two of each row, the first in column 0, so that this one is long
    indices = np.stack([np.zeros(n), random.integers(1, m, n)], axis=1).astype(np.int32).ravel()
    return cupy.arange(n + 1, dtype=np.int64) * 2, cupy.asarray(indices), normal(2 * n)
for kind in (random.standard_normal((1, 2100)), np.ones((1, 2100))):
    for k in (3, 300):
        U = cupy.asarray(kind.astype(np.float32))
        topk_cuda.topk(U, cupy.zeros(2100, dtype=np.float32), k)
(indptr, indices, values), D, X = codes(70), normal(m, d), normal(70, d)
columns = products_cuda.by_column(indptr, indices, m)
products_cuda.add_outer(normal(m, d), columns, values, X)
products_cuda.sum_of_columns(columns, values)
of_two_rows = indptr[:3], indices[:4], values[:4]
products_cuda.decode(*of_two_rows, D)
products_cuda.codes_gradient(*of_two_rows[:2], D, X[:2])
products_cuda.to_dense(*of_two_rows, m)
dense_cuda.to_bfloat16(X[:5])
dense_cuda.refine_positive(normal(2, 270), normal(270), normal(2, d), normal(270, d))
for adam in (adam_cuda.adam, adam_cuda.adam_unit_rows):
    adam(normal(2, d), normal(2, d), normal(2, d), abs(normal(2, d)), 0.1, *betas)
Z = SimpleNamespace(**dict(zip(("indptr", "indices", "values"), of_two_rows)))
wide = normal(2, 300), normal(m, 300), normal(2, 300)
sparse_step_cuda.reconstruct(Z, *wide)
n, d = 520, 150
(indptr, indices, values), X, residual = codes(n), normal(n, d), normal(n, d)
entries = np.argsort(indices.get(), kind="stable").astype(np.int32)
starts = np.append(0, np.cumsum(np.bincount(indices.get(), minlength=m)))
columns = tuple(map(cupy.asarray, (starts, entries, entries // np.int32(2))))
params = {"components": normal(m, d), "encoder": normal(m, d), "encoder_bias": normal(m)}
params["decoder_bias"] = normal(d)
moments = [{name: abs(normal(*a.shape)) for name, a in params.items()} for _ in range(2)]
batch = SimpleNamespace(
    indices=indices, values=values, d_U=normal(2 * n), inner=normal(2 * n), columns=columns,
    residual_sum=normal(d), d_params={"encoder_bias": normal(m)},
)
slots = cupy.asarray(np.array([0, -1, -1, 1, -1], np.int32))
extra = slots, normal(2, d), normal(2, d), normal(2)
rates = dict.fromkeys(params, 0.1)
sparse_step_cuda.update(params, moments, rates, betas, normal(m), batch, X, residual, extra)
D = normal(40, 9)
D = D / cupy.sqrt(cupy.sum(D * D, axis=1))[:, None]
for algorithm in ("mp", "omp"):
    for positive in (False, True):
        pursuit_cuda.pursuit(normal(2, 9), D, 3, None, algorithm, positive)
launched = {name for kind, name in cupy.fake.log if kind == "launch"}
"""


def sanitized(program):
    """What the thread sanitizer says of a program; skips, with the reason, where it cannot run."""
    find = ["g++", "-print-file-name=libtsan.so"]
    library = subprocess.run(find, capture_output=True, text=True).stdout.strip()
    if not Path(library).is_file():
        pytest.skip("g++ has no thread sanitizer: libtsan.so is missing")
    # No threads of BLAS: it is not built for the sanitizer, which would see races in it.
    options = {"LD_PRELOAD": library, "OPENBLAS_NUM_THREADS": "1", "NUMBA_DISABLE_JIT": "1"}
    options["TSAN_OPTIONS"] = "exitcode=0 ignore_noninstrumented_modules=1"
    done = run(SANITIZED + program + "\nprint('ran')", HERE / "stand_in", **options)
    if "FATAL: ThreadSanitizer" in done.stderr and "mapping" in done.stderr:
        pytest.skip(f"the thread sanitizer cannot run here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0 and done.stdout.endswith("ran\n"), done.stderr[-3000:]
    return done.stderr


@pytest.mark.slow
def test_no_kernel_has_a_race():
    # Catches a barrier that is missing where results happen to be right.
    texts = [path.read_text("utf-8") for path in Path(_cuda.__file__).parent.glob("*.cu")]
    names = emulation._KERNEL.findall("\n".join(texts))
    said = sanitized(ALL_KERNELS + f"assert launched == set({names}), launched")
    assert "ThreadSanitizer" not in said, said[:3000]


@pytest.mark.slow
def test_the_sanitizer_sees_races():
    # Catches a check of races that never reports anything, or reports what is right.
    said = sanitized(f"""
import os
for barrier in ("__syncthreads();", ""):
    code = '''{NEIGHBOUR}'''.replace("__syncthreads();", barrier)
    x = np.arange(64, dtype=np.int32)
    emulation.Module(code).get_function("neighbour")((1,), (64,), (x, x.copy()))
    os.write(2, b"NEXT\\n")
source, before = _cuda.source, "parts[warp] = value;"
_cuda.source = lambda file: source(file).replace(before + "\\n    __syncthreads();", before)
assert _cuda.source("adam") != source("adam")
import cupy
from skdict.kernels import adam_cuda
param, grad, mean, square = (cupy.ones((1, 300), dtype=np.float32) for _ in range(4))
adam_cuda.adam_unit_rows(param, grad, mean, square, 0.1, 0.9, 0.9, 1e-8)
""")
    right, wrong, of_adam = said.split("NEXT\n")
    assert "ThreadSanitizer" not in right
    assert "ThreadSanitizer: data race" in wrong
    assert "ThreadSanitizer: data race" in of_adam
