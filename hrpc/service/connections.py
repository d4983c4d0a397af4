"""The real channels: one for each instance, shared by all who call it."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from types import TracebackType
from typing import Any, Self

import grpc.aio

from hrpc.service.calls.signature import Signature
from hrpc.service.dialing import Dial, Dialer

GRACE = 3600.0
"""Seconds for the calls that still run on an instance that has left the list, or with certificates that have been
replaced. That an instance is gone for good, its connection finds out by itself."""

METHODS_AT_MOST = 1000
"""Methods that are kept ready; who makes the codecs anew for each call has new ones each time."""

FOLLOW_INTERVAL = 60.0
"""Seconds between two looks at the files of certificates. Kubernetes replaces those it mounts about as often."""


class _Callables(dict[Signature, Any]):
    """grpc.aio's multi-callables of one channel, made when they are first asked for."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def __missing__(self, signature: Signature) -> Any:
        if len(self) >= METHODS_AT_MOST:
            self.clear()
        kind, *rest = signature
        found = self[signature] = getattr(self._channel, kind)(*rest)
        return found


class Connection:
    """The channel to one instance, and the calls that were made ready on it."""

    def __init__(self, dial: Dial, channel: grpc.aio.Channel) -> None:
        self.dial = dial
        self.channel = channel
        self.users: set[Hashable] = set()
        self.callables = _Callables(channel)

    def replace(self, channel: grpc.aio.Channel) -> grpc.aio.Channel:
        """Makes further calls on another channel; gives the one before."""
        before, self.channel = self.channel, channel
        self.callables = _Callables(channel)
        return before


class Connections:
    """All connections of one running server; for use as ``async with``."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._open: dict[Dial, Connection] = {}
        self._closing = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._closing.__aenter__()
        if self._dialer.files is not None:
            self._tasks.add(self._closing.create_task(self._follow()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in tuple(self._tasks):
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
            connection = self._open[dial] = Connection(dial, self._dialer.channel(dial))
        connection.users.add(user)
        return connection

    def give_back(self, connection: Connection, user: Hashable) -> None:
        """`user` makes no new call on it; with its last user the connection closes, once its calls have ended."""
        connection.users.discard(user)
        if not connection.users and self._open.pop(connection.dial, None) is not None:
            self._end(connection.channel)

    async def renew(self) -> None:
        """Connects anew with what the files of certificates hold now, when they have changed; running calls go on."""
        if self._dialer.refresh():
            for connection in self._open.values():
                self._end(connection.replace(self._dialer.channel(connection.dial)))

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(FOLLOW_INTERVAL)
            await self.renew()

    def _end(self, channel: grpc.aio.Channel) -> None:
        task = self._closing.create_task(_ended(channel))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _ended(channel: grpc.aio.Channel) -> None:
    try:
        await channel.close(GRACE)
    except asyncio.CancelledError:
        await channel.close()
        raise
