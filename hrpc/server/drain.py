"""Leaving without losing a call: first callers notice, then new calls are refused, then the running ones end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from math import inf

from loguru import logger

from hrpc.abc import Engine
from hrpc.option import Settings
from hrpc.server import in_flight
from hrpc.server.parts import Parts


@asynccontextmanager
async def noticed(delay: Callable[[], float], hurry: asyncio.Event) -> AsyncIterator[None]:
    """At its end waits `delay` seconds, or for a hurry: callers have to learn that this instance has left."""
    yield
    with suppress(TimeoutError):
        async with asyncio.timeout(delay()):
            await hurry.wait()


def longest(settings: Settings) -> float:
    """Seconds that a step of a stop may take whose waits are its own, whichever that is."""
    s = settings.stop
    # A master has some patience with its workers, which go through several steps after their drain.
    found = settings.drain_delay + s.grace + 5 * s.step_limit
    if not settings.has_services:
        return found
    return inf if settings.hosted.max_shutdown is None else found + settings.hosted.max_shutdown


async def drain(engine: Engine, parts: Parts) -> None:
    """Refuses new calls, waits for the running ones, and cancels them after the grace or in a hurry."""
    grace = parts.settings.stop.grace
    hurrying = asyncio.create_task(parts.hurry.wait())
    draining = asyncio.create_task(engine.stop(grace))
    parts.draining.begin()
    try:
        await asyncio.wait({hurrying, draining}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            _tell_who_is_cancelled(parts)
            parts.watch.expect("drain", parts.settings.stop.step_limit)
            await engine.stop(0)
        await draining
    finally:
        hurrying.cancel()


def _tell_who_is_cancelled(parts: Parts) -> None:
    if not parts.calls.in_flight:
        return
    logger.warning("drain: {} calls had not ended and were cancelled", parts.calls.in_flight)
    for line in in_flight.lines(in_flight.in_flight(parts.calls)):
        logger.warning("drain: {}", line)
