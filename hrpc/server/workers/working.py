"""The life of a worker."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

from hrpc.health.state import Phase
from hrpc.option import Settings
from hrpc.rpc.recorder import Recorder
from hrpc.server.running import Running
from hrpc.server.steps import Step
from hrpc.server.workers import activity, hanging, health, link, plans


class Working(Running):
    """A server that the master of several begins and ends."""

    def __init__(
        self, settings: Settings, recorder: Recorder, job: None, *, reports: bool, number: int, end: socket.socket
    ) -> None:
        """`end` is that of the line to the master."""
        super().__init__(settings, recorder, job, reports=reports)
        self.name = f"{self.name}, worker {number}"
        self.parts.runtime.worker = number
        self._number = number
        self._end = end
        self._line: link.Link

    async def live(self) -> None:
        """Lives for as long as its master wants, and no longer than its master does. Raises as `Running.live`."""
        async with link.opened(self._end, "the master") as self._line:
            self.parts.link = self._line
            health.say(self.parts.health, self._line)
            activity.answer(self, self._line)
            hanging.answer(self._line)
            self._line.on("stop", self._told_to_stop)
            self._line.on("leaving", self._told_to_leave)
            self._line.on("reopen log", self._told_to_reopen)
            async with asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(work) for work in (self._tell_when_ready(), self._stop_with_master())]
                try:
                    await super().live()
                except Exception as error:
                    self._line.tell("failed", str(error))
                    raise
                finally:
                    for task in beside:
                        task.cancel()

    def request_stop(self, reason: str) -> None:
        """Asks the master to stop all of the service: that is what whoever calls it here means."""
        self._line.tell("stop", reason)

    def failed(self, reason: str) -> None:
        """A hosted service has ended before it was to: the master stops all of the service, and exits with 1."""
        self._line.tell("fail", reason)

    def signalled(self, name: str) -> None:
        """The master decides what follows: whoever ends all processes at once has told it as well."""
        self._line.tell("signalled", name)

    def request_restart(self) -> None:
        """Nothing: on SIGHUP, the master puts a new worker into its place."""

    async def maintenance(self, reason: str | None) -> None:
        """Has the master take the service out of rotation. Raises `ConsulError`, and `WorkerError` without a master."""
        await health.maintain(self._line, reason)

    async def _told_to_stop(self, reason: Any) -> None:
        super().request_stop(reason)

    async def _told_to_leave(self, _: Any) -> None:
        self.parts.health.enter(Phase.STOPPING)

    async def _told_to_reopen(self, _: Any) -> None:
        self.reopen_log()

    async def _tell_when_ready(self) -> None:
        await self.started.wait()
        self._line.tell("ready")

    async def _stop_with_master(self) -> None:
        await self._line.closed.wait()
        super().request_stop("its master has gone")

    def _plan(self, errors: list[Exception]) -> Iterator[Step]:
        return plans.of_worker(self.parts, errors)
