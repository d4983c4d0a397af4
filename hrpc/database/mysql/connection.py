"""One connection to MySQL: opened within a time limit, and able to say whether another borrower may have it."""

from __future__ import annotations

import asyncio
import random
import re
import struct
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, NoReturn

import aiomysql
from pymysql.constants.SERVER_STATUS import SERVER_STATUS_IN_TRANS
from pymysql.err import MySQLError, OperationalError

from hrpc.database.addresses import Addresses
from hrpc.database.holding import Holder
from hrpc.database.mysql import errors
from hrpc.database.mysql.limit import StatementLimit
from hrpc.database.mysql.settings import MySQLSettings
from hrpc.database.mysql.statements import Statements
from hrpc.errors import DatabaseUnavailable
from hrpc.recipe.servers import Server

Row = dict[str, Any]
Outcome = tuple[list[Row], int, int | None]
"""The rows, how many rows there are or were changed, and the last id that was generated."""

# The server's own answer about a statement that took too long comes first, and leaves the connection usable.
_AFTER_SERVER = 0.5
_COM_QUIT = struct.pack("<iB", 1, 0x01)
_LOST = 2013
# What these change outlives the statement, and would reach the next borrower.
_CHANGES_SESSION = re.compile(r"\s*(?:SET|USE|LOCK|CREATE\s+(?:OR\s+REPLACE\s+)?TEMPORARY)\b", re.IGNORECASE)


class _Cursor(aiomysql.DictCursor):  # type: ignore[misc]
    async def complete(self, sql: str) -> Outcome:
        """Runs a statement; reads and drops further results, those of a procedure, after the first."""
        await self._query(sql)
        outcome = list(self._rows or ()), self._rowcount, self._lastrowid
        if self._result.has_next:
            while await self.nextset():
                pass
        return outcome

    async def _show_warnings(self, connection: object) -> None:
        """Does nothing: the driver would spend a round trip on them, and make each a warning of Python's."""


