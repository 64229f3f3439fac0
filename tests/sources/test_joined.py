"""Arrays in memory, one below the other."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from stores import rows_in_order, rows_of, small_buffers

from skdict.sources import ArrayRows, JoinedRows

X = rows_of(300)


@pytest.fixture(autouse=True)
def _small_buffers(monkeypatch):
    small_buffers(monkeypatch)
    monkeypatch.setattr("skdict.sources.arrays._GATHERED", 7)


def joined(*ends, array=X):
    return JoinedRows(np.split(array, ends), array.dtype, "Test")


@pytest.mark.parametrize("ends", [(), (10,), (10, 10, 299), (0, 150, 300)])
@pytest.mark.parametrize("seed", [None, 0])
def test_same_rows_as_one_array(ends, seed):
    # Catches rows that are lost or change places, also where reading begins in the middle.
    one, source = ArrayRows(X), joined(*ends)
    orders = [s.order(None if seed is None else np.random.default_rng(seed)) for s in (one, source)]
    rows = rows_in_order(one, orders[0])
    assert_array_equal(rows_in_order(source, orders[1]), rows)
    assert_array_equal(rows_in_order(source, orders[1], 77), rows[77:])
    assert rows_in_order(source, orders[1], 299).shape == (1, X.shape[1])
    assert list(source.chunks(orders[1], 300)) == []
    assert_array_equal(source.first(orders[1], 100), rows[:100])
    assert_array_equal(source[5:123, :], X[5:123])


def test_number_of_a_row_that_is_not_finite():
    # Catches a message about a row of the share instead of the row of the data.
    bad = X.copy()
    bad[120] = np.inf
    blocks, begins = [bad[100:200], bad[:50]], [100, 0]
    source = JoinedRows(blocks, X.dtype, "Test", begins)
    with pytest.raises(ValueError, match="in row 120"):
        rows_in_order(source, source.order(np.random.default_rng(0)))
