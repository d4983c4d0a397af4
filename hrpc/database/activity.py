"""What happens in a pool, counted: metrics read it when they are scraped."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from hrpc.abc import POOL_WAITS


class Activity:
    """Counts that only grow; a pool hands its own on to the one that takes its place."""

    __slots__ = ("at_once", "closed", "failed", "opened", "timeouts", "waited", "waits")

    def __init__(self) -> None:
        self.at_once = 0
        """How many borrowers had a connection without waiting; they count as less than the first bound."""
        self.waits = [0] * (len(POOL_WAITS) + 1)
        self.waited = 0.0
        """Seconds that borrowers have waited: for their turn, and for a connection that is made or asked for a sign."""
        self.timeouts = 0
        """How many borrowers gave up, after acquire_timeout."""
        self.opened = 0
        self.closed: Counter[str] = Counter()
        """By reason: ``cancelled``, ``lost``, ``session``, ``failover``, ``lifetime``, ``idle``, ``end``."""
        self.failed: Counter[str] = Counter()
        """Attempts to connect, by reason: ``timeout``, ``unreachable``, ``refused``, ``full``."""

    def wait(self, seconds: float) -> None:
        """A borrower has a connection after so many seconds."""
        self.waits[bisect_left(POOL_WAITS, seconds)] += 1
        self.waited += seconds

    def add(self, other: Activity) -> None:
        """Counts what another pool has done until now."""
        self.at_once += other.at_once
        self.waits = [one + more for one, more in zip(self.waits, other.waits, strict=True)]
        self.waited += other.waited
        self.timeouts += other.timeouts
        self.opened += other.opened
        self.closed.update(other.closed)
        self.failed.update(other.failed)

    def histogram(self) -> tuple[list[int], float]:
        """How many waits fell into each bucket, and their sum."""
        return [self.waits[0] + self.at_once, *self.waits[1:]], self.waited
