"""A function that runs in a server instead of its serving: what cron jobs and migrations do."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from loguru import logger

from hrpc import _runtime, from_thread, life
from hrpc.errors import JobTimeout
from hrpc.health import heartbeat
from hrpc.health.checker import Kind
from hrpc.server import tracing
from hrpc.server.parts import Parts


@dataclass(frozen=True, slots=True)
class Job:
    """The function with what it is given; `timeout` in seconds, and where its heartbeat is. See `Server.run`."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    heartbeat: bool | str | os.PathLike[str] = True

    @property
    def name(self) -> str:
        """That of the function."""
        return getattr(self.function, "__qualname__", None) or type(self.function).__qualname__

    async def run(self, parts: Parts) -> Any:
        """Runs it to its end. Raises what it raises, `JobTimeout`, and CancelledError when the job was cancelled.

        When it is to end before that, by its timeout or because this is cancelled, it has the grace of the stop to do
        so: an async one is cancelled, a sync one has to look at ``hrpc.draining()``. Then it is left to itself.
        """
        began = time.monotonic()
        task = asyncio.create_task(self._outcome(parts), name=f"hrpc: job {self.name}")
        try:
            await asyncio.wait({task}, timeout=self.timeout)
        except asyncio.CancelledError:
            await self._end(task, parts)
            if task.done() and not task.cancelled() and (error := task.result()[1]) is not None:
                raise error from None
            raise
        if not task.done():
            logger.error("{}: the job {} has not ended within {:g} s", parts.name, self.name, self.timeout)
            await self._end(task, parts)
            raise JobTimeout(self.name, self.timeout or 0.0)
        result, error = task.result()
        seconds = time.monotonic() - began
        if error is not None:
            logger.warning("{}: the job {} has raised {} after {:.3f} s", parts.name, self.name, repr(error), seconds)
            raise error
        logger.info("{}: the job {} has ended in {:.3f} s", parts.name, self.name, seconds)
        return result

    async def _outcome(self, parts: Parts) -> tuple[Any, BaseException | None]:
        _runtime.await_this_task()
        portal = from_thread.Portal()
        from_thread.enter(portal)
        try:
            return await tracing.working(self._called, self.name, parts.runtime, self.timeout), None
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - raised by `run`: a SystemExit would end the event loop here
            return None, error
        finally:
            portal.end()

    async def _called(self) -> Any:
        call = partial(self.function, *self.args, **self.kwargs)
        result = call() if self._is_async else await life.in_daemon_thread(call)
        return await result if inspect.isawaitable(result) else result

    @property
    def _is_async(self) -> bool:
        return life.is_async(self.function)

    async def _end(self, task: asyncio.Task[Any], parts: Parts) -> None:
        parts.draining.begin()
        if self._is_async:
            task.cancel()
        grace = parts.settings.stop.grace
        hurrying = asyncio.create_task(parts.hurry.wait())
        try:
            await asyncio.wait({task, hurrying}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurrying.cancel()
        if not task.done():
            logger.warning("{}: the job {} does not end, and is left to itself", parts.name, self.name)
            task.cancel()


@asynccontextmanager
async def beating(job: Job, parts: Parts) -> AsyncIterator[None]:
    """Gives the job its heartbeat; without a place for it the log says so, and the job runs all the same."""
    path = _path(job, parts)
    if path is None:
        yield
        return

    async def passes() -> bool:
        return (await parts.health.ask(Kind.LIVENESS)).well

    async with heartbeat.beating(path, passes):
        yield


def _path(job: Job, parts: Parts) -> str | None:
    if not isinstance(job.heartbeat, bool):
        return os.fspath(job.heartbeat)
    if not job.heartbeat:
        return None
    try:
        return heartbeat.place(parts.name)
    except OSError as error:
        logger.warning("{}: no heartbeat, so `hrpc probe` fails: {}", parts.name, error.strerror or error)
        return None
