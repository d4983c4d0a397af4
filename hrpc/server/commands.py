"""The commands about the life of a server that its control socket takes: ``drain`` and ``tasks``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from hrpc import life
from hrpc.server.activity import Activity

if TYPE_CHECKING:
    from hrpc.server.running import Running

TOLD_EVERY = 0.5
"""Seconds between two words about a drain."""

Answer = Mapping[str, Any]


def add_to(running: Running) -> None:
    """Adds them to a server; in its event loop."""
    running.parts.control.on("drain", partial(_drain, running))
    running.parts.control.on("tasks", partial(_tasks, Activity(running.parts)))


async def _drain(running: Running, request: Mapping[str, Any]) -> AsyncIterator[Answer]:
    """Has it stop; with ``progress`` it tells how that goes, until the end of the socket ends this as well."""
    running.shut_down("hrpc drain")
    yield {"ok": True, "text": _going(running)}
    while request.get("progress"):
        await asyncio.sleep(TOLD_EVERY)
        yield {"ok": True, "text": _going(running)}


def _going(running: Running) -> str:
    parts = running.parts
    if not parts.draining.is_set():
        return "leaves: callers are to notice"
    calls = parts.calls.in_flight
    return f"drains: {calls} calls in flight" if calls else "drains: no call in flight"


async def _tasks(activity: Activity, _: Mapping[str, Any]) -> Answer:
    """Tells what runs, as SIGUSR1 has the log tell it."""
    lines = await life.in_daemon_thread(activity.lines)
    return {"ok": True, "lines": lines}
