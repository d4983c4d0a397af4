"""A connection that is made again when it is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from aio_pika.abc import AbstractConnection
from aio_pika.connection import Connection, make_url
from loguru import logger

from hrpc import metrics
from hrpc.abc import endpoint
from hrpc.errors import QueueError, QueueRefused
from hrpc.pauses import Pauses
from hrpc.queues.adapter import Server, Trust, server_name
from hrpc_rabbitmq import errors
from hrpc_rabbitmq.settings import RabbitSettings

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
"""Seconds before the next attempt to connect, with jitter; and after how many a connection was a good one."""
_CLOSE_LIMIT = 3.0
"""Seconds for the farewell to a broker, which may be away."""
_LOST = "rabbitmq_connections_lost"


class Link:
    """One connection to the broker, for publishing or for consuming: one that is blocked because its messages fill the
    broker does not hold up the other (https://www.rabbitmq.com/docs/connections).

    What is open on a connection ends with it; whoever used it comes back for the next one.
    """

    def __init__(self, settings: RabbitSettings, name: str, purpose: str) -> None:
        """`name` is that of the message queue, for metrics; `purpose` is for people who look at the broker."""
        self._settings = settings
        self._name = name
        self._purpose = purpose
        self._trust: Trust | None = None
        if settings.uses_tls:
            self._trust = Trust(settings, settings.tls_ca, settings.tls_cert, settings.tls_key, QueueRefused)
        self._connection: AbstractConnection | None = None
        self._there = asyncio.Event()
        self._why: QueueError | None = None
        self._first = 0
        self._kept: AbstractConnection | None = None
        """The newest connection, which has to be closed also when it is lost or could not be made."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Link]:
        """Connects, and keeps the connection for as long as the context lasts. Raises `QueueError`."""
        metrics.register_counter(_LOST, "Connections to RabbitMQ that were lost.", ("queue", "purpose"))
        try:
            ended = await self._connect()
            keeping = asyncio.create_task(self._keep(ended), name=f"hrpc_rabbitmq: {self._purpose}")
            try:
                yield self
            finally:
                keeping.cancel()
                await asyncio.wait({keeping})
        finally:
            await self._close()

    async def connection(self) -> AbstractConnection:
        """The connection, as soon as there is one; wait for it no longer than you can."""
        while self._connection is None:
            await self._there.wait()
        return self._connection

    async def ping(self) -> None:
        """Asks the broker for a sign of life; wait for it no longer than you can. Raises `QueueUnavailable`."""
        connection = self._connection
        if connection is None:
            raise self._why or errors.lost(self._settings, None)
        try:
            with errors.cancellable():
                async with connection.channel(publisher_confirms=False):
                    pass
        except errors.FAILURES as error:
            errors.pass_cancel(error)
            raise errors.lost(self._settings, error) from error

    @property
    def failure(self) -> QueueError | None:
        """Why there is no connection now; None when there is one."""
        return self._why if self._connection is None else None

    async def _keep(self, ended: asyncio.Future[BaseException | None]) -> None:
        """Waits until the connection ends and makes another one, for ever."""
        pauses = Pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            connected = time.monotonic()
            self._why = errors.lost(self._settings, await ended)
            began = time.monotonic()
            if began - connected > _LONGEST_PAUSE:
                pauses.begin_anew()
            metrics.incr(_LOST, 1, queue=self._name, purpose=self._purpose)
            logger.warning("{} ({}): lost, and connects again: {}", self._name, self._purpose, self._why)
            await self._close()
            ended = await self._connect_again(pauses)
            logger.info("{} ({}): connected again after {:.1f} s", self._name, self._purpose, time.monotonic() - began)

    async def _connect_again(self, pauses: Pauses) -> asyncio.Future[BaseException | None]:
        """Connects after the next pause, and again after longer ones; these go on from one connection to the next: a
        broker that lets us in and ends it at once is not asked without end."""
        while True:
            await asyncio.sleep(pauses.next())
            try:
                return await self._connect()
            except QueueError as error:
                self._why = error

    async def _connect(self) -> asyncio.Future[BaseException | None]:
        """Connects to the first node that lets us in, beginning with the one that did so last."""
        servers = self._settings.servers
        failure: QueueError | None = None
        for number in range(len(servers)):
            at = (self._first + number) % len(servers)
            try:
                connection = await self._connected_to(servers[at])
            except QueueError as error:
                failure = failure or error
                continue
            self._first = at
            return self._use(connection)
        assert failure is not None
        raise failure

    async def _connected_to(self, server: Server) -> AbstractConnection:
        await self._close()
        limit = self._settings.connect_timeout
        connection = self._kept = Connection(
            make_url(self._url(server)),
            ssl_context=None if self._trust is None else self._trust.context(),
            client_properties={"connection_name": self._told()},
        )
        try:
            async with asyncio.timeout(limit):
                with errors.cancellable():
                    await connection.connect()
                return connection
        except TimeoutError:
            why = f"no answer from {endpoint(*server)} within {limit:g} s; check that the broker runs, address and port"
            raise errors.unavailable(self._settings, why) from None
        except errors.FAILURES as error:
            errors.pass_cancel(error)
            raise errors.not_connected(self._settings, error) from error

    def _use(self, connection: AbstractConnection) -> asyncio.Future[BaseException | None]:
        ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

        def on_end(_: Any, error: BaseException | None = None) -> None:
            if self._connection is connection:
                self._connection = None
                self._there.clear()
            if not ended.done():
                ended.set_result(error)

        self._connection = connection
        connection.close_callbacks.add(on_end)
        self._there.set()
        return ended

    async def _close(self) -> None:
        self._connection = None
        self._there.clear()
        try:
            async with asyncio.timeout(_CLOSE_LIMIT):
                with errors.cancellable():
                    if self._kept is not None:
                        await self._kept.close()
        except TimeoutError:
            logger.warning("{} ({}): the broker took no leave within {:g} s", self._name, self._purpose, _CLOSE_LIMIT)
        except errors.FAILURES as error:
            errors.pass_cancel(error)

    def _url(self, server: Server) -> str:
        settings = self._settings
        scheme = "amqps" if settings.uses_tls else "amqp"
        # A Secret shows itself to nobody, also not to a format string.
        login = f"{quote(settings.username, safe='')}:{quote(''.join(settings.password), safe='')}"
        vhost = quote(settings.vhost, safe="")
        return f"{scheme}://{login}@{endpoint(*server)}/{vhost}?heartbeat={settings.heartbeat}"

    def _told(self) -> str:
        return f"{server_name()}: {self._purpose}"
