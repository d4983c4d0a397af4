"""How a server of grpc.aio is stopped, more than once if need be."""

from __future__ import annotations

import asyncio

import grpc.aio

_BEYOND = 24 * 3600.0
"""Seconds that no grace lasts for."""


class Stopping:
    """The stop of one server of grpc.aio, whose grace can be shortened while it runs.

    Two stops of grpc.aio side by side end the process with a segmentation fault, as of grpcio 1.85, when the grace of
    one runs out at the moment at which the other has destroyed the server. So grpc.aio is never given a grace that can
    run out: one stop waits, and another, without any grace, cancels the calls when the time has come.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self._ended: asyncio.Task[None] | None = None

    async def within(self, grace: float) -> None:
        """Takes no new call, and cancels those that still run after `grace` seconds."""
        if self._ended is None:
            self._ended = asyncio.create_task(self._server.stop(_BEYOND))
        done, _ = await asyncio.wait({self._ended}, timeout=grace)
        if not done:
            await self._server.stop(None)
        await asyncio.shield(self._ended)
