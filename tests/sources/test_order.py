"""Every order visits every row once, and any part of it can be computed alone."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skdict.sources import order as orders
from skdict.sources.order import Order, StreamOrder, block_bounds, held_out_rows

MIXED, BLOCK = 64, 8


@pytest.fixture(autouse=True, scope="module")
def _small_buffers():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orders, "MIXED", MIXED)
        patch.setattr(orders, "BLOCK", BLOCK)
        yield


def generator(seed):
    return None if seed is None else np.random.default_rng(seed)


def numbers_of(order):
    return np.concatenate([order.numbers(i) for i in range(order.n_groups)])


@st.composite
def all_bounds(draw):
    if draw(st.booleans()):
        return block_bounds(draw(st.integers(1, 400)))
    sizes = draw(st.lists(st.integers(0, 100), min_size=1, max_size=12))
    assume(sum(sizes))
    return np.cumsum([0, *sizes])


@st.composite
def problems(draw):
    """Bounds, seed (None: rows as they stand) and rows held out (None, or not all)."""
    bounds = draw(all_bounds())
    n = int(bounds[-1])
    held = np.array(sorted(draw(st.sets(st.integers(0, n - 1), max_size=20))), dtype=int)
    assume(held.size < n)
    return bounds, draw(st.none() | st.integers(0, 9)), held if held.size else None


@given(problems())
def test_each_kept_row_is_visited_once(problem):
    # Catches rows that are lost, visited twice, or trained on although held out.
    bounds, seed, held = problem
    order = Order(bounds, generator(seed), held)
    numbers = numbers_of(order)
    kept = np.setdiff1d(np.arange(bounds[-1]), [] if held is None else held)
    assert order.n_rows == kept.size
    np.testing.assert_array_equal(np.sort(numbers), kept)
    if seed is None:
        np.testing.assert_array_equal(numbers, kept)


@given(problems())
def test_ranges_and_places_are_the_numbers(problem):
    # Catches a group that reads other rows than it names.
    bounds, seed, held = problem
    order = Order(bounds, generator(seed), held)
    for i in range(order.n_groups):
        ranges, rows = order.group(i)
        read = np.concatenate([np.arange(*ends) for ends in ranges])
        np.testing.assert_array_equal(read[rows], order.numbers(i))


@given(problems(), st.data())
def test_a_group_alone_and_any_start(problem, data):
    # Catches a resumed run that goes on with other rows.
    bounds, seed, held = problem
    order, again = (Order(bounds, generator(seed), held) for _ in range(2))
    i = data.draw(st.integers(0, order.n_groups - 1))
    whole = numbers_of(order)
    np.testing.assert_array_equal(again.numbers(i), order.numbers(i))
    start = data.draw(st.integers(0, order.n_rows))
    parts = [
        np.concatenate([np.arange(*ends) for ends in ranges])[rows]
        for ranges, rows in again.groups(start)
    ]
    np.testing.assert_array_equal(np.concatenate([np.empty(0, int), *parts]), whole[start:])


@given(st.integers(MIXED + 1, 500), st.integers(0, 9))
def test_large_data_are_read_in_whole_blocks(n, seed):
    # Catches reads of single rows, and a buffer beyond what is documented.
    order = Order(block_bounds(n), generator(seed))
    for i in range(order.n_groups):
        ranges, rows = order.group(i)
        assert all(start % BLOCK == 0 for start, _ in ranges)
        assert all(stop % BLOCK == 0 or stop == n for _, stop in ranges)
        assert rows.size <= MIXED
    assert order.n_groups == -(-len(block_bounds(n)[1:]) // (MIXED // BLOCK))


@given(st.integers(1, MIXED), st.integers(0, 9))
def test_small_data_take_one_permutation_from_the_stream(n, seed):
    # Catches a change of the results for data that always fitted in memory.
    random, alone = generator(seed), generator(seed)
    order = Order(block_bounds(n), random)
    np.testing.assert_array_equal(numbers_of(order), alone.permutation(n))
    assert random.bit_generator.state == alone.bit_generator.state
    if n > 1:
        held = np.array([n // 2])
        kept, alone = np.delete(np.arange(n), held), generator(seed)
        numbers = numbers_of(Order(block_bounds(n), generator(seed), held))
        np.testing.assert_array_equal(numbers, kept[alone.permutation(n - 1)])


def test_passes_and_groups_differ():
    # Catches a buffer that is mixed in the same way every time.
    random = generator(0)
    first, second = Order(block_bounds(256), random), Order(block_bounds(256), random)
    assert not np.array_equal(numbers_of(first), numbers_of(second))
    assert not np.array_equal(first.group(0)[1], first.group(1)[1])


@given(all_bounds(), st.floats(0.01, 0.9), st.integers(1, 200), st.integers(0, 9))
def test_held_out_rows(bounds, fraction, most, seed):
    # Catches a held-out set of another size, or scattered over the blocks of large data.
    n = int(bounds[-1])
    assume(n > max(1, round(fraction * n)))
    held = held_out_rows("Test", bounds, fraction, most, generator(seed))
    assert held.size == max(1, min(most, round(fraction * n)))
    assert (np.diff(held) > 0).all() and 0 <= held[0] and held[-1] < n
    if n > MIXED:
        among = [np.intersect1d(held, np.arange(*ends)).size for ends in pairwise(bounds)]
        assert sum(0 < k < size for k, size in zip(among, np.diff(bounds))) <= 1


@pytest.mark.parametrize("n, fraction", [(1, 0.5), (2, 0.9)])
def test_held_out_must_leave_rows(n, fraction):
    # Catches a training on nothing.
    with pytest.raises(ValueError, match=rf"Test: validation_fraction={fraction} of {n} rows"):
        held_out_rows("Test", block_bounds(n), fraction, 10, generator(0))


@given(st.integers(1, MIXED), st.integers(0, 9))
def test_a_short_stream_is_ordered_like_an_array(n, seed):
    # Catches results that depend on whether few rows come as an array or as blocks.
    order = StreamOrder(n, generator(seed))
    expected = numbers_of(Order(block_bounds(n), generator(seed)))
    np.testing.assert_array_equal(order.places(0, n), expected)
