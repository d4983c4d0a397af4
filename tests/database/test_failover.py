"""A database with several servers: what goes to the next one, when, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis import exceptions

from hrpc.database import mysql, redis
from hrpc.database.addresses import Addresses
from hrpc.errors import DatabaseRefused, DatabaseUnavailable
from hrpc.testing.servers import MySQLServer, RedisServer
from tests.database.conftest import Open, login
from tests.database.lossy_proxy import answering
from tests.proxy import proxied


def servers(*addresses: str) -> dict[str, Any]:
    return {"address": ",".join(addresses)}


async def port_of(client: Any) -> int:
    """The port at which the client's newest connection has reached MySQL."""
    async with client.acquire() as connection:
        return int(connection.port)


@asynccontextmanager
async def writer(server: MySQLServer, open_mysql: Open) -> AsyncIterator[dict[str, Any]]:
    """A user for whom `read_only` counts, and a table to write to."""
    db = (await open_mysql()).client
    await db.execute("CREATE TABLE IF NOT EXISTS failover (n INT)")
    await db.execute("CREATE USER IF NOT EXISTS 'failover'@'%' IDENTIFIED BY 'x'")
    await db.execute("GRANT SELECT, INSERT ON *.* TO 'failover'@'%'")
    yield login(server, username="failover", password="x")
    await db.execute("DROP USER 'failover'@'%'")
    await db.execute("DROP TABLE failover")


def test_the_servers_are_tried_in_a_circle_and_the_one_that_works_is_kept() -> None:
    """There is no way back but by a fault; who moved last is told about what is old news."""
    moves: list[None] = []
    addresses = Addresses([("a", 1), ("b", 1), ("c", 1)], "mysql x", lambda: moves.append(None))
    addresses.use(("b", 1), "away")
    assert addresses.in_turn() == (("b", 1), ("c", 1), ("a", 1))
    addresses.leave(("a", 1), "this was noticed long ago")
    assert addresses.now == ("b", 1)
    addresses.leave(("b", 1), "read-only")
    addresses.leave(("c", 1), "read-only")
    assert addresses.now == ("a", 1)
    assert len(moves) == 3
    alone = Addresses([("a", 1)], "mysql x", lambda: moves.append(None))
    alone.leave(("a", 1), "read-only")
    assert alone.now == ("a", 1)
    assert len(moves) == 3


async def test_mysql_goes_to_the_next_server_when_the_first_takes_no_connection(mariadb: MySQLServer) -> None:
    """All connections go there, also when the first one is back."""
    async with proxied(mariadb.address) as first:
        recipe = mysql.new(**login(mariadb, **servers(first.address, mariadb.address), max_open_conns=4))
        async with recipe.open(None) as pool:
            db: Any = pool.client
            assert await port_of(db) == first.port
            await first.refuse()
            assert await db.query_one("SELECT 1 AS n") == {"n": 1}
            assert await port_of(db) == mariadb.port
            await first.heal()
            assert {await port_of(db) for _ in range(3)} == {mariadb.port}
            activity = pool.activity  # type: ignore[attr-defined]
            assert activity.failed == {"unreachable": 1}


async def test_a_black_hole_costs_its_share_of_connect_timeout_once(mariadb: MySQLServer) -> None:
    """The first server takes the connection and says nothing; after that everybody goes to the second."""
    async with answering(b"") as port:
        settings = login(mariadb, **servers(f"127.0.0.1:{port}", mariadb.address), connect_timeout=3.0)
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with mysql.new(**settings).open(None) as pool:
            assert 1.4 < loop.time() - began < 3.0
            assert await port_of(pool.client) == mariadb.port
            assert pool.activity.failed == {"timeout": 1}  # type: ignore[attr-defined]


async def test_a_server_that_refuses_us_is_no_reason_to_go_elsewhere(mariadb: MySQLServer) -> None:
    """A wrong password is one everywhere, and what is full would only fill the next one."""
    settings = login(mariadb, **servers(mariadb.address, "127.0.0.1:1"), password="wrong")
    with pytest.raises(DatabaseRefused, match="is not let in"):
        async with mysql.new(**settings).open(None):
            pass


async def test_when_no_server_is_there_the_error_tells_of_each(mariadb: MySQLServer, free_port: int) -> None:
    """Each with its own reason."""
    async with answering(b"") as silent:
        settings = login(mariadb, **servers(f"127.0.0.1:{free_port}", f"127.0.0.1:{silent}"), connect_timeout=1.5)
        with pytest.raises(DatabaseUnavailable) as error:
            async with mysql.new(**settings).open(None):
                pass
    message = str(error.value)
    assert "none of the servers takes a connection: " in message
    assert f"127.0.0.1:{free_port}/{mariadb.database}: cannot connect" in message
    assert f"127.0.0.1:{silent}/{mariadb.database}: no connection within " in message


