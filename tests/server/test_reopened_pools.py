"""Settings of a database that change in Consul: the pool is opened again under load, and no call fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

import hrpc
from hrpc import configs
from hrpc.abc import Database
from hrpc.database import mysql, redis
from hrpc.server.pools import Live
from hrpc.testing.servers import ConsulServer, MySQLServer, RedisServer
from tests import agent
from tests.callers import loaded
from tests.database.conftest import login
from tests.eventually import eventually
from tests.server.pooled import PATIENT, connections

CALLERS = 24


def serving(consul: ConsulServer, prefix: str, database: Database) -> hrpc.Server:
    return hrpc.new_server(
        hrpc.with_server_name("reopening"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_consul(hrpc.Consul(address=consul.address, prefix=prefix)),
        hrpc.with_databases(database),
        hrpc.with_graceful_stop(drain_delay=0),
    )


def live(server: hrpc.Server, name: str) -> Live:
    assert server._running is not None
    return server._running.parts.pools._open[name]


async def changed(server: hrpc.Server, name: str, settings: dict[str, Any]) -> None:
    """Stores other settings, and waits until the old pool is closed."""
    found = live(server, name)
    before = found.pool
    await configs.set(f"databases/{name}", json.dumps(settings))

    async def is_closed() -> bool:
        return found.pool is not before and found.pools == [found.pool]

    await eventually(is_closed)
    assert not found.outdated


async def has_none(server: MySQLServer) -> bool:
    """Whether it has no connection any more; it lets go of one a moment after that was closed."""
    return await connections(server) == 0


async def test_mysql_is_opened_again_under_load_and_nothing_fails(
    consul: ConsulServer, mariadb: MySQLServer, own_mariadb: MySQLServer
) -> None:
    first, second = login(own_mariadb, **PATIENT), login(mariadb, **PATIENT)
    await agent.store(consul.address, "reopen-mysql/databases/mysql", json.dumps(first))
    async with serving(consul, "reopen-mysql", mysql.new()) as server:
        kept = mysql.get()
        ports: set[int] = set()

        async def use() -> None:
            async with kept.transaction() as transaction:
                row = await transaction.query_one("SELECT @@port AS port")
                assert row is not None
                ports.add(row["port"])
                await transaction.query("SELECT SLEEP(0.002)")
            assert await kept.query_one("SELECT %s AS n", 7) == {"n": 7}

        async with loaded(use, (), CALLERS) as load:
            await load.reach(succeeded=50)
            for limit in (10, 1, 5):
                await changed(server, "mysql", first | {"max_open_conns": limit})
                await load.reach(succeeded=50)
            assert ports == {own_mariadb.port}
            await changed(server, "mysql", second)
            ports.clear()
            await load.reach(succeeded=50)
            assert ports == {mariadb.port}
            assert load.failed == 0
        await eventually(lambda: has_none(own_mariadb))
        assert mysql.get() is kept


async def test_changes_in_quick_succession_fail_nothing_and_the_last_one_counts(
    consul: ConsulServer, mariadb: MySQLServer, own_mariadb: MySQLServer
) -> None:
    await agent.store(consul.address, "reopen-often/databases/mysql", json.dumps(login(own_mariadb, **PATIENT)))
    async with serving(consul, "reopen-often", mysql.new()) as server:
        kept, found = mysql.get(), live(server, "mysql")

        async def use() -> None:
            async with kept.transaction() as transaction:
                await transaction.query("SELECT SLEEP(0.001)")
            assert await kept.query_one("SELECT 7 AS n") == {"n": 7}

        async with loaded(use, (), CALLERS) as load:
            for number in range(20):
                place = login(mariadb if number % 2 else own_mariadb, max_open_conns=1 + number % 5, **PATIENT)
                bad = {"port": "none"} if number % 4 == 1 else {"password": "wrong"} if number % 4 == 2 else {}
                await configs.set("databases/mysql", json.dumps(place | bad))
                await load.reach(succeeded=number % 7)
            await configs.set("databases/mysql", json.dumps(login(mariadb, max_open_conns=2, **PATIENT)))
            await load.reach(succeeded=100)

            async def is_settled() -> bool:
                stats = found.pool.stats()
                return len(found.pools) == 1 and not found.outdated and stats.used + stats.idle <= 2

            await eventually(is_settled)
            assert load.failed == 0
            await eventually(lambda: has_none(own_mariadb))
            row = await kept.query_one("SELECT @@port AS port")
            assert row == {"port": mariadb.port}


async def test_a_transaction_ends_on_the_server_on_which_it_began(
    consul: ConsulServer, mariadb: MySQLServer, own_mariadb: MySQLServer
) -> None:
    await agent.store(consul.address, "reopen-held/databases/mysql", json.dumps(login(own_mariadb)))
    async with serving(consul, "reopen-held", mysql.new(max_open_conns=1)) as server:
        db = mysql.get()

        async def port(of: Callable[..., Any]) -> int:
            return int((await of("SELECT @@port AS port"))["port"])

        async with db.transaction() as transaction:
            waiting = asyncio.create_task(port(db.query_one))
            await asyncio.sleep(0)
            await configs.set("databases/mysql", json.dumps(login(mariadb)))

            async def is_new() -> bool:
                return len(live(server, "mysql").pools) == 2

            await eventually(is_new)
            assert await port(db.query_one) == mariadb.port
            assert await port(transaction.query_one) == own_mariadb.port
            assert not waiting.done()
            stats = server._running.parts.pools  # type: ignore[union-attr]
            assert stats.connections()["mysql", "used"] == stats.waiting()["mysql"] == 1
        assert await waiting == own_mariadb.port, "who waited before is served where it waited"

        async def is_closed() -> bool:
            return len(live(server, "mysql").pools) == 1 and await connections(own_mariadb) == 0

        await eventually(is_closed)


async def test_a_stop_does_not_wait_for_what_an_old_pool_has_lent(
    consul: ConsulServer, redis_server: RedisServer
) -> None:
    settings = {"address": redis_server.host, "port": redis_server.port}
    await agent.store(consul.address, "reopen-stop/databases/redis", json.dumps(settings))
    async with serving(consul, "reopen-stop", redis.new()) as server:
        popping = asyncio.create_task(redis.blocking().blpop(["reopen-stop-nothing"], timeout=0))
        await redis.get().ping()
        await configs.set("databases/redis", json.dumps(settings | {"max_open_conns": 2}))

        async def is_new() -> bool:
            return len(live(server, "redis").pools) == 2

        await eventually(is_new)
        assert not popping.done()
    with pytest.raises(Exception, match="onnection"):
        await popping


async def test_redis_is_opened_again_under_load_and_nothing_fails(
    consul: ConsulServer, redis_server: RedisServer, own_redis: RedisServer
) -> None:
    first = {"address": own_redis.host, "port": own_redis.port, "max_open_conns": 4} | PATIENT
    second = {"address": redis_server.host, "port": redis_server.port} | PATIENT
    await agent.store(consul.address, "reopen-redis/databases/redis", json.dumps(first))
    async with serving(consul, "reopen-redis", redis.new()) as server:
        kept, blocking = redis.get(), redis.blocking()
        ports: set[int] = set()
        prepared = kept.pipeline()
        prepared.set("reopen-prepared", "7")

        async def use() -> None:
            ports.add((await kept.info("server"))["tcp_port"])
            async with kept.pipeline() as pipeline:
                await pipeline.incr("reopen-counted").get("reopen-counted").execute()
            assert await blocking.blpop(["reopen-nothing"], timeout=0.01) is None

        async with loaded(use, (), CALLERS) as load:
            await load.reach(succeeded=50)
            for limit in (10, 3, 5):
                await changed(server, "redis", first | {"max_open_conns": limit})
                await load.reach(succeeded=50)
            assert ports == {own_redis.port}
            await changed(server, "redis", second)
            ports.clear()
            await load.reach(succeeded=50)
            assert ports == {redis_server.port}
            assert load.failed == 0
        await prepared.execute()
        assert await redis.get().getdel("reopen-prepared") == b"7"
        assert redis.get() is kept
        assert redis.blocking() is blocking
        async with redis.new(address=own_redis.host, port=own_redis.port).open(None) as pool:

            async def only_who_asks() -> bool:
                return len(await pool.client.client_list()) == 1  # type: ignore[attr-defined]

            await eventually(only_who_asks)


async def test_a_subscription_goes_on_where_it_began_until_it_is_closed(
    consul: ConsulServer, redis_server: RedisServer, own_redis: RedisServer
) -> None:
    await agent.store(
        consul.address,
        "reopen-sub/databases/redis",
        json.dumps({"address": own_redis.host, "port": own_redis.port}),
    )
    async with serving(consul, "reopen-sub", redis.new()) as server:
        async with redis.get().pubsub() as subscription:
            await subscription.subscribe("news")
            assert (await subscription.get_message(timeout=30))["type"] == "subscribe"
            await configs.set("databases/redis", json.dumps({"address": redis_server.host, "port": redis_server.port}))

            async def is_new() -> bool:
                return len(live(server, "redis").pools) == 2

            await eventually(is_new)
            async with redis.new(address=own_redis.host, port=own_redis.port).open(None) as pool:
                await pool.client.publish("news", "heard")  # type: ignore[attr-defined]
            assert (await subscription.get_message(timeout=30))["data"] == b"heard"

        async def is_closed() -> bool:
            return len(live(server, "redis").pools) == 1

        await eventually(is_closed)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("{", "key '{key}': expected JSON, found what is not JSON"),
        ({"port": "3306"}, "{key}: field 'port': expected a whole number from 1 to 65535, found a text"),
        ({"username": None}, "{key}: field 'username': expected a text that is not empty, found nothing"),
        ({"password": 77814623589017}, "{key}: field 'password': expected a text, found a number"),
        ({"password": "hunter2-wrong"}, "key '{key}': mysql {place}: user 'hrpc' is not let in"),
        ({"dbname": "missing"}, "key '{key}': mysql "),
        ({"port": 1}, "key '{key}': mysql 127.0.0.1:1/hrpc: "),
    ],
)
async def test_settings_that_cannot_be_used_leave_the_pool_as_it_is(
    consul: ConsulServer, mariadb: MySQLServer, bad: Any, told: str, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    prefix = tmp_path.name
    key, good = f"{prefix}/databases/mysql", login(mariadb)
    await agent.store(consul.address, key, json.dumps(good))
    async with serving(consul, prefix, mysql.new()) as server:
        before = live(server, "mysql").pool
        text = bad if isinstance(bad, str) else json.dumps(good | bad)
        await configs.set("databases/mysql", text)
        output = ""

        async def is_told() -> bool:
            nonlocal output
            output += capsys.readouterr().out
            return any(word in output for word in ("stays open", "is kept"))

        await eventually(is_told)
        messages = [json.loads(line)["msg"] for line in output.splitlines()]
        (message,) = [one for one in messages if "stays open" in one or "is kept" in one]
        assert message.startswith(told.format(key=key, place=f"127.0.0.1:{mariadb.port}/hrpc"))
        assert all(secret not in output for secret in (mariadb.password, "hunter2", "77814623589017"))
        assert live(server, "mysql").pool is before
        assert await mysql.valid()
        await changed(server, "mysql", good | {"max_open_conns": 4})
        assert await mysql.valid()


async def test_a_server_that_is_away_is_tried_again_and_a_deleted_key_changes_nothing(
    consul: ConsulServer, redis_server: RedisServer, own_redis: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    first = {"address": redis_server.host, "port": redis_server.port}
    await agent.store(consul.address, "reopen-away/databases/redis", json.dumps(first))
    async with serving(consul, "reopen-away", redis.new(max_retries=0)) as server:
        found = live(server, "redis")
        await asyncio.to_thread(own_redis.kill)
        await configs.set("databases/redis", json.dumps({"address": own_redis.host, "port": own_redis.port}))

        async def is_outdated() -> bool:
            return found.outdated

        await eventually(is_outdated)
        assert server._running is not None
        assert server._running.parts.pools.outdated() == {"redis": 1}
        assert (await redis.get().info("server"))["tcp_port"] == redis_server.port
        await asyncio.to_thread(own_redis.start)

        async def is_there() -> bool:
            return bool((await redis.get().info("server"))["tcp_port"] == own_redis.port)

        await eventually(is_there)
        assert not found.outdated
        await agent.delete(consul.address, "reopen-away/databases/redis")

        async def is_told() -> bool:
            return "is deleted; the pool stays open" in capsys.readouterr().out

        await eventually(is_told)
        assert await redis.valid()
