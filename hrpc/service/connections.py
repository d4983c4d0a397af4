"""The real channels: one for each instance, shared by all who call it."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from types import TracebackType
from typing import Any, Self

import grpc.aio

GRACE_OF_REMOVED = 30.0
"""Seconds for the calls that still run on an instance that has left the list."""


class Connection:
    """The channel to one instance, and the calls that were made ready on it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        # An instance is inside the network; a proxy from the environment is for what lies outside.
        self.channel = grpc.aio.insecure_channel(endpoint, [("grpc.enable_http_proxy", 0)])
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

    def __init__(self) -> None:
        self._open: dict[str, Connection] = {}
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

    def take(self, endpoint: str, user: Hashable) -> Connection:
        """The connection to `endpoint`, kept open for `user` until it gives it back."""
        connection = self._open.get(endpoint)
        if connection is None:
            connection = self._open[endpoint] = Connection(endpoint)
        connection.users.add(user)
        return connection

    def give_back(self, connection: Connection, user: Hashable) -> None:
        """`user` makes no new call on it; with its last user the connection closes, once its calls have ended."""
        connection.users.discard(user)
        if not connection.users and self._open.pop(connection.endpoint, None) is not None:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._tasks.append(self._closing.create_task(connection.channel.close(GRACE_OF_REMOVED)))
