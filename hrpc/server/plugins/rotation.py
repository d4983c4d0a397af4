"""Telling plugins that announce a server when it is taken out of rotation, and when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from loguru import logger

from hrpc import life
from hrpc._runtime import Hook
from hrpc.health.state import Health

Told = Callable[[str | None], Awaitable[object] | object]


class Rotation:
    """The functions that want to know of maintenance. They are told one after the other, what is true by then."""

    def __init__(self, health: Health, limit: float) -> None:
        """`health` says whether the server is in rotation; `limit` is the seconds that each function has."""
        self._health = health
        self._limit = limit
        self._announced: dict[str, list[Told]] = {}
        self._telling = asyncio.Lock()

    @asynccontextmanager
    async def announced(self, plugin: str, functions: list[Told]) -> AsyncIterator[None]:
        """Tells these functions of a plugin while the context lasts, at once when the server is out of rotation."""
        self._announced[plugin] = functions
        try:
            if self._health.maintenance is not None:
                await self._tell(plugin)
            yield
        finally:
            del self._announced[plugin]
            async with self._telling:  # what is just being told has its limit
                pass

    async def tell(self) -> None:
        """Tells all of them. What fails is in the log: the others, and Consul, are told nevertheless."""
        for plugin in list(self._announced):
            await self._tell(plugin)

    async def _tell(self, plugin: str) -> None:
        async with self._telling:
            hooks: list[Hook] = [partial(each, self._health.maintenance) for each in self._announced.get(plugin, ())]
            for error in await life.run_all("of maintenance", hooks, self._limit):
                logger.error("plugin {!r} could not be told of maintenance: {!r}", plugin, error)
