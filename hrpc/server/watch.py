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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from typing import NamedTuple, Self

from loguru import logger

MARGIN = 2.0
"""Seconds on top of each limit: whoever has a limit is to be the one that keeps it."""

LAST_WORDS = 3.0
"""Seconds for the report of what hangs; after them the process ends without."""

_WAKE = b"\0"  # no signal has this number
_STDERR = 2
_LONGEST = 3600_000.0  # milliseconds


class Expected(NamedTuple):
    """What is to be over, in at most so many seconds; `until` is in seconds of `time.monotonic`."""

    what: str
    seconds: float
    until: float


class Watch:
    """The thread, and what it waits for. A server that runs in the event loop of somebody else has none: its process is
    not to be ended for it."""

    def __init__(self) -> None:
        self.expected: Expected | None = None
        """What has to be over next; None as long as no stop goes on."""
        self._reading, self._writing = -1, -1
        self._forward_to = -1
        self._closed = False
        self._when_signalled: Callable[[int], None] = lambda _: None
        self._when_late: Callable[[Expected], None] = lambda _: None

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Runs the thread while the context lasts; does nothing in a thread that is not the main one."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        thread = threading.Thread(target=self._run, name="hrpc-watch", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._closed = True
            self._wake()
            thread.join()
            if self.expected is not None:
                faulthandler.cancel_dump_traceback_later()
            os.close(self._reading)
            os.close(self._writing)

    def expect(self, what: str, seconds: float) -> None:
        """From now on it is `what` that has to be over within so many seconds, and a margin. Any thread may say so."""
        self.expect_again(Expected(what, seconds, time.monotonic() + seconds + MARGIN))

    def expect_again(self, expected: Expected | None) -> None:
        """What was expected before something else came in between."""
        if self._writing == -1 or self._closed:
            return
        self.expected = expected
        faulthandler.cancel_dump_traceback_later()
        if expected is not None and expected.until < inf:
            _end_without_python(max(expected.until - time.monotonic(), 0.0) + LAST_WORDS)
        self._wake()

    def call(self, when_signalled: Callable[[int], None], when_late: Callable[[Expected], None]) -> None:
        """What the thread calls: for each signal, and when what is expected has not come; then the process ends with
        code 1."""
        self._when_signalled, self._when_late = when_signalled, when_late

    def listen(self) -> bool:
        """Takes the signals that an event loop is told of, and tells it afterwards; False when it has them already.

        Python writes the number of each signal into one descriptor, as soon as it arrives; an event loop takes that
        for itself whenever it is asked for a signal.
        """
        if self._writing == -1:
            return False
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
            expected = self.expected
            left = inf if expected is None else max(expected.until - time.monotonic(), 0.0)
            if poll.poll(min(left * 1000 + 1, _LONGEST)):
                self._read()
            elif expected is not None and expected is self.expected and expected.until <= time.monotonic():
                _end_without_python(LAST_WORDS)
                try:
                    self._when_late(expected)
                finally:
                    os._exit(1)

    def _read(self) -> None:
        for number in os.read(self._reading, 4096).replace(_WAKE, b""):
            try:
                self._when_signalled(number)
            except Exception as error:  # noqa: BLE001 - the event loop has to be told all the same
                logger.opt(exception=error).error("signal {}: {!r}", number, error)
            if self._forward_to != -1:
                with suppress(OSError):  # it is full: the loop is told of so many already
                    os.write(self._forward_to, bytes([number]))


def _end_without_python(seconds: float) -> None:
    """Has the process end after so many seconds by a thread of C, for code that never lets go of Python's lock."""
    # What is longer than the largest timeout is never reached.
    with suppress(RuntimeError, ValueError, OSError, OverflowError):
        faulthandler.dump_traceback_later(seconds, exit=True, file=_STDERR)
