"""How what runs in a server learns that the server is about to leave, so that it can end well by itself.

Calls that are short end anyway. A stream that lasts for hours does not, and would be cancelled when the grace of the
stop is over::

    async def Follow(self, request, context):
        draining = hrpc.draining()
        async for change in changes_of(request.id):
            yield change
            if draining.is_set():
                return                                  # ends with OK: the client asks another instance for the rest
"""

from __future__ import annotations

import asyncio

from hrpc import _runtime


class Draining:
    """Set when the server takes no more calls and waits for those that run; it stays set."""

    def __init__(self, grace: float) -> None:
        self.grace = grace
        """Seconds that what runs has then."""
        self._begun = asyncio.Event()

    def is_set(self) -> bool:
        """Whether it has begun. Any thread may ask."""
        return self._begun.is_set()

    async def wait(self) -> None:
        """Waits until it begins. In a handler that is not async: ``hrpc.from_thread.run(hrpc.draining().wait)``."""
        await self._begun.wait()

    def begin(self) -> None:
        """It begins: for the server, in its event loop."""
        self._begun.set()


slot = _runtime.Slot[Draining]("hrpc.draining", None)


def draining() -> Draining:
    """The event that tells what runs in this server that it drains: handlers, `hrpc.go` tasks and jobs.

    It is set after callers had the time to notice (``drain_delay``), together with the end of new calls; from then on
    there are ``grace`` seconds (`hrpc.with_graceful_stop`). For a task of `hrpc.go` there is ``step_limit``. A call
    that does not ask for it pays nothing. Raises `NotRunning`.

    ::

        while not hrpc.draining().is_set(): ...
        await hrpc.draining().wait()
    """
    return slot.get()
