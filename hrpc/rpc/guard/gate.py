"""The limits of one method, as one."""

from __future__ import annotations

from collections.abc import Sequence
from random import getrandbits
from typing import Literal

from hrpc.errors import Overloaded
from hrpc.rpc.guard.concurrency import Places
from hrpc.rpc.guard.lag import LoopLag
from hrpc.rpc.guard.rate import Bucket

BUSY = 0.1
"""Seconds after which to try again where nothing tells how long the others will take."""

_MOST_MADE = 1000


class Refusals:
    """Makes the errors of calls that are refused, and counts them by the limit that refuses.

    To refuse has to cost less than to serve, so errors that are alike are made once.
    """

    def __init__(self) -> None:
        self.counts = {"concurrency": 0, "lag": 0, "rate": 0}
        self._made: dict[tuple[str, float], Overloaded] = {}

    def overloaded(self, limit: Literal["concurrency", "lag", "rate"], text: str, wait: float) -> Overloaded:
        """An error that says to come back after `wait` seconds, up to twice as many."""
        self.counts[limit] += 1
        # Those who are refused together would otherwise come back together. Rounding takes away less than is added.
        hint = float(f"{wait:.2g}") * (1 + (1 + getrandbits(4)) / 16)
        first = self._made.get((text, hint))
        if first is None:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            first = self._made[text, hint] = Overloaded(text, retry_after=hint)
        return first.again()


class Gate:
    """An `Admission`: lets a call in when every limit has room for it, and takes from none of them otherwise."""

    __slots__ = ("_buckets", "_lag", "_overloaded", "_places")

    def __init__(
        self, lag: LoopLag | None, places: Sequence[Places], buckets: Sequence[Bucket], refusals: Refusals
    ) -> None:
        self._lag = lag
        self._places = tuple(places)
        self._buckets = tuple(buckets)
        self._overloaded = refusals.overloaded

    def admit(self) -> None:
        """Lets a call in. Raises `Overloaded`."""
        lag = self._lag
        if lag is not None and lag.share and lag.sheds():
            raise self._overloaded("lag", "the server is overloaded", max(BUSY, lag.last))
        for places in self._places:
            if places.taken >= places.at_most:
                raise self._overloaded("concurrency", f"too many calls{_of(places.scope)} at once", BUSY)
        for bucket in self._buckets:
            wait = bucket.wait()
            if wait:
                raise self._overloaded("rate", f"too many calls{_of(bucket.scope)} a second", wait)
        for bucket in self._buckets:
            bucket.take()
        for places in self._places:
            places.taken += 1

    def release(self) -> None:
        """A call that was let in has ended."""
        for places in self._places:
            places.taken -= 1


def _of(scope: str) -> str:
    return f" of {scope}" if scope else ""
