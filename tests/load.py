"""Calls without a pause, while something is done to those that answer them or find them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio

from tests.echo import call
from tests.eventually import eventually


class Load:
    """Counts calls by what came of them."""

    def __init__(self) -> None:
        self.good = 0
        self.failed: Counter[str] = Counter()
        self.longest = 0.0
        self._began = time.monotonic()
        self._ended = asyncio.Event()

    @property
    def per_second(self) -> float:
        """Good calls in a second, on average."""
        return self.good / (time.monotonic() - self._began)

    async def goes_on(self, more: int = 100, limit: float = 30.0) -> None:
        """Waits until so many more calls have been answered."""
        until = self.good + more

        async def reached() -> bool:
            return self.good >= until

        await eventually(reached, limit)

    async def run(self, channel: grpc.aio.Channel, method: str) -> None:
        """Calls until the end."""
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                await call(channel, method, timeout=30)
            except grpc.aio.AioRpcError as error:
                self.failed[f"{error.code().name}: {error.details()}"] += 1
            else:
                self.good += 1
            self.longest = max(self.longest, time.monotonic() - began)

    def end(self) -> None:
        """No further calls."""
        self._ended.set()


@asynccontextmanager
async def load(*channels: grpc.aio.Channel, loops: int = 4, method: str = "Echo") -> AsyncIterator[Load]:
    """Calls over each channel, `loops` calls at a time, while the context lasts."""
    made = Load()
    async with asyncio.TaskGroup() as tasks:
        for channel in channels:
            for _ in range(loops):
                tasks.create_task(made.run(channel, method))
        try:
            yield made
        finally:
            made.end()