async def test_mysql_leaves_a_server_that_has_become_read_only(
    own_mariadb: MySQLServer, mariadb: MySQLServer, open_mysql: Open
) -> None:
    """One write fails, because it is never sent twice; the next one succeeds at the other server."""
    async with mysql.new(**login(own_mariadb)).open(None) as own, writer(mariadb, open_mysql) as settings:
        administrator: Any = own.client
        await administrator.execute("CREATE TABLE failover (n INT)")
        await administrator.execute("CREATE USER 'failover'@'%' IDENTIFIED BY 'x'")
        await administrator.execute("GRANT SELECT, INSERT ON *.* TO 'failover'@'%'")
        recipe = mysql.new(**settings | servers(own_mariadb.address, mariadb.address), max_open_conns=2)
        async with recipe.open(None) as pool:
            db: Any = pool.client
            await db.execute("INSERT INTO failover VALUES (1)")
            await administrator.execute("SET GLOBAL read_only = 1")
            with pytest.raises(DatabaseUnavailable, match="the server is read-only") as error:
                await db.execute("INSERT INTO failover VALUES (2)")
            assert pool.is_unavailable(error.value)
            await db.execute("INSERT INTO failover VALUES (3)")
            assert await db.query("SELECT n FROM failover") == [{"n": 3}]
            assert await port_of(db) == mariadb.port
        assert await administrator.query("SELECT n FROM failover") == [{"n": 1}]


async def test_with_one_server_a_read_only_one_is_connected_to_anew(mariadb: MySQLServer, open_mysql: Open) -> None:
    """Its name may lead to another machine by then."""
    async with writer(mariadb, open_mysql) as settings:
        administrator = (await open_mysql()).client
        async with mysql.new(**settings, max_open_conns=1).open(None) as pool:
            db: Any = pool.client
            before = await db.query_one("SELECT CONNECTION_ID() AS id")
            await administrator.execute("SET GLOBAL read_only = 1")
            try:
                with pytest.raises(DatabaseUnavailable, match="read-only"):
                    await db.execute("INSERT INTO failover VALUES (1)")
            finally:
                await administrator.execute("SET GLOBAL read_only = 0")
            await db.execute("INSERT INTO failover VALUES (1)")
            assert await db.query_one("SELECT CONNECTION_ID() AS id") != before


async def test_redis_goes_to_the_next_server_when_the_first_takes_no_connection(redis_server: RedisServer) -> None:
    """Also where the first one takes connections and says nothing."""
    async with proxied(redis_server.address) as first:
        recipe = redis.new(**servers(first.address, redis_server.address))
        async with recipe.open(None) as pool:
            client: Any = pool.client
            await client.ping()
            await first.refuse()
            with pytest.raises(exceptions.ConnectionError):
                await client.ping()  # what runs on a connection that is cut fails, and is not repeated
            assert await client.echo("x") == b"x"
            assert pool.activity.failed == {"unreachable": 1}  # type: ignore[attr-defined]
            await first.heal()
            connection = client.connection_pool._available_connections[0]
            assert connection.server == ("127.0.0.1", redis_server.port)
    async with answering(b"") as silent:
        slow = redis.new(**servers(f"127.0.0.1:{silent}", redis_server.address), password="x", connect_timeout=3.0)
        with pytest.raises(DatabaseRefused, match="is not let in"):  # by the second: the first has said nothing
            async with slow.open(None):
                pass


async def test_redis_leaves_a_server_that_has_become_a_replica(
    own_redis: RedisServer, redis_server: RedisServer
) -> None:
    """One write fails, also in a pipeline; those after it go to the other server, on every connection."""
    recipe = redis.new(**servers(own_redis.address, redis_server.address))
    async with recipe.open(None) as pool:
        client: Any = pool.client
        await asyncio.gather(*(client.set("failover", 1) for _ in range(5)))
        await client.execute_command("REPLICAOF", redis_server.host, redis_server.port)
        with pytest.raises(exceptions.ReadOnlyError) as error:
            async with client.pipeline() as pipeline:
                await pipeline.set("failover", 2).get("failover").execute()
        assert pool.is_unavailable(error.value)
        await asyncio.gather(*(client.set("failover", n) for n in range(5)))
        info = await client.info("server")
        assert info["tcp_port"] == redis_server.port
        await client.delete("failover")
