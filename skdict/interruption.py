"""Signals that wait for the end of a step."""

import signal
import threading


class Interruption:
    """SIGINT and SIGTERM, noted for the end of the step instead of acted upon at once.

    It is a context for the main thread and does nothing in others. While a first SIGINT waits, a
    second one acts at once.

    Examples
    --------
    >>> from skdict.interruption import Interruption
    >>> with Interruption() as interruption:
    ...     for step in range(3):
    ...         if interruption:
    ...             break
    >>> interruption.pass_on()
    """

    def __init__(self):
        self._earlier, self._noted = {}, []

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                earlier = signal.getsignal(number)
                if earlier not in (signal.SIG_IGN, None):  # None: of other code than Python
                    self._earlier[number] = earlier
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *exception):
        # An earlier handler is at work as soon as it is back, and it may raise.
        try:
            self._put_back(signal.SIGTERM)
        finally:
            self._put_back(signal.SIGINT)

    def __bool__(self):
        return bool(self._noted)

    @property
    def name(self):
        """ "SIGINT" or "SIGTERM", the latter where both came; None where none did."""
        return max(self._noted).name if self._noted else None

    def pass_on(self):
        """Deliver what was noted to the earlier handlers, which must be back."""
        # SIGTERM first, because SIGINT usually raises KeyboardInterrupt
        while self._noted:
            number = max(self._noted)
            self._noted.remove(number)
            signal.raise_signal(number)

    def _note(self, number, frame):
        number = signal.Signals(number)
        if number not in self._noted:
            self._noted.append(number)
        elif number == signal.SIGINT:
            self._put_back(number)
            signal.raise_signal(number)

    def _put_back(self, number):
        if number in self._earlier:
            signal.signal(number, self._earlier[number])
