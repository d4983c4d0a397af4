"""A limit on calls a second."""

from __future__ import annotations

import time
from collections.abc import Callable

from hrpc.option.limits import Rate

# A wait that is told and then kept exactly must be long enough, however its sum was rounded.
_ALMOST_ONE = 1 - 1e-9


class Bucket:
    """A token bucket: it fills by `Rate.per_second`, holds `Rate.burst`, and each call takes one token."""

    __slots__ = ("_at", "_clock", "_rate", "_tokens", "scope")

    def __init__(self, rate: Rate, scope: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        """`scope` is the service or the method that it limits; empty for the server."""
        self.scope = scope
        self._rate = rate
        self._clock = clock
        self._tokens = rate.burst
        self._at = clock()

    def wait(self) -> float:
        """Seconds until there is a token; 0 when there is one now."""
        now = self._clock()
        tokens = self._tokens + (now - self._at) * self._rate.per_second
        self._tokens = tokens = min(tokens, self._rate.burst)
        self._at = now
        return 0.0 if tokens >= _ALMOST_ONE else (1 - tokens) / self._rate.per_second

    def take(self) -> None:
        """Takes the token that `wait` has found."""
        self._tokens -= 1
