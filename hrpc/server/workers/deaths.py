"""When a worker begins again after the one before it has died, and when none begins any more."""

from __future__ import annotations

import random
import time

from hrpc.errors import WorkerError
from hrpc.server.workers.worker import Worker

EARLY = 30.0
"""Seconds of life from which on a worker that was ready has proved itself: its death is not counted with others."""

DELAYS = (0.0, 0.1, 1.0, 10.0)
"""Seconds before another worker begins, after the first early death, the second, and so on; then there is an end."""


class Deaths:
    """The early deaths of workers, counted for each number by itself."""

    def __init__(self) -> None:
        self._early: dict[int, int] = {}

    def delay(self, dead: Worker) -> float:
        """Seconds after which another worker is to begin. Raises `WorkerError` when they die again and again."""
        proved_itself = dead.was_ready and time.monotonic() - dead.began > EARLY
        count = self._early[dead.number] = 1 if proved_itself else self._early.get(dead.number, 0) + 1
        if count > len(DELAYS):
            raise WorkerError(
                f"worker {dead.number} has died {count} times, each time before it had lived for {EARLY:g} s; the last "
                f"time, {dead.end}. Look in the log for why, and start the service again"
            )
        # Not all at the same time, when they have died of the same cause.
        return DELAYS[count - 1] * random.uniform(0.8, 1.2)
