"""Calls to the server itself, to see how long a new call waits until it is taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import grpc.aio

from hrpc.rpc.guard.lag import LoopLag

PAUSE = 0.1
"""Seconds between an answer and the next call."""

METHOD = "/hrpc.Probe/Taken"
"""Nobody serves it: when a call is told so, it has been taken, and has cost the least."""

_LONGEST = 10.0


@asynccontextmanager
async def probed(target: str, lag: LoopLag) -> AsyncIterator[None]:
    """Tells `lag` of the calls to `target`, for as long as the context lasts."""
    channel = grpc.aio.insecure_channel(target, [("grpc.enable_http_proxy", 0)])
    async with channel, asyncio.TaskGroup() as group:
        probing = group.create_task(_probe(channel, lag))
        try:
            yield
        finally:
            probing.cancel()


async def _probe(channel: grpc.aio.Channel, lag: LoopLag) -> None:
    probe: Any = channel.unary_unary(METHOD)
    while True:
        with lag.waiting(), suppress(grpc.aio.AioRpcError):
            await probe(b"", timeout=_LONGEST)
        await asyncio.sleep(PAUSE)
