"""What PyMongo tells of its connections, counted: by the events of connection monitoring and pooling.

They are published where they happen, so the task that takes a connection is the one in which the event comes. See
https://github.com/mongodb/specifications/blob/master/source/connection-monitoring-and-pooling/.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Callable
from enum import Enum
from typing import Any

from pymongo.monitoring import ConnectionCheckOutFailedReason, ConnectionClosedReason, ConnectionPoolListener

from hrpc.database.adapter import Activity, Holder, PoolStats, holders_told
from hrpc_mongodb.errors import reason
from hrpc_mongodb.settings import MongoDBSettings

_CLOSED = {
    ConnectionClosedReason.ERROR: "lost",
    ConnectionClosedReason.IDLE: "idle",
    ConnectionClosedReason.POOL_CLOSED: "end",
    ConnectionClosedReason.STALE: "failover",
}
_Key = tuple[Any, int]


class Phase(Enum):
    """What an operation does, each with a limit of its own."""

    SELECTION = "finds a server"
    ACQUIRE = "waits for a connection"
    CONNECT = "makes a connection"
    ANSWER = "waits for the answer, which PyMongo limits"


class Progress:
    """How far the operation of one task is; `limit` is that of the phase that it is in."""

    __slots__ = ("limit", "phase")

    def __init__(self, limit: asyncio.Timeout) -> None:
        self.phase = Phase.SELECTION
        self.limit = limit


class PoolEvents(ConnectionPoolListener):
    """Listens to the pools of one client, of which there is one for each server."""

    def __init__(self, settings: MongoDBSettings, returned: Callable[[], None]) -> None:
        """`returned` is called whenever a connection is given back."""
        self.activity = Activity()
        self.operations: dict[asyncio.Task[Any], Progress] = {}
        """Those that run now."""
        self._limits: dict[Phase, float | None] = {
            Phase.SELECTION: settings.selection_timeout,
            Phase.ACQUIRE: settings.acquire_timeout,
            Phase.CONNECT: settings.connect_timeout,
            Phase.ANSWER: None,
        }
        self._returned = returned
        self._loop = asyncio.get_running_loop()
        self._connecting: set[_Key] = set()
        self._open: set[_Key] = set()
        self._used: dict[_Key, Holder] = {}
        # A waiter that is cancelled is told of by no event.
        self._waiting: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()

    def stats(self) -> PoolStats:
        """The connections now, to all servers together."""
        used = len(self._used)
        waiting = sum(not task.done() for task in self._waiting)
        return PoolStats(used=used, idle=len(self._open) - used, waiting=waiting)

    def holders(self) -> str:
        """Who has a connection for the longest time."""
        return holders_told(self._used.values(), self._loop.time())

    def waits_no_more(self) -> None:
        """The current task does not wait for a connection."""
        if (task := asyncio.current_task()) is not None:
            self._waiting.discard(task)

    def _progress(self) -> Progress | None:
        task = asyncio.current_task()
        return None if task is None else self.operations.get(task)

    def _enter(self, phase: Phase) -> None:
        progress = self._progress()
        if progress is not None and not progress.limit.expired():
            progress.phase, limit = phase, self._limits[phase]
            progress.limit.reschedule(None if limit is None else self._loop.time() + limit)

    def connection_created(self, event: Any) -> None:
        self._enter(Phase.CONNECT)
        self._connecting.add(_key(event))

    def connection_ready(self, event: Any) -> None:
        self._connecting.discard(_key(event))
        self._open.add(_key(event))
        self.activity.opened += 1

    def connection_closed(self, event: Any) -> None:
        key = _key(event)
        error = sys.exception()
        if key in self._open:
            self._open.discard(key)
            is_cancelled = isinstance(error, asyncio.CancelledError)
            self.activity.closed["cancelled" if is_cancelled else _CLOSED[event.reason]] += 1
        elif key in self._connecting:
            self._connecting.discard(key)
            if not isinstance(error, asyncio.CancelledError):
                self.activity.failed[reason(error)] += 1
            elif (progress := self._progress()) is not None and progress.limit.expired():
                self.activity.failed["timeout"] += 1
        self._used.pop(key, None)

    def connection_check_out_started(self, event: Any) -> None:
        if (task := asyncio.current_task()) is not None:
            self._waiting.add(task)
        self._enter(Phase.ACQUIRE)

    def connection_checked_out(self, event: Any) -> None:
        self.waits_no_more()
        self._enter(Phase.ANSWER)
        self._used[_key(event)] = Holder(self._loop.time())
        self.activity.wait(event.duration)

    def connection_check_out_failed(self, event: Any) -> None:
        self._enter(Phase.SELECTION)
        self.waits_no_more()
        if event.reason == ConnectionCheckOutFailedReason.TIMEOUT:
            self.activity.timeouts += 1

    def connection_checked_in(self, event: Any) -> None:
        # What is done again begins with the choice of a server.
        self._enter(Phase.SELECTION)
        self._used.pop(_key(event), None)
        self._returned()

    def pool_created(self, event: Any) -> None:
        """Nothing is counted."""

    def pool_ready(self, event: Any) -> None:
        """Nothing is counted."""

    def pool_cleared(self, event: Any) -> None:
        """Nothing is counted: each connection is told of when it is closed."""

    def pool_closed(self, event: Any) -> None:
        """Nothing is counted."""


def _key(event: Any) -> _Key:
    return event.address, event.connection_id
