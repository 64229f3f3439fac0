"""Atoms of unit norm."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import streams, unit_dictionary

from skdict.backend import to_numpy
from skdict.constraints import unit_rows

FEWER = settings(max_examples=40)
shapes = st.tuples(st.integers(1, 7), st.integers(1, 6))


@FEWER
@given(rng=streams, shape=shapes)
def test_unit_rows(xp, dtype, rng, shape):
    # would catch: columns normalised, the direction turned, the argument changed
    D = rng.standard_normal(shape).astype(dtype)
    given_ = xp.asarray(D.copy())
    unit = to_numpy(unit_rows(given_))
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    assert unit.dtype == dtype
    assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=tolerance)
    assert_allclose(unit * np.linalg.norm(D, axis=1, keepdims=True), D, rtol=10 * tolerance)
    assert_array_equal(to_numpy(given_), D)


def test_rows_of_zeros_stay(xp, dtype):
    # would catch: a division by zero
    D = xp.asarray(np.array([[0, 0, 0], [3, 0, 4], [-0.0, 0, 0]], dtype))
    assert_allclose(to_numpy(unit_rows(D)), [[0, 0, 0], [0.6, 0, 0.8], [0, 0, 0]], rtol=1e-6)


@FEWER
@given(rng=streams, shape=shapes, sign=st.sampled_from([-1, 1]))
def test_any_length(xp, dtype, rng, shape, sign):
    # would catch: squares that overflow, or vanish
    D = unit_dictionary(rng, *shape).astype(dtype)
    info = np.finfo(dtype)
    size = {-1: float(info.tiny) * 1e3, 1: float(info.max) / 10}[sign]
    scaled = xp.asarray((D * size).astype(dtype))
    tolerance = 2e-3  # entries near the smallest number have few digits
    assert_allclose(to_numpy(unit_rows(scaled)), D, atol=tolerance)
