"""Who uses a client: operations that run, and cursors and sessions that somebody has."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any, TypeVar

T = TypeVar("T")


class Usage:
    """What has to end before a client can be closed without a failed call. Belongs to one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running = 0
        self._lent: set[weakref.ref[Any]] = set()
        self._waiter: asyncio.Event | None = None

    def begin(self) -> None:
        """An operation begins."""
        self._running += 1

    def end(self) -> None:
        """It has ended."""
        self._running -= 1
        self.look()

    def lend(self, thing: T) -> T:
        """A cursor, a change stream or a session: it is used until it is closed, or nobody has it any more."""
        self._lent.add(weakref.ref(thing, self._drop))
        return thing

    def look(self) -> None:
        """Something has happened after which less may be in use."""
        if self._waiter is not None:
            self._waiter.set()

    async def ended(self) -> None:
        """Waits until nothing is in use."""
        waiter = self._waiter = asyncio.Event()
        while self._running or any(not _is_over(reference()) for reference in tuple(self._lent)):
            await waiter.wait()
            waiter.clear()

    def _drop(self, reference: weakref.ref[Any]) -> None:
        self._lent.discard(reference)
        # What nobody has any more may be noticed in any thread.
        if self._waiter is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._waiter.set)


def _is_over(thing: Any) -> bool:
    if thing is None:
        return True
    return thing.has_ended if hasattr(thing, "has_ended") else not thing.alive
