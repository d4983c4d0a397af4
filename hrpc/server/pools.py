"""The databases that are open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hrpc._runtime import Runtime
from hrpc.abc import Database, Pool, StoredSettings
from hrpc.health.state import Health


class Pools:
    """Opens databases, and knows of all that are open what metrics, health and failing calls ask."""

    def __init__(self, runtime: Runtime, health: Health) -> None:
        self._runtime = runtime
        self._health = health
        self._open: dict[str, Pool] = {}

    @asynccontextmanager
    async def opened(self, database: Database, stored: StoredSettings | None) -> AsyncIterator[None]:
        """Opens a database; its module's ``get()`` gives it for as long as the context lasts."""
        async with database.open(stored) as pool:
            self._open[database.name] = pool
            self._health.add(database.name, pool.ping)
            try:
                with self._runtime.provide(database.slot, pool.client):
                    yield
            finally:
                del self._open[database.name]

    def connections(self) -> dict[tuple[str, ...], float]:
        """How many connections of each pool are used and idle now."""
        stats = {name: pool.stats() for name, pool in self._open.items()}
        used: dict[tuple[str, ...], float] = {(name, "used"): found.used for name, found in stats.items()}
        return used | {(name, "idle"): found.idle for name, found in stats.items()}

    def waiting(self) -> dict[str, float]:
        """How many callers wait for a connection of each pool now."""
        return {name: pool.stats().waiting for name, pool in self._open.items()}

    def unavailable(self, error: BaseException) -> str | None:
        """The name of the database that this error says is away, if any."""
        return next((name for name, pool in self._open.items() if pool.is_unavailable(error)), None)
