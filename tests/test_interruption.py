"""Signals that wait for the end of a step."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from skdict.interruption import Interruption

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def handlers():
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.fixture
def seen():
    """Signals that the handlers outside got; the present handlers are put back at the end."""
    before, numbers = handlers(), []
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: numbers.append(number))
    yield numbers
    for number, handler in zip(SIGNALS, before):
        signal.signal(number, handler)


def test_a_quiet_body(seen):
    # Catches handlers that stay, and a name or a delivery without a signal.
    before = handlers()
    with Interruption() as interruption:
        assert handlers() != before
    interruption.pass_on()
    assert not interruption and interruption.name is None
    assert handlers() == before and seen == []


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_waits(seen, number):
    # Catches a signal that acts within a step, or gets lost, or is delivered twice.
    with Interruption() as interruption:
        assert not interruption
        signal.raise_signal(number)
        assert interruption and interruption.name == number.name
        assert seen == []
    assert seen == []
    interruption.pass_on()
    interruption.pass_on()
    assert seen == [number]


def test_ctrl_c_ends_in_keyboard_interrupt():
    # Catches a default SIGINT that is swallowed.
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        interruption.pass_on()


def test_second_ctrl_c_acts_at_once():
    # Catches a user who cannot leave a long step, and handlers lost on that way.
    before, reached = handlers(), []
    with pytest.raises(KeyboardInterrupt), Interruption():
        signal.raise_signal(signal.SIGINT)
        reached.append("step")
        signal.raise_signal(signal.SIGINT)
        reached.append("never")
    assert reached == ["step"] and handlers() == before


def test_second_sigterm_waits_too(seen):
    # Catches an impatient batch system that makes the checkpoint fail.
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert seen == []
    interruption.pass_on()
    assert seen == [signal.SIGTERM]


def test_both_signals(seen):
    # Catches a SIGTERM that is lost because SIGINT raises KeyboardInterrupt before it.
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert interruption.name == "SIGTERM"
    interruption.pass_on()
    assert seen == [signal.SIGTERM, signal.SIGINT]


def test_handlers_are_back_after_an_error(seen):
    # Catches a failed fit that leaves a program deaf to Ctrl-C.
    before = handlers()
    with pytest.raises(ZeroDivisionError), Interruption():
        raise ZeroDivisionError
    assert handlers() == before


def test_ignored_signals_stay_ignored(seen):
    # Catches nohup and the like losing their effect.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interruption() as interruption:
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN
        signal.raise_signal(signal.SIGINT)
    assert not interruption
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_unknown_handlers_are_left_alone(seen, monkeypatch):
    # Catches the handler of another language, shown as None, that could not be put back.
    before = handlers()
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    with Interruption():
        monkeypatch.undo()
        assert handlers() == before
    assert handlers() == before


def test_nested(seen):
    # Catches an inner fit that hides the signal from the one around it.
    with Interruption() as outer:
        with Interruption() as inner:
            signal.raise_signal(signal.SIGINT)
        assert inner and not outer
        inner.pass_on()
        assert outer and seen == []
    outer.pass_on()
    assert seen == [signal.SIGINT]


def test_in_another_thread():
    # Catches the ValueError that Python raises for handlers set outside the main thread.
    before, results = handlers(), []

    def body():
        with Interruption() as interruption:
            results.append(handlers() == before)
        interruption.pass_on()
        results.append(bool(interruption))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert results == [True, False]


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send SIGTERM to be handled")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_process_that_is_signalled(number):
    # Catches a process that goes on, or ends with another status than its parent waits for.
    code = """
import signal, time
from skdict.interruption import Interruption
with Interruption() as interruption:
    print("ready", flush=True)
    end = time.monotonic() + 30
    while not interruption and time.monotonic() < end:
        time.sleep(0.01)
    print(interruption.name, flush=True)
interruption.pass_on()
print("went on", flush=True)
"""
    # the file alone: it needs nothing of the package, whose import takes longer
    code = code.replace("skdict.interruption", "interruption")
    folder = os.path.dirname(sys.modules[Interruption.__module__].__file__)
    command = [sys.executable, "-c", f"import sys; sys.path.append({folder!r})\n{code}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        out, error = child.communicate(timeout=60)
    assert out == f"{number.name}\n"
    assert child.returncode == -number
    assert ("KeyboardInterrupt" in error) == (number == signal.SIGINT)
