"""Leaving without losing a call: first callers notice, then new calls are refused, then the running ones end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from loguru import logger

from hrpc.abc import Engine
from hrpc.metrics.calls import Calls


@asynccontextmanager
async def noticed(delay: Callable[[], float], hurry: asyncio.Event) -> AsyncIterator[None]:
    """At its end waits `delay` seconds, or for a hurry: callers have to learn that this instance has left."""
    yield
    with suppress(TimeoutError):
        async with asyncio.timeout(delay()):
            await hurry.wait()


async def drain(engine: Engine, calls: Calls, grace: float, hurry: asyncio.Event) -> None:
    """Refuses new calls, waits for the running ones, and cancels them after `grace` seconds or in a hurry."""
    hurrying = asyncio.create_task(hurry.wait())
    draining = asyncio.create_task(engine.stop(grace))
    try:
        await asyncio.wait({hurrying, draining}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            if calls.in_flight:
                logger.warning("drain: {} calls had not ended and were cancelled", calls.in_flight)
            await engine.stop(0)
        await draining
    finally:
        hurrying.cancel()
