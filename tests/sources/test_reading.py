"""Reading ahead: one thread, one group, no leftovers."""

import threading
import time

import numpy as np
import pytest
from stores import opened, rows_of, small_buffers

from skdict.sources import open_source
from skdict.sources.reading import read_ahead


def readers():
    return [t for t in threading.enumerate() if t.name.startswith("skdict-read-ahead")]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    end = time.monotonic() + 5
    while readers() and time.monotonic() < end:
        time.sleep(0.01)
    assert not readers()


@pytest.mark.parametrize("kind", ["memmap", "npy", "blocks"])
@pytest.mark.parametrize("end", ["exhausted", "closed", "error", "forgotten", "not begun"])
def test_the_thread_ends(kind, end, tmp_path, monkeypatch):
    # Catches a thread, and the buffer it holds, for every pass that was not read to its end.
    small_buffers(monkeypatch)
    X = rows_of(500)
    source = open_source([X], "Test") if kind == "blocks" else opened(kind, X, tmp_path)
    chunks = source.chunks(source.order(np.random.default_rng(0)))
    if end == "not begun":
        return
    if end == "error":
        with pytest.raises(ZeroDivisionError):
            for _ in source.chunks(source.order(None)):
                assert readers()
                1 / 0  # noqa: B018
        return
    next(chunks)
    assert readers()
    if end == "exhausted":
        assert len(list(chunks)) >= 6
    elif end == "closed":
        chunks.close()
        # Nobody knows how long a block of an iterable takes, so nobody waits for it.
        assert kind == "blocks" or not readers()
    del chunks


def test_at_most_one_group_ahead():
    # Catches a reader that fills memory while training is slower than the disk.
    n_read = 0

    def read(stopped):
        nonlocal n_read
        for i in range(10):
            n_read += 1
            yield i

    for i in read_ahead(read):
        time.sleep(0.01)
        assert i + 1 <= n_read <= i + 2
    assert n_read == 10


def test_errors_of_the_thread_arrive():
    # Catches a pass that ends early and looks complete.
    def read(stopped):
        yield 1
        raise OSError("disk")

    items = read_ahead(read)
    assert next(items) == 1
    with pytest.raises(OSError, match="disk"):
        next(items)


def test_closing_interrupts_the_read(monkeypatch):
    # Catches a close that waits for a whole group.
    small_buffers(monkeypatch)

    class Slow:
        shape, dtype = (64 * 50, 3), np.dtype("f4")

        def __getitem__(self, rows):
            time.sleep(0.01)
            return np.zeros((rows.stop - rows.start, 3), "f4")

    source = open_source(Slow(), "Test")
    source._n_together = lambda: 1
    chunks = source.chunks(source.order(np.random.default_rng(0)))
    next(chunks)
    begin = time.perf_counter()
    chunks.close()
    assert time.perf_counter() - begin < 0.3  # a group takes 0.6 s
