"""Databases that die under a serving server: calls fail clearly while they are away, and nothing is lost after."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest

import hrpc
from hrpc.abc import Database
from hrpc.database import mysql, redis
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer, MySQLServer, RedisServer
from tests import agent
from tests.echo import add_echo, call
from tests.eventually import eventually
from tests.server.pooled import PATIENT, connections

DEADLINE = 25.0
"""Seconds; longer than anything that a caller waits for."""
CALLERS = 16


def of(server: MySQLServer, **more: Any) -> Database:
    return mysql.new(**server.settings, **more)


async def read_mysql(_: bytes, __: Any) -> bytes:
    row = await mysql.get().query_one("SELECT %s AS answer", 42)
    assert row is not None
    return str(row["answer"]).encode()


async def read_redis(_: bytes, __: Any) -> bytes:
    return str(await redis.get().incr("under-load")).encode()


@pytest.mark.parametrize("kind", ["mysql", "redis"])
async def test_a_database_that_is_killed_under_load(kind: str, request: pytest.FixtureRequest, free_port: int) -> None:
    database: Database
    if kind == "mysql":
        own: MySQLServer | RedisServer = request.getfixturevalue("own_mariadb")
        assert isinstance(own, MySQLServer)
        database = of(own, max_open_conns=8, max_idle_conns=8, **PATIENT)
    else:
        own = request.getfixturevalue("own_redis")
        database = redis.new(address=own.host, port=own.port, max_open_conns=8, **PATIENT)
    server = hrpc.new_server(
        hrpc.with_server_name("loaded"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_health_check(free_port),
        hrpc.with_databases(database),
    )
    add_echo(server, Read=read_mysql if kind == "mysql" else read_redis)
    ended: Counter[grpc.StatusCode] = Counter()
    details: set[str] = set()
    enough = asyncio.Event()

    async def load(channel: grpc.aio.Channel) -> None:
        while not enough.is_set():
            try:
                await call(channel, "Read", timeout=DEADLINE)
                ended[grpc.StatusCode.OK] += 1
            except grpc.aio.AioRpcError as error:
                ended[error.code()] += 1
                details.add((error.details() or "").partition(" (")[0])

    async def count(code: grpc.StatusCode, more: int) -> None:
        until = ended[code] + more

        async def reached() -> bool:
            return ended[code] >= until

        await eventually(reached, 30)

    async with server, grpc.aio.insecure_channel(server.address) as channel:
        loads = [asyncio.create_task(load(channel)) for _ in range(CALLERS)]
        await count(grpc.StatusCode.OK, 100)
        assert set(ended) == {grpc.StatusCode.OK}
        await asyncio.to_thread(own.kill)
        await count(grpc.StatusCode.UNAVAILABLE, 100)
        assert await readiness(free_port) == (503, kind)
        await asyncio.to_thread(own.start)

        async def well() -> bool:
            try:
                return bool(await call(channel, "Read", timeout=DEADLINE))
            except grpc.aio.AioRpcError:
                return False

        await eventually(well)
        after = ended.copy()
        await count(grpc.StatusCode.OK, 200)
        enough.set()
        await asyncio.gather(*loads)
        assert set(ended) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}, "none ran into its deadline"
        assert ended[grpc.StatusCode.UNAVAILABLE] - after[grpc.StatusCode.UNAVAILABLE] <= CALLERS
        assert details == {f"{kind} is unavailable"}

        async def ready() -> bool:
            return (await readiness(free_port))[0] == 200

        await eventually(ready)
        assert server._running is not None
        pools = server._running.parts.pools
        assert (pools.connections()[kind, "used"], pools.waiting()[kind]) == (0, 0)
        # Every permit of the pool is back: as many calls as it has connections run side by side.
        assert len(await asyncio.gather(*(call(channel, "Read", timeout=DEADLINE) for _ in range(8)))) == 8


async def readiness(port: int) -> tuple[int, str]:
    """The status of the probe, and the first part that is not well."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/healthx/readiness") as response:
            parts = (await response.json())["parts"]
            return response.status, next((name for name, said in parts.items() if said != "ok"), "")


async def test_settings_from_consul_open_the_pools_and_settings_in_code_need_no_key(
    consul: ConsulServer, mariadb: MySQLServer, redis_server: RedisServer
) -> None:
    stored = mariadb.settings | {"max_open_conns": 5}
    await agent.store(consul.address, "pools/databases/mysql", json.dumps(stored))
    server = hrpc.new_server(
        hrpc.with_server_name("pools"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_consul(Consul(address=consul.address, prefix="pools")),
        hrpc.with_databases(mysql.new(), redis.new(address=redis_server.host, port=redis_server.port)),
        hrpc.with_graceful_stop(drain_delay=0),
    )
    async with server:
        assert await mysql.get().query_one("SELECT 1 AS one") == {"one": 1}
        assert await mysql.valid()
        assert await redis.valid()


async def test_a_sync_handler_has_the_client_and_the_async_one_uses_it(mariadb: MySQLServer) -> None:
    seen: list[object] = []

    def look(_: bytes, __: Any) -> bytes:
        seen.append(mysql.get())
        return b""

    server = hrpc.new_server(
        hrpc.with_server_name("threads"), hrpc.with_listen_port(0, host="127.0.0.1"), hrpc.with_databases(of(mariadb))
    )
    add_echo(server, Look=look)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        await call(channel, "Look")
        assert seen == [mysql.get()]


async def test_a_start_that_fails_later_leaves_no_connection_open(own_mariadb: MySQLServer, free_port: int) -> None:
    server = hrpc.new_server(
        hrpc.with_server_name("failing"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_databases(of(own_mariadb), redis.new(address="127.0.0.1", port=free_port, connect_timeout=0.3)),
    )
    with pytest.raises(hrpc.errors.StartError, match=f"redis: .*127.0.0.1:{free_port}"):
        async with server:
            pass

    async def none() -> bool:
        return await connections(own_mariadb) == 0

    await eventually(none)
