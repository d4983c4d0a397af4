"""Databases: recipes, and the pools that they open."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable


class PoolStats(NamedTuple):
    """The connections of a pool at one moment: in use, idle, and how many callers wait for one."""

    used: int
    idle: int
    waiting: int


class StoredSettings(NamedTuple):
    """A JSON object from the configuration center, with the key it was read from (for error messages)."""

    key: str
    values: Mapping[str, Any]


class Pool(Protocol):
    """An open database."""

    @property
    def client(self) -> object:
        """What the module's ``get()`` gives."""

    async def ping(self) -> None:
        """Asks the server for a sign of life; raises `DatabaseUnavailable` without one."""

    def stats(self) -> PoolStats:
        """The pool's connections now."""

    def is_unavailable(self, error: BaseException) -> bool:
        """Whether this error, raised in a handler, says that the server is away."""

    def take_over(self, old: Any) -> None:
        """Puts itself beneath the client of `old`, another pool of the same database, whose settings have changed.

        Whoever uses the client borrows here from now on. `old` serves those who have come to it already; whoever
        opened it then closes it, which waits for them.
        """


@runtime_checkable
class Counted(Protocol):
    """A pool that counts what happens in it; metrics tell of it."""

    @property
    def activity(self) -> PoolActivity:
        """What has happened until now. A pool that takes over another goes on with its counts."""


class PoolActivity(Protocol):
    """Counts that only grow."""

    opened: int
    """Connections that were made."""
    timeouts: int
    """Borrowers that gave up."""
    closed: Mapping[str, int]
    """Connections that were closed, by reason."""
    failed: Mapping[str, int]
    """Attempts to connect that failed, by reason."""

    def histogram(self) -> tuple[list[int], float]:
        """How many borrowers waited for how long, by the bounds of `POOL_WAITS`, and all their seconds."""


POOL_WAITS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0)
"""The bounds of the histogram of waits for a connection, in seconds."""


class Database(Protocol):
    """The recipe for a database: what ``mysql.new()`` and ``redis.new()`` give. It holds no connection."""

    @property
    def name(self) -> str:
        """The name, also that of the KV key ``{env}/databases/{name}``."""

    @property
    def slot(self) -> Any:
        """The place from which the module's ``get()`` reads; it holds the open pool's `client`."""

    @property
    def needs_settings(self) -> bool:
        """Whether the settings have to come from the configuration center, because none were given in code."""

    def open(self, stored: StoredSettings | None) -> AbstractAsyncContextManager[Pool]:
        """Connects once, so that a mistake shows at the start, and gives the pool; closes it at the end.

        Raises `InvalidConfig`, `DatabaseUnavailable` or `DatabaseRefused`.
        """
