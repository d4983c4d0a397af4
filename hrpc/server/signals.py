"""What signals ask of a server, in a process that is its own; and the end of that process, whatever hangs.

SIGTERM, SIGINT and SIGQUIT stop it, a second one at once; SIGHUP runs the restart hooks; SIGUSR1 has the log tell what
runs. The event loop takes them; a thread (`hrpc.server.watch`) sees them first, and acts where the loop cannot.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from loguru import logger

from hrpc.server.activity import Activity
from hrpc.server.running import Running
from hrpc.server.watch import MARGIN, Expected

LAST_LINES = 1.0
"""Seconds for the last lines of the log, when the process is ended."""

_SECOND = 2
_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


@contextmanager
def taken(running: Running) -> Iterator[None]:
    """Takes the signals for a server, and gives them back at the end. Only the main thread can: a server in another
    one is stopped by whoever started it."""
    signals, watch = _Signals(running), running.parts.watch
    watch.call(signals.noticed, signals.late)
    try:
        signals.take()
        watch.listen()
        yield
    finally:
        watch.give_back()
        signals.give_back()


class _Signals:
    def __init__(self, running: Running) -> None:
        self._running = running
        self._loop = asyncio.get_running_loop()
        self._activity = Activity(running.parts)
        self._before: dict[signal.Signals, Any] = {}
        self._stops = 0
        """Signals to stop that have come."""
        self._unheard = 0
        """Those of them that the event loop has not taken note of."""
        self._before_it: Expected | None = None
        """What was expected before the first of these."""

    def take(self) -> None:
        """Sets the handlers, where they can be set."""
        for number in _STOP:
            self._handle(number, partial(self._running.signalled, number.name))
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: a terminal that closes means nothing
            self._handle(signal.SIGHUP, self._running.request_restart)
        if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:  # else it is the service's own
            self._handle(signal.SIGUSR1, self._running.asked_for_activity)

    def give_back(self) -> None:
        """Puts back the handlers that were there before."""
        for number, before in self._before.items():
            self._loop.remove_signal_handler(number)
            if before is not None:  # a handler that was not set from Python cannot be set from it
                signal.signal(number, before)

    def noticed(self, number: int) -> None:
        """A signal has come, and the event loop may not get to it. In the thread of the watch."""
        watch, stop = self._running.parts.watch, self._running.settings.stop
        if number not in self._before:
            return
        if number == signal.SIGUSR1:
            self._activity.tell("SIGUSR1")
        elif number in _STOP:
            if not self._unheard:
                self._before_it = watch.expected
            self._unheard += 1
            self._stops += 1
            # The first may wait for as long as a call that runs: it may be one that blocks the loop.
            limit = stop.grace + stop.step_limit if self._stops == 1 else stop.step_limit
            if self._unheard == 1 or self._stops == _SECOND:
                watch.expect(f"taking note of {signal.Signals(number).name}", limit)

    def late(self, expected: Expected) -> None:
        """The stop hangs; the process ends after this."""
        parts = self._running.parts
        words = "{}: the stop hangs: {} was not done within {:g} s, and {:g} more; the process ends here, with code 1"
        logger.critical(words, parts.name, expected.what, expected.seconds, MARGIN)
        self._activity.tell("the stop hangs", "ERROR")
        if parts.audit is not None:
            parts.audit.close(LAST_LINES)

    def _handle(self, number: signal.Signals, handler: Callable[[], None]) -> None:
        before = signal.getsignal(number)

        def handle() -> None:
            if self._running.parts.watch.listen():
                # Whoever asked the loop for a signal since then has taken all of them from the watch.
                self.noticed(number)
            if self._unheard:
                self._unheard = 0
                self._running.parts.watch.expect_again(self._before_it)
            handler()

        with suppress(RuntimeError, ValueError):
            self._loop.add_signal_handler(number, handle)
            self._before[number] = before
