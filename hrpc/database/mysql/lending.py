"""Connections of the pool as SQLAlchemy wants them: with transactions that begin by themselves, as a DBAPI has them."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from pymysql.constants.SERVER_STATUS import SERVER_STATUS_IN_TRANS
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from hrpc.database.mysql.client import Lender, MySQL
    from hrpc.database.mysql.connection import Connection

_PING_LIMIT = 1.0
_MATCHED = re.compile(rb"Rows matched: (\d+)")


def new_engine(client: MySQL) -> AsyncEngine:
    """An engine that borrows from whatever pool is beneath `client` at the time."""

    async def lend(*_: object, **__: object) -> Lent:
        pool = client._pool
        return Lent(pool, await pool.borrow())

    return create_async_engine("mysql+aiomysql://", async_creator=lend, poolclass=NullPool)


class Lent:
    """What SQLAlchemy takes for a connection of aiomysql; it goes back to the pool when it is closed."""

    def __init__(self, pool: Lender, connection: Connection) -> None:
        self._pool = pool
        self._connection = connection
        self._is_back = False
        self._commits_itself = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection.raw, name)

    def cursor(self, kind: Any) -> Any:
        """A cursor of this class of aiomysql's, which tells how its statements end."""
        return _watched(kind)(self)

    async def run(self, sql: str, answering: Any) -> None:
        """Runs a statement by calling `answering`, in a transaction unless it commits by itself."""
        connection = self._connection
        if connection.changes_session(sql):
            connection.is_used_up = True
        elif not (self._commits_itself or self._is_in_transaction):
            await connection.watch("BEGIN", self._connection.raw.query)
        await connection.watch(sql, answering)

    async def commit(self) -> None:
        """Commits what was begun."""
        if self._is_in_transaction:
            await self._connection.watch("COMMIT", self._connection.raw.query)

    async def rollback(self) -> None:
        """Rolls back what was begun."""
        if self._is_in_transaction:
            await self._connection.watch("ROLLBACK", self._connection.raw.query)

    async def autocommit(self, value: bool) -> None:
        """Whether each statement commits by itself."""
        self._commits_itself = bool(value)

    def get_autocommit(self) -> bool:
        """The same."""
        return self._commits_itself

    def character_set_name(self) -> None:
        """Nothing: SQLAlchemy would set it anew each time, and it is set for good."""

    async def ping(self, reconnect: bool = False) -> None:
        """Asks the server for a sign of life."""
        await self._connection.ping(_PING_LIMIT)

    async def ensure_closed(self) -> None:
        """Gives the connection back, in whatever state it is."""
        self._give_back()

    def close(self) -> None:
        """The same, for one that nobody has closed: what happened to it is not known."""
        self._connection.is_used_up = True
        self._give_back()

    @property
    def _is_in_transaction(self) -> bool:
        return bool(self._connection.raw.server_status & SERVER_STATUS_IN_TRANS)

    def _give_back(self) -> None:
        if self._is_back:
            return
        self._is_back = True
        result = self._connection.raw._result
        if result is not None and result.unbuffered_active:
            self._connection.busy = True  # rows of a stream that nobody has read
        self._pool.give_back(self._connection)


@cache
def _watched(kind: Any) -> Any:
    class Watched(kind):  # type: ignore[misc]
        def __init__(self, lent: Lent) -> None:
            super().__init__(lent._connection.raw)
            self._lent = lent

        async def _query(self, sql: str | bytearray) -> None:
            # Many rows at once come as bytes; the driver encodes in the same way.
            text = sql if isinstance(sql, str) else sql.decode(self._lent.encoding, "surrogateescape")
            await self._lent.run(text, super()._query)

        async def _do_get_result(self) -> None:
            await super()._do_get_result()
            # SQLAlchemy counts the rows that were found, and the server, unless asked at the login, those it changed.
            message = getattr(self._result, "message", None)
            if isinstance(message, bytes) and (found := _MATCHED.search(message)):
                self._rowcount = int(found[1])

        async def _show_warnings(self, connection: object) -> None:
            """Does nothing: each would be a round trip, and a warning of Python's."""

    return Watched
