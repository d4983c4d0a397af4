"""Waiting for something that has no event of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T]], limit: float = 15.0) -> T:
    """Looks again and again until it finds something true; gives it. TimeoutError after `limit` seconds."""
    async with asyncio.timeout(limit):
        while not (found := await look()):
            await asyncio.sleep(0.005)
        return found
