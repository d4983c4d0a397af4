"""One worker, as its master knows it."""

from __future__ import annotations

import asyncio
import signal
import time
from enum import StrEnum

from hrpc.errors import WorkerError
from hrpc.server.workers.link import Link


class State(StrEnum):
    """Where a worker stands in its life."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    ENDED = "ended"


class Worker:
    """A process that serves: its place from 1 on, in which others follow it, and the line to it."""

    def __init__(self, number: int, pid: int) -> None:
        self.number = number
        self.pid = pid
        self.state = State.STARTING
        self.began = time.monotonic()
        self.was_ready = False
        self.ended = asyncio.Event()
        self.link: Link
        """Set before anybody but its owner knows the worker."""
        self.failure: str | None = None
        """What it said of its end, when that was not a good one."""
        self.code: int | None = None
        """Its exit code once it has ended, or -9 for signal 9; None when nobody could tell."""
        self._told = asyncio.Event()

    def __str__(self) -> str:
        return f"worker {self.number} (process {self.pid})"

    @property
    def is_serving(self) -> bool:
        """Whether it takes calls."""
        return self.state is State.READY

    @property
    def end(self) -> str:
        """How it has ended, in words."""
        if self.failure is not None:
            return self.failure
        if self.code is None:
            return "it has gone"
        if self.code < 0:
            return f"it was ended by {_signal_name(-self.code)}"
        return f"it ended by itself with exit code {self.code}"

    def enter(self, state: State) -> None:
        """It has come further; what comes late changes nothing."""
        if list(State).index(state) <= list(State).index(self.state):
            return
        self.state = state
        if state is State.READY:
            self.was_ready = True
        if state is State.ENDED:
            self.ended.set()
        self._told.set()

    async def ready(self) -> None:
        """Waits until it serves. Raises `WorkerError` when it ends before."""
        await self._told.wait()
        if not self.was_ready:
            await self.ended.wait()
            raise WorkerError(f"{self} did not start: {self.end}")

    def stop(self, reason: str) -> None:
        """Asks it once to let its calls end and to exit."""
        if self.state in (State.STARTING, State.READY):
            self.enter(State.STOPPING)
            self.link.tell("stop", reason)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
