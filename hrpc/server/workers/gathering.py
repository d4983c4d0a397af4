"""The metrics of all workers, as those of one service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from hrpc.errors import WorkerError
from hrpc.metrics.call_text import CallText
from hrpc.metrics.collectors import MeasureCollector
from hrpc.metrics.exposition import Exposition
from hrpc.metrics.families import Families
from hrpc.metrics.instruments import exported
from hrpc.metrics.share import GROWING, Family, OwnShare, Share, read
from hrpc.metrics.total import Total
from hrpc.server.measures import measured
from hrpc.server.parts import Parts
from hrpc.server.workers.worker import State, Worker
from hrpc.server.workers.workers import Workers

ANSWER_LIMIT = 1.0
"""Seconds that workers have to tell their share; a scrape that waits for one that hangs takes no longer."""

_COMMAND = "metrics"
_ASKED = (State.READY, State.STOPPING)


@asynccontextmanager
async def told(parts: Parts) -> AsyncIterator[None]:
    """In a worker: tells its share when it is asked, and at the end of the context what it has come to."""
    assert parts.link is not None
    own = OwnShare(parts.calls, measured(parts, CallText(parts.calls)))

    async def answer(examples: Any) -> Any:
        return own.now(bool(examples)).told()

    parts.link.on(_COMMAND, answer)
    try:
        yield
    finally:
        with suppress(WorkerError):
            await parts.link.ask(_COMMAND, own.now(final=True).told(), timeout=ANSWER_LIMIT)


class Gathering:
    """In the master: asks the workers, and adds up."""

    def __init__(self, parts: Parts, workers: Workers, own: Families) -> None:
        """`own` are the families of the master itself."""
        self._total = Total(parts.calls.buckets)
        self._workers = workers
        self._own = own
        self._parts = parts
        self._silent: set[Worker] = set()
        workers.on(_COMMAND, self._take_last)
        parts.measures.gauge("hrpc_workers", "Processes that serve, by what they do.", self._states, ("state",))
        parts.measures.counter(
            "hrpc_worker_restarts",
            "How often a worker was begun in the place of one that had died.",
            lambda: workers.restarts,
        )

    @property
    def exposition(self) -> Exposition:
        """Answers scrapes with the sum."""
        calls = CallText(self._total.calls)
        return Exposition(calls, Families(calls.names, lambda: (self._total,)), self._gather)

    async def _gather(self, examples: bool) -> None:
        """Asks all that can answer, and has their sum as the total; those that do not answer in time are silent."""
        asked = [worker for worker in self._workers.all if worker.state in _ASKED]
        answers = await asyncio.gather(*(self._ask(worker, examples) for worker in asked))
        found = {worker: share for worker, share in zip(asked, answers, strict=True) if share is not None}
        self._silent = {worker for worker in asked if worker not in found and worker.state in _ASKED}
        for share in found.values():
            self._total.take(share)
        fresh = {share.pid: str(worker.number) for worker, share in found.items()}
        self._total.add_up(fresh, [worker.pid for worker in self._workers.all], self._families())

    async def _ask(self, worker: Worker, examples: bool) -> Share | None:
        try:
            return Share.heard(await worker.link.ask(_COMMAND, examples, timeout=ANSWER_LIMIT))
        except WorkerError:
            return None

    async def _take_last(self, _: Worker, told: Any) -> None:
        self._total.take(Share.heard(told))

    def _families(self) -> Iterator[Family]:
        """The master's own: what it has done itself, and not the gauges that nobody sets in it."""
        # What was registered in its own life is that of plugins that announce the service: the service's own code is
        # not run in it.
        followed = {
            exported(f"{self._parts.name}_{one.exported}")
            for one in self._parts.runtime.metrics.values()
            if one.read is not None
        }
        for collector, family in read(self._own, examples=False):
            is_own = isinstance(collector, MeasureCollector) or family.name in followed
            if is_own or family.kind in GROWING or family.name.startswith("process_"):
                yield family

    def _states(self) -> Mapping[str, float]:
        found = dict.fromkeys(("starting", "ready", "silent", "stopping"), 0.0)
        for worker in self._workers.all:
            found["silent" if worker in self._silent else str(worker.state)] += 1
        return found
