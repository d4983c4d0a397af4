"""Redis, through redis-py with a pool that never repeats a command.

::

    server = hrpc.new_server(..., hrpc.with_databases(redis.new()))     # settings from {env}/databases/redis in Consul

    await redis.get().incr("orders:read")
    await redis.blocking().blpop("jobs", timeout=30)

A service may have several, each with a name and a pool of its own: ``redis.new(name="cache")`` reads its settings from
{env}/databases/cache, and ``redis.get("cache")`` gives it.

redis-py is imported when the database is opened. Its defaults are not used: they repeat a command whose answer was
lost, so that one INCR can count twice, and take up to 10 s to say that a server is away.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Unpack, cast

from hrpc._runtime import Slots
from hrpc.abc import Pool
from hrpc.database.recipe import Recipe, new_recipe
from hrpc.database.redis.settings import RedisOptions, RedisSettings

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["RedisOptions", "RedisSettings", "blocking", "get", "new", "valid"]

slots: Slots[Redis] = Slots("redis", "hrpc.with_databases(redis.new({}))")
slot = slots.own


def new(*, name: str | None = None, **settings: Unpack[RedisOptions]) -> Recipe[RedisSettings]:
    """The recipe for a Redis database, to pass to ``hrpc.with_databases``.

    ::

        redis.new()                                      # everything from Consul KV
        redis.new(name="cache")                          # another one, from its own key
        redis.new(address="10.0.0.6", password=…)        # nothing from Consul KV
        redis.new(address="/run/redis.sock", network="unix")

    Without a `name` it is called ``redis``. The name is what `get` takes, and what Consul KV, probes, metrics and
    errors call it, so that a server has each only once.

    The settings and their defaults are those of `RedisSettings`; None is as not given. Raises `OptionError` for an
    unknown setting, for a name that cannot be, or when redis-py is not installed, and `InvalidConfig` for a value that
    cannot be.
    """
    return new_recipe(slots, name, RedisSettings, cast(dict[str, Any], settings), _connect, "redis")


def get(name: str | None = None) -> Redis:
    """The Redis client of the running server, or the one of this name: a ``redis.asyncio.Redis``.

    Raises `NotRunning` where there is none.

    Its errors are those of ``redis.exceptions``; a full pool raises `PoolTimeout`, which is also a redis
    ConnectionError. A command whose answer is lost raises, and is not repeated.
    """
    return slots.get(name)


def blocking(name: str | None = None) -> Redis:
    """A client without a limit on the wait for an answer, with a pool of its own: for BLPOP, XREAD BLOCK and the like.

    A client that was put in place by a test is its own. Raises `NotRunning` outside of a running server.
    """
    client = slots.get(name)
    return cast("Redis", getattr(client, "blocking_client", client))


async def valid(name: str | None = None) -> bool:
    """Whether the Redis of the running server answers now, or the one of this name. Raises `NotRunning` without it."""
    from redis.exceptions import RedisError

    try:
        await slots.get(name).ping()
    except RedisError:
        return False
    return True


def _connect(settings: RedisSettings) -> AbstractAsyncContextManager[Pool]:
    from hrpc.database.redis.pool import open_pool

    return open_pool(settings)
