"""A lock that is held."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from loguru import logger

from hrpc_locks.errors import LockLost
from hrpc_locks.scripts import Place

MARGIN = 0.1
"""The share of its time by which a holder takes the lock for lost before Redis does: clocks may run unlike."""


class Held:
    """What ``async with`` gives: a lock that this task holds."""

    def __init__(
        self, name: str, place: Place, me: str, token: int, until: float, cancels: bool, count: Callable[[], None]
    ) -> None:
        """`until` is in the time of the event loop. `count` is called when it is lost."""
        self.name = name
        self.token = token
        """A number that is larger than those of all who have held the lock before. Whatever is written under the lock
        takes it along, and whoever keeps that refuses one that is smaller than the last."""
        self.lost = asyncio.Event()
        """Set when the lock is known to have ended before its block."""
        self.place = place
        self.me = me
        self.until = until
        self.fault = "this process, or its event loop, stood still"
        """Why it was not renewed, when it was not."""
        self.depth = 1
        self.timers: list[asyncio.TimerHandle] = []
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._cancelling = 0 if self._task is None else self._task.cancelling()
        self._cancels = cancels
        self._count = count
        self._has_cancelled = False
        self._reason = ""

    def __repr__(self) -> str:
        return f"<lock {self.name!r}, token {self.token}{', lost' if self.lost.is_set() else ''}>"

    @property
    def writes(self) -> bool:
        """Whether nobody else has it."""
        return self.me.startswith("w")

    @property
    def is_open(self) -> bool:
        """Whether its block goes on, and it is not lost."""
        return self.depth > 0 and not self.lost.is_set()

    @property
    def is_orphan(self) -> bool:
        """Whether the task that has it has ended, so that nobody will leave it."""
        return self._task is not None and self._task.done()

    def check(self) -> None:
        """Raises `LockLost` when it is lost, also when the process stood still so long that nobody could tell yet.

        For the moment before something that must not happen without the lock.
        """
        if self.is_open and self._loop.time() >= self.until:
            self.lose(f"it could not be renewed in time: {self.fault}")
        if self.lost.is_set():
            raise self.error()

    def error(self) -> LockLost:
        """Why it is lost."""
        return LockLost(f"lock {self.name!r}: lost while it was held: {self._reason}")

    def lose(self, reason: str) -> None:
        """It is lost: says so, and cancels the block, when that goes on and is to be."""
        if self.lost.is_set():
            return
        self._reason = reason
        self.lost.set()
        self._count()
        self.stop_timers()
        logger.warning("lock {!r}, token {}: lost while it was held: {}", self.name, self.token, reason)
        if self._cancels and self.depth and self._task is not None and self._task is not asyncio.current_task():
            self._has_cancelled = True
            self._task.cancel()

    def left(self, error: BaseException | None) -> None:
        """The block has ended, with this error or none. Raises `LockLost` in the place of the cancel, or of none."""
        is_ours = self._has_cancelled and self._task is not None and self._task.uncancel() <= self._cancelling
        if is_ours and isinstance(error, asyncio.CancelledError):
            raise self.error() from error
        if self.lost.is_set() and error is None:
            raise self.error()

    def stop_timers(self) -> None:
        """Neither renews it any more, nor looks at its end."""
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()
