"""Waiting for something that has no event of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T]], limit: float = 30.0) -> T:
    """Looks again and again until it finds something true; gives it. TimeoutError after `limit` seconds."""
    async with asyncio.timeout(limit):
        while not (found := await look()):
            await asyncio.sleep(0.005)
        return found


async def soon(look: Callable[[], Awaitable[T]], limit: float) -> T:
    """Like `eventually`, for a promise of `limit` seconds, of which only the pauses between the looks count.

    Where nobody else needs the machine, that is about the time that passes. One that is busy makes each look and
    each pause longer, and takes as much longer for what is looked for.
    """
    for _ in range(round(limit / 0.01)):
        if found := await look():
            return found
        await asyncio.sleep(0.01)
    raise TimeoutError(f"not within {limit:g} s")
