"""The pool of connections to MySQL.

At most max_open_conns borrowers have a connection, or make one, outside of any lock; the others wait for their turn, in
the order they came. Who gives a connection back passes the turn on, so nobody overtakes and no waiter is forgotten.
What a borrower brings back is either clean, and then the next one's, or closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pymysql.err import MySQLError

from hrpc.abc import PoolStats
from hrpc.database import holding
from hrpc.database.activity import Activity
from hrpc.database.holding import Holder
from hrpc.database.mysql import errors
from hrpc.database.mysql.client import MySQL
from hrpc.database.mysql.connection import Connection
from hrpc.database.mysql.dialing import Dialer
from hrpc.database.mysql.settings import MySQLSettings
from hrpc.errors import DatabaseUnavailable, PoolTimeout

_PING_AFTER = 1.0
"""Seconds without use after which a connection is asked whether it lives, before it is given out."""
_PING_LIMIT = 1.0
_LINGER = 5.0
"""Seconds that connections above max_idle_conns stay, so that a steady load does not connect for every statement."""
_CLOSE_LIMIT = 1.0


class ConnectionPool:
    """An open MySQL: an `hrpc.abc.Pool`. Belongs to one event loop."""

    def __init__(self, settings: MySQLSettings) -> None:
        self.client = MySQL(self)
        self.activity = Activity()
        self._settings = settings
        self._dialer = Dialer(settings, self.activity, self._moved)
        self._loop = asyncio.get_running_loop()
        self._turns: deque[asyncio.Future[None]] = deque()  # of those who wait; while there are any, all is taken
        self._taken = 0
        self._idle: list[Connection] = []  # the one used last is on top
        self._used: set[Connection] = set()
        self._closing = False
        self._retired = False
        """Another pool is in its place: those who have come are served, and nobody else comes."""
        self._all_back = asyncio.Event()
        self._trimming: asyncio.TimerHandle | None = None

    async def borrow(self, *, fresh: bool = False) -> Connection:
        """A connection that lives, as far as can be known; a new one when `fresh`. Goes back through `give_back`.

        Raises `PoolTimeout`, `DatabaseUnavailable` and `DatabaseRefused`.
        """
        began = now = self._loop.time()
        if self._taken < self._settings.max_open_conns and not self._closing:
            self._taken += 1
        else:
            await self._wait()
            now = self._loop.time()
        connection = None
        try:
            connection = None if fresh else self._ready(now)
            if connection is None:
                connection = await self._prepare(fresh)
                now = self._loop.time()
        finally:
            if connection is None:
                self._pass_on()
        if now is began:
            self.activity.at_once += 1
        else:
            self.activity.wait(now - began)
        connection.holder = Holder(now)
        self._used.add(connection)
        return connection

    def give_back(self, connection: Connection) -> None:
        """Takes a connection back: keeps it for the next borrower, or closes it when it is not clean."""
        self._used.remove(connection)
        connection.holder = None
        if (flaw := connection.flaw) is not None:
            self.activity.closed[flaw] += 1
            if connection.busy:
                connection.abort()
            else:
                connection.quit()
        elif self._closing and not (self._retired and self._turns):
            self._quit(connection, "end")
        else:
            connection.is_reused = True
            connection.since = self._loop.time()
            self._idle.append(connection)
            if self._trimming is None and len(self._idle) > self._settings.max_idle_conns:
                self._trimming = self._loop.call_later(_LINGER, self._trim)
        self._pass_on()

    async def ping(self) -> None:
        """Asks the server for a sign of life; raises `DatabaseUnavailable` without one.

        When all connections are in use it makes one of its own: a busy pool is no sign of a dead server.
        """
        is_busy = self._taken == self._settings.max_open_conns
        connection = await (self._dialer.connect() if is_busy else self.borrow())
        try:
            await connection.ping(_PING_LIMIT)
        finally:
            if is_busy:
                self._quit(connection, "end")
            else:
                self.give_back(connection)

    def stats(self) -> PoolStats:
        """The pool's connections now; those being made count as used."""
        return PoolStats(used=self._taken, idle=len(self._idle), waiting=len(self._turns))

    def is_unavailable(self, error: BaseException) -> bool:
        """Whether this error says that the server is away."""
        if isinstance(error, DatabaseUnavailable):
            return self._settings.is_own(error)
        # What SQLAlchemy raises from the driver's error.
        cause = error.__cause__
        return isinstance(cause, MySQLError) and errors.is_failure(cause) and self._settings.is_own(cause)

    def take_over(self, old: ConnectionPool) -> None:
        """Puts itself beneath the client of `old`, which then serves those who have come to it, and is to be closed."""
        self.client = old.client
        self.client._pool = self
        old._retired = True
        old.activity.add(self.activity)
        self.activity = self._dialer.activity = old.activity

    async def close(self) -> None:
        """Refuses new borrowers, waits until everything borrowed is back, and closes all connections.

        Those who wait already are refused as well, but not by a pool whose place another one has taken. When it is
        cancelled, it cuts off what is still borrowed.
        """
        self._closing = True
        if self._trimming is not None:
            self._trimming.cancel()
        leaving, self._idle = self._idle, []
        for connection in leaving:
            self._quit(connection, "end")
        if not self._retired:
            for turn in self._turns:
                if not turn.done():
                    turn.set_exception(self._closed())
            self._turns.clear()
        try:
            if self._taken:
                await self._all_back.wait()
        finally:
            for connection in self._used:
                connection.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_LIMIT):
                for connection in leaving:
                    await connection.closed()
        # Sockets that were closed in this turn of the loop are released in the next.
        await asyncio.sleep(0)

    async def _wait(self) -> None:
        self._check_open()
        turn: asyncio.Future[None] = self._loop.create_future()
        self._turns.append(turn)
        has_come = False
        try:
            async with asyncio.timeout(self._settings.acquire_timeout):
                await turn
                has_come = True
        except TimeoutError:
            self.activity.timeouts += 1
            raise self._nothing_free() from None
        finally:
            if not has_come:
                self._give_up(turn)

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn in self._turns:
            self._turns.remove(turn)
        elif not turn.cancelled() and turn.exception() is None:
            self._pass_on()  # it came while its waiter was being cancelled

    def _pass_on(self) -> None:
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken -= 1
        if self._closing and not self._taken:
            self._all_back.set()

    def _ready(self, now: float) -> Connection | None:
        if not self._idle:
            return None
        connection = self._idle[-1]
        if now - connection.since >= _PING_AFTER or now >= connection.expires or connection.is_gone:
            return None
        connection.since = now
        return self._idle.pop()

    async def _prepare(self, fresh: bool) -> Connection:
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.is_gone:
                self._quit(connection, "lost")
            elif self._loop.time() >= connection.expires:
                self._quit(connection, "lifetime")
            elif await self._answers(connection):
                connection.since = self._loop.time()
                return connection
            else:
                break  # what was used before this one is not likely to live
        connection = await self._dialer.connect()
        if self._closing and not self._retired:
            self._quit(connection, "end")
            self._check_open()
        return connection

    def _trim(self) -> None:
        self._trimming = None
        surplus = len(self._idle) - self._settings.max_idle_conns
        if surplus <= 0:
            return
        due = self._loop.time() - _LINGER
        while surplus and self._idle[0].since <= due:
            self._quit(self._idle.pop(0), "idle")
            surplus -= 1
        if surplus:
            self._trimming = self._loop.call_at(self._idle[0].since + _LINGER, self._trim)

    async def _answers(self, connection: Connection) -> bool:
        try:
            await connection.ping(_PING_LIMIT)
        except DatabaseUnavailable:
            return False
        finally:
            if connection.busy:
                self.activity.closed["lost"] += 1
                connection.abort()
        return True

    def _quit(self, connection: Connection, why: str) -> None:
        self.activity.closed[why] += 1
        connection.quit()

    def _moved(self) -> None:
        """All connections go to the same server, which is now another one."""
        leaving, self._idle = self._idle, []
        for connection in leaving:
            self._quit(connection, "failover")

    def _check_open(self) -> None:
        if self._closing:
            raise self._closed()

    def _closed(self) -> DatabaseUnavailable:
        message = f"{self._settings.place}: the pool is closed, because the server stops"
        return self._settings.fault(DatabaseUnavailable, message)

    def _nothing_free(self) -> PoolTimeout:
        settings = self._settings
        held = holding.told((connection.holder for connection in self._used), self._loop.time())
        return settings.fault(
            PoolTimeout,
            f"{settings.place}: no connection was free within {settings.acquire_timeout:g} s (acquire_timeout): "
            f"{self._taken} of {settings.max_open_conns} are in use{held}; "
            "raise max_open_conns, or hold connections for less long",
        )


@asynccontextmanager
async def open_pool(settings: MySQLSettings) -> AsyncIterator[ConnectionPool]:
    """Connects once, gives the pool, and closes it at the end."""
    pool = ConnectionPool(settings)
    try:
        pool.give_back(await pool.borrow())
        yield pool
    finally:
        await pool.close()
