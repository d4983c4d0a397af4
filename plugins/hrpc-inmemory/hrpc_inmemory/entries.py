"""The entries of a map: which of them end next, and which were not used for longest."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

from hrpc_inmemory.timer import Timer

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_SLACK = 64
"""Ends of entries that are gone, beyond which they are sorted out."""


class Entry(Generic[V]):
    """A value: until `ends` it is what the map has, until `kept` it may be given while it is loaded anew."""

    __slots__ = ("again", "ends", "kept", "number", "value", "weight")

    def __init__(self, value: V, ends: float, kept: float, weight: int, number: int) -> None:
        self.value = value
        self.ends = ends
        self.kept = kept
        self.weight = weight
        self.number = number
        self.again = ends
        """When it may be loaded anew."""


class Entries(Generic[K, V]):
    """What is there, the one used last at the end of `by_use`. Whoever writes or moves one holds `lock`: an OrderedDict
    that two threads change at once, with keys that are compared in Python, is destroyed.

    What was replaced or deleted is not looked for among the ends: it is passed over when its time has come, and sorted
    out before it is more than what is there. So nothing is ever searched, and nothing is left behind.
    """

    def __init__(self, max_size: float, clock: Callable[[], float]) -> None:
        # Reentrant: what ends with its value may itself use the map.
        self.lock = threading.RLock()
        self.by_use: OrderedDict[K, Entry[V]] = OrderedDict()
        self.size = self.evicted = self.expired = 0
        self.timers: tuple[Timer, ...] = ()
        self._max_size = max_size
        self._clock = clock
        self._ends: list[tuple[float, int, K]] = []
        self._numbers = itertools.count()

    def put(self, key: K, value: V, life: float, stale: float, weight: int) -> None:
        """Puts one in the place of what is there; takes out what has ended, and what there is no more room for."""
        now = self._clock()
        self._take_out_ended(now)
        if weight > self._max_size:
            self.take_out(key)
            self.evicted += 1
            return
        before = self.by_use.get(key)
        entry = Entry(value, now + life, now + life + stale, weight, next(self._numbers))
        self.by_use[key] = entry
        self.by_use.move_to_end(key)
        self.size += weight - (0 if before is None else before.weight)
        while self.size > self._max_size:
            self.size -= self.by_use.popitem(last=False)[1].weight
            self.evicted += 1
        if entry.kept < math.inf:
            self._note(entry.kept, entry.number, key)
            for timer in self.timers:
                timer.expect(entry.kept - now)

    def use(self, key: K) -> None:
        """Puts one at the end of `by_use`, unless another thread has just taken it out."""
        with self.lock, suppress(KeyError):
            self.by_use.move_to_end(key)

    def take_out(self, key: K) -> Entry[V] | None:
        """Takes one out; None when it was not there."""
        entry = self.by_use.pop(key, None)
        if entry is not None:
            self.size -= entry.weight
        return entry

    def clear(self) -> None:
        """Takes all out."""
        entries = self.by_use.copy()  # values that end with this do so when it is done
        self.by_use.clear()
        self._ends.clear()
        self.size = 0
        entries.clear()

    def sweep(self) -> float | None:
        """Takes out what has ended; gives the seconds until there is more, or None when all that is there stays."""
        with self.lock:
            now = self._clock()
            self._take_out_ended(now)
            return self._ends[0][0] - now if self._ends else None

    def _note(self, ends: float, number: int, key: K) -> None:
        heapq.heappush(self._ends, (ends, number, key))
        if len(self._ends) > 2 * len(self.by_use) + _SLACK:
            self._ends = [end for end in self._ends if self._is_there(end[2], end[1])]
            heapq.heapify(self._ends)

    def _take_out_ended(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            _, number, key = heapq.heappop(self._ends)
            if self._is_there(key, number):
                self.take_out(key)
                self.expired += 1

    def _is_there(self, key: K, number: int) -> bool:
        entry = self.by_use.get(key)
        return entry is not None and entry.number == number
