"""The index that every change moves on, and the queries that wait for it.

Blocking queries: https://developer.hashicorp.com/consul/api-docs/features/blocking
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Changes:
    """Counts the changes of the whole state, as Consul's Raft index does."""

    def __init__(self) -> None:
        self.index = 10
        self._next = asyncio.Event()
        self._closed = False

    def record(self) -> int:
        """Counts one change and wakes whoever waits; gives the new index."""
        self.index += 1
        self._wake()
        return self.index

    async def wait(self, happened: Callable[[], bool], timeout: float) -> None:
        """Returns when `happened` is true after some change, after `timeout` seconds, or when the agent ends."""
        try:
            async with asyncio.timeout(timeout):
                while not self._closed and not happened():
                    await self._next.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        """Lets every query answer now: the agent ends."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._next.set()
        self._next = asyncio.Event()
