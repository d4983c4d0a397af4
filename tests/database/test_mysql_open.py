"""What goes wrong while connecting to MySQL shows at the start, by name and with what to do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hrpc.database import mysql
from hrpc.database.mysql.errors import not_connected
from hrpc.errors import DatabaseRefused, DatabaseUnavailable
from hrpc.testing.servers import MySQLServer
from tests.database.conftest import Open, login
from tests.database.lossy_proxy import answering


async def refused(settings: dict[str, Any]) -> str:
    """The message with which opening fails; nothing stays open (the run fails on a ResourceWarning)."""
    with pytest.raises((DatabaseRefused, DatabaseUnavailable)) as error:
        async with mysql.new(**settings).open(None):
            pass
    assert error.value.__cause__ is not None
    return f"{type(error.value).__name__}: {error.value}"


async def test_a_wrong_password(mariadb: MySQLServer) -> None:
    """Names the user, the server, the database and what to check; not the password."""
    message = await refused(login(mariadb, password="not-the-password"))
    assert message.startswith(f"DatabaseRefused: mysql {mariadb.address}/{mariadb.database}: user ")
    assert repr(mariadb.username) in message
    assert "(1045); check 'username' and 'password' in mysql.new()" in message
    assert "not-the-password" not in message


async def test_an_unknown_database(mariadb: MySQLServer) -> None:
    """Names the database."""
    message = await refused(login(mariadb, dbname="nowhere"))
    assert message.startswith(f"DatabaseRefused: mysql {mariadb.address}/nowhere: ")
    assert "Unknown database 'nowhere' (1049); check 'dbname'" in message


async def test_a_database_that_the_user_may_not_use(open_mysql: Open, mariadb: MySQLServer) -> None:
    """A user without rights is refused; a password beyond ASCII is sent as every other client sends it."""
    db = (await open_mysql()).client
    await db.execute("DROP USER IF EXISTS 'adapter_guest'@'%'")
    await db.execute("CREATE USER 'adapter_guest'@'%' IDENTIFIED BY 'pässwörd€'")
    settings = login(mariadb, username="adapter_guest", password="pässwörd€")
    message = await refused(settings)
    assert "(1044); check 'dbname'" in message
    async with mysql.new(**settings | {"dbname": "information_schema"}).open(None) as pool:
        assert await pool.client.valid()  # type: ignore[attr-defined]
    await db.execute("DROP USER 'adapter_guest'@'%'")


async def test_a_port_with_nobody(mariadb: MySQLServer, free_port: int) -> None:
    """A refused connection is an unavailable server."""
    message = await refused(login(mariadb, port=free_port))
    assert message.startswith(f"DatabaseUnavailable: mysql 127.0.0.1:{free_port}/{mariadb.database}: cannot connect: ")


async def test_a_name_that_does_not_resolve(mariadb: MySQLServer) -> None:
    """So is a host that is not there."""
    assert (await refused(login(mariadb, address="nowhere.invalid"))).startswith("DatabaseUnavailable: ")


async def test_a_server_that_never_answers(mariadb: MySQLServer) -> None:
    """connect_timeout covers the handshake too."""
    async with answering(b"") as port, asyncio.timeout(20):
        message = await refused(login(mariadb, port=port, connect_timeout=0.1))
    assert "no connection within 0.1 s (connect_timeout)" in message


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x05\x00\x00\x00\x0aabcd", b"\x01\0\0\0\xff"]
)
async def test_a_server_of_another_kind(mariadb: MySQLServer, answer: bytes) -> None:
    """What does not speak MySQL is refused, and not left open."""
    async with answering(answer) as port, asyncio.timeout(20):
        message = await refused(login(mariadb, port=port, connect_timeout=5.0))
    assert message.startswith(f"DatabaseRefused: mysql 127.0.0.1:{port}/")
    assert "a MySQL or MariaDB server listens there" in message


async def test_too_many_connections(open_mysql: Open, mariadb: MySQLServer) -> None:
    """A full server is unavailable, not wrong."""
    db = (await open_mysql()).client
    await db.execute("DROP USER IF EXISTS 'adapter_few'@'%'")
    await db.execute("CREATE USER 'adapter_few'@'%' IDENTIFIED BY 'x' WITH MAX_USER_CONNECTIONS 1")
    await db.execute(f"GRANT SELECT ON {mariadb.database}.* TO 'adapter_few'@'%'")
    settings = login(mariadb, username="adapter_few", password="x")
    async with mysql.new(**settings).open(None):
        message = await refused(settings)
    assert message.startswith("DatabaseUnavailable: ")
    assert "lower max_open_conns (3 per process)" in message
    await db.execute("DROP USER 'adapter_few'@'%'")


def test_a_way_to_log_in_that_the_driver_lacks() -> None:
    """An unsupported plugin, as ed25519, says what to change."""
    settings = mysql.new(address="db", username="u", dbname="d").read(None)
    error = not_connected(
        settings, ("db", 3306), 3.0, Exception(2059, "Authentication plugin 'client_ed25519' not configured")
    )
    assert "give the user a password of mysql_native_password" in str(error)
