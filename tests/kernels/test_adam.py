"""Adam's update: both implementations against the formula, in place, and on the sphere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import streams, unit_dictionary

from skdict.backend import to_numpy
from skdict.kernels import adam as public
from skdict.kernels import adam_cpu
from skdict.kernels.threads import use_threads

# float32: one minus beta2 = 0.999 keeps five digits there
TOLERANCE = {"float32": 1e-4, "float64": 1e-12}
FEWER = settings(max_examples=30)
SCALARS = (0.03, 0.9, 0.999, 1e-6)  # rate, beta1, beta2, epsilon


def arrays(rng, m, d):
    """Unit rows, a gradient and moments; some entries of the gradient are zero."""
    grad = rng.standard_normal((m, d)) * (rng.random((m, d)) < 0.8)
    mean, square = rng.standard_normal((m, d)), rng.random((m, d)) + 0.1
    return [unit_dictionary(rng, m, d), grad, mean, square]


def textbook(param, grad, mean, square, rate, beta1, beta2, epsilon):
    mean = beta1 * mean + (1 - beta1) * grad
    square = beta2 * square + (1 - beta2) * grad**2
    return param - rate * mean / (np.sqrt(square) + epsilon), mean, square


@FEWER
@given(rng=streams, m=st.integers(1, 7), d=st.integers(1, 9))
def test_plain_update(implementation, dtype, rng, m, d):
    # would catch: exchanged betas, epsilon under the root, a copy updated instead of the argument
    host = arrays(rng, m, d)
    given_ = [implementation.asarray(array.copy(), dtype) for array in host]
    implementation.load("adam").adam(*given_, *SCALARS)
    param, mean, square = textbook(*host, *SCALARS)
    for ours, expected in zip(given_, (param, host[1], mean, square)):
        assert_allclose(to_numpy(ours), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        assert to_numpy(ours).dtype == dtype


@FEWER
@given(rng=streams, m=st.integers(1, 7), d=st.integers(1, 9))
def test_update_of_unit_rows(implementation, dtype, rng, m, d):
    # would catch: the radial part left in the moments, rows not normalised, grad modified
    host = arrays(rng, m, d)
    given_ = [implementation.asarray(array.copy(), dtype) for array in host]
    implementation.load("adam").adam_unit_rows(*given_, *SCALARS)
    radial = (host[1] * host[0]).sum(axis=1, keepdims=True)
    tangent = host[1] - radial * host[0]
    param, mean, square = textbook(host[0], tangent, *host[2:], *SCALARS)
    param /= np.linalg.norm(param, axis=1, keepdims=True)
    for ours, expected in zip(given_, (param, host[1], mean, square)):
        assert_allclose(to_numpy(ours), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@FEWER
@given(rng=streams, m=st.integers(1, 7), d=st.integers(2, 9), rate=st.floats(0, 10))
def test_rows_stay_on_the_sphere(implementation, dtype, rng, m, d, rate):
    # would catch: a norm taken before the update
    given_ = [implementation.asarray(array, dtype) for array in arrays(rng, m, d)]
    for _ in range(3):
        implementation.load("adam").adam_unit_rows(*given_, rate, *SCALARS[1:])
    norms = np.linalg.norm(to_numpy(given_[0]), axis=1)
    assert_allclose(norms, 1, rtol=1e-5 if dtype == "float32" else 1e-13)


@FEWER
@given(rng=streams, m=st.integers(1, 7), d=st.integers(2, 9))
def test_a_radial_gradient_moves_no_atom(implementation, rng, m, d):
    # would catch: a gradient that is not projected on the tangent
    D = unit_dictionary(rng, m, d)
    zeros = [implementation.asarray(np.zeros_like(D)) for _ in range(2)]
    param, grad = implementation.asarray(D.copy()), implementation.asarray(3.7 * D)
    # Adam divides by the gradient's own size: epsilon keeps the rest of rounding small.
    implementation.load("adam").adam_unit_rows(param, grad, *zeros, 0.03, 0.9, 0.999, 1e-3)
    assert_allclose(to_numpy(param), D, atol=1e-12)


def test_rows_of_zeros_stay(implementation, dtype):
    # would catch: an atom of zeros, such as a user may give to begin with, divided by its norm
    host = arrays(np.random.default_rng(0), 4, 5)
    for array in host:
        array[2] = 0
    given_ = [implementation.asarray(array, dtype) for array in host]
    implementation.load("adam").adam_unit_rows(*given_, *SCALARS)
    assert np.isfinite(to_numpy(given_[0])).all()
    assert not to_numpy(given_[0])[2].any()


def test_zero_rate_moves_only_the_moments(implementation, dtype):
    # would catch: a held parameter that drifts
    host = arrays(np.random.default_rng(0), 4, 5)
    given_ = [implementation.asarray(array.copy(), dtype) for array in host]
    implementation.load("adam").adam(*given_, 0.0, *SCALARS[1:])
    assert_array_equal(to_numpy(given_[0]), host[0].astype(dtype))
    assert not np.allclose(to_numpy(given_[2]), host[2])


@pytest.mark.parametrize("update", [public.adam, public.adam_unit_rows])
def test_result_does_not_depend_on_threads(update, dtype, many_cores):
    # would catch: the last block of entries left out, for an array larger than one block
    results = []
    for n_jobs in (1, 2):
        host = arrays(np.random.default_rng(0), 700, 101)
        given_ = [array.astype(dtype) for array in host]
        assert given_[0].size > 2 * adam_cpu._ENTRIES
        with use_threads(n_jobs):
            update(*given_, *SCALARS)
        results.append(given_)
        assert (given_[2] != host[2].astype(dtype)).all()
    for one, two in zip(*results):
        assert_array_equal(one, two)


def test_vectors_and_single_entries(implementation, dtype):
    # would catch: a kernel that expects a matrix
    for shape in [(5,), (1,), (1, 1)]:
        host = [np.full(shape, value) for value in (0.5, -2.0, 0.1, 0.3)]
        given_ = [implementation.asarray(array.copy(), dtype) for array in host]
        implementation.load("adam").adam(*given_, *SCALARS)
        assert_allclose(to_numpy(given_[0]), textbook(*host, *SCALARS)[0], rtol=1e-4)


@pytest.mark.parametrize("name", ["adam", "adam_unit_rows"])
def test_no_denormal_moments(dtype, name):
    # would catch: moments of a latent without gradient that become denormal, and slow for ever
    param, grad, mean, square = (a.astype(dtype) for a in arrays(np.random.default_rng(0), 4, 5))
    for _ in range(20_000):
        getattr(adam_cpu, name)(param, 0 * grad, mean, square, 1e-9, 0.9, 0.9, 1e-8)
    assert not mean.any() and not square.any()
    mean[0] = np.nan
    getattr(adam_cpu, name)(param, 0 * grad, mean, square, 1e-9, 0.9, 0.9, 1e-8)
    assert np.isnan(mean[0]).all()
