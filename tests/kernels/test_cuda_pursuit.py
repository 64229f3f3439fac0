"""Matching pursuit for CuPy: sizes, memory, precision and ends that test_pursuit_kernel has not."""

import contextlib
import importlib

import emulation
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp
from conftest import EMULATED, NAMESPACES
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import unit_dictionary

from skdict.backend import to_numpy
from skdict.kernels import pursuit_reference

if "cupy" not in NAMESPACES:
    pytest.skip("needs CuPy and a GPU, or SKDICT_CUPY=emulated", allow_module_level=True)
if EMULATED and not emulation.available():
    pytest.skip("the emulation of kernels needs g++ with C++20", allow_module_level=True)
cupy = importlib.import_module("cupy")
pursuit_cuda = importlib.import_module("skdict.kernels.pursuit_cuda")

pytestmark = pytest.mark.gpu
HOW = [("mp", False), ("mp", True), ("omp", False), ("omp", True)]


def pursue(X, D, k, tol=None, algorithm="omp", positive=False, gram=False, precision="highest"):
    """The three arrays of the codes, on the host."""
    X, D = cupy.asarray(X), cupy.asarray(D)
    G = D @ D.T if gram else None
    arrays = pursuit_cuda.pursuit(X, D, k, tol, algorithm, positive, G, precision)
    indptr, indices, values = (to_numpy(array) for array in arrays)
    assert indptr.dtype == np.int64 and indices.dtype == np.int32
    assert values.dtype == to_numpy(X).dtype and np.isfinite(values).all() and (values != 0).all()
    return indptr, indices, values


def dense(arrays, m):
    indptr, indices, values = arrays
    Z = sp.csr_array((values, indices, indptr), shape=(indptr.size - 1, m))
    assert Z.has_canonical_format
    return Z.toarray()


def code(X, D, k, *args, **kwargs):
    return dense(pursue(X, D, k, *args, **kwargs), len(D))


def reference(X, D, k, tol=None, algorithm="omp", positive=False):
    return dense(pursuit_reference.pursuit(X, D, k, tol, algorithm, positive), len(D))


def problem(seed, n, m, d, dtype="float64", mean=0.0):
    rng = np.random.default_rng(seed)
    D = rng.standard_normal((m, d)) + mean
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    return (rng.standard_normal((n, d)) + mean / 2).astype(dtype), D.astype(dtype)


def norms(A):
    return np.linalg.norm(A, axis=1)


