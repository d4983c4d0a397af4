"""How late the event loop is, and which share of the calls to shed for it.

Two things tell: a timer, which runs late when the loop is full or blocked, and a call to the server itself. grpc.aio
takes new calls one by one, in turn with all else that it has to do: under load they queue up where no timer sees them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from loguru import logger

PERIOD = 0.05
"""Seconds between two looks at the event loop."""

STANDING = 0.1
"""Seconds that the event loop has to be late for: a burst that it works off meanwhile is no overload, as CoDel has it
(RFC 8289)."""

_SMALLEST_SHARE = 0.05
_BETWEEN_WARNINGS = 10.0
_REMEMBERED = 10.0


class LoopLag:
    """The lag of one event loop, measured by a timer: how much later than it was due it runs."""

    def __init__(self, limit: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`limit`: seconds of lag beyond which calls are shed; None to measure alone."""
        self.limit = limit
        self.last = 0.0
        self.share = 0.0
        """Share of the calls to refuse, 0 to 1."""
        self.shed = 0
        self._clock = clock
        self._timer: asyncio.TimerHandle
        self._asked: float | None = None
        self._waited = 0.0
        self._longest = self._longest_before = 0.0
        self._new_since = clock()
        self._late_since: float | None = None
        self._warned_at = float("-inf")
        self._shed_before = 0

    @property
    def longest(self) -> float:
        """The most lag of the last 10 to 20 seconds."""
        return max(self._longest, self._longest_before)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measures the running event loop for as long as the context lasts."""
        self._look_later(asyncio.get_running_loop())
        try:
            yield
        finally:
            self._timer.cancel()

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(PERIOD, self._look, loop, self._clock() + PERIOD)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.observe(due, self._clock())
        self._look_later(loop)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a call to the server itself, which is answered as soon as it is taken."""
        self._asked = self._clock()
        try:
            yield
            self._waited = self._clock() - self._asked
        finally:
            self._asked = None

    def observe(self, due: float, now: float) -> None:
        """Takes in that what was `due` runs `now`."""
        late = max(now - due, self._waited)
        if self._asked is not None:
            late = max(late, now - self._asked)
        self.last = late
        if now - self._new_since >= _REMEMBERED:
            self._longest_before, self._longest, self._new_since = self._longest, 0.0, now
        self._longest = max(self._longest, late)
        if self.limit is not None and (late > self.limit or self._late_since is not None or self.share):
            self._weigh(late, self.limit, now)

    def sheds(self) -> bool:
        """Whether to refuse this call; ask it only while there is a `share`."""
        if random.random() >= self.share:
            return False
        self.shed += 1
        return True

    def _weigh(self, late: float, limit: float, now: float) -> None:
        wanted = 0.0
        if late <= limit:
            self._late_since = None
        else:
            self._late_since = now - late if self._late_since is None else self._late_since
            if now - self._late_since >= STANDING:
                wanted = 1 - limit / late
        if wanted > self.share:
            self._warn(late, limit, now)
            self.share = wanted
            return
        # Going down at once would bring all of the load back at once.
        share = (self.share + wanted) / 2
        self.share = share if share >= _SMALLEST_SHARE else 0.0

    def _warn(self, late: float, limit: float, now: float) -> None:
        if now - self._warned_at < _BETWEEN_WARNINGS:
            return
        logger.warning(
            "the event loop is {:.3f} s late, calls are shed ({} since the last such line): it has more to do than it "
            "can, or a handler blocks it; hrpc.with_concurrency_limit(lag={:g}) sets the limit",
            late,
            self.shed - self._shed_before,
            limit,
        )
        self._warned_at = now
        self._shed_before = self.shed
