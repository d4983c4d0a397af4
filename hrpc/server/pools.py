"""The databases that are open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from loguru import logger

from hrpc._runtime import Runtime
from hrpc.abc import Counted, Database, Pool, PoolActivity, StoredSettings
from hrpc.configs import Watching
from hrpc.configs.center import Configs
from hrpc.errors import DatabaseError, InvalidConfig
from hrpc.health.state import Health
from hrpc.pauses import Pauses

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds before it is tried again to open a pool with new settings, with jitter."""


class Live:
    """One database: its pool, and those before it that are still in use."""

    def __init__(self, database: Database) -> None:
        self.outdated = False
        """Whether the newest settings could not be used, so that the pool of those before them is open."""
        self._database = database
        self._stack = AsyncExitStack()
        self._pools: list[Pool] = []
        self._wanted: StoredSettings | None = None
        self._news = asyncio.Event()

    @property
    def pool(self) -> Pool:
        """The one that is used now."""
        return self._pools[-1]

    @property
    def pools(self) -> list[Pool]:
        """All that have connections."""
        return list(self._pools)

    async def open(self, stored: StoredSettings | None) -> None:
        """Opens the first pool. Raises as `hrpc.abc.Database.open`."""
        self._pools.append(await self._stack.enter_async_context(self._database.open(stored)))

    async def close(self) -> None:
        """Closes the last one."""
        await self._stack.aclose()

    async def ping(self) -> None:
        """Asks the server for a sign of life."""
        await self.pool.ping()

    async def open_followed(self, center: Configs) -> None:
        """Opens the first pool with the settings that the configuration center has, and listens for others.

        Raises as `hrpc.abc.Database.open` and `Configs.get`.
        """
        name = f"databases/{self._database.name}"
        key = center.path(name)

        async def changed(values: dict[str, Any] | None) -> None:
            if values is None:
                logger.warning("key {!r} is deleted; the pool stays open with the settings that it had", key)
            else:
                self._wanted = StoredSettings(key, values)
                self._news.set()

        await center.ready(name)
        stored = StoredSettings(key, center.get(name, dict))
        center.watch(Watching(name, False, changed, dict))
        await self.open(stored)

    async def follow(self) -> None:
        """Opens another pool whenever other settings are wanted, until it is cancelled."""
        async with asyncio.TaskGroup() as leaving:
            while True:
                await self._news.wait()
                pauses = Pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
                while await self._lacks_the_newest(leaving):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pauses.next()):
                            await self._news.wait()

    async def _lacks_the_newest(self, leaving: asyncio.TaskGroup) -> bool:
        """Whether it has to be tried again."""
        wanted = self._wanted
        assert wanted is not None
        is_new = self._news.is_set()
        self._news.clear()
        try:
            await self._reopen(wanted, leaving)
        except InvalidConfig as error:
            self.outdated = True
            logger.error("{}; the pool of the settings before stays open", error)
        except DatabaseError as error:
            self.outdated = True
            if is_new:
                logger.error(
                    "key {!r}: {}; the pool of the settings before stays open, and it is tried again", wanted.key, error
                )
            return True
        except Exception as error:  # noqa: BLE001 - the pool in use is not concerned, so the service goes on
            self.outdated = True
            logger.opt(exception=error).error("key {!r}: the pool of the settings before stays open", wanted.key)
        return False

    async def _reopen(self, stored: StoredSettings, leaving: asyncio.TaskGroup) -> None:
        async with AsyncExitStack() as opening:
            pool = await opening.enter_async_context(self._database.open(stored))
            old, old_stack = self.pool, self._stack
            pool.take_over(old)
            self._pools.append(pool)
            self._stack = opening.pop_all()
        self.outdated = False
        logger.info("{}: opened again with the settings of key {!r}", self._database.name, stored.key)
        leaving.create_task(self._leave(old, old_stack), name=f"hrpc: closing the old pool of {self._database.name}")

    async def _leave(self, pool: Pool, stack: AsyncExitStack) -> None:
        began = time.monotonic()
        try:
            await stack.aclose()
        except Exception as error:  # noqa: BLE001 - the new pool is in use; told, and the rest goes on
            logger.opt(exception=error).error("{}: the old pool was not closed cleanly", self._database.name)
        finally:
            self._pools.remove(pool)
        logger.info("{}: the old pool is closed, after {:.3f} s", self._database.name, time.monotonic() - began)


class Pools:
    """Opens databases, and knows of all that are open what metrics, health and failing calls ask."""

    def __init__(self, runtime: Runtime, health: Health) -> None:
        self._runtime = runtime
        self._health = health
        self._open: dict[str, Live] = {}

    @asynccontextmanager
    async def opened(self, database: Database, center: Configs | None) -> AsyncIterator[None]:
        """Opens a database; its module's ``get()`` gives it for as long as the context lasts.

        When it has settings in the configuration center, it is opened again whenever they change: what `get` gave goes
        on to work, and no statement fails for it.
        """
        live = Live(database)
        if database.needs_settings and center is not None:
            await live.open_followed(center)
        else:
            await live.open(None)
        try:
            self._open[database.name] = live
            self._health.add(database.name, live.ping)
            async with asyncio.TaskGroup() as following:
                follower = following.create_task(live.follow(), name=f"hrpc: settings of {database.name}")
                try:
                    with self._runtime.provide(database.slot, live.pool.client):
                        yield
                finally:
                    follower.cancel()
        finally:
            self._open.pop(database.name, None)
            await live.close()

    def connections(self) -> dict[tuple[str, ...], float]:
        """How many connections of each pool are used and idle now."""
        found: dict[tuple[str, ...], float] = {}
        for name, live in self._open.items():
            stats = [pool.stats() for pool in live.pools]
            found[name, "used"] = sum(one.used for one in stats)
            found[name, "idle"] = sum(one.idle for one in stats)
        return found

    def waiting(self) -> dict[str, float]:
        """How many callers wait for a connection of each pool now."""
        return {name: sum(pool.stats().waiting for pool in live.pools) for name, live in self._open.items()}

    def waits(self) -> dict[str, tuple[list[int], float]]:
        """How long callers have waited for a connection of each pool."""
        return {name: activity.histogram() for name, activity in self._activities()}

    def timeouts(self) -> dict[str, float]:
        """How many callers gave up waiting."""
        return {name: activity.timeouts for name, activity in self._activities()}

    def made(self) -> dict[str, float]:
        """How many connections were made."""
        return {name: activity.opened for name, activity in self._activities()}

    def closed(self) -> dict[tuple[str, ...], float]:
        """How many connections were closed, by reason."""
        return {(name, why): count for name, activity in self._activities() for why, count in activity.closed.items()}

    def failed(self) -> dict[tuple[str, ...], float]:
        """How many attempts to connect failed, by reason."""
        return {(name, why): count for name, activity in self._activities() for why, count in activity.failed.items()}

    def _activities(self) -> list[tuple[str, PoolActivity]]:
        return [(name, live.pool.activity) for name, live in self._open.items() if isinstance(live.pool, Counted)]

    def outdated(self) -> dict[str, float]:
        """1 for each pool that could not be opened with its newest settings."""
        return {name: float(live.outdated) for name, live in self._open.items()}

    def unavailable(self, error: BaseException) -> str | None:
        """The name of the database that this error says is away, if any."""
        return next((name for name, live in self._open.items() if live.pool.is_unavailable(error)), None)
