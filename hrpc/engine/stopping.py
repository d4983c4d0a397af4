"""How a server of grpc.aio is stopped, more than once if need be."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc.aio

from hrpc.engine.sentinel import Sentinel

_BEYOND = 24 * 3600.0
"""Seconds that no grace lasts for."""


class Stopping:
    """The stop of one server of grpc.aio, whose grace can be shortened while it runs.

    Two stops of grpc.aio side by side end the process with a segmentation fault, as of grpcio 1.85, when the grace of
    one runs out at the moment at which the other has destroyed the server. So grpc.aio is never given a grace that can
    run out: one stop waits, and another, without any grace, cancels the calls when the time has come.

    The process ends so, too, when the tasks of a server are cancelled before it is stopped, as ``asyncio.run`` does
    with all that are left: they own memory into which gRPC writes when it stops. So it stops in the moment in which
    they are cancelled, and before they hear of it.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self._sentinel: Sentinel | None = None
        self._ended: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts the server."""
        await self._server.start()
        self._sentinel = Sentinel(self._take_no_call)

    async def within(self, grace: float) -> None:
        """Takes no new call, and cancels those that still run after `grace` seconds."""
        if self._ended is None or self._ended.cancelled():
            self._ended = asyncio.create_task(self._stop())
        done, _ = await asyncio.wait({self._ended}, timeout=grace)
        if not done:
            await self._server.stop(None)
        await asyncio.shield(self._ended)

    async def _stop(self) -> None:
        if self._sentinel is not None:
            self._sentinel.dismiss()
        await self._server.stop(_BEYOND)

    def _take_no_call(self) -> None:
        """Without waiting for anything: a stop begins with it, and another one goes on from there."""
        beginning = self._server.stop(_BEYOND)
        with suppress(StopIteration):
            beginning.send(None)
        beginning.close()
