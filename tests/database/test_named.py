"""Several databases of one kind in one service, told apart by name."""

from __future__ import annotations

import json

import pytest

import hrpc
from hrpc import Consul
from hrpc._runtime import Runtime
from hrpc.database import mysql, redis
from hrpc.errors import NotRunning, OptionError
from hrpc.health.checker import Kind
from hrpc.testing import provide
from hrpc.testing.servers import ConsulServer, MySQLServer, RedisServer
from tests import agent
from tests.database.conftest import login

LOCAL = hrpc.with_listen_port(0, host="127.0.0.1")


async def test_each_name_is_a_pool_of_its_own_with_a_key_of_its_own(
    consul: ConsulServer, mariadb: MySQLServer, redis_server: RedisServer
) -> None:
    """`{env}/databases/{name}` has the settings, `get(name)` gives the pool, metrics and probes say the name."""
    await agent.store(consul.address, "named/databases/mysql", json.dumps(login(mariadb, max_open_conns=2)))
    reports = json.dumps(login(mariadb, dbname="information_schema"))
    await agent.store(consul.address, "named/databases/reports", reports)
    cache = redis.new(name="cache", address=redis_server.host, port=redis_server.port, db=5)
    server = hrpc.new_server(
        hrpc.with_server_name("named"),
        LOCAL,
        hrpc.with_consul(Consul(address=consul.address, prefix="named")),
        hrpc.with_databases(mysql.new(), mysql.new(name="reports"), cache),
        hrpc.with_graceful_stop(drain_delay=0),
    )
    async with server:
        assert await mysql.get().query_one("SELECT DATABASE() AS name") == {"name": mariadb.database}
        assert await mysql.get("mysql").query_one("SELECT DATABASE() AS name") == {"name": mariadb.database}
        assert await mysql.get("reports").query_one("SELECT DATABASE() AS name") == {"name": "information_schema"}
        assert await mysql.valid("reports")
        assert await redis.valid("cache")
        assert redis.get("cache") is not redis.blocking("cache")
        with pytest.raises(NotRunning, match=r"redis: .* has none; pass hrpc.with_databases\(redis.new\(\)\)"):
            redis.get()
        assert server._running is not None
        parts = server._running.parts
        assert {name for name, _ in parts.pools.connections()} == {"mysql", "reports", "cache"}
        assert {"mysql", "reports", "cache"} <= set((await parts.health.ask(Kind.READINESS)).parts)


async def test_a_name_that_nobody_opened_says_what_to_pass() -> None:
    """The error names the call with the name."""
    with Runtime("orders").attached():
        with pytest.raises(NotRunning, match=r"mysql 'reports': .*\(mysql\.new\(name=\"reports\"\)\)"):
            mysql.get("reports")


async def test_a_test_provides_a_value_for_a_name(redis_server: RedisServer) -> None:
    """The one without a name is not concerned."""
    fake, other = object(), object()
    with Runtime("orders").attached(), provide(mysql, other), provide(mysql, fake, "reports"):
        assert mysql.get("reports") is fake
        assert mysql.get() is mysql.get("mysql") is other
    with Runtime("orders").attached(), pytest.raises(TypeError, match="has no place"), provide(agent, fake, "x"):
        pass


@pytest.mark.parametrize("name", ["", "a/b", " ", "ä", "-a", "a" * 64, 7, "redis", "server", "switch"])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    """It is a part of keys, metrics and probes."""
    with pytest.raises(OptionError, match=r"mysql\.new\(name="):
        mysql.new(name=name, address="db", username="u", dbname="d")


def test_a_name_is_one_database_whatever_its_kind() -> None:
    """Two of a name would share a key."""
    first = mysql.new(name="shared", address="db", username="u", dbname="d")
    with pytest.raises(OptionError, match="shared is given twice"):
        hrpc.new_server(
            hrpc.with_server_name("x"), hrpc.with_databases(first, redis.new(name="shared", address="cache"))
        )
    with pytest.raises(OptionError, match=r"mysql\.new\(name='reports'\)\) has no settings.*/databases/reports"):
        hrpc.new_server(hrpc.with_server_name("x"), hrpc.with_databases(mysql.new(name="reports")))


def test_errors_of_settings_say_which_one() -> None:
    """Also where it was made."""
    assert mysql.new(name="reports").origin == "mysql.new(name='reports')"
    assert mysql.new().origin == mysql.new(name="mysql").origin == "mysql.new()"
    with pytest.raises(OptionError, match=r"mysql\.new\(name='reports'\): there is no setting 'pasword'"):
        mysql.new(name="reports", pasword="x")  # type: ignore[call-arg]
