"""The pool of connections to Redis.

redis-py's own blocking pool waits on a Condition; before Python 3.13 a waiter that is cancelled while it is being woken
takes the wake-up with it (python/cpython#112202), and the others wait on beside a free connection. Hence a semaphore.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import RedisError

from hrpc import _runtime
from hrpc.abc import PoolStats
from hrpc.database import holding
from hrpc.database.activity import Activity
from hrpc.database.holding import Holder
from hrpc.database.redis.commands import Commands, Traced, TracedRedis
from hrpc.database.redis.connection import Dialing, TCPConnection, UnixConnection
from hrpc.database.redis.errors import RedisClosed, RedisPoolTimeout, is_failure, not_connected
from hrpc.database.redis.settings import RedisSettings
from hrpc.errors import DatabaseUnavailable


class _Pool(ConnectionPool):
    """A pool that makes its borrowers wait, each no longer than acquire_timeout."""

    def __init__(self, settings: RedisSettings, dialing: Dialing, read_timeout: float | None) -> None:
        if settings.network == "unix":
            place: dict[str, Any] = {"connection_class": UnixConnection, "path": settings.address}
        else:
            host, port = settings.servers[0]
            place = {"connection_class": TCPConnection, "host": host, "port": port}
        super().__init__(
            **place,
            dialing=dialing,
            max_connections=settings.max_open_conns,
            db=settings.db,
            username=settings.username,
            password=settings.password or None,
            socket_timeout=read_timeout,
            socket_connect_timeout=settings.connect_timeout,
            decode_responses=settings.decode_responses,
            # With 3, redis-py announces itself for maintenance notices and then no longer checks for leftover answers.
            protocol=2,
        )
        self._settings = settings
        self._dialing = dialing
        self._loop = asyncio.get_running_loop()
        self._permits = asyncio.Semaphore(settings.max_open_conns)
        self._waiting = 0
        self._users = 0
        self._is_closed = False
        self._is_retired = False
        self._left = asyncio.Event()

    @property
    def is_full(self) -> bool:
        return self._permits.locked()

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        self._check_open()
        self._users += 1
        has_permit = False
        began = self._loop.time()
        activity = self._dialing.activity
        try:
            if self._permits.locked():
                await self._wait()
            else:
                await self._permits.acquire()
            has_permit = True
        finally:
            if not has_permit:
                self._leave()
        connection: Any = self.get_available_connection()  # type: ignore[no-untyped-call]
        connection.lender = self
        is_ready = False
        try:
            self._check_open()
            if connection.server is not self._dialing.addresses.now and connection.is_connected:
                await connection.leave("failover")
            await self.ensure_connection(connection)
            is_ready = not self._is_closed
        finally:
            if not is_ready:
                await connection.disconnect(nowait=True)
                await self.release(connection)
        self._check_open()
        now = self._loop.time()
        activity.wait(now - began)
        connection.holder = Holder(now)
        return connection

    async def release(self, connection: Any) -> None:
        connection.holder = None
        try:
            await super().release(connection)
            if connection.is_wrong:
                await connection.leave("failover")
            elif self._is_retired and not self._waiting:
                await connection.leave("end")
        finally:
            self._permits.release()
            self._leave()

    def retire(self) -> None:
        """Another pool is in its place: those who have come are served, and nobody else comes."""
        self._is_retired = True

    async def emptied(self) -> None:
        """Waits until all that was borrowed is back, and nobody waits."""
        while self._users:
            self._left.clear()
            await self._left.wait()

    def _leave(self) -> None:
        self._users -= 1
        self._left.set()

    async def aclose(self) -> None:
        self._is_closed = True
        await super().aclose()

    def stats(self) -> PoolStats:
        used = len(self._in_use_connections)
        idle = sum(connection.is_connected for connection in self._available_connections)
        return PoolStats(used=used, idle=idle, waiting=self._waiting)

    async def _wait(self) -> None:
        limit = self._settings.acquire_timeout
        self._waiting += 1
        try:
            async with asyncio.timeout(limit):
                await self._permits.acquire()
        except TimeoutError:
            self._dialing.activity.timeouts += 1
            connections: Any = self._in_use_connections
            held = holding.told((connection.holder for connection in connections), self._loop.time())
            raise self._settings.fault(
                RedisPoolTimeout,
                f"{self._settings.place}: no connection was free within {limit:g} s (acquire_timeout): all "
                f"{self._settings.max_open_conns} are in use{held}; raise max_open_conns, or use redis.blocking() for "
                "commands that block",
            ) from None
        finally:
            self._waiting -= 1

    def _check_open(self) -> None:
        if self._is_closed:
            message = f"{self._settings.place}: the pool is closed, because the server stops"
            raise self._settings.fault(RedisClosed, message)


class _Switch:
    """What clients, pipelines and subscriptions take for the pool: another one can be put beneath them."""

    def __init__(self, pool: _Pool) -> None:
        self.beneath = pool

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        return await self.beneath.get_connection()

    async def release(self, connection: Any) -> None:
        await connection.lender.release(connection)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.beneath, name)


class Client(Redis):
    """The client that ``redis.get()`` gives, with the one that ``redis.blocking()`` gives."""

    def __init__(self, pool: Any, blocking_client: Redis) -> None:
        super().__init__(connection_pool=pool)
        self.blocking_client = blocking_client


class TracedClient(Traced, Client):  # type: ignore[misc]
    """The same, when its commands are traced."""

    def __init__(self, commands: Commands, pool: Any, blocking_client: Redis) -> None:
        super().__init__(pool, blocking_client)
        self.commands = commands


class OpenRedis:
    """An open Redis: an `hrpc.abc.Pool`. Belongs to one event loop."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._dialing = Dialing(settings)
        self._pool = _Pool(settings, self._dialing, settings.read_timeout)
        self._blocking_pool = _Pool(settings, self._dialing, None)
        # Not the client that is given out: a health check is no part of a trace.
        self._pings = Redis(connection_pool=self._pool)
        self._is_retired = False
        tracer = _runtime.tracer()
        pool: Any = _Switch(self._pool)
        blocking_pool: Any = _Switch(self._blocking_pool)
        if tracer is None:
            self.client = Client(pool, Redis(connection_pool=blocking_pool))
        else:
            commands = Commands(tracer, settings)
            self.client = TracedClient(commands, pool, TracedRedis(commands, blocking_pool))

    async def ping(self) -> None:
        """Asks the server for a sign of life; raises `DatabaseUnavailable` or `DatabaseRefused` without one.

        When all connections are in use it makes one of its own: a busy pool is no sign of a dead server.
        """
        try:
            if self._pool.is_full:
                await self._connect_apart()
            else:
                await self._pings.ping()
        except RedisError as error:
            raise not_connected(self._settings, error) from error

    def stats(self) -> PoolStats:
        """The connections now, without those of the blocking client."""
        return self._pool.stats()

    def is_unavailable(self, error: BaseException) -> bool:
        """Whether this error says that the server is away, or does not serve us at the moment."""
        is_away = isinstance(error, DatabaseUnavailable) or is_failure(error)
        return is_away and getattr(error, "origin", None) in (None, self._settings.origin)

    @property
    def activity(self) -> Activity:
        """What has happened, also in the pool of the blocking client."""
        return self._dialing.activity

    def take_over(self, old: OpenRedis) -> None:
        """Puts itself beneath the client of `old`, which then serves those who have come to it, and is to be closed."""
        made: Any
        made, self.client = self.client, old.client
        kept: Any = self.client
        for before, now in ((kept, made), (kept.blocking_client, made.blocking_client)):
            before.connection_pool.beneath.retire()
            before.connection_pool.beneath = now.connection_pool.beneath
            if isinstance(before, Traced):
                before.commands = now.commands
        old._is_retired = True
        old.activity.add(self.activity)
        self._dialing.activity = old.activity

    async def close(self) -> None:
        """Closes all connections; a command that is still running ends with a ConnectionError.

        One whose place another has taken waits for what was borrowed, unless it is cancelled.
        """
        try:
            if self._is_retired:
                await asyncio.gather(self._pool.emptied(), self._blocking_pool.emptied())
        finally:
            try:
                await self._blocking_pool.aclose()
            finally:
                await self._pool.aclose()

    async def _connect_apart(self) -> None:
        connection: Any = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.connect()
        finally:
            await connection.leave("end")


@asynccontextmanager
async def open_pool(settings: RedisSettings) -> AsyncIterator[OpenRedis]:
    """Connects once, gives the pool, and closes it at the end."""
    database = OpenRedis(settings)
    try:
        await database.ping()
        yield database
    finally:
        await database.close()
