"""Redis, through redis-py with a pool that never repeats a command.

::

    server = hrpc.new_server(..., hrpc.with_databases(redis.new()))     # settings from {env}/databases/redis in Consul

    await redis.get().incr("orders:read")
    await redis.blocking().blpop("jobs", timeout=30)

redis-py is imported when the database is opened. Its defaults are not used: they repeat a command whose answer was
lost, so that one INCR can count twice, and take up to 10 s to say that a server is away.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Unpack, cast

from hrpc._runtime import Slot
from hrpc.abc import Pool
from hrpc.database.recipe import Recipe, new_recipe
from hrpc.database.redis.settings import RedisOptions, RedisSettings

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["RedisOptions", "RedisSettings", "blocking", "get", "new", "valid"]

slot: Slot[Redis] = Slot("redis", "hrpc.with_databases(redis.new())")


def new(**settings: Unpack[RedisOptions]) -> Recipe[RedisSettings]:
    """The recipe for a Redis database, to pass to ``hrpc.with_databases``.

    ::

        redis.new()                                      # everything from Consul KV
        redis.new(address="10.0.0.6", password=…)        # nothing from Consul KV
        redis.new(address="/run/redis.sock", network="unix")

    The settings and their defaults are those of `RedisSettings`; None is as not given. Raises `OptionError` for an
    unknown name or when redis-py is not installed, and `InvalidConfig` for a value that cannot be.
    """
    return new_recipe(slot, RedisSettings, cast(dict[str, Any], settings), _connect, "redis")


def get() -> Redis:
    """The Redis client of the running server: a ``redis.asyncio.Redis``. Raises `NotRunning` outside of one.

    Its errors are those of ``redis.exceptions``; a full pool raises `PoolTimeout`, which is also a redis
    ConnectionError. A command whose answer is lost raises, and is not repeated.
    """
    return slot.get()


def blocking() -> Redis:
    """A client without a limit on the wait for an answer, with a pool of its own: for BLPOP, XREAD BLOCK and the like.

    A client that was put in place by a test is its own. Raises `NotRunning` outside of a running server.
    """
    client = slot.get()
    return cast("Redis", getattr(client, "blocking_client", client))


async def valid() -> bool:
    """Whether the Redis of the running server answers now. Raises `NotRunning` outside of one."""
    from redis.exceptions import RedisError

    try:
        await slot.get().ping()
    except RedisError:
        return False
    return True


def _connect(settings: RedisSettings) -> AbstractAsyncContextManager[Pool]:
    from hrpc.database.redis.pool import open_pool

    return open_pool(settings)
