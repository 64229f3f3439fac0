"""Blocks of rows on threads, and the limit on BLAS that goes with them."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import ThreadpoolController

from skdict.kernels import threads
from skdict.kernels.threads import current, use_threads


def blas_threads():
    pools = ThreadpoolController().select(user_api="blas").lib_controllers
    return [pool.num_threads for pool in pools]


def number_of_threads(n_jobs=None):
    with use_threads(n_jobs) as pool:
        return pool.n_threads


@pytest.fixture
def two_blas_threads():
    """BLAS pools of two threads on any machine, which no Python thread has set for itself.

    threadpoolctl lets one Python thread at a time change the limit of OpenBLAS and ignores the
    others; leaving a `with` block gives that right back.
    """
    controller = ThreadpoolController().select(user_api="blas")

    def set_all(numbers):
        for pool, number in zip(controller.lib_controllers, numbers):
            pool.set_num_threads(number)
        with controller.limit(limits=None):
            pass

    before = blas_threads()
    set_all([2] * len(before))
    if 2 not in blas_threads():
        pytest.skip("this BLAS cannot be told its number of threads")
    yield
    set_all(before)


def in_thread(function):
    """What `function` returns on a Python thread of its own."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result(timeout=30)


@pytest.fixture
def two_cores(monkeypatch):
    """Two threads wherever two are asked for, and a BLAS pool to restore, on any machine."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    monkeypatch.setattr(joblib, "effective_n_jobs", lambda n_jobs: 2 if n_jobs == 2 else 1)


@given(n_rows=st.integers(0, 40), size=st.integers(1, 50), n_threads=st.integers(1, 3))
def test_every_row_is_in_one_block(n_rows, size, n_threads):
    # would catch: a block left out or done twice, blocks whose bounds depend on the threads
    lock, seen = threading.Lock(), []

    def block(start, stop):
        with lock:
            seen.append((start, stop))

    threads.Threads(n_threads).blocks(block, n_rows, size)
    bounds = range(0, n_rows, size)
    assert sorted(seen) == [(start, min(start + size, n_rows)) for start in bounds]


def test_blocks_run_on_several_threads():
    # would catch: a pool that is asked for and never used
    barrier = threading.Barrier(2, timeout=30)

    def block(start, stop):
        barrier.wait()  # breaks unless two blocks run at the same time

    threads.Threads(2).blocks(block, 4, 1)
    assert not barrier.broken


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_errors_reach_the_caller(n_threads):
    # would catch: an error lost in a worker thread, with its block silently missing
    def block(start, stop):
        if start == 7:
            raise KeyError("in block seven")

    for _ in range(20):  # any of the threads may take the seventh block
        with pytest.raises(KeyError, match="in block seven"):
            threads.Threads(n_threads).blocks(block, 9, 1)


def test_an_error_in_a_worker_alone():
    # would catch: only the errors of the calling thread being raised
    caller, both = threading.get_ident(), threading.Barrier(2, timeout=30)

    def block(start, stop):
        both.wait()
        if threading.get_ident() != caller:
            raise KeyError("in a worker")

    with pytest.raises(KeyError, match="in a worker"):
        threads.Threads(2).blocks(block, 2, 1)


def test_usable_after_an_error():
    # would catch: a thread that stays marked as busy, or the buffers of a dead block
    def fail(start, stop):
        raise ValueError

    before = blas_threads()
    with pytest.raises(ValueError):
        with use_threads(2) as pool:
            pool.blocks(fail, 4, 1)
    assert blas_threads() == before
    assert current().n_threads == 1
    done = []
    threads.Threads(2).blocks(lambda start, stop: done.append(start), 4, 1)
    assert sorted(done) == [0, 1, 2, 3]


def test_blocks_within_blocks(two_cores):
    # would catch: threads that multiply, or a deadlock of blocks that wait for the same pool
    lock, seen, inner_threads = threading.Lock(), [], set()

    def outer(start, stop):
        def inner(first, last):
            with lock:
                seen.append((start, first))
                inner_threads.add(current().n_threads)

        current().blocks(inner, 3, 1)

    with use_threads(2) as pool:
        pool.blocks(outer, 5, 1)
    assert sorted(seen) == [(i, j) for i in range(5) for j in range(3)]
    assert inner_threads == {1}


def test_inner_use_keeps_the_outer_threads(two_cores):
    # would catch: transform within fit that takes more threads than fit was allowed
    with use_threads(1) as outer:
        with use_threads(2) as inner:
            assert inner is outer
        assert current() is outer
    with use_threads(2) as outer:
        assert outer.n_threads == 2
        with use_threads(1) as inner:
            assert inner is outer


def test_outside_there_is_one_thread():
    # would catch: kernels called on their own that start threads nobody asked for
    assert current().n_threads == 1


def held_and_restored():
    before = blas_threads()
    with use_threads(1):
        held = blas_threads()
        with use_threads(1):
            pass
        still_held = blas_threads()
    return before, held, still_held, blas_threads()


def test_blas_is_held_at_one_thread_and_restored(two_blas_threads):
    # would catch: BLAS threads beside ours, or a limit that outlives the block
    before, held, still_held, after = held_and_restored()
    assert set(held) == set(still_held) == {1}
    assert before == after == [2] * len(before)


def test_blas_is_held_on_any_python_thread(two_blas_threads):
    # would catch: a fit on another thread than the first fit, with BLAS unlimited in it
    assert held_and_restored() == in_thread(held_and_restored) == held_and_restored()


def test_the_limit_can_be_set_by_others_afterwards(two_blas_threads):
    # would catch: a right to set the limit that we take and do not give back
    with use_threads(1):
        pass

    def limited():
        with ThreadpoolController().limit(limits=1, user_api="blas"):
            return blas_threads()

    assert set(in_thread(limited)) == {1}


def test_blas_is_held_within_a_limit_of_the_caller(two_blas_threads):
    # would catch: a limit of the user's that stops ours
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        assert set(held_and_restored()[1]) == {1}
        assert set(blas_threads()) == {2}


def test_blas_is_restored_when_uses_overlap(two_blas_threads):
    # would catch: the one thread restoring the limit that the other had set
    inside, may_leave = threading.Event(), threading.Event()

    def other():
        with use_threads(1):
            inside.set()
            may_leave.wait(30)
            return blas_threads()

    before = blas_threads()
    with ThreadPoolExecutor(1) as executor:
        with use_threads(1):
            future = executor.submit(other)
            assert inside.wait(30)
        between = blas_threads()  # the other one is still inside
        may_leave.set()
        assert set(future.result(timeout=30)) == set(between) == {1}
    assert blas_threads() == before


def test_overlapping_uses_see_the_same_number_of_threads(two_blas_threads):
    # would catch: n_jobs=None read from a BLAS pool that another fit holds at one thread
    alone = number_of_threads()
    with use_threads(1):
        assert in_thread(number_of_threads) == alone


def test_n_jobs_none_follows_the_limit_on_blas():
    # would catch: a user's threadpool_limits ignored
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        assert number_of_threads() == 1


def test_n_jobs_is_at_most_the_number_of_cores():
    # would catch: a thousand threads on request, or none
    assert number_of_threads(1000) == joblib.cpu_count()
    assert number_of_threads(-1) == joblib.cpu_count()
    assert number_of_threads(-1000) == 1


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_one_thread_in_a_joblib_worker(backend):
    # would catch: a grid search whose every worker takes all cores
    parallel = joblib.Parallel(n_jobs=2, backend=backend)
    assert parallel(joblib.delayed(number_of_threads)() for _ in range(2)) == [1, 1]


def test_buffers():
    # would catch: memory allocated at each call, or one buffer for two dtypes
    pool = threads.Threads()
    first = pool.buffer("a", (3, 4), np.dtype("float64"))
    assert first.shape == (3, 4) and first.flags.c_contiguous
    smaller = pool.buffer("a", (2, 5), np.dtype("float64"))
    assert smaller.shape == (2, 5) and np.shares_memory(first, smaller)
    assert not np.shares_memory(first, pool.buffer("b", (3, 4), np.dtype("float64")))
    assert pool.buffer("a", (3, 4), np.dtype("float32")).dtype == np.float32
    assert pool.buffer("a", (30, 4), np.dtype("float32")).shape == (30, 4)


def _blocks_in_child(queue):
    both = threading.Barrier(2, timeout=20)  # broken unless there are two threads again
    done = []

    def block(start, stop):
        both.wait()
        done.append(start)

    threads.Threads(2).blocks(block, 6, 1)
    queue.put(sorted(done))


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here"
)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_its_own_pool():
    # would catch: a child that waits for threads which only its parent has, or does without
    threads.Threads(2).blocks(lambda start, stop: None, 6, 1)  # the parent's pool has threads
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_blocks_in_child, args=(queue,), daemon=True)
    child.start()
    child.join(30)
    alive = child.is_alive()
    if alive:
        child.kill()
    assert not alive and child.exitcode == 0
    assert queue.get() == [0, 1, 2, 3, 4, 5]


def test_an_error_ends_the_other_threads(two_cores):
    # would catch: Ctrl-C that waits until all other blocks are done
    done, other_is_in, failed = [], threading.Event(), threading.Event()

    def block(start, stop):
        if start == 0:
            assert other_is_in.wait(30)
            raise KeyboardInterrupt
        other_is_in.set()
        failed.wait(0.2)
        done.append(start)

    with use_threads(2) as pool, pytest.raises(KeyboardInterrupt):
        pool.blocks(block, 100, 1)
    assert len(done) < 10


def _use_in_child(queue):
    queue.put(threads._blas["users"])
    with use_threads(1):
        queue.put(threads._blas["users"])


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
)
def test_a_process_forked_during_a_fit_holds_blas_itself(two_blas_threads):
    # would catch: a child that believes BLAS to be held by fits that never end in it, and deadlocks
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with use_threads(2):
        child = context.Process(target=_use_in_child, args=(queue,))
        child.start()
        assert [queue.get(timeout=30), queue.get(timeout=30)] == [0, 1]
        child.join(30)
    assert child.exitcode == 0
