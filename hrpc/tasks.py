"""Work beside the calls: tasks that belong to the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from hrpc import _runtime, context

T = TypeVar("T")


class Background:
    """The tasks of one running server."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self.running: set[asyncio.Task[Any]] = set()

    def go(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T | None]:
        """See the module's `go`."""
        task = self._group.create_task(_logged(work), name=_name(work))
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        return task


def _name(work: Coroutine[Any, Any, Any]) -> str:
    return getattr(work, "__qualname__", None) or repr(work)


async def _logged(work: Coroutine[Any, Any, T]) -> T | None:
    from loguru import logger

    try:
        if context.current() is not None:
            return await work
        with context.background_context(timeout=None):
            return await work
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - nobody awaits this task: the log is where its failure is seen
        logger.opt(exception=error).error("hrpc.go: {} failed", _name(work))
        return None


slot = _runtime.Slot[Background]("hrpc.go", None)


def go(work: Coroutine[Any, Any, T]) -> asyncio.Task[T | None]:
    """Runs a coroutine in the background, with the trace of the call it is started in, else a new one.

    A failure is logged; the task then gives None. The server waits for such tasks when it stops, and cancels them at
    its limit. Raises `NotRunning`.
    """
    try:
        background = slot.get()
    except BaseException:
        work.close()
        raise
    return background.go(work)


@asynccontextmanager
async def opened(limit: float, hurry: asyncio.Event) -> AsyncIterator[Background]:
    """Takes tasks while the context lasts; then waits for them, `limit` seconds, or until a hurry."""
    async with asyncio.TaskGroup() as group:
        background = Background(group)
        try:
            yield background
        finally:
            await _finished(background, limit, hurry)
            for task in background.running:
                from loguru import logger

                logger.warning("hrpc.go: {} has not ended within the limit of the stop, cancelled", task.get_name())
                task.cancel()


async def _finished(background: Background, limit: float, hurry: asyncio.Event) -> None:
    hurrying = asyncio.create_task(hurry.wait())
    try:
        async with asyncio.timeout(limit):
            while background.running and not hurry.is_set():
                await asyncio.wait({hurrying, *background.running}, return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError:
        return
    finally:
        hurrying.cancel()
