"""What handlers use: statements, transactions, and the connection itself."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hrpc.errors import DatabaseError, DatabaseUnavailable

if TYPE_CHECKING:
    from hrpc.database.mysql.connection import Connection, Outcome, Row

_ROLLBACK_LIMIT = 3.0
_READS_ONLY = re.compile(r"[\s(]*(?:SELECT|SHOW|DESC|DESCRIBE)\b[^;]*;?\s*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Result:
    """What a statement did. `last_insert_id` is 0 when the statement generated none."""

    rows_affected: int
    last_insert_id: int


class Lender(Protocol):
    """Where connections come from: the pool."""

    async def borrow(self, *, fresh: bool = False) -> Connection:
        """A connection that lives, as far as can be known."""

    def give_back(self, connection: Connection) -> None:
        """Takes a connection back, in whatever state it is."""

    async def ping(self) -> None:
        """Asks the server for a sign of life."""


class Transaction:
    """A transaction on a connection of its own; `MySQL.transaction` gives it, and ends it."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection

    async def query(self, sql: str, *args: Any) -> list[Row]:
        """All rows; as `MySQL.query`, but never repeated."""
        return (await self._run(sql, args))[0]

    async def query_one(self, sql: str, *args: Any) -> Row | None:
        """The first row, or None; as `MySQL.query_one`, but never repeated."""
        rows = (await self._run(sql, args))[0]
        return rows[0] if rows else None

    async def execute(self, sql: str, *args: Any) -> Result:
        """Runs a statement that changes something."""
        return _result(await self._run(sql, args))

    async def _run(self, sql: str, args: tuple[Any, ...]) -> Outcome:
        if self._connection is None:
            raise RuntimeError("this transaction has ended; use it inside its `async with` block only")
        if self._connection.is_rolled_back:
            raise RuntimeError("the server rolled this transaction back (deadlock); leave its block and begin again")
        return await self._connection.run(sql, args)

    def _end(self) -> None:
        self._connection = None


class MySQL:
    """What ``mysql.get()`` gives. Every statement takes a connection of the pool and commits by itself.

    ::

        row = await mysql.get().query_one("SELECT id, total FROM orders WHERE id = %s", request.id)
        async with mysql.get().transaction() as tx:
            await tx.execute("UPDATE stock SET n = n - 1 WHERE id = %s", 7)
            await tx.execute("INSERT INTO sold (id) VALUES (%(id)s)", {"id": 7})

    All methods raise `PoolTimeout` when no connection becomes free, `DatabaseUnavailable` when the server is away, and
    the errors of ``pymysql.err`` for what the server says about a statement. A cancelled statement may run on at the
    server unless ``read_timeout`` is set; its connection is thrown away.

    What changes the session (SET, USE, LOCK, temporary tables) ends with the statement or the transaction that did it:
    such a connection is not used again. Use `acquire` to keep it for longer.
    """

    def __init__(self, pool: Lender) -> None:
        # Another one may be put here at any time: what was borrowed goes back to where it is from.
        self._pool = pool
        self.engine: Any = None
        """SQLAlchemy's, once `hrpc.database.sqlalchemy.engine` was asked for it."""

    async def query(self, sql: str, *args: Any) -> list[Row]:
        """All rows, each a dict by column. Arguments fill ``%s``; a single dict fills ``%(name)s``.

        A SELECT or SHOW whose pooled connection turns out dead is repeated once, on a new connection.
        """
        return (await self._read(sql, args))[0]

    async def query_one(self, sql: str, *args: Any) -> Row | None:
        """The first row, or None when there is none; otherwise as `query`."""
        rows = (await self._read(sql, args))[0]
        return rows[0] if rows else None

    async def execute(self, sql: str, *args: Any) -> Result:
        """Runs a statement that changes something. Never repeats it."""
        pool = self._pool
        connection = await pool.borrow()
        try:
            return _result(await connection.run(sql, args))
        finally:
            pool.give_back(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction: committed at the end of the block, rolled back when the block raises or is cancelled.

        When COMMIT itself raises `DatabaseUnavailable`, it is not known whether the server carried it out.
        """
        pool = self._pool
        connection = await pool.borrow()
        transaction = Transaction(connection)
        try:
            connection.is_rolled_back = False
            await connection.command("BEGIN")
            try:
                yield transaction
            except Exception:
                with suppress(DatabaseUnavailable, RuntimeError):
                    await connection.command("ROLLBACK", _ROLLBACK_LIMIT)
                raise
            await _commit(connection)
        finally:
            # After a cancel the transaction is open still: the pool closes the connection, the server rolls back.
            transaction._end()
            pool.give_back(connection)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        """The driver's own connection (``aiomysql.Connection``), for what the methods above do not offer.

        It is closed at the end, because nobody can tell what was done to its session. So this costs a connection to
        the server each time; it is meant for bulk work, streaming cursors and locks, not for every call.
        """
        pool = self._pool
        connection = await pool.borrow()
        connection.is_used_up = True
        try:
            yield connection.raw
        finally:
            pool.give_back(connection)

    async def valid(self) -> bool:
        """Whether the server answers now."""
        try:
            await self._pool.ping()
        except DatabaseError:
            return False
        return True

    async def _read(self, sql: str, args: tuple[Any, ...]) -> Outcome:
        pool = self._pool
        connection = await pool.borrow()
        try:
            return await connection.run(sql, args)
        except DatabaseUnavailable:
            if not (connection.is_lost and connection.is_reused and _READS_ONLY.match(sql)):
                raise
        finally:
            pool.give_back(connection)
        pool = self._pool
        connection = await pool.borrow(fresh=True)
        try:
            return await connection.run(sql, args)
        finally:
            pool.give_back(connection)


async def _commit(connection: Connection) -> None:
    if connection.is_rolled_back:
        raise RuntimeError("nothing was committed: the server had rolled the transaction back (deadlock)")
    try:
        await connection.command("COMMIT")
    except DatabaseUnavailable as error:
        error.add_note("The answer to COMMIT was lost: the server may or may not have carried it out.")
        raise


def _result(outcome: Outcome) -> Result:
    return Result(outcome[1], outcome[2] or 0)
