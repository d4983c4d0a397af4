"""When a worker hangs: it lives, but its event loop does nothing any more."""

from __future__ import annotations

import asyncio

from hrpc.errors import WorkerError
from hrpc.server.workers.link import Link
from hrpc.server.workers.worker import Worker

EVERY = 5.0
"""Seconds between two questions."""

LIMIT = 30.0
"""Seconds without an answer after which a worker hangs: probes of the liveness say so long before."""

LAST = 1.0
"""Seconds for one more answer: it may be the master, or the whole machine, that has stood still."""

_COMMAND = "alive"


def answer(link: Link) -> None:
    """In a worker: shows that its event loop goes on."""
    link.on(_COMMAND, _alive)


async def hangs(worker: Worker) -> None:
    """In the master: waits until a worker that serves hangs."""
    while True:
        await asyncio.sleep(EVERY)
        if worker.is_serving and not (await _answers(worker, LIMIT) or await _answers(worker, LAST)):
            return


async def _answers(worker: Worker, limit: float) -> bool:
    try:
        await worker.link.ask(_COMMAND, timeout=limit)
    except WorkerError:
        # One that has gone, or that is to end, is waited for elsewhere.
        return worker.link.closed.is_set() or not worker.is_serving
    return True


async def _alive(_: object) -> None:
    pass
