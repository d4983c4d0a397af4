"""Callers that go on calling while a server dies and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class Load:
    """Counts what a few callers meet; `reach` waits for more successes or failures."""

    def __init__(self, call: Callable[[], Awaitable[object]], failures: tuple[type[Exception], ...]) -> None:
        self.succeeded = 0
        self.failed = 0
        self._call = call
        self._failures = failures
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(10):
                    await self._call()
                self.succeeded += 1
            except self._failures:
                self.failed += 1
            async with self._changed:
                self._changed.notify_all()

    async def reach(self, *, succeeded: int = 0, failed: int = 0) -> None:
        """Waits until so many more calls have succeeded and failed."""
        wanted = self.succeeded + succeeded, self.failed + failed
        async with self._changed:
            await self._changed.wait_for(lambda: self.succeeded >= wanted[0] and self.failed >= wanted[1])


@asynccontextmanager
async def loaded(
    call: Callable[[], Awaitable[object]], failures: tuple[type[Exception], ...], callers: int
) -> AsyncIterator[Load]:
    """`callers` that call all the time; any error but `failures`, and any call of 10 s, fails the test."""
    load = Load(call, failures)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(load.run()) for _ in range(callers)]
        yield load
        for task in running:
            task.cancel()
