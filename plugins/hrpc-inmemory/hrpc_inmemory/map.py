"""The map."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import Generic, TypeVar, overload

from hrpc.errors import OptionError
from hrpc_inmemory.entries import Entries
from hrpc_inmemory.loading import Load, Loader
from hrpc_inmemory.statistics import Statistics
from hrpc_inmemory.timer import Timer

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
D = TypeVar("D")

LOAD_LIMIT = 30.0
_PAUSE = 1.0
"""Seconds between two attempts to load anew what is stale."""


class Map(Generic[K, V]):
    """Values by key, in the memory of this process, each for as long as its life lasts.

    ::

        users: Map[int, User] = Map("users", max_life=60.0, max_size=10_000)

        user = await users.get_or_load(7, fetch_user)       # fetch_user(7), once for all who ask meanwhile

    It may be made at import and used at once. All but `get_or_load` may be called from any thread; the counts of hits
    and misses may miss a few when several threads read at once. Values are given out as they are, not copied.
    """

    def __init__(
        self,
        name: str,
        *,
        max_life: float | None = None,
        max_size: int | None = None,
        weigh: Callable[[K, V], int] | None = None,
        stale: float = 0.0,
        keep_errors: float = 0.0,
        load_limit: float | None = LOAD_LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_life`: the seconds of an entry that is given none of its own; None for no end. `max_size`: how many
        entries there are at most, or with `weigh`, which says what one weighs, how much they weigh together; what was
        not used for longest goes first.

        `stale`: seconds after its life in which `get_or_load` still gives a value, and loads it anew beside. With
        `keep_errors`, what a loader raises is raised again for so many seconds, without a new load. `load_limit`:
        seconds that a loader has; None for no limit. `clock` is for tests. Raises `OptionError`.
        """
        self.name = name
        self._place = place = f"hrpc_inmemory.Map({name!r})"
        if not isinstance(name, str) or not name:
            raise OptionError(f"{place}: takes a name, which metrics and errors say")
        if max_size is not None and (type(max_size) is not int or max_size < 1):
            raise OptionError(f"{place}: max_size={max_size!r}: takes a whole number above 0, or None for no limit")
        if weigh is not None and max_size is None:
            raise OptionError(f"{place}: weigh is of use with max_size only; give that as well")
        self._life = math.inf if max_life is None else _seconds(place, "max_life", max_life)
        self._stale = 0.0 if stale == 0 else _seconds(place, "stale", stale)
        self._limit = None if load_limit is None else _seconds(place, "load_limit", load_limit)
        self._weigh = weigh
        self._clock = clock
        self._entries: Entries[K, V] = Entries(math.inf if max_size is None else max_size, clock)
        self._by_use = self._entries.by_use
        self._lock, self._move_to_end = self._entries.lock, self._by_use.move_to_end
        self._loads: dict[K, dict[asyncio.AbstractEventLoop, Load[K, V]]] = {}
        self._running: dict[Load[K, V], asyncio.AbstractEventLoop] = {}
        """Also those that are out of date, whose values nobody but those who wait is going to see."""
        self._errors: Map[K, tuple[Exception, TracebackType | None]] | None = None
        if keep_errors != 0:
            life = _seconds(place, "keep_errors", keep_errors)
            self._errors = Map(name, max_life=life, max_size=None if weigh is not None else max_size, clock=clock)
        self._hits = self._misses = self._given_stale = self._loaded = self._failed = 0

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: D) -> V | D: ...
    def get(self, key: K, default: D | None = None) -> V | D | None:
        """The value of `key`, else `default`."""
        entry = self._by_use.get(key)
        if entry is None:
            self._misses += 1
            return default
        if entry.ends <= self._clock():
            self._misses += 1
            self._entries.sweep()
            return default
        self._hits += 1
        with self._lock:  # as `Entries.use`, without the time of a call
            try:
                self._move_to_end(key)
            except KeyError:
                return entry.value
        return entry.value

    async def get_or_load(self, key: K, loader: Loader[K, V], *, max_life: float | None = None) -> V:
        """The value of `key`; when there is none, what ``await loader(key)`` gives, which is kept as by `set`.

        For one key, one loader runs at a time in an event loop, and all who ask meanwhile wait for it. It has the trace
        of the first of them, and neither its deadline nor its identity: it must not depend on who asks. One who is
        cancelled leaves it running for the others; when all have left, it goes on to its end, so that the next one
        finds the value. A key that was set or deleted meanwhile does not get the value of a load that began before.

        Raises what the loader raises, `LoadTimeout` after the `load_limit`, and `LoadCancelled` when the server stops.
        From a thread: ``hrpc.from_thread.run(users.get_or_load, 7, fetch_user)``.
        """
        entry = self._by_use.get(key)
        if entry is not None:
            now = self._clock()
            if now < entry.ends:
                return self.get(key, entry.value)
            if now < entry.kept:
                self._given_stale += 1
                self._entries.use(key)
                if now >= entry.again:
                    entry.again = now + _PAUSE
                    self._load(key, loader, max_life)
                return entry.value
        self._misses += 1
        if self._errors is not None and (kept := self._errors.get(key)) is not None:
            raise kept[0].with_traceback(kept[1])
        return await self._load(key, loader, max_life).result()

    def set(self, key: K, value: V, *, max_life: float | None = None) -> None:
        """Puts a value in, for `max_life` seconds, else those of the map; ``math.inf`` for no end.

        One that alone weighs more than `max_size` is not kept. Raises `OptionError` for a life that cannot be, and
        ValueError for a weight that is no whole number from 0 on.
        """
        life = self._life_of(max_life)
        with self._lock:
            self._forget(key)
            self._put(key, value, life)

    def delete(self, key: K) -> bool:
        """Takes an entry out, and says whether its value could still be had."""
        with self._lock:
            self._forget(key)
            entry = self._entries.take_out(key)
        return entry is not None and self._clock() < entry.ends

    def clear(self) -> None:
        """Takes all entries out."""
        with self._lock:
            self._loads.clear()
            if self._errors is not None:
                self._errors.clear()
            self._entries.clear()

    def items(self) -> list[tuple[K, V]]:
        """What is there now, the one used last at the end. Counts as no use."""
        with self._lock:
            now = self._clock()
            return [(key, entry.value) for key, entry in self._by_use.items() if now < entry.ends]

    def __contains__(self, key: K) -> bool:
        entry = self._by_use.get(key)
        return entry is not None and self._clock() < entry.ends

    def __len__(self) -> int:
        """How many entries there are, when those that are over have been taken out."""
        self._entries.sweep()
        return len(self._by_use)

    def __repr__(self) -> str:
        return f"<{self._place}, {len(self._by_use)} entries>"

    def statistics(self) -> Statistics:
        """What has happened, and what is there."""
        entries = self._entries
        reads = self._hits, self._misses, self._given_stale
        return Statistics(*reads, self._loaded, self._failed, entries.evicted, entries.expired, len(self), entries.size)

    @contextmanager
    def swept(self) -> Iterator[None]:
        """Takes out what has ended also while nobody uses the map, about a second late, in this event loop."""
        entries, timer = self._entries, Timer(self._entries.sweep)
        with self._lock:  # in which a thread that has just put something in tells the timers
            entries.timers = (*entries.timers, timer)
        timer.look()
        try:
            with nullcontext() if self._errors is None else self._errors.swept():
                yield
        finally:
            with self._lock:
                entries.timers = tuple(each for each in entries.timers if each is not timer)
            timer.end()

    async def end_loads(self) -> None:
        """Cancels the loads of this event loop, and waits for their end."""
        loop = asyncio.get_running_loop()
        with self._lock:
            tasks = {load.task for load, its in self._running.items() if its is loop}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _load(self, key: K, loader: Loader[K, V], max_life: float | None) -> Load[K, V]:
        """The load that runs for this key, else a new one."""
        loop = asyncio.get_running_loop()
        running = self._loads.get(key, {}).get(loop)
        if running is not None:
            return running
        life = self._life_of(max_life)

        def ended(load: Load[K, V]) -> None:
            with self._lock:
                self._running.pop(load, None)
                is_wanted = self._loads.get(key, {}).get(loop) is load
                if is_wanted:
                    del self._loads[key][loop]
                    if not self._loads[key]:
                        del self._loads[key]
                if load.error is not None:
                    self._failed += 1
                    if is_wanted and self._errors is not None:
                        self._errors.set(key, (load.error, load.traceback))
                elif is_wanted and not load.is_cancelled:
                    self._put(key, load.value, life)

        self._loaded += 1
        load = Load(self._place, key, loader, self._limit, ended)
        with self._lock:
            self._loads.setdefault(key, {})[loop] = load
            self._running[load] = loop
        return load

    def _put(self, key: K, value: V, life: float) -> None:
        weight = 1 if self._weigh is None else self._weigh(key, value)
        if type(weight) is not int or weight < 0:
            raise ValueError(f"{self._place}: weigh has given {weight!r}: it has to give a whole number from 0 on")
        self._entries.put(key, value, life, self._stale, weight)

    def _forget(self, key: K) -> None:
        """What was loaded, or has failed, before now, is out of date."""
        self._loads.pop(key, None)
        if self._errors is not None:
            self._errors.delete(key)

    def _life_of(self, max_life: float | None) -> float:
        return self._life if max_life is None else _seconds(self._place, "max_life", max_life)


def _seconds(place: str, name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise OptionError(f"{place}: {name}={value!r}: takes seconds above 0")
    return float(value)
