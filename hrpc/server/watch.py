"""A thread beside the event loop, for what has to happen also while that one is stuck.

It takes the signals before the event loop does, and it ends the process when a stop does not get on: a handler that
swallows its cancellation, a step that blocks the event loop, a thread that the end of the event loop waits for.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Self

MARGIN = 2.0
"""Seconds on top of each limit: whoever has a limit is to be the one that keeps it."""

LAST_WORDS = 3.0
"""Seconds for the report of what hangs; after them the process ends without."""

_WAKE = b"\0"  # no signal has this number
_STDERR = 2


class Expected(NamedTuple):
    """What is to be over, in at most so many seconds; `until` is in seconds of `time.monotonic`."""

    what: str
    seconds: float
    until: float


class Watch:
    """The thread; it lives from entering to leaving, in the main thread of a process that belongs to the server."""

    def __init__(self, when_signalled: Callable[[int], None], when_late: Callable[[Expected], None]) -> None:
        """Both are called in the thread: for each signal, and when what is expected has not come; then the process
        ends with code 1."""
        self._when_signalled = when_signalled
        self._when_late = when_late
        self._expected: Expected | None = None
        self._closed = False
        self._reading, self._writing = -1, -1
        self._forward_to = -1
        self._thread = threading.Thread(target=self._run, name="hrpc-watch", daemon=True)

    def __enter__(self) -> Self:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._wake()
        self._thread.join()
        if self._expected is not None:
            faulthandler.cancel_dump_traceback_later()
        os.close(self._reading)
        os.close(self._writing)

    def expect(self, what: str, seconds: float) -> None:
        """From now on it is `what` that has to be over within so many seconds, and a margin."""
        expected = Expected(what, seconds, time.monotonic() + seconds + MARGIN)
        self._expected = expected
        # A thread of C, which needs no lock of Python: for code that never lets go of it.
        with suppress(RuntimeError, ValueError, OSError):
            faulthandler.dump_traceback_later(seconds + MARGIN + LAST_WORDS, exit=True, file=_STDERR)
        self._wake()

    def listen(self) -> bool:
        """Takes the signals that an event loop is told of, and tells it afterwards; False when it has them already.

        Python writes the number of each signal into one descriptor, as soon as it arrives; an event loop takes that
        for itself whenever it is asked for a signal.
        """
        before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        if before == self._writing:
            return False
        self._forward_to = before
        return True

    def give_back(self) -> None:
        """Gives the signals back to the event loop."""
        if self._forward_to != -1:
            signal.set_wakeup_fd(self._forward_to)
            self._forward_to = -1

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it has not even read what there is
            os.write(self._writing, _WAKE)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        while not self._closed:
            expected = self._expected
            left = None if expected is None else max(expected.until - time.monotonic(), 0.0)
            if poll.poll(None if left is None else left * 1000 + 1):
                self._read()
            elif expected is not None and expected is self._expected:
                self._end(expected)

    def _read(self) -> None:
        numbers = os.read(self._reading, 4096).replace(_WAKE, b"")
        if not numbers:
            return
        if self._forward_to != -1:
            with suppress(OSError):  # it is full: the loop is told of so many already
                os.write(self._forward_to, numbers)
        for number in numbers:
            self._when_signalled(number)

    def _end(self, expected: Expected) -> None:
        with suppress(RuntimeError, ValueError, OSError):
            faulthandler.dump_traceback_later(LAST_WORDS, exit=True, file=_STDERR)
        try:
            self._when_late(expected)
        finally:
            os._exit(1)
