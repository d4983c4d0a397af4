"""The health of a service with workers: what one is told, all of them know; what probes ask, all of them say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hrpc import _runtime
from hrpc.errors import ConsulError
from hrpc.health.checker import OK, Kind
from hrpc.health.state import PART_LIMIT, Change, Health
from hrpc.server.workers.link import Link
from hrpc.server.workers.worker import Worker
from hrpc.server.workers.workers import Workers

MARGIN = 0.5
"""Seconds beyond the limit of a checker until its worker is not waited for any more."""

SHARE = 0.8
"""Of the seconds that a probe waits, those that a worker has; the rest is for the way."""

MAINTENANCE_LIMIT = 10.0
"""Seconds that the master has to tell Consul of a maintenance."""

_PROBE, _CHANGE, _MAINTENANCE = "probe", "health", "maintenance"
_WORKERS = "workers"
_OF_THE_MASTER = ("server", "switch")
"""Parts that the master says itself, as it is of one mind with the workers."""

Maintenance = Callable[[str | None], Awaitable[None]]


class HealthOfAll:
    """In the master: asks the workers, and keeps them of one mind."""

    def __init__(self, health: Health, workers: Workers, maintenance: Maintenance) -> None:
        """`maintenance` takes the service out of rotation, or back in with None."""
        self._health = health
        self._workers = workers
        self._maintenance = maintenance
        self._unwell = ""
        self._limits = dict.fromkeys(Kind, PART_LIMIT)
        for checker in _runtime.early_health_checks:
            self._limits[checker.kind] = max(self._limits[checker.kind], checker.timeout)
        health.ask_elsewhere(self._ask)
        health.spread = self._tell
        health.tell(_WORKERS, self._told)
        workers.when_begun.append(self._greet)
        workers.on(_CHANGE, self._take)
        workers.on(_MAINTENANCE, self._maintain)

    async def _ask(self, kind: Kind, within: float | None) -> Mapping[str, str]:
        serving = self._workers.serving
        if not serving and kind is Kind.READINESS:
            # Asked each time: an answer of a second ago would send calls to a port on which nobody listens.
            return {_WORKERS: f"none of {self._workers.count} serves"}
        limit = self._limits[kind] + MARGIN if within is None else within
        asked = str(kind), None if within is None else within * SHARE
        answers = await self._workers.ask_all(_PROBE, asked, timeout=limit)
        silent = {"answer": f"none within {limit:g} s"}
        said = {worker.number: answers.get(worker.number, silent) for worker in serving}
        if kind is not Kind.READINESS:
            return of_all(said)
        self._unwell = "; ".join(f"worker {number}: {wrong}" for number in said if (wrong := _wrong(said[number])))
        # The kernel gives connections to all that listen; but one that is well can serve, and without it nobody could.
        well = {number: parts for number, parts in said.items() if not _wrong(parts)}
        return {_WORKERS: OK, **of_all(well or said)}

    def _told(self) -> str:
        return "; ".join(filter(None, (self._workers.told(), self._unwell)))

    def _tell(self, change: Change, but: Worker | None = None) -> None:
        for worker in self._workers.all:
            if worker is not but:
                worker.link.tell(_CHANGE, change)

    def _greet(self, worker: Worker) -> None:
        for change in self._health.changes:
            worker.link.tell(_CHANGE, change)

    async def _take(self, worker: Worker, change: Change) -> None:
        self._health.take(change)
        self._tell(change, but=worker)

    async def _maintain(self, _: Worker, reason: str | None) -> str | None:
        try:
            await self._maintenance(reason)
        except ConsulError as error:
            return str(error)
        return None


def say(health: Health, link: Link) -> None:
    """In a worker: says how it is, tells of what is changed in it, and hears of what is changed elsewhere."""

    async def probe(asked: Any) -> Mapping[str, str]:
        kind, within = asked
        return (await health.ask(Kind(kind), within)).parts

    async def take(change: Any) -> None:
        health.take(change)

    link.on(_PROBE, probe)
    link.on(_CHANGE, take)
    health.spread = lambda change: link.tell(_CHANGE, change)


async def maintain(link: Link, reason: str | None) -> None:
    """In a worker: what takes the service out of rotation, or back in. Raises `ConsulError` and `WorkerError`."""
    refused = await link.ask(_MAINTENANCE, reason, timeout=MAINTENANCE_LIMIT)
    if refused is not None:
        raise ConsulError(refused)


def of_all(said: Mapping[int, Mapping[str, str]]) -> dict[str, str]:
    """What all workers say of each part, by their numbers, as one: "ok", or what is wrong with it and where."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(name for parts in said.values() for name in parts if name not in _OF_THE_MASTER):
        where: dict[str, list[int]] = {}
        for number, parts in said.items():
            if (text := parts.get(name, OK)) != OK:
                where.setdefault(text, []).append(number)
        found[name] = "; ".join(f"{text} ({_workers(numbers)})" for text, numbers in where.items()) or OK
    return found


def _wrong(parts: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in parts.items() if text != OK and name not in _OF_THE_MASTER)


def _workers(numbers: list[int]) -> str:
    return f"worker{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
