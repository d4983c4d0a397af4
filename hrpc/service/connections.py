"""The real channels: one for each instance, shared by all who call it."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from types import TracebackType
from typing import Any, NamedTuple, Self

import grpc.aio

from hrpc.abc import KEEPALIVE_META, Instance
from hrpc.engine.arguments import milliseconds
from hrpc.option import Keepalive

GRACE_OF_REMOVED = 30.0
"""Seconds for the calls that still run on an instance that has left the list."""

GRPC_MINIMUM = 300.0
"""Seconds that a server of gRPC wants between two pings, and only while a call runs, when it is told nothing else
(https://github.com/grpc/grpc/blob/master/doc/keepalive.md)."""

MARGIN = 1.5
"""How much longer than the server's minimum the time between two pings is: they arrive less evenly than they leave."""


class Dial(NamedTuple):
    """How an instance is connected to: those that agree in it share a connection."""

    endpoint: str
    ping_minimum: float | None
    """Seconds that it wants between two pings; None when it has not said."""

    @classmethod
    def of(cls, instance: Instance) -> Self:
        """As its entry in the registry says."""
        return cls(instance.endpoint, _seconds(instance.meta.get(KEEPALIVE_META)))

    def arguments(self, keepalive: Keepalive) -> list[tuple[str, int]]:
        """The arguments of its channel."""
        known = self.ping_minimum is not None
        minimum = GRPC_MINIMUM if self.ping_minimum is None else self.ping_minimum
        return [
            # An instance is inside the network; a proxy from the environment is for what lies outside.
            ("grpc.enable_http_proxy", 0),
            # Also where pings are rare: with it the kernel gives up on a peer that has taken no byte for 20 s.
            ("grpc.keepalive_time_ms", milliseconds(max(keepalive.time, MARGIN * minimum))),
            ("grpc.http2.ping_timeout_ms", milliseconds(keepalive.timeout)),
            ("grpc.keepalive_permit_without_calls", int(known and keepalive.permit_without_stream)),
            ("grpc.http2.max_pings_without_data", 0),
        ]


def _seconds(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if 0 <= found < float("inf") else None


class Connection:
    """The channel to one instance, and the calls that were made ready on it."""

    def __init__(self, dial: Dial, keepalive: Keepalive) -> None:
        self.dial = dial
        self.channel = grpc.aio.insecure_channel(dial.endpoint, dial.arguments(keepalive))
        self.users: set[Hashable] = set()
        self._callables: dict[tuple[Any, ...], Any] = {}

    def callable(self, kind: str, method: str, serializer: Any, deserializer: Any) -> Any:
        """grpc.aio's multi-callable for a method, made once."""
        key = (kind, method, serializer, deserializer)
        found = self._callables.get(key)
        if found is None:
            found = self._callables[key] = getattr(self.channel, kind)(method, serializer, deserializer)
        return found


class Connections:
    """All connections of one running server; for use as ``async with``."""

    def __init__(self, keepalive: Keepalive) -> None:
        self._keepalive = keepalive
        self._open: dict[Dial, Connection] = {}
        self._closing = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._closing.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            await self._closing.__aexit__(kind, error, traceback)
        finally:
            for connection in self._open.values():
                await connection.channel.close()
            self._open.clear()

    def take(self, dial: Dial, user: Hashable) -> Connection:
        """The connection for `dial`, kept open for `user` until it gives it back."""
        connection = self._open.get(dial)
        if connection is None:
            connection = self._open[dial] = Connection(dial, self._keepalive)
        connection.users.add(user)
        return connection

    def give_back(self, connection: Connection, user: Hashable) -> None:
        """`user` makes no new call on it; with its last user the connection closes, once its calls have ended."""
        connection.users.discard(user)
        if not connection.users and self._open.pop(connection.dial, None) is not None:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._tasks.append(self._closing.create_task(connection.channel.close(GRACE_OF_REMOVED)))
