"""What takes entries out while nobody writes into their map."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SPACING = 1.0
"""Seconds between two looks, at least: entries are taken out so much late, together."""


class Timer:
    """Calls `sweep` in an event loop when entries have ended. `expect` may be called from any thread."""

    def __init__(self, sweep: Callable[[], float | None]) -> None:
        """`sweep` gives the seconds until the next entry ends; None when there is none."""
        self._loop = asyncio.get_running_loop()
        self._sweep = sweep
        self._due = float("inf")
        self._handle: asyncio.TimerHandle | None = None
        self._is_over = False

    def expect(self, seconds: float) -> None:
        """An entry ends in so many seconds."""
        due = self._loop.time() + max(SPACING, seconds)
        if due + SPACING < self._due:
            self._due = due
            self._loop.call_soon_threadsafe(self._wait)

    def end(self) -> None:
        """Calls it no more."""
        self._is_over = True
        if self._handle is not None:
            self._handle.cancel()

    def _wait(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if not self._is_over:
            self._handle = self._loop.call_at(self._due, self.look)

    def look(self) -> None:
        """Calls it now."""
        self._due = float("inf")
        self._handle = None
        seconds = self._sweep()
        if seconds is not None:
            self.expect(seconds)
