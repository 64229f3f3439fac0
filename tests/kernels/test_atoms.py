"""Descent on atoms: the same everywhere, and down."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import streams, unit_dictionary

from skdict.backend import to_numpy
from skdict.kernels import atoms_reference

FEWER = settings(max_examples=25)


def statistics(rng, n, m, d, dtype="float64"):
    Z = rng.standard_normal((n, m)) * (rng.random((n, m)) < 0.4)
    X = rng.standard_normal((n, d))
    return X, Z, (Z.T @ Z).astype(dtype), (Z.T @ X).astype(dtype)


def descended(implementation, D, A, B, positive):
    D = implementation.asarray(D.copy())
    implementation.load("atoms").descend(
        D, implementation.asarray(A), implementation.asarray(B), positive
    )
    return to_numpy(D)


@FEWER
@given(rng=streams, n=st.integers(1, 30), m=st.integers(1, 9), d=st.integers(1, 6))
def test_the_error_falls(implementation, rng, n, m, d):
    # would catch: a wrong sign, statistics of atoms that have moved since
    X, Z, A, B = statistics(rng, n, m, d)
    D = unit_dictionary(rng, m, d)
    new = descended(implementation, D, A, B, False)
    assert_allclose(np.linalg.norm(new, axis=1), 1)
    assert_array_equal(new[~Z.any(axis=0)], D[~Z.any(axis=0)])
    # On the unit sphere least squares for one atom is along what it would be without the norm.
    before, after = (np.sum((X - Z @ atoms) ** 2) for atoms in (D, new))
    assert after <= before * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("m", [5, 64, 65, 200])
def test_equals_the_reference(implementation, dtype, m, positive):
    # would catch: a block that is corrected by the wrong row, a product of atoms that are old
    rng = np.random.default_rng(0)
    A, B = statistics(rng, 300, m, 12, dtype)[2:]
    D = unit_dictionary(rng, m, 12, dtype)
    A[3, :] = A[:, 3] = 0
    D = np.abs(D) if positive else D
    expected = D.copy()
    atoms_reference.descend(expected, A, B, positive)
    found = descended(implementation, D, A, B, positive)
    assert_allclose(found, expected, atol=2e-4 if dtype == "float32" else 1e-11)
    assert_array_equal(found[3], D[3])
    assert found.min() >= 0 or not positive


def test_atoms_that_would_be_zero_stay(implementation):
    # would catch: a division by zero
    D = np.array([[1.0, 0.0], [0.6, 0.8]])
    A, B = np.eye(2), np.array([[-1.0, -1.0], [3.0, 4.0]])
    found = descended(implementation, D, A, B, True)
    assert_allclose(found, [[1, 0], [0.6, 0.8]])
