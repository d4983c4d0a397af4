"""Connections to Redis: made within a limit, to the server in use, and never repeating a command."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from redis import exceptions
from redis.asyncio import Connection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from hrpc.database.activity import Activity
from hrpc.database.addresses import Addresses
from hrpc.database.holding import Holder
from hrpc.database.redis.errors import is_failure, is_wrong_server, reason
from hrpc.database.redis.settings import RedisSettings
from hrpc.pauses import Pauses
from hrpc.recipe.servers import Server
from hrpc.recipe.tls import Trust, certificate_problem

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.25
"""Seconds before connecting is tried again, with jitter."""


class Dialing:
    """What the connections of one database share: the servers, whom to trust, and the counts."""

    def __init__(self, settings: RedisSettings) -> None:
        """Raises `DatabaseRefused` for certificates that cannot be used."""
        self.settings = settings
        self.activity = Activity()
        self.addresses = Addresses(settings.servers, f"redis db {settings.db}", lambda: None)
        self.trust: Trust | None = None
        if settings.uses_tls:
            self.trust = Trust(settings, settings.tls_ca, settings.tls_cert, settings.tls_key)


class _Once(Retry):
    """What redis-py calls around each command: no retry, but a look at the error."""

    def __init__(self, connection: _Bounded) -> None:
        super().__init__(NoBackoff(), 0)
        self._connection = connection

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[Any]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> Any:
        try:
            return await do()
        except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
            self._connection.blame(error)
            if is_retryable is None or is_retryable(error):
                await (fail(error, 1) if with_failure_count else fail(error))
            raise
        except (exceptions.ReadOnlyError, exceptions.MasterDownError) as error:
            self._connection.blame(error)
            raise


class _Bounded:
    """Connects within a limit and with retries (redis-py's own would repeat commands as well), and writes in one."""

    def __init__(self, *, dialing: Dialing, **options: Any) -> None:
        super().__init__(**options)
        self.retry: Any = _Once(self)
        self.server: Server = dialing.addresses.now
        self.holder: Holder | None = None
        self.is_wrong = False
        """The server is not the one that it should be: nobody else may have this connection."""
        self._dialing = dialing
        self._settings = dialing.settings
        self._why_left = ""

    def blame(self, error: Any) -> None:
        """Notes of which database an error is, and whether it says that another server should be in use."""
        error.origin = self._settings.origin
        if is_wrong_server(error):
            self.is_wrong = True
            self._dialing.addresses.leave(self.server, error)

    async def connect(self: Any) -> None:
        if self.is_connected:
            return
        limit = self._settings.connect_timeout
        try:
            async with asyncio.timeout(limit):
                await self._connect_with_retries(asyncio.get_running_loop().time() + limit)
        except TimeoutError as error:
            message = f"{self._settings.place}: no connection within {limit:g} s (connect_timeout)"
            failure = exceptions.TimeoutError(message)
            self.blame(failure)
            self._dialing.activity.failed["timeout"] += 1
            raise failure from error
        self.is_wrong = False
        self._dialing.activity.opened += 1

    async def leave(self: Any, why: str) -> None:
        """Closes the connection, without waiting for its end."""
        self._why_left = why
        await self.disconnect(nowait=True)
        self._why_left = ""

    async def disconnect(self: Any, *args: Any, **options: Any) -> None:
        if self.is_connected:
            self._dialing.activity.closed[self._why_left or self._cause()] += 1
        await super().disconnect(*args, **options)  # type: ignore[misc]

    def _cause(self: Any) -> str:
        """Why redis-py closes the connection, which it mostly does while it handles an error."""
        error = sys.exc_info()[0]
        if error is None:
            return "end"
        return "cancelled" if issubclass(error, asyncio.CancelledError) else "lost"

    async def send_packed_command(self: Any, command: Any, check_health: bool = True) -> None:
        # redis-py writes inside wait_for, which before Python 3.12 swallows a cancel that comes as the write ends, and
        # which starts a task for each command. Without a socket_timeout it writes directly.
        connection: Any = self
        limit, connection.socket_timeout = connection.socket_timeout, None
        try:
            async with asyncio.timeout(limit):
                await super().send_packed_command(command, check_health)  # type: ignore[misc]
        except TimeoutError as error:
            raise exceptions.TimeoutError(f"{self._settings.place}: nothing was taken in {limit:g} s") from error
        finally:
            connection.socket_timeout = limit

    async def _connect_with_retries(self: Any, until: float) -> None:
        retries, pauses = max(0, self._settings.max_retries), Pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
        for retry in range(retries + 1):
            try:
                await self._connect_somewhere(until)
                return
            except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
                if retry == retries or not is_failure(error) or certificate_problem(error):
                    self.blame(error)
                    raise
            await asyncio.sleep(pauses.next())

    async def _connect_somewhere(self: Any, until: float) -> None:
        """Tries each server once, the one in use first; raises the error of the last."""
        addresses, failed = self._dialing.addresses, self._dialing.activity.failed
        servers = addresses.in_turn()
        why: object = ""
        for left, server in zip(range(len(servers), 0, -1), servers, strict=True):
            self._go_to(server)
            share = (until - asyncio.get_running_loop().time()) / left
            try:
                await self._connect_to(server, share if left > 1 else None)
            except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
                # Through a Unix socket, redis-py takes one whose login failed for connected.
                await self.leave("lost")
                failed[reason(error)] += 1
                if left == 1 or reason(error) in ("refused", "full"):
                    raise
                why = why or error
            else:
                addresses.use(server, why)
                return

    async def _connect_to(self: Any, server: Server, limit: float | None) -> None:
        try:
            async with asyncio.timeout(limit) as limited:
                await self.connect_check_health()
        except TimeoutError as error:
            if not limited.expired():
                raise
            raise exceptions.TimeoutError(f"no connection to {server[0]}:{server[1]} within {limit:.3g} s") from error

    def _go_to(self: Any, server: Server) -> None:
        self.server = server


class TCPConnection(_Bounded, Connection):
    """Through TCP, encrypted or not."""

    def _go_to(self, server: Server) -> None:
        self.server = server
        self.host, self.port = server

    def _connection_arguments(self) -> Any:
        arguments = dict(super()._connection_arguments())
        if self._dialing.trust is not None:
            arguments["ssl"] = self._dialing.trust.context()
        return arguments


class UnixConnection(_Bounded, UnixDomainSocketConnection):
    """Through a socket of the file system."""
