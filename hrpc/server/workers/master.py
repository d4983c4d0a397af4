"""The life of the process that keeps the workers."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator

from hrpc.option import Settings
from hrpc.rpc.recorder import Recorder
from hrpc.server.running import Running
from hrpc.server.steps import Step
from hrpc.server.workers import activity, plans
from hrpc.server.workers.births import Births
from hrpc.server.workers.health import HealthOfAll
from hrpc.server.workers.supervision import Supervision, patience
from hrpc.server.workers.workers import Workers


class Master(Running):
    """A server whose calls are served by others."""

    def __init__(
        self, settings: Settings, recorder: Recorder, job: None, *, reports: bool, line: socket.socket, count: int
    ) -> None:
        """`line` leads to the nursery; `count` is how many workers there are to be."""
        super().__init__(settings, recorder, job, reports=reports)
        self._workers = self.parts.workers = Workers(count)
        HealthOfAll(self.parts.health, self._workers, self.maintenance)
        self._supervision = Supervision(
            self._workers, Births(line), patience(settings), self.request_stop, self._stopping
        )

    def request_restart(self) -> None:
        """Replaces the workers, one after the other: new ones read their certificates and settings again.

        Those that serve meanwhile, or have to go on, write to the new file of the log as well.
        """
        self.reopen_log()
        self._workers.tell_all("reopen log")
        self._supervision.request_reload()

    def asked_for_activity(self) -> None:
        """Has the workers tell the log as well, also one whose event loop is stuck."""
        self._supervision.send_all(signal.SIGUSR1)

    async def activity(self) -> list[str]:
        """What runs here and in the workers."""
        return [*await super().activity(), *await activity.tasks(self._workers)]

    async def calls(self) -> str:
        """How many calls run in all workers."""
        return await activity.calls(self._workers)

    async def maintenance(self, reason: str | None) -> None:
        """Takes the service out of rotation, in which all workers know of it. Raises `ConsulError`."""
        self.parts.health.change("maintenance", "", reason)
        await super().maintenance(reason)

    def _plan(self, errors: list[Exception]) -> Iterator[Step]:
        return plans.of_master(self.parts, self._supervision, errors)

    def _doing(self) -> str:
        return f"{super()._doing()}, with {self._workers.count} workers"
