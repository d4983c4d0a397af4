"""The commands about the life of a server that its control socket takes: ``drain`` and ``tasks``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hrpc.server.running import Running

TOLD_EVERY = 0.5
"""Seconds between two words about a drain."""

Answer = Mapping[str, Any]


def add_to(running: Running) -> None:
    """Adds them to a server; in its event loop."""
    running.parts.control.on("drain", partial(_drain, running))
    running.parts.control.on("tasks", partial(_tasks, running))


async def _drain(running: Running, request: Mapping[str, Any]) -> AsyncIterator[Answer]:
    """Has it stop; with ``progress`` it tells how that goes, until the end of the socket ends this as well."""
    running.shut_down("hrpc drain")
    yield {"ok": True, "text": await _going(running)}
    while request.get("progress"):
        await asyncio.sleep(TOLD_EVERY)
        yield {"ok": True, "text": await _going(running)}


async def _going(running: Running) -> str:
    if not running.parts.draining.is_set():
        return "leaves: callers are to notice"
    return f"drains: {await running.calls()}"


async def _tasks(running: Running, _: Mapping[str, Any]) -> Answer:
    """Tells what runs, as SIGUSR1 has the log tell it."""
    return {"ok": True, "lines": await running.activity()}
