"""Further servers in one process: each needs an event loop of its own, and so a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import hrpc


@asynccontextmanager
async def elsewhere(make: Callable[[], hrpc.Server]) -> AsyncIterator[str]:
    """Runs a server in an event loop of its own; gives its address."""
    here = asyncio.get_running_loop()
    started: asyncio.Future[tuple[str, Callable[[], object]]] = here.create_future()

    async def main() -> None:
        stopped, there = asyncio.Event(), asyncio.get_running_loop()
        async with make() as server:
            stop = partial(there.call_soon_threadsafe, stopped.set)
            here.call_soon_threadsafe(started.set_result, (server.address, stop))
            await stopped.wait()

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            if started.done():
                raise
            here.call_soon_threadsafe(started.set_exception, error)

    thread = threading.Thread(target=run)
    thread.start()
    address, stop = await started
    try:
        yield address
    finally:
        stop()
        await asyncio.to_thread(thread.join)
