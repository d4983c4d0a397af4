"""Ctrl-C, SIGTERM and a closed terminal end the demo; none of them leaves anything behind."""

from __future__ import annotations

import os
import signal


class Interrupted(Exception):
    """A signal has come."""


class Interrupts:
    """Remembers that a signal has come, for those who ask between two steps.

    Nothing is raised by the handler itself: an exception from there can come up in the middle of anything, and Python
    drops it where it interrupts a weakref callback or a ``__del__``.
    """

    def __init__(self) -> None:
        self.has_come = False
        self._wakeup, end = os.pipe()
        os.set_blocking(end, False)
        signal.set_wakeup_fd(end)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def check(self) -> None:
        """Raises `Interrupted` when a signal has come."""
        if self.has_come:
            raise Interrupted

    def wait(self) -> None:
        """Waits for a signal, which it raises as `Interrupted`."""
        # Not signal.pause, which would miss a signal that comes just before it.
        while True:
            self.check()
            os.read(self._wakeup, 1)

    def _handle(self, number: int, frame: object) -> None:
        self.has_come = True
