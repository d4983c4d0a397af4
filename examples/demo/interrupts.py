"""Ctrl-C, SIGTERM and a closed terminal end the demo; none of them leaves anything behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupts:
    """Turns the signals into KeyboardInterrupt, but not while something must not be torn apart."""

    def __init__(self) -> None:
        self._is_held = False
        self._is_pending = False
        self._wakeup, end = os.pipe()
        os.set_blocking(end, False)
        signal.set_wakeup_fd(end)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    @contextmanager
    def held(self) -> Iterator[None]:
        """A signal inside of the block is raised at its end."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = self._is_pending
        if self._is_pending:
            raise KeyboardInterrupt

    def wait(self) -> None:
        """Waits for a signal."""
        # Not signal.pause, which would miss a signal that comes just before it.
        while True:
            os.read(self._wakeup, 1)

    def ignore(self) -> None:
        """From now on nothing is raised: all that is left to do is to end, and that has limits of its own."""
        self._is_held = True

    def _handle(self, number: int, frame: object) -> None:
        if self._is_held:
            self._is_pending = True
        else:
            self._is_held = True
            raise KeyboardInterrupt
