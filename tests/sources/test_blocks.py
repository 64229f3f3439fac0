"""Blocks that come one after the other."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import rows_in_order, rows_of, small_buffers

from skdict.sources import ArrayRows, open_source

X = rows_of(100)


class Again:
    """Starts anew with every iter(), in memory that it uses again."""

    def __init__(self, blocks):
        self.blocks, self.n_iters = blocks, 0

    def __iter__(self):
        self.n_iters += 1
        memory = np.empty((100, 3), np.float32)
        for block in self.blocks:
            memory[: len(block)] = block
            yield memory[: len(block)]


def generator(seed):
    return None if seed is None else np.random.default_rng(seed)


@pytest.fixture(autouse=True, scope="module")
def _small_buffers():
    with pytest.MonkeyPatch.context() as patch:
        small_buffers(patch, mixed=32)
        yield


@given(
    st.lists(st.integers(0, 100), max_size=8),
    st.sampled_from([list, Again, lambda blocks: iter(Again(blocks))]),
    st.sampled_from([None, 100]),
    st.none() | st.integers(0, 3),
    st.integers(0, 100),
    st.booleans(),
)
def test_any_blocks_give_the_same_rows(cuts, container, n_samples, seed, start, looks_first):
    # Catches an order that depends on how rows are cut into blocks, or on what was looked at.
    source = open_source(container(np.split(X, sorted(cuts))), "Test", n_samples)
    assert source.dtype == np.float32 and source.n_features == 3
    assert source.n_rows == (n_samples if source.once else 100)
    order = source.order(generator(seed))
    first = source.first(order, 50) if looks_first else None
    assert first is None or source.first(order, 10).shape == (10, 3)
    rows = rows_in_order(source, order, start)
    whole = open_source([X], "Test")
    expected = rows_in_order(whole, whole.order(generator(seed)))
    np.testing.assert_array_equal(rows, expected[start:])
    if looks_first:
        np.testing.assert_array_equal(first, expected[:50])
    if seed is None:
        np.testing.assert_array_equal(expected, X)


@pytest.mark.parametrize("n", [1, 31, 32])
@pytest.mark.parametrize("n_samples", [True, False])
@pytest.mark.parametrize("once", [True, False])
def test_few_rows_are_ordered_like_an_array(n, n_samples, once):
    # Catches results that depend on whether few rows come as an array or as blocks.
    blocks = np.array_split(X[:n], 5)
    source = open_source(iter(blocks) if once else blocks, "Test", n if n_samples else None)
    array, (first, second) = ArrayRows(X[:n]), (generator(3), generator(3))
    order, expected = source.order(first), array.order(second)
    np.testing.assert_array_equal(rows_in_order(source, order), rows_in_order(array, expected))
    assert first.bit_generator.state == second.bit_generator.state


def test_shuffling_stays_within_the_buffer():
    # Catches a buffer that keeps more rows than is documented.
    source = open_source(iter([X]), "Test")
    rows = rows_in_order(source, source.order(generator(0)))
    for a in range(0, 100, 32):
        part = np.sort(X[a : a + 32, 0])
        np.testing.assert_array_equal(np.sort(rows[a : a + 32, 0]), part)
    assert not np.array_equal(rows, X)


def test_an_iterator_without_end():
    # Catches rows that are asked for after the last one that is needed.
    source = open_source((X for _ in itertools.count()), "Test", 250)
    assert source.n_rows == 250
    order = source.order(generator(0))
    assert source.first(order, 500).shape == (250, 3)
    assert rows_in_order(source, order).shape == (250, 3)


def test_an_iterator_is_read_once():
    # Catches a second pass over nothing.
    source = open_source(iter([X]), "Test")
    order = source.order(None)
    assert source.once and source.n_rows is None
    rows_in_order(source, order)
    source.order(generator(0))
    for again in (lambda: source.chunks(order), lambda: source.first(order, 3)):
        with pytest.raises(ValueError, match=r"Test: .* only once: set max_iter=1, or pass"):
            again()


def test_iterables_are_counted_once():
    # Catches a pass more than is needed; and none with n_samples.
    blocks = Again([X, X])
    source = open_source(blocks, "Test")
    assert (source.n_rows, source.once, blocks.n_iters) == (200, False, 1)
    order = source.order(None)
    for _ in range(2):
        assert rows_in_order(source, order).shape == (200, 3)
    blocks = itertools.chain([X], itertools.repeat(np.full((10, 3), np.nan)))
    assert open_source(blocks, "Test", 100).n_rows == 100


def test_too_few_rows():
    # Catches a schedule that ends early without a word.
    source = open_source(iter([X, X]), "Test", 201)
    with pytest.raises(ValueError, match=r"Test: n_samples=201, but X ended after 200 rows"):
        rows_in_order(source, source.order(None))


@pytest.mark.parametrize("blocks", [[X], [X, X, X]])
def test_another_number_of_rows_in_a_later_pass(blocks):
    # Catches passes over other data than were counted.
    changing = Again([X, X])
    source = open_source(changing, "Test")
    changing.blocks = blocks
    with pytest.raises(ValueError, match=r"Test: X had 200 rows when they were counted, but \d00"):
        rows_in_order(source, source.order(None))


@pytest.mark.parametrize(
    "block, message",
    [
        (X[0], r"block 1 of X has shape \(3,\)"),
        (np.ones((2, 4)), "block 1 of X has 4 features, but block 0 has 3"),
        (np.array([["a"] * 3]), "block 1 of X is no array of real numbers"),
        (np.array([[1j] * 3]), "block 1 of X is no array of real numbers"),
        ([[1, 2, 3], [1]], "block 1 of X is no array of real numbers"),
        (object(), "block 1 of X is no array of real numbers"),
        (3, r"block 1 of X has shape \(\)"),
    ],
)
def test_bad_blocks_are_named(block, message):
    # Catches a message that leaves open which of a million blocks is to blame.
    source = open_source(iter([X, block]), "Test")
    with pytest.raises(ValueError, match="Test: " + message):
        rows_in_order(source, source.order(None))
    with pytest.raises(ValueError, match="Test: " + message):
        open_source({0: X, 1: block}.values(), "Test")


@pytest.mark.parametrize("blocks", [[], [X[:0]]])
def test_no_rows(blocks):
    # Catches a fit on nothing.
    with pytest.raises(ValueError, match="Test: X has no"):
        open_source({i: block for i, block in enumerate(blocks)}.values(), "Test")


def test_what_streams_cannot_do():
    # Catches an AttributeError far from its cause.
    source = open_source([X], "Test")
    for use in (
        lambda: source.held_out(0.1, 10, generator(0)),
        lambda: source.take(np.arange(2)),
        lambda: source[0:2, :],
        lambda: source.order(None, np.arange(3)),
    ):
        with pytest.raises(TypeError, match="early_stopping and transform need"):
            use()


def test_dtypes_of_blocks():
    # Catches numbers that are cut to the dtype of the first block.
    wide = np.full((2, 3), 1 + 2.0**-40)
    source = open_source([X, wide, X.astype(np.float16)], "Test")
    assert source.dtype == source.like.dtype == np.float32
    rows = rows_in_order(source, source.order(None))
    array, _ = next(iter(open_source([X[:5], wide], "Test").chunks(source.order(None))))
    assert array.dtype == np.float64 and (array[5:] == wide).all() and (array[:5] == X[:5]).all()
    np.testing.assert_array_equal(rows[:100], X)
    integers = open_source([np.ones((2, 3), int)], "Test")
    assert integers.dtype == int and integers.like.dtype == np.float64


def test_bfloat16_tensors_of_torch():
    # Catches the error that torch raises where NumPy lacks a dtype.
    class Tensor:
        dtype = "torch.bfloat16"

        def float(self):
            return X

    source = open_source(iter([Tensor()]), "Test")
    np.testing.assert_array_equal(rows_in_order(source, source.order(None)), X)
