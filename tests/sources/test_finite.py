"""NaN and infinity are found wherever they are, and named by their row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import STORES, opened, rows_of

from skdict.sources import finite, open_source
from skdict.sources.finite import first_not_finite

FLOATING = ["float16", "float32", "float64", "longdouble"]


@given(
    st.sampled_from(FLOATING),
    st.sampled_from([np.nan, -np.nan, np.inf, -np.inf]),
    st.integers(0, 39),
    st.integers(0, 2),
    st.booleans(),
)
def test_found_in_every_dtype_at_any_place(dtype, value, row, column, transposed):
    # Catches a mask that misses signs, payloads, or a layout.
    X = rows_of(40).astype(dtype)
    X = np.asfortranarray(X) if transposed else X
    assert first_not_finite(X) is None
    X[row, column] = value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finite, "_AT_ONCE", 100)
        assert first_not_finite(X) == row


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_finite_extreme_is_accepted(dtype):
    # Catches a mask that takes the largest number or a subnormal one for infinity.
    info = np.finfo(dtype)
    X = np.array([[info.max, info.min, info.smallest_subnormal, -0.0]], dtype=dtype)
    assert first_not_finite(X) is None
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)[:, None]
    assert first_not_finite(every) == np.isfinite(every[:, 0]).argmin()
    assert first_not_finite(every[np.isfinite(every[:, 0])]) is None


def test_in_other_namespaces(xp):
    # Catches an error that comes without a row.
    X = rows_of(5)
    assert first_not_finite(xp.asarray(X)) is None
    X[3, 1] = np.inf
    assert first_not_finite(xp.asarray(X)) == 3


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("seed", [None, 0])
def test_sources_name_the_row(kind, seed, tmp_path):
    # Catches data that poison a fit, and a message without a way to the culprit.
    X = rows_of(60)
    X[33, 2] = np.nan
    source = opened(kind, X, tmp_path, [30])
    order = source.order(None if seed is None else np.random.default_rng(seed))
    place = r" \(row 3 of .*001" if kind in ("npy", "safetensors") else r"\. Remove"
    message = f"Test: Input X contains NaN or infinity in row 33{place}"
    for read in (
        lambda: list(source.chunks(order)),
        lambda: source.first(order, 60),
        lambda: source.take(np.array([2, 33])),
        lambda: source[30:40, :],
    ):
        with pytest.raises(ValueError, match=message):
            read()
    assert source[:33, :].shape == (33, 3)


def test_blocks_name_the_row():
    # Catches a row number that counts from the beginning of its block.
    X = rows_of(60)
    X[33, 2] = -np.inf
    source = open_source(iter([X[:30], X[30:]]), "Test")
    with pytest.raises(ValueError, match=r"infinity in row 33 \(row 3 of block 1\)"):
        list(source.chunks(source.order(None)))
