"""How far a start has come: for the log while it takes long, and for the probes that ask meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from loguru import logger

SLOW = 2.0
"""Seconds after which the log says in which step a start still is; said again whenever twice the time has gone by."""


class Timeline:
    """What happened when: names of steps with the seconds each one took."""

    def __init__(self) -> None:
        self.done: list[tuple[str, float]] = []
        self._began = time.monotonic()

    def add(self, name: str, began: float) -> None:
        """A step that has just ended; `began` is in seconds of ``time.monotonic``."""
        self.done.append((name, time.monotonic() - began))

    @property
    def seconds(self) -> float:
        """Seconds since the first step."""
        return time.monotonic() - self._began

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.3f}" for name, seconds in self.done)


class StartProgress(Timeline):
    """A start that goes on: the step it is in, which of how many that is, and those that are done."""

    def __init__(self, server_name: str) -> None:
        super().__init__()
        self.step = ""
        """The name of the step that is being taken, or that failed; empty before the first one."""
        self.number = 0
        """Which one that is, from 1."""
        self.count = 0
        """How many there are, the framework's and the user's."""
        self.finished = False
        """Whether all are done."""
        self._server_name = server_name
        self._step_began = self._began
        self._telling: asyncio.TimerHandle

    @property
    def step_seconds(self) -> float:
        """Seconds since the step began that is being taken."""
        return time.monotonic() - self._step_began

    @property
    def place(self) -> str:
        """``step 3/9``."""
        return f"step {self.number}/{self.count}"

    def __str__(self) -> str:
        if self.finished or not self.number:
            return super().__str__()
        return f"[{self.place}] {self.step}, for {self.step_seconds:.1f} s"

    @contextmanager
    def taking(self, name: str) -> Iterator[None]:
        """One step; while it takes long, the log says so."""
        self.step, self.number, self._step_began = name, self.number + 1, time.monotonic()
        self._tell_after(SLOW)
        try:
            yield
        finally:
            self._telling.cancel()
        self.add(name, self._step_began)

    def _tell_after(self, seconds: float) -> None:
        self._telling = asyncio.get_running_loop().call_later(seconds, self._tell)

    def _tell(self) -> None:
        taken = self.step_seconds
        logger.info("{}: still in [{}] {}, {:.0f} s", self._server_name, self.place, self.step, taken)
        self._tell_after(taken)
