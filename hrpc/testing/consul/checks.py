"""Runs the checks that are registered: at their interval, or as timers that heartbeats wind up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp

from hrpc.testing.consul.catalog import Catalog
from hrpc.testing.consul.model import CRITICAL, Check
from hrpc.testing.consul.probes import probe


@dataclass(slots=True)
class _Running:
    """What goes on for one check."""

    check: Check
    failures: int
    successes: int
    task: asyncio.Task[None] | None = None
    expiry: asyncio.TimerHandle | None = None
    reaper: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        for activity in (self.task, self.expiry, self.reaper):
            if activity is not None:
                activity.cancel()


class Checks:
    """Gives every check its task or timer, and the catalogue what they find.

    `interval_minimum` and `deregister_minimum` are in seconds; what a check asks below them is raised to them.
    A check runs at once and then at its interval: where Consul waits a random part of the first interval, here it is 0.
    """

    def __init__(
        self,
        catalog: Catalog,
        tasks: asyncio.TaskGroup,
        session: aiohttp.ClientSession,
        interval_minimum: float,
        deregister_minimum: float,
    ) -> None:
        self._catalog = catalog
        self._tasks = tasks
        self._session = session
        self._interval_minimum = interval_minimum
        self._deregister_minimum = deregister_minimum
        self._running: dict[str, _Running] = {}

    def start(self, check: Check) -> None:
        """Begins to run a check, in place of the one that had its ID."""
        self.stop(check.id)
        definition = check.definition
        # Full counters: the first result counts at once, only later changes have to last.
        running = _Running(check, definition.failures_before_critical, definition.success_before_passing)
        self._running[check.id] = running
        if definition.type == "ttl":
            self._wind_up(running)
        else:
            running.task = self._tasks.create_task(self._repeat(running), name=f"check {check.id}")
        self._schedule_deregistration(running)

    def stop(self, check_id: str) -> None:
        """Ends a check; nothing happens when it does not run."""
        if running := self._running.pop(check_id, None):
            running.cancel()

    def stop_all(self) -> None:
        """Ends every check."""
        for check_id in list(self._running):
            self.stop(check_id)

    def heartbeat(self, check_id: str, status: str, output: str) -> bool:
        """Notes what a TTL check's owner says; False when there is no such check."""
        running = self._running.get(check_id)
        if running is None or running.check.definition.type != "ttl":
            return False
        self._wind_up(running)
        self._report(running, status, output)
        return True

    def _wind_up(self, running: _Running) -> None:
        if running.expiry:
            running.expiry.cancel()
        running.expiry = asyncio.get_running_loop().call_later(running.check.definition.ttl, self._expire, running)

    def _expire(self, running: _Running) -> None:
        last = running.check.output
        output = f"TTL expired (last output before timeout follows): {last}" if last else "TTL expired"
        self._report(running, CRITICAL, output)

    async def _repeat(self, running: _Running) -> None:
        definition = running.check.definition
        while True:
            status, output = await probe(definition, self._session)
            failed = status == CRITICAL
            running.failures = running.failures + 1 if failed else 0
            running.successes = 0 if failed else running.successes + 1
            threshold = definition.failures_before_critical if failed else definition.success_before_passing
            if (running.failures if failed else running.successes) >= threshold:
                self._report(running, status, output)
            await asyncio.sleep(max(definition.interval, self._interval_minimum))

    def _report(self, running: _Running, status: str, output: str) -> None:
        self._catalog.set_status(running.check, status, output)
        self._schedule_deregistration(running)

    def _schedule_deregistration(self, running: _Running) -> None:
        after, critical = running.check.definition.deregister_after, running.check.status == CRITICAL
        if running.reaper and not critical:
            running.reaper.cancel()
            running.reaper = None
        if after > 0 and critical and running.reaper is None and running.check.service_id:
            limit = max(after, self._deregister_minimum)
            running.reaper = asyncio.get_running_loop().call_later(limit, self._deregister, running.check.service_id)

    def _deregister(self, service_id: str) -> None:
        for running in list(self._running.values()):
            if running.check.service_id == service_id:
                self.stop(running.check.id)
        self._catalog.remove_service(service_id)