class Connection:
    """A connection of the driver (`raw`) and its state."""

    __slots__ = (
        "_addresses",
        "_limit",
        "_place",
        "_reader",
        "_settings",
        "_writer",
        "busy",
        "expires",
        "holder",
        "is_lost",
        "is_reused",
        "is_rolled_back",
        "is_used_up",
        "limit",
        "raw",
        "server",
        "since",
        "statements",
    )

    def __init__(self, raw: Any, settings: MySQLSettings, server: Server, addresses: Addresses) -> None:
        now = asyncio.get_running_loop().time()
        self.raw = raw
        # The driver forgets these when it closes, but a socket is closed only once the writer says so.
        self._reader, self._writer = raw._reader, raw._writer
        self.server = server
        self._addresses = addresses
        self._settings = settings
        self._place = settings.place_at(server)
        self._limit = None if settings.read_timeout is None else settings.read_timeout + _AFTER_SERVER
        # Spread out, so that connections opened together are not all replaced together.
        self.expires = now + settings.max_lifetime * random.uniform(0.9, 1.0)
        self.since = now
        """When it was last given back, or found alive."""
        self.holder: Holder | None = None
        self.busy = False
        """A statement is not answered in full: what comes next on the wire belongs to it."""
        self.is_lost = False
        """The server cut the connection."""
        self.is_reused = False
        self.is_used_up = False
        """The session may have been changed: nobody else may have this connection."""
        self.is_rolled_back = False
        """The server ended the transaction by itself."""
        self.limit: StatementLimit | None = None
        """What tells the server the deadlines of calls, if it is told."""
        self.statements: Statements | None = None
        """What traces the statements, if they are traced."""

    def run(self, sql: str, args: tuple[Any, ...]) -> Coroutine[Any, Any, Outcome]:
        """Runs one statement, with its arguments or one mapping of them, and reads its answer in full.

        Raises `DatabaseUnavailable`, and the driver's errors for what the server says about the statement.
        """
        return self._run(sql, args) if self.statements is None else self._run_traced(self.statements, sql, args)

    async def _run_traced(self, statements: Statements, sql: str, args: tuple[Any, ...]) -> Outcome:
        span = statements.begin(sql)
        try:
            outcome = await self._run(sql, args)
        except BaseException as error:
            span.end(error, statements.answer(error))
            raise
        span.end()
        return outcome

    async def _run(self, sql: str, args: tuple[Any, ...]) -> Outcome:
        if self.busy:
            raise self._not_answered()
        cursor = _Cursor(self.raw)
        if args:
            sql = cursor.mogrify(sql, args[0] if len(args) == 1 and isinstance(args[0], dict) else args)
        if _CHANGES_SESSION.match(sql):
            self.is_used_up = True
        if self.limit is not None:
            sql = self.limit.until_deadline(sql)
        self.busy = True
        try:
            if self._limit is None:
                outcome = await cursor.complete(sql)
            else:
                async with asyncio.timeout(self._limit):
                    outcome = await cursor.complete(sql)
        except (MySQLError, OSError, RuntimeError) as error:
            self._fail(error)
        self.busy = False
        return outcome

    def changes_session(self, sql: str) -> bool:
        """Whether a statement leaves something behind that the next borrower would find."""
        return _CHANGES_SESSION.match(sql) is not None

    async def watch(self, sql: str, answering: Callable[[str], Awaitable[object]]) -> None:
        """Runs a statement by calling `answering`, which reads the answer itself; raises the driver's errors only."""
        if self.busy:
            raise self._not_answered()
        span = None if self.statements is None else self.statements.begin(sql)
        self.busy = True
        try:
            async with asyncio.timeout(self._limit):
                await answering(sql if self.limit is None else self.limit.until_deadline(sql))
        except (MySQLError, OSError, RuntimeError) as error:
            told = self._driver_error(error)
            if span is not None and self.statements is not None:
                span.end(told, self.statements.answer(told))
            raise told from error.__cause__
        except BaseException as error:
            if span is not None:
                span.end(error)
            raise
        self.busy = False
        if span is not None:
            span.end()

    def _driver_error(self, error: Any) -> Exception:
        try:
            self._fail(error)
        except DatabaseUnavailable as meaning:
            if not isinstance(error, MySQLError):
                error = OperationalError(_LOST, str(meaning))
        except (MySQLError, RuntimeError) as same:
            error = same
        error.origin = self._settings.origin
        return error  # type: ignore[no-any-return]

    async def command(self, sql: str, limit: float | None = None) -> None:
        """Runs a statement that has no arguments and no rows, in at most `limit` seconds."""
        try:
            async with asyncio.timeout(limit):
                await self.run(sql, ())
        except TimeoutError as error:
            raise self._unavailable(f"{sql} was not answered within {limit:g} s") from error

    async def ping(self, limit: float) -> None:
        """Asks the server for a sign of life, for at most `limit` seconds. Raises `DatabaseUnavailable`."""
        self.busy = True
        try:
            async with asyncio.timeout(limit):
                await self.raw.ping(reconnect=False)
        except (MySQLError, OSError, RuntimeError) as error:
            raise self._unavailable(f"no answer to a ping within {limit:g} s: {error}") from error
        self.busy = False

    @property
    def is_gone(self) -> bool:
        """Whether the server has closed the connection, as far as it is known without asking."""
        return bool(self._reader.eof_received or self._writer.transport.is_closing())

    @property
    def is_clean(self) -> bool:
        """Whether another borrower may have it: nothing unanswered, no open transaction, no changed session."""
        return self.flaw is None

    @property
    def flaw(self) -> str | None:
        """Why nobody else may have it, in a word for metrics; None when they may."""
        raw = self.raw
        if self.busy and not self.is_lost:
            return "cancelled"
        if self.is_lost or raw.closed:
            return "lost"
        if self.server is not self._addresses.now:
            return "failover"
        return "session" if self.is_used_up or raw.server_status & SERVER_STATUS_IN_TRANS else None

    def quit(self) -> None:
        """Closes the connection and tells the server so, without waiting for either."""
        if not (self.busy or self.is_gone):
            self._writer.write(_COM_QUIT)
        self.raw.close()

    def abort(self) -> None:
        """Closes the socket at once. The server rolls back what was open."""
        self.raw.close()
        self._writer.transport.abort()

    async def closed(self) -> None:
        """Waits until the socket is closed."""
        with suppress(OSError):
            await self._writer.wait_closed()

    def _fail(self, error: Exception) -> NoReturn:
        code = errors.number(error)
        if isinstance(error, TimeoutError):
            raise self._unavailable(f"no answer within {self._limit:g} s (read_timeout)") from error
        # A transport of uvloop raises RuntimeError when it is written to after the connection was cut.
        if self.raw.closed or self.is_gone or code in errors.CUT_OFF or isinstance(error, OSError):
            self.is_lost = True
            raise self._unavailable(f"connection lost: {error}") from error
        # With a number it was the server's answer, and nothing more follows it; anything else was not understood.
        self.busy = code is None
        self.is_rolled_back = code in errors.ROLLED_BACK
        if code in errors.TOO_SLOW:
            raise self._unavailable(f"statement stopped, its time was over: {error}") from error
        if errors.is_read_only(error):
            # Even without another server: its name may lead elsewhere by now.
            self.is_used_up = True
            self._addresses.leave(self.server, "it is read-only")
            raise self._unavailable(
                f"the server is read-only: {error}; see that 'address' in {self._settings.origin} names the one that "
                "takes writes"
            ) from error
        raise error

    def _unavailable(self, message: str) -> DatabaseUnavailable:
        return self._settings.fault(DatabaseUnavailable, f"{self._place}: {message}")

    def _not_answered(self) -> Exception:
        if self.raw.closed:
            return self._unavailable("the connection was lost or its last statement cancelled")
        return RuntimeError(
            "a statement still runs on this connection, or its answer could not be read; "
            "await one statement before the next, or use two connections"
        )
