"""Databases opened for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from hrpc.database import mysql, redis
from hrpc.testing.servers import MySQLServer, RedisServer

Open = Callable[..., Any]


def login(server: MySQLServer, **more: Any) -> dict[str, Any]:
    """What ``mysql.new()`` needs for a server, with further settings."""
    return server.settings | more


@pytest.fixture
async def open_mysql(mariadb: MySQLServer) -> AsyncIterator[Open]:
    """Opens the shared MySQL with further settings, and gives the pool."""
    async with AsyncExitStack() as stack:

        async def open_(**more: Any) -> Any:
            return await stack.enter_async_context(mysql.new(**login(mariadb, **more)).open(None))

        yield open_


@pytest.fixture
async def open_redis(redis_server: RedisServer) -> AsyncIterator[Open]:
    """Opens the shared Redis with further settings, and gives the pool."""
    async with AsyncExitStack() as stack:

        async def open_(**more: Any) -> Any:
            options = redis_server.settings | more
            return await stack.enter_async_context(redis.new(**options).open(None))

        yield open_


@pytest.fixture
async def table(open_mysql: Open) -> AsyncIterator[str]:
    """An empty table with a number `n` and an automatic `id`."""
    db = (await open_mysql()).client
    await db.execute("DROP TABLE IF EXISTS adapter_numbers")
    await db.execute("CREATE TABLE adapter_numbers (id INT PRIMARY KEY AUTO_INCREMENT, n INT NOT NULL UNIQUE)")
    yield "adapter_numbers"
    await db.execute("DROP TABLE adapter_numbers")
