"""Following a value in Consul by blocking queries.

The rules for the index are Consul's (https://developer.hashicorp.com/consul/api-docs/features/blocking): an index that
is not above 0, or goes backwards, starts the watch again; so does every error, because an agent that lost its data
counts from the beginning and would hold a query with the old index for its whole wait.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from loguru import logger

from hrpc.abc import WatchReport
from hrpc.errors import ConsulError, ConsulUnreachable

T = TypeVar("T")

LONGEST_WAIT = 55.0
"""Seconds for which Consul may hold a query."""
EMPTY_HOLD = 5.0
"""Seconds for which the last instances are kept when a list is suddenly empty: an agent that has just started, or a
token that has lost its rights, gives an empty list, too."""
LOST_AFTER = 5.0
"""Seconds of errors after which another datacenter counts."""
_SHORTEST_ROUND, _AT_ONCE = 0.02, 0.05
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling from 0.1 to 1, the upper half of it at random."""
    pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures, 10))
    return random.uniform(0.5, 1.0) * float(pause)


class Watch(Generic[T]):
    """A value that `run` keeps up to date. `query(index, wait)` asks Consul and gives (index, value)."""

    def __init__(
        self, name: str, query: Callable[[int | None, float], Awaitable[tuple[int, T]]], empty: T, hold: float = 0.0
    ) -> None:
        self.name = name
        self.value = empty
        self._query = query
        self._empty = empty
        self._hold = hold
        self._held_until = math.inf
        self._confirmed = -math.inf
        self._callbacks: list[Callable[[], None]] = []
        self._answered = asyncio.Event()
        self.error: ConsulError | None = None
        """Why it is not followed at the moment."""
        self._failing_since = math.inf
        self._after_rounds: list[Callable[[], None]] = []
        self._index: int | None = None
        self._changes = 0
        self._stored = 0
        self.answers = 0
        """How many answers of Consul have been taken."""
        self.restored = False
        """Whether the value is from before the start, because Consul has not answered yet."""

    @property
    def known(self) -> bool:
        """Whether Consul has answered at least once."""
        return self._confirmed != -math.inf

    @property
    def lost(self) -> bool:
        """Whether there is nothing to go by: it fails and has no value, or has failed for `LOST_AFTER`."""
        return self.error is not None and (not self.known or time.monotonic() - self._failing_since >= LOST_AFTER)

    def age(self) -> float:
        """Seconds since Consul last confirmed the value; infinite before the first answer."""
        return time.monotonic() - self._confirmed

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls back after the first answer and every change of the value."""
        self._callbacks.append(callback)

    def on_round(self, callback: Callable[[], None]) -> None:
        """Calls back after every answer and every error."""
        self._after_rounds.append(callback)

    async def ready(self, timeout: float | None) -> None:
        """Waits for the first answer, at most `timeout` seconds if any; raises `ConsulError`."""
        try:
            async with asyncio.timeout(timeout):
                await self._answered.wait()
        except TimeoutError:
            raise self.error or ConsulUnreachable(f"{self.name}: no answer from Consul within {timeout:g} s") from None

    def report(self) -> WatchReport:
        """How following it goes."""
        held = None if self._held_until == math.inf else time.monotonic() - (self._held_until - self._hold)
        error = None if self.error is None else str(self.error)
        return WatchReport(self._index, self.age(), error, held, self._changes)

    def begin_with(self, value: T, age: float) -> None:
        """Takes a value that Consul confirmed `age` seconds ago, until it answers."""
        self._show(value, age, restored=True)

    def accept(self, value: T) -> None:
        """Takes a value that Consul has just stored; what it was asked for before may be older, and counts no more."""
        self._stored += 1
        self._show(value, 0.0, restored=False)

    def _show(self, value: T, age: float, *, restored: bool) -> None:
        first = not self.known
        self._confirmed, self.restored = time.monotonic() - age, restored
        self._held_until = math.inf
        changed, self.value = value != self.value, value
        self._answered.set()
        self._changes += changed
        if changed or first:
            self._tell(self._callbacks)

    async def run(self) -> None:
        """Follows the value until cancelled; heals for ever."""
        failures = unheld = 0
        while True:
            began, index = time.monotonic(), self._index
            try:
                self._index = await self._round(index)
            except ConsulError as error:
                self._failed(error)
                await asyncio.sleep(backoff(failures))
                failures += 1
                continue
            failures = 0
            # One without an index, or with the same one at once, is not Consul's, which would hold the query.
            at_once = self._index == index and time.monotonic() - began < _AT_ONCE
            unheld = unheld + 1 if self._index is None or at_once else 0
            if unheld > 1:
                await asyncio.sleep(backoff(unheld - 2))

    def _failed(self, error: ConsulError) -> None:
        if self.error is None:
            self._failing_since = time.monotonic()
            logger.warning("{}: not followed at the moment: {}", self.name, error)
        self.error, self._index = error, None
        self._tell(self._after_rounds)

    async def _round(self, index: int | None) -> int | None:
        began, stored = time.monotonic(), self._stored
        wait = min(LONGEST_WAIT, max(0.1, self._held_until - began))
        newest, value = await self._query(index, wait)
        if self.error is not None:
            self.error = None
            logger.info("{}: followed again", self.name)
        may_be_old = stored != self._stored and value != self.value
        if not may_be_old:
            self.answers += 1
            self._take(value)
        self._tell(self._after_rounds)
        if newest <= 0 or (index is not None and newest < index):
            newest = 0
        elif may_be_old:
            newest = index or 0  # so that the next query is answered at once
        # Consul may wake a query for changes of others: a bound for the rate, below what a caller notices.
        await asyncio.sleep(max(0.0, began + _SHORTEST_ROUND - time.monotonic()))
        return newest or None

    def _take(self, value: T) -> None:
        now = time.monotonic()
        if self._hold and value == self._empty and self.value != self._empty and now < self._held_until:
            if self._held_until == math.inf:
                self._held_until = now + self._hold
                logger.warning("{}: suddenly empty; the last known are kept for {:g} s", self.name, self._hold)
            return
        self._show(value, 0.0, restored=False)

    def _tell(self, callbacks: list[Callable[[], None]]) -> None:
        for callback in callbacks:
            callback()
