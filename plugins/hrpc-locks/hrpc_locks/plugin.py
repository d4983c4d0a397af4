"""Locks in the life of a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from hrpc import Option, _runtime, life, metrics, with_pre_run
from hrpc.database import redis
from hrpc.errors import OptionError
from hrpc.plugin import Plugin, option
from hrpc_locks import checks
from hrpc_locks.locks import TIMEOUT, TTL, Lock, Locks

_COUNTERS = {
    "acquired": "Locks that were had.",
    "waited": "Those of them that were not free at once.",
    "timeouts": "Tasks that gave up waiting for a lock.",
    "lost": "Locks that ended before the block that held them.",
}


def with_locks(*, redis: str | None = None, ttl: float = TTL, timeout: float = TIMEOUT) -> Option:
    """Locks on the Redis of ``hrpc.with_databases(redis.new())``, or the one of this name.

    A lock whose holder is gone ends after `ttl` seconds, 10 as in the Go framework; as long as its block lasts, it is
    renewed after each third of that. `timeout`: for how many seconds those wait who do not say. Raises `OptionError`.
    """
    return option("hrpc_locks.with_locks", RedisLocks(redis=redis, ttl=ttl, timeout=timeout))


def write(name: str, *, timeout: float | None = None, redis: str | None = None, cancel_when_lost: bool = True) -> Lock:
    """A lock that one task alone has, in all processes of this environment, while the block lasts.

    ::

        async with hrpc_locks.write("orders/7", timeout=5) as held:
            await mysql.get().execute("UPDATE … WHERE id = 7 AND fence < %s", held.token)

    A task that has it may enter it again, to write or to read; the last block to end gives it back. Another task has
    to wait, also one that this task has started. `timeout` in seconds: 0 does not wait. `redis` is the name of the
    database, if it is another one than the option's.

    When the lock is lost, `Held.lost` is set, and the block is cancelled: it then raises `LockLost`. With
    ``cancel_when_lost=False`` it goes on, and raises `LockLost` at its end.

    Raises `LockTimeout`, `LockUnavailable` when Redis is away, `LockUpgrade` in a task that has it to read,
    `OptionError` for what cannot be a name, and `NotRunning` outside of a server with `with_locks`.
    """
    return slot.get().of(redis).write(name, timeout=timeout, cancel_when_lost=cancel_when_lost)


def read(name: str, *, timeout: float | None = None, redis: str | None = None, cancel_when_lost: bool = True) -> Lock:
    """A lock that others have as well, to read; nobody has it to write meanwhile.

    Who comes after a writer that waits, waits behind it. All else is as with `write`.
    """
    return slot.get().of(redis).read(name, timeout=timeout, cancel_when_lost=cancel_when_lost)


class OpenLocks:
    """The locks of a running server, on each Redis that was asked for."""

    def __init__(self, prefix: str, own: str | None, ttl: float, timeout: float) -> None:
        self._prefix = prefix
        self._own = own
        self._ttl = ttl
        self._timeout = timeout
        self._opened: dict[str, Locks] = {}
        self._is_closed = False

    def of(self, name: str | None) -> Locks:
        """Those on the Redis of this name. Raises `NotRunning` when there is none."""
        name = name or self._own or "redis"
        locks = self._opened.get(name)
        if locks is None:
            of = None if name == "redis" else name
            locks = Locks(
                redis.get(of), prefix=self._prefix, ttl=self._ttl, timeout=self._timeout, listening=redis.blocking(of)
            )
            self._opened[name] = locks
        return locks

    def read(self, what: str) -> dict[str, float]:
        """A count of each."""
        return {name: locks.counts[what] for name, locks in self._opened.items()}

    def held(self) -> dict[str, float]:
        """How many are held."""
        return {name: locks.held for name, locks in self._opened.items()}

    def waiting(self) -> dict[str, float]:
        """How many tasks wait for one."""
        return {name: locks.waiting for name, locks in self._opened.items()}

    async def settle(self) -> None:
        """Waits until Redis has forgotten who has left."""
        for locks in self._opened.values():
            await locks.settle()

    async def end(self) -> None:
        """Gives none any more."""
        for locks in self._opened.values():
            await locks.end()


slot: _runtime.Slot[OpenLocks] = _runtime.Slot("hrpc_locks", "hrpc_locks.with_locks()")


class RedisLocks(Plugin):
    """Locks on Redis, as a plugin: see `with_locks`."""

    name = "hrpc-locks"

    def __init__(self, *, redis: str | None = None, ttl: float = TTL, timeout: float = TIMEOUT) -> None:
        """Raises `OptionError`."""
        where = "hrpc_locks.with_locks"
        if redis is not None and not isinstance(redis, str):
            raise OptionError(f"{where}: redis={redis!r}: takes the name of a database, as in redis.new(name=…)")
        self._redis = redis
        self._ttl = checks.seconds(where, "ttl", ttl, least=checks.SHORTEST_TTL)
        self._timeout = checks.seconds(where, "timeout", timeout)
        self.options = (with_pre_run(self._find, name="hrpc-locks finds its Redis"),)

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Gives locks for as long as Redis is there: also to what goes on when the calls have drained."""
        runtime = _runtime.current()
        assert runtime is not None
        opened = OpenLocks(runtime.prefix, self._redis, self._ttl, self._timeout)
        for name, help in _COUNTERS.items():
            metrics.register_counter(f"locks_{name}", help, ("redis",), read=_reading(opened, name))
        metrics.register_gauge("locks_held", "Locks that are held.", ("redis",), workers="sum", read=opened.held)
        metrics.register_gauge("locks_waiting", "Tasks that wait.", ("redis",), workers="sum", read=opened.waiting)
        life.when_exit(opened.settle)
        with runtime.provide(slot, opened):
            try:
                yield
            finally:
                await opened.end()

    async def _find(self) -> None:
        """Raises `NotRunning` when the server has no such Redis: its start fails, and not the first lock."""
        slot.get().of(None)


def _reading(opened: OpenLocks, name: str) -> Callable[[], dict[str, float]]:
    return lambda: opened.read(name)
