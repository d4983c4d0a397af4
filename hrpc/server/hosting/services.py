"""All hosted services of a server: one fails, all stop; nothing is released before every run has returned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from loguru import logger

from hrpc import life
from hrpc.errors import HostedServiceError, HrpcError, ManagerError, ServicesErrors
from hrpc.errors.hosted import STAGES, Stage
from hrpc.option.settings import HostedSettings
from hrpc.rpc.recorder import Recorder
from hrpc.server.hosting.life import Life

HURRIED = 1.0
"""Seconds that cancelled runs have to return, and then resources to be released, when the stop waits for nobody."""


class Services:
    """Sets up, runs and releases them. `error` is what went wrong, for the server to raise at its end."""

    def __init__(self, settings: HostedSettings, step_limit: float, hurry: asyncio.Event) -> None:
        """`step_limit`: seconds that they have for releasing, however long their runs took to return."""
        self._services = settings.services
        self._limit = settings.max_shutdown
        self._step_limit = step_limit
        self._hurry = hurry
        self.stop_server: Callable[[str], None] = lambda _: None
        """Called with a sentence when the server has to stop for a service."""
        self.server_stops: Callable[[], bool] = lambda: False
        """Whether somebody has asked for the stop, which a run may take as the sign to return."""
        self._lives: list[Life] = []
        self._told_to_stop: float | None = None

    @asynccontextmanager
    async def set_up(self, recorder: Recorder) -> AsyncIterator[None]:
        """Sets all up, at once; at its end waits until every run has returned, then releases what they hold.

        Methods of gRPC services are put into `recorder`. Raises `ManagerError` when one cannot be set up.
        """
        try:
            await self._set_up(recorder)
            yield
        finally:
            await self._end()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lets all run; at its end tells them to stop, and does not wait."""
        for one in self._lives:
            one.run()
        try:
            yield
        finally:
            self._stop()

    @property
    def error(self) -> ManagerError | None:
        """All that went wrong; None when nothing did."""
        groups = []
        for stage in STAGES:
            errors = [one.errors[stage] for one in self._lives if stage in one.errors]
            if errors:
                groups.append(ServicesErrors(stage, errors))
        return ManagerError(groups) if groups else None

    async def _set_up(self, recorder: Recorder) -> None:
        is_first = life.worker() in (1, None)
        here = [one for one in self._services if is_first or getattr(one, "workers", "each") == "each"]
        self._lives = [Life(service, recorder, self._failed, self.server_stops) for service in here]
        waiting = {one.set_up for one in self._lives}
        while waiting and self.error is None:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self.error is not None:
            raise self.error

    def _failed(self, error: HostedServiceError, stage: Stage) -> None:
        log = logger if isinstance(error.error, HrpcError) else logger.opt(exception=error.error)
        log.error("{} failed: {}", STAGES[stage], error)
        if stage == "run":
            self.stop_server(f"the run of service {error.service_id!r} failed")

    def _stop(self) -> None:
        if self._told_to_stop is None:
            self._told_to_stop = time.monotonic()
        for one in self._lives:
            one.stop()

    async def _end(self) -> None:
        self._stop()
        try:
            await self._over({one.returned for one in self._lives}, 0.0)
            returned = [one for one in self._lives if one.returned.done()]
            for one in returned:
                one.release()
            await self._over({one.task for one in returned}, self._step_limit)
        finally:
            await self._abandon()

    async def _over(self, ends: set[asyncio.Future[None]], at_least: float) -> None:
        """Waits for all of these, for as long as a stop may take, `at_least` these seconds, or until a hurry."""
        if all(end.done() for end in ends):
            return
        limit = None if self._limit is None else max(at_least, self._limit - self._since_stop())
        waiting = asyncio.create_task(asyncio.wait(ends))
        hurrying = asyncio.create_task(self._hurry.wait())
        try:
            await asyncio.wait({waiting, hurrying}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if self._hurry.is_set():
                await asyncio.wait({waiting}, timeout=HURRIED)
        finally:
            waiting.cancel()
            hurrying.cancel()

    async def _abandon(self) -> None:
        late = {one.task: one for one in self._lives if not one.task.done()}
        for one in late.values():
            one.abandon(self._since_stop())
        if late:
            # Those that do not swallow this cancellation as well still release what they hold.
            await asyncio.wait(late, timeout=HURRIED)

    def _since_stop(self) -> float:
        return 0.0 if self._told_to_stop is None else time.monotonic() - self._told_to_stop
