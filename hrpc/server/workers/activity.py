"""What the workers do at a moment, for who asks their master."""

from __future__ import annotations

import asyncio
from typing import Any

from hrpc.errors import WorkerError
from hrpc.server import in_flight
from hrpc.server.running import Running
from hrpc.server.workers.link import Link
from hrpc.server.workers.worker import State, Worker
from hrpc.server.workers.workers import Workers

LIMIT = 3.0
"""Seconds that a worker has to tell; who asks for it waits for five."""

_TASKS, _CALLS = "tasks", "calls"
_ASKED = (State.READY, State.STOPPING)


def answer(running: Running, link: Link) -> None:
    """In a worker: tells when it is asked."""

    async def tasks(_: object) -> list[str]:
        return await running.activity()

    async def calls(_: object) -> int:
        return running.parts.calls.in_flight

    link.on(_TASKS, tasks)
    link.on(_CALLS, calls)


def asked(workers: Workers) -> list[Worker]:
    """Those that have begun to serve and have not ended, by their numbers."""
    return sorted((worker for worker in workers.all if worker.state in _ASKED), key=lambda worker: worker.number)


async def tasks(workers: Workers) -> list[str]:
    """Lines about what runs in each."""
    silent = [f"does not answer within {LIMIT:g} s; SIGUSR1 has its log tell what it does"]
    said = await _said(workers, _TASKS)
    return [f"{worker}: {line}" for worker, lines in said.items() for line in (silent if lines is None else lines)]


async def calls(workers: Workers) -> str:
    """How many calls run in all of them."""
    said = await _said(workers, _CALLS)
    silent = ", ".join(f"{worker} does not answer" for worker, number in said.items() if number is None)
    running = sum(number for number in said.values() if number is not None)
    return "; ".join(filter(None, (in_flight.counted(running), silent)))


async def _said(workers: Workers, command: str) -> dict[Worker, Any]:
    found = asked(workers)
    return dict(zip(found, await asyncio.gather(*(_ask(worker, command) for worker in found)), strict=True))


async def _ask(worker: Worker, command: str) -> Any:
    try:
        return await worker.link.ask(command, timeout=LIMIT)
    except WorkerError:
        return None