@pytest.mark.parametrize("gram", [False, True])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("m", "d", "k"),
    [(1, 1, 1), (33, 7, 7), (5, 70, 9), (97, 130, 12), (300, 40, 11), (70, 1100, 5)],
)
def test_equals_the_reference(m, d, k, how, gram, dtype):
    # would catch: entries that no thread or two threads take, where sizes are not those of a warp
    X, D = problem(m + d, 5, m, d, dtype)
    Z = code(X, D, k, None, *how, gram=gram)
    expected = reference(X.astype(float), D.astype(float), k, None, *how)
    exact = dtype == "float64"
    assert_allclose(Z, expected, rtol=1e-8 if exact else 1e-3, atol=1e-10 if exact else 2e-4)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31), n=st.integers(1, 6), m=st.integers(1, 60), d=st.integers(1, 40),
    k=st.integers(1, 8), how=st.sampled_from(HOW), fraction=st.sampled_from([None, 0.3, 0.7]),
)  # fmt: skip
def test_random_problems_equal_the_reference(seed, n, m, d, k, how, fraction):
    # would catch: a rare path, such as an atom that leaves a support and comes back
    X, D = problem(seed, n, m, d)
    tol = None if fraction is None else fraction * float(norms(X).min())
    k = min(k, max(1, min(m, d) - 1)) if how[0] == "omp" else k
    Z, expected = code(X, D, k, tol, *how), reference(X, D, k, tol, *how)
    assert_allclose(Z, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("mean", [0.0, 0.8])
@pytest.mark.parametrize("gram", [False, True])
def test_omp_is_least_squares_on_its_support(dtype, mean, gram):
    # would catch: coordinates of orthogonalised atoms that lose digits where atoms are alike
    X, D = problem(3, 6, 80, 60, dtype, mean)
    Z = code(X, D, 40, gram=gram)
    assert (np.count_nonzero(Z, axis=1) == 40).all()
    eps = np.finfo(dtype).eps
    inner = (X - Z @ D.astype(float)) @ D.T.astype(float)
    assert (abs(inner[Z != 0]) < 1000 * eps * norms(X).max()).all()
    for x, z in zip(X.astype(float), Z):
        chosen = D[z != 0].astype(float)
        best = np.linalg.lstsq(chosen.T, x)[0]
        assert_allclose(z[z != 0], best, atol=1e4 * eps * abs(best).max())


@pytest.mark.parametrize("mean", [0.0, 0.8])
def test_positive_omp_to_the_end_is_non_negative_least_squares(dtype, mean):
    # would catch: coordinates or codes that do not follow when an atom leaves a support
    X, D = problem(4, 12, 50, 20, dtype, mean)
    Z = code(X, D, 50, None, "omp", True)
    assert Z.min() >= 0
    best = [scipy.optimize.nnls(D.T.astype(float), x)[1] for x in X.astype(float)]
    left = norms(X - Z @ D.astype(float))
    rtol, atol = (1e-3, 1e-5) if dtype == "float32" else (1e-8, 1e-12)
    assert_allclose(left, best, rtol=rtol, atol=atol)


@pytest.mark.parametrize("seed", [2, 10, 16])
def test_atoms_that_left_come_back(seed):
    # would catch: an atom that is barred for good once it left, which few pursuits notice
    rng = np.random.default_rng(seed)
    D = rng.standard_normal((60, 25)) + 0.8
    D /= norms(D)[:, None]
    X = rng.standard_normal((4, 25)) + 0.8
    Z, expected = (pursue_(X, D, 60, None, "omp", True) for pursue_ in (code, reference))
    assert_allclose(Z, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("gram", [False, True])
def test_atoms_that_are_nearly_parallel(dtype, gram):
    # would catch: codes with the rounding error that one pass of orthogonalisation leaves
    rng = np.random.default_rng(1)
    width, most = (1e-2, 1e-8) if dtype == "float32" else (1e-6, 1e-10)
    D = np.repeat(unit_dictionary(rng, 6, 70), 4, axis=0)
    D += width * rng.standard_normal(D.shape) / np.sqrt(70)
    D = (D / norms(D)[:, None]).astype(dtype)
    X = rng.standard_normal((8, 70)).astype(dtype)
    Z = code(X, D, 24, gram=gram).astype(float)
    assert Z.all()
    best = Z @ D - X.astype(float)
    best -= best @ np.linalg.pinv(D.astype(float)) @ D
    assert (norms(X - Z @ D) <= (1 + most) * norms(best)).all()


@pytest.mark.parametrize("how", HOW)
def test_ties_go_to_the_lowest_atom(how, dtype):
    # would catch: a tie between threads or warps that the faster one wins
    D = np.eye(290, dtype=dtype)
    X = np.zeros((3, 290), dtype=dtype)
    X[0, [289, 31, 32, 257]] = 2
    X[1, [64, 0, 128, 33]] = 1
    X[2, 5:] = 0.25
    _, indices, _ = pursue(X, D, 2, None, *how)
    assert_array_equal(indices, [31, 32, 0, 33, 5, 6])


@pytest.mark.parametrize("how", HOW)
def test_zeros_and_copies(how, dtype):
    # would catch: a zero atom or a second copy selected, a division by the norm of a zero sample
    X, D = problem(5, 6, 40, 50, dtype)
    D = np.vstack([np.zeros_like(D[:3]), D, D])
    X[[0, 4]] = 0
    Z = code(X, D, 10, None, *how)
    assert not Z[[0, 4]].any() and not Z[:, :3].any() and Z[[1, 2, 3, 5]].any(axis=1).all()
    expected = reference(X, D[:43], 10, None, *how)[:, 3:]
    assert_allclose(Z[:, 3:43] + Z[:, 43:], expected, atol=1e-3 if dtype == "float32" else 1e-9)
    if how[0] == "omp":
        assert not ((Z[:, 3:43] != 0) & (Z[:, 43:] != 0)).any()


@pytest.mark.parametrize("positive", [False, True])
def test_mp_equals_omp_on_orthonormal_atoms(positive, dtype):
    # would catch: a residual that is not what the codes leave
    rng = np.random.default_rng(6)
    D = np.linalg.qr(rng.standard_normal((90, 90)))[0].astype(dtype)
    X = rng.standard_normal((4, 90)).astype(dtype)
    mp, omp = (code(X, D, 30, None, name, positive) for name in ("mp", "omp"))
    assert_allclose(mp, omp, atol=2e-6 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("how", HOW)
def test_mp_and_omp_leave_what_they_say(how):
    # would catch: a code added to the wrong slot when an atom is selected again
    X, D = problem(7, 4, 12, 70, mean=0.5)
    before = norms(X)
    for k in (1, 2, 5, 40, 300):
        left = norms(X - code(X, D, k, None, *how) @ D)
        assert (left <= before * (1 + 1e-12)).all()
        before = left


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("tol", [None, 4.0])
def test_blocks_of_samples(monkeypatch, how, tol):
    # would catch: rows of one block in another, a block of no samples, a wrong offset
    X, D = problem(8, 23, 50, 30)
    whole = code(X, D, 9, tol, *how)
    for memory in (1, 20_000, 60_000):
        monkeypatch.setattr(pursuit_cuda, "MEMORY", memory)
        assert_allclose(code(X, D, 9, tol, *how), whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("k", [None, 12])
def test_samples_that_end_early_leave_the_block(monkeypatch, how, k):
    # would catch: a sample that is written to the place of another once some have ended
    X, D = problem(9, 21, 80, 30)
    X *= np.linspace(0.2, 3.0, 21)[::-1, None] ** 2
    results = []
    for every in (1, 3, 10_000):
        monkeypatch.setattr(pursuit_cuda, "EVERY", every)
        results.append(code(X, D, k, 1.5, *how))
    assert len(set(np.count_nonzero(results[0], axis=1))) > 3
    for other in results[1:]:
        assert_allclose(other, results[0], rtol=1e-8, atol=1e-10)
    assert k or (norms(X - results[0] @ D) <= 1.5 + 1e-9).all()


@pytest.mark.parametrize("how", HOW)
def test_an_end_without_k(how):
    # would catch: a pursuit that nobody looks at, one that goes on at the tolerance
    X, D = problem(10, 5, 60, 20)
    Z = code(X, D, None, 1.0, *how)
    assert_allclose(Z, reference(X, D, 10_000, 1.0, *how), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("how", HOW)
def test_the_host_does_not_wait(monkeypatch, how):
    # would catch: a value read from the device in each step, where k alone ends a pursuit
    def look(active):
        raise AssertionError("looked at the device")

    X, D = problem(11, 5, 60, 20)
    expected = code(X, D, 12, None, *how)
    if how != ("omp", True):  # whose atoms may leave, so that k steps may not be enough
        monkeypatch.setattr(cupy, "flatnonzero", look)
    assert_array_equal(code(X, D, 12, None, *how), expected)


@pytest.mark.parametrize("how", HOW)
def test_waits_do_not_grow_with_k(fake, how):
    # would catch: a wait of another kind in each step, such as the truth of an array
    X, D = (cupy.asarray(array) for array in problem(11, 5, 60, 20))
    waits = []
    for k in (2, 12):
        fake.log.clear()
        pursuit_cuda.pursuit(X, D, k, None, *how)
        last = max(i for i, (_, name) in enumerate(fake.log) if str(name).endswith("_step"))
        kinds = [kind for kind, _ in fake.log]
        steps = sum(str(name).endswith("_step") for _, name in fake.log)
        assert steps >= k and "gather_codes" in [name for _, name in fake.log[last:]]
        first = next(i for i, kind in enumerate(kinds) if kind in ("sync", "d2h"))
        assert sum(str(name).endswith("_step") for _, name in fake.log[:first]) >= k
        waits.append(sum(kind in ("sync", "d2h") for kind in kinds))
    if how != ("omp", True):  # whose atoms may leave: it is looked at after k steps
        assert waits[0] == waits[1]


@pytest.mark.parametrize("how", HOW)
def test_codes_that_vanish_in_the_units_of_the_sample(how, dtype):
    # would catch: places counted for codes that underflow to zero, so that others are misplaced
    if dtype == "float32" and not EMULATED:
        pytest.skip("CuPy compiles so that subnormal numbers of float32 are zero on a GPU")
    least = np.finfo(dtype).smallest_subnormal
    sine, cosine = 0.28, 0.96
    D = np.array([[sine, cosine], [cosine, -sine]], dtype=dtype)
    X = np.array([[least, 0], [1, 0]], dtype=dtype)
    indptr, indices, values = pursue(X, D, 2, None, *how)
    assert_array_equal(indptr, [0, 1, 3])
    assert_array_equal(indices, [1, 0, 1])
    assert_allclose(values, [least, sine, cosine], rtol=1e-6)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("backwards", [False, True])
def test_same_bits_again(how, backwards, dtype):
    # would catch: a race between threads, a sum whose order changes
    if backwards and not EMULATED:
        pytest.skip("the order of threads is the emulator's to choose")
    X, D = problem(12, 7, 150, 90, dtype, mean=0.3)
    first = pursue(X, D, 20, 0.1, *how)
    with emulation.backwards() if backwards else contextlib.nullcontext():
        again = pursue(X, D, 20, 0.1, *how)
    for one, two in zip(first, again):
        assert_array_equal(one, two)


@pytest.mark.parametrize("how", HOW)
def test_rough_correlations_select_and_do_nothing_else(monkeypatch, how, dtype):
    # would catch: a code or residual computed from a product of lower precision
    def rough(A, B, precision, out):
        out[...] = A @ B.T
        out *= 1 + 0.01 * cupy.sin(17.0 * cupy.arange(out.size)).reshape(out.shape).astype(dtype)
        return out

    X, D = problem(13, 6, 60, 40, dtype)
    monkeypatch.setattr(pursuit_cuda, "product", rough)
    Z = code(X, D, 1, None, *how)
    inner = (X @ D.T)[Z != 0]
    eps = np.finfo(dtype).eps
    assert_allclose(Z[Z != 0], inner, rtol=100 * eps)
    score = X @ D.T if how[1] else abs(X @ D.T)
    assert (abs(inner) >= 0.98 * score.max(axis=1)).all()
    Z = code(X, D, 12, None, *how)
    left = norms(X - Z @ D)
    assert (left < 0.9 * norms(X)).all()
    if how[0] == "omp":
        assert (abs((X - Z @ D) @ D.T)[Z != 0] < 1000 * eps * norms(X).max()).all()


@pytest.mark.parametrize("algorithm", ["mp", "omp"])
def test_rough_correlations_of_the_wrong_sign(monkeypatch, algorithm):
    # would catch: a step back, where only the rounded correlation of an atom is positive
    X, D = problem(17, 5, 30, 12)
    D = abs(D)
    X[:3] = -abs(X[:3])
    rough = lambda A, B, precision, out: cupy.add(A @ B.T, 5.0, out=out)  # noqa: E731
    monkeypatch.setattr(pursuit_cuda, "product", rough)
    Z = code(X, D, 6, None, algorithm, True)
    assert not Z[:3].any() and Z.min() >= 0


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("how", HOW)
def test_precisions(how, precision):
    # would catch: a precision that is not known to the product, atoms rounded for the codes too
    X, D = problem(14, 6, 60, 40, "float32")
    Z = code(X, D, 1, None, *how, precision=precision)
    assert_allclose(Z[Z != 0], (X @ D.T)[Z != 0], rtol=1e-5)
    X, D = X.astype(float), D.astype(float)
    Z = code(X, D, 5, None, *how, precision=precision)  # which float64 ignores
    assert_allclose(Z, reference(X, D, 5, None, *how), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("algorithm", ["ols", "gradient"])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("memory", [1 << 29, 1])
def test_what_is_not_a_kernel(monkeypatch, algorithm, positive, memory):
    # would catch: arrays left on the host, a block lost
    monkeypatch.setattr(pursuit_cuda, "MEMORY", memory)
    X, D = problem(15, 5, 30, 12)
    Z = code(X, D, 4, None, algorithm, positive)
    assert_allclose(Z, reference(X, D, 4, None, algorithm, positive), rtol=1e-7, atol=1e-9)


def test_atoms_that_are_nearly_dependent(dtype):
    # would catch: a dependent atom let in by rounding, whose codes blow up
    rng = np.random.default_rng(16)
    base = unit_dictionary(rng, 12, 70)
    mixed = np.abs(rng.standard_normal((30, 12))) @ base
    D = np.vstack([base, mixed / norms(mixed)[:, None]]).astype(dtype)
    X = rng.standard_normal((8, 70)).astype(dtype)
    for positive in (False, True):
        Z = code(X, D, 30, None, "omp", positive)
        assert (np.count_nonzero(Z, axis=1) <= 12).all()
        assert abs(Z).max() < 100
