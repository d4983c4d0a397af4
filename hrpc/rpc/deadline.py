"""The deadline of a call: the earliest of the client's, the message's and the server's own.

gRPC itself keeps the one that a client set in gRPC; the others are kept here. One timer serves all calls, armed for
the earliest: a call costs an entry in a dict, where ``asyncio.timeout`` costs a timer of its own, ten times as much.
"""

from __future__ import annotations

import asyncio
import time
from math import inf
from typing import Any

from hrpc.context import Context

# What an engine may say instead of None when there is no deadline: the seconds of its largest number.
_FOR_EVER = 1e12
_PASSED = -1.0


class DeadlinePassed(Exception):
    """The deadline of a call has passed, and its handler was cancelled."""


class Deadlines:
    """The deadlines of the calls that run now, in seconds of `time.monotonic`; used in one event loop."""

    def __init__(self) -> None:
        self._of_tasks: dict[asyncio.Task[Any], float] = {}
        self._armed_for = inf
        self._timer: asyncio.TimerHandle | None = None

    def keep(self, raw: Any, context: Context, timeout: float | None, now: float) -> asyncio.Task[Any] | None:
        """Finds the deadline of the call that the current task serves, and leaves it in `context`.

        `raw` is the engine's context of the call, `timeout` the server's own limit in seconds, `now` when it began.
        When the deadline is not gRPC's own, the task is cancelled at it; then gives the task, to hand to `release`.
        """
        own, remaining = context.deadline, raw.time_remaining()
        if remaining is None and own is None and timeout is None:
            return None
        if timeout is not None and (own is None or now + timeout < own):
            own = now + timeout
        if remaining is not None and remaining < _FOR_EVER and (own is None or now + remaining <= own):
            context.deadline = now + remaining
            return None
        if own is None:
            return None
        context.deadline = own
        task = asyncio.current_task()
        assert task is not None
        self._of_tasks[task] = own
        if own < self._armed_for:
            self._arm(own)
        return task

    def release(self, task: asyncio.Task[Any]) -> None:
        """The handler has ended. Raises `DeadlinePassed` when it was cancelled here, whatever it made of that."""
        if self._of_tasks.pop(task) == _PASSED:
            task.uncancel()
            raise DeadlinePassed("the deadline of the call has passed")

    def _arm(self, deadline: float) -> None:
        # One that stayed would stay until its own time, which a caller can say to be centuries away.
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = deadline
        self._timer = asyncio.get_running_loop().call_later(deadline - time.monotonic(), self._turn)

    def _turn(self) -> None:
        now = time.monotonic()
        earliest = inf
        for task, deadline in self._of_tasks.items():
            if deadline == _PASSED:
                continue
            if deadline <= now:
                self._of_tasks[task] = _PASSED
                task.cancel()
            else:
                earliest = min(earliest, deadline)
        self._armed_for, self._timer = inf, None
        if earliest < inf:
            self._arm(earliest)
