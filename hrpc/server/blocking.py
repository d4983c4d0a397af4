"""A life that its caller waits for: in an event loop of its own, with the signals of the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from hrpc.server import signals
from hrpc.server.running import Running
from hrpc.server.watch import Watch

Begun = AbstractContextManager[tuple[Running, asyncio.Task[None]]]


def run(event_loop: str, begun: Callable[[], Begun]) -> Any:
    """Waits for the life that `begun` begins in the event loop; gives the result of its job.

    Raises what the job raised, and SystemExit with the code of the process unless that is 0.
    """
    # Around the runner, which waits for tasks and threads before it closes the event loop.
    with Watch().opened() as watch, asyncio.Runner(loop_factory=_factory(event_loop)) as runner:
        running, code = runner.run(_live(watch, begun))
    if running.exit is not None:
        raise running.exit
    if code:
        raise SystemExit(code)
    return running.result


async def _live(watch: Watch, begun: Callable[[], Begun]) -> tuple[Running, int]:
    with begun() as (running, living):
        running.parts.watch = watch
        with signals.taken(running):
            await asyncio.wait({living})
    return running, _exit_code(running, living)


def _exit_code(running: Running, living: asyncio.Task[None]) -> int:
    if not living.cancelled() and living.exception() is not None and not running.failed_in_job:
        return 1
    living.result()
    return running.code if running.interrupted else 0


def _factory(event_loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if event_loop == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
