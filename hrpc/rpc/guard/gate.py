"""The limits of one method, as one."""

from __future__ import annotations

from collections.abc import Sequence
from random import getrandbits

from hrpc.errors import Overloaded
from hrpc.rpc.guard.concurrency import Places
from hrpc.rpc.guard.lag import LoopLag
from hrpc.rpc.guard.rate import Bucket

BUSY = 0.1
"""Seconds after which to try again where nothing tells how long the others will take."""

_MOST_MADE = 1000


class Refusals:
    """How many calls each kind of limit has refused."""

    __slots__ = ("concurrency", "lag", "rate")

    def __init__(self) -> None:
        self.concurrency = 0
        self.lag = 0
        self.rate = 0

    def read(self) -> dict[str, float]:
        """The numbers, by the limit."""
        return {"concurrency": self.concurrency, "lag": self.lag, "rate": self.rate}


class Gate:
    """An `Admission`: lets a call in when every limit has room for it, and takes from none of them otherwise."""

    __slots__ = ("_buckets", "_lag", "_overloaded", "_places", "_refusals")

    def __init__(
        self, lag: LoopLag | None, places: Sequence[Places], buckets: Sequence[Bucket], refusals: Refusals
    ) -> None:
        self._lag = lag
        self._places = tuple(places)
        self._buckets = tuple(buckets)
        self._refusals = refusals
        self._overloaded = _Refusing().overloaded

    def admit(self) -> None:
        """Lets a call in. Raises `Overloaded`."""
        lag = self._lag
        if lag is not None and lag.share and lag.sheds():
            self._refusals.lag += 1
            raise self._overloaded("the server is overloaded", max(BUSY, lag.last))
        for places in self._places:
            if places.taken >= places.at_most:
                self._refusals.concurrency += 1
                raise self._overloaded(f"too many calls{_of(places.scope)} at once", BUSY)
        for bucket in self._buckets:
            wait = bucket.wait()
            if wait:
                self._refusals.rate += 1
                raise self._overloaded(f"too many calls{_of(bucket.scope)} a second", wait)
        for bucket in self._buckets:
            bucket.take()
        for places in self._places:
            places.taken += 1

    def release(self) -> None:
        """A call that was let in has ended."""
        for places in self._places:
            places.taken -= 1


class _Refusing:
    """Makes the errors: refusing has to cost much less than serving, so those that are alike are made once."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, float], Overloaded] = {}

    def overloaded(self, text: str, wait: float) -> Overloaded:
        """An error that says to come back after `wait` seconds, up to twice as many."""
        # Those who are refused together would otherwise come back together. Rounding takes away less than is added.
        hint = float(f"{wait:.2g}") * (1 + (1 + getrandbits(4)) / 16)
        first = self._made.get((text, hint))
        if first is None:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            first = self._made[text, hint] = Overloaded(text, retry_after=hint)
        return first.again()


def _of(scope: str) -> str:
    return f" of {scope}" if scope else ""
