"""What hears first that all tasks of an event loop are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Sentinel(asyncio.Task[None]):
    """Calls `swept` in the moment in which all tasks of its event loop are cancelled, before any of them runs.

    That is what `asyncio.run` does at its end with the tasks that are left. Nobody has a reason to cancel this one
    alone; it ends by `dismiss`. Made inside the event loop.
    """

    def __init__(self, swept: Callable[[], None]) -> None:
        self._swept = swept
        self._dismissed = asyncio.Event()
        super().__init__(self._wait(), name="hrpc: sentinel")

    def dismiss(self) -> None:
        """Ends it; `swept` is called no more."""
        self._swept = _nothing
        self._dismissed.set()

    def cancel(self, msg: Any | None = None) -> bool:
        """As every task, and calls `swept` first."""
        self._swept()
        return super().cancel(msg)

    async def _wait(self) -> None:
        await self._dismissed.wait()


def _nothing() -> None: ...
