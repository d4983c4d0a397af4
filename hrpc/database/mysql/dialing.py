"""Makes the connections of one pool: to which server, within which time, encrypted or not."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextlib import ExitStack

import aiomysql
from pymysql.constants import CLIENT
from pymysql.err import MySQLError

from hrpc import _runtime
from hrpc.database.activity import Activity
from hrpc.database.addresses import Addresses
from hrpc.database.mysql import errors
from hrpc.database.mysql.connection import Connection
from hrpc.database.mysql.limit import StatementLimit
from hrpc.database.mysql.settings import MySQLSettings
from hrpc.database.mysql.statements import Statements
from hrpc.recipe.servers import Server
from hrpc.recipe.settings import Secret
from hrpc.recipe.tls import Trust


class _Raw(aiomysql.Connection):  # type: ignore[misc]
    """The driver's connection, which would go on in plain text with a server that does not offer TLS."""

    async def _request_authentication(self) -> None:
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise errors.NoTLS
        await super()._request_authentication()


class Dialer:
    """Connects to the server in use, and to the next one when that does not take the connection."""

    def __init__(self, settings: MySQLSettings, activity: Activity, moved: Callable[[], None]) -> None:
        """`moved` is called when another server is in use. Raises `DatabaseRefused` for certificates that cannot be."""
        self.activity = activity
        self.addresses = Addresses(settings.servers, f"mysql {settings.dbname}", moved)
        self._settings = settings
        self._trust: Trust | None = None
        if settings.uses_tls:
            self._trust = Trust(settings, settings.tls_ca, settings.tls_cert, settings.tls_key)

    async def connect(self) -> Connection:
        """A new connection, logged in, in at most `connect_timeout` seconds: autocommit, utf8mb4.

        Raises `DatabaseUnavailable` and `DatabaseRefused`.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.connect_timeout
        servers = self.addresses.in_turn()
        failures = []
        for tried, server in enumerate(servers):
            limit = max(0.0, until - loop.time()) / (len(servers) - tried)
            try:
                connection = await self._attempt(server, limit)
            except _FAULTS as error:
                self.activity.failed[errors.reason(error)] += 1
                failure = errors.not_connected(self._settings, server, limit, error)
                failure.__cause__ = error
                failures.append(failure)
                # Who is there and says no would say no elsewhere as well, or is not to be left alone by a full pool.
                if not errors.is_away(error):
                    raise failure from error
            else:
                self.activity.opened += 1
                self.addresses.use(server, failures[0] if failures else "")
                return connection
        if len(failures) == 1:
            raise failures[0] from failures[0].__cause__
        raise errors.nobody(self._settings, failures) from failures[0].__cause__

    async def _attempt(self, server: Server, limit: float) -> Connection:
        async with asyncio.timeout(limit):
            return await self._connect(server)

    async def _connect(self, server: Server) -> Connection:
        settings = self._settings
        raw = _Raw(
            host=server[0],
            port=server[1],
            user=settings.username,
            # The driver encodes in Latin-1, but the server hashed the UTF-8 that its clients and Go send.
            password=Secret(settings.password.encode().decode("latin-1")),
            db=settings.dbname,
            charset="utf8mb4",
            autocommit=True,
            ssl=None if self._trust is None else self._trust.context(),
        )
        await raw._connect()
        version = raw.get_server_info()
        with ExitStack() as undo:
            connection = Connection(raw, settings, server, self.addresses)
            undo.callback(connection.abort)
            limit = StatementLimit(version, settings)
            if settings.read_timeout is not None:
                await connection.run(limit.of_session(settings.read_timeout), ())
                connection.is_used_up = False
            if settings.deadline_limit:
                connection.limit = limit
            if (tracer := _runtime.tracer()) is not None:
                connection.statements = Statements(tracer, settings, server, version)
            undo.pop_all()
        return connection


_FAULTS: tuple[type[Exception], ...] = (
    *(MySQLError, OSError, RuntimeError, errors.NoTLS),
    # What the driver makes of bytes that are not MySQL's.
    *(ValueError, LookupError, AssertionError, struct.error),
)
