"""How many calls may be made once more."""

from __future__ import annotations

import time
from collections.abc import Callable

MINIMUM = 10.0
"""Attempts a second that are always allowed, for services with few calls."""

MOST = 100.0
"""The most that is saved up, so that a quiet hour does not pay for a storm."""


class Budget:
    """A bucket of tokens that is filled by calls, and by time; looked at only when something is to be made again."""

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`share` of the calls may be made again; 0 allows none at all."""
        self._share = share
        self._clock = clock
        self._tokens = MINIMUM if share else 0.0
        self._at = clock()
        self._calls = 0

    def take(self, calls: int) -> bool:
        """Whether one more attempt may be made, when there have been so many `calls` until now; counts it if so."""
        if not self._share:
            return False
        now = self._clock()
        earned = (calls - self._calls) * self._share + (now - self._at) * MINIMUM
        self._tokens = min(MOST, self._tokens + earned)
        self._calls, self._at = calls, now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
