"""Making ids: each is a time, the node that made it, and a number within its millisecond."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple
from weakref import WeakSet

from hrpc.errors import UniqueIdError

EPOCH = 1_597_472_019_000
"""Where the time of ids begins, in milliseconds since 1970: in August 2020, as in the Go framework."""
NODES = 1024
"""Node ids there are: 10 bits."""
PER_MILLISECOND = 4096
"""Ids that one node makes in a millisecond at most: 12 bits."""
LAST = (1 << 41) - 1
"""The last millisecond for which there are ids of 63 bits, in 2090."""

_MS = 1_000_000
_NODE_SHIFT, _TIME_SHIFT = 12, 22
_SLOWER = 8
"""A clock that was set back is neared by an eighth of the time that passes, so that no id has to wait for it."""


class Parts(NamedTuple):
    """What an id is made of."""

    time: datetime
    """When it was made, to the millisecond, in UTC."""
    node: int
    """Which node made it, 0 to 1023."""
    sequence: int
    """Which one of its millisecond it was, 0 to 4095."""


class Grant(NamedTuple):
    """The right to make ids for a node. Times are those of ids: milliseconds since `EPOCH`."""

    node: int
    after: int = -1
    """The ids of this node have been made up to here by somebody else, perhaps."""
    until: int = LAST
    """No id has a later time."""
    deadline: int | None = None
    """No id is made from here on, in nanoseconds of `clock`; None for no such limit."""


def clock() -> int:
    """Nanoseconds of a clock that nobody sets, and that goes on while the machine sleeps, where the system has one."""
    return time.clock_gettime_ns(_CLOCK)


_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Generator:
    """Makes the ids of one node; any thread may ask it.

    ::

        ids = Generator(7)
        ids.next_id()

    No two processes may have the same node id at a time, nor two generators of a process: `hrpc.uniqueid.next_id` sees
    to that. In a process that was forked, a generator makes no ids.
    """

    def __init__(
        self,
        node: int | None,
        *,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
        clock: Callable[[], int] = clock,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`node`: 0 to 1023, or None for one that is granted later. The clocks give nanoseconds. Raises ValueError."""
        if node is not None and (type(node) is not int or not 0 <= node < NODES):
            raise ValueError(f"Generator(node={node!r}): takes a whole number from 0 to {NODES - 1}")
        self._wall, self._monotonic, self._clock, self._sleep = wall, monotonic, clock, sleep
        self._grant = None if node is None else Grant(node)
        self._refused = "unique ids: no node id is granted yet"
        self._looked = monotonic()
        self._ahead = wall() - self._looked
        self._time = -1
        # Taking from an iterator of C is one step, which no other thread can divide: it needs no lock.
        self._ids: Iterator[int] = iter(())
        self._ends = 0
        self._turning = threading.Lock()
        self.when_refused: Callable[[], object] | None = None
        """Called, in the thread that asked, when a grant no longer holds."""
        _generators.add(self)

    @property
    def node(self) -> int:
        """The node id. Raises `UniqueIdError` when there is none now."""
        with self._turning:
            return self._granted().node

    @property
    def last_time(self) -> int:
        """The time of the last ids that were made, in milliseconds since `EPOCH`."""
        return self._time

    def now(self) -> int:
        """The time that an id made now would have, in milliseconds since `EPOCH`."""
        with self._turning:
            return max(self._time, self._look(self._monotonic())[0])

    def next_id(self) -> int:
        """A new id, larger than all before it in this process.

        When all 4,096 of a millisecond are taken, it waits for the next one. Raises `UniqueIdError`.
        """
        if self._monotonic() < self._ends and (found := next(self._ids, None)) is not None:
            return found
        return self._turn()

    def next_ids(self, count: int) -> list[int]:
        """So many new ids, ascending. It waits as `next_id` does, for about a millisecond per 4,096.

        Raises `UniqueIdError`, and ValueError for a count below 0.
        """
        found: list[int] = []
        if count < 0:
            raise ValueError(f"next_ids({count!r}): takes 0 or more")
        while len(found) < count:
            found.append(self.next_id())
            found += islice(self._ids, count - len(found))
        return found

    def grant(self, grant: Grant) -> None:
        """Lets it make ids; one for the same node prolongs the one before it."""
        with self._turning:
            if self._grant is None or grant.node != self._grant.node:
                self._stop()
                self._time = max(self._time, grant.after)
            self._grant = grant

    def revoke(self, reason: str) -> None:
        """Lets it make no more ids; `reason` is what `UniqueIdError` says."""
        with self._turning:
            self._grant, self._refused = None, reason
            self._stop()

    def forked(self) -> None:
        """This process was forked from the one to which the node id belongs."""
        self._turning = threading.Lock()  # which another thread may have held at that moment
        self.revoke(
            "unique ids: this process was forked from the one that has the node id; make a Generator in it, with "
            "another node id"
        )

    def _stop(self) -> None:
        self._ids, self._ends = iter(()), 0

    def _turn(self) -> int:
        """An id of now. The next ones of this millisecond need no look at what is granted, and at the clock."""
        with self._turning:
            while True:
                grant = self._granted()
                now = self._monotonic()
                when, left = self._look(now)
                self._check(grant, when)
                if when > self._time:
                    first = when << _TIME_SHIFT | grant.node << _NODE_SHIFT
                    self._time, self._ids = when, iter(range(first, first + PER_MILLISECOND))
                self._ends = now + left
                if (found := next(self._ids, None)) is not None:
                    return found
                self._sleep(left / 1e9)

    def _granted(self) -> Grant:
        if self._grant is None:
            raise UniqueIdError(self._refused)
        return self._grant

    def _look(self, now: int) -> tuple[int, int]:
        """The time for ids, and the nanoseconds until its end. It goes on when somebody sets the clock back."""
        passed, self._looked = now - self._looked, now
        self._ahead = max(self._wall() - now, self._ahead - passed // _SLOWER)
        since = now + self._ahead - EPOCH * _MS
        return since // _MS, _MS - since % _MS

    def _check(self, grant: Grant, when: int) -> None:
        if not 0 <= when <= LAST:
            raise UniqueIdError(
                f"unique ids: the clock of this machine says {_date(when):%Y-%m-%d}, and ids are for "
                f"{_date(0):%Y-%m-%d} to {_date(LAST):%Y-%m-%d}: set it right"
            )
        late = grant.deadline is not None and self._clock() >= grant.deadline
        if not late and when <= grant.until:
            return
        if self.when_refused is not None:
            self.when_refused()
        if late:
            raise UniqueIdError(
                f"unique ids: node id {grant.node} has not been confirmed in time, and may be another's"
            )
        raise UniqueIdError(
            f"unique ids: the clock of this machine has gone ahead to {_date(when):%Y-%m-%d %H:%M:%S} UTC, for which "
            f"node id {grant.node} is not confirmed yet"
        )


def parts(id: int) -> Parts:
    """The parts of an id. Raises ValueError for what cannot be one."""
    if type(id) is not int or not 0 <= id < 1 << 63:
        raise ValueError(f"parts({id!r}): takes an id, a whole number of at most 63 bits")
    return Parts(_date(id >> _TIME_SHIFT), id >> _NODE_SHIFT & NODES - 1, id & PER_MILLISECOND - 1)


def _date(when: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=when + EPOCH)


_generators: WeakSet[Any] = WeakSet()


def _after_fork() -> None:
    for generator in list(_generators):
        generator.forked()


os.register_at_fork(after_in_child=_after_fork)
