"""TLS to MySQL and Redis: who is trusted, who is shown what, and that nothing goes in plain text instead."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hrpc.database import mysql, redis
from hrpc.errors import DatabaseRefused, DatabaseUnavailable
from hrpc.recipe.tls import Trust
from hrpc.testing.servers import MySQLServer, RedisServer, mysql_server, redis_server, reserved_port
from tests.authority import Authority
from tests.database.conftest import login


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def mysql_tls(_shared: Any, folder: Path, authority: Authority) -> MySQLServer:
    """A MySQL with a certificate for 127.0.0.1."""
    certificate, key = authority.write(folder / "mysql", "mysql")
    options = [f"--ssl-cert={certificate}", f"--ssl-key={key}", f"--ssl-ca={authority.path}"]
    server = _shared(lambda: mysql_server(options=options))
    assert isinstance(server, MySQLServer)
    return server


@pytest.fixture(scope="module")
def redis_tls(_shared: Any, folder: Path, authority: Authority) -> Iterator[tuple[RedisServer, int]]:
    """A Redis with another port that speaks TLS, and wants to see a certificate."""
    certificate, key = authority.write(folder / "redis", "redis")
    files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", authority.path]
    with reserved_port() as port:
        server = _shared(lambda: redis_server(options=["--tls-port", str(port), *map(str, files)]))
        assert isinstance(server, RedisServer)
        yield server, port


async def refused(recipe: Any) -> str:
    with pytest.raises((DatabaseRefused, DatabaseUnavailable)) as error:
        async with recipe.open(None):
            pass
    return f"{type(error.value).__name__}: {error.value}"


async def cipher(pool: Any) -> str:
    row = await pool.client.query_one("SHOW STATUS LIKE 'Ssl_cipher'")
    return str(row["Value"])


async def test_mysql_is_spoken_to_through_tls(mysql_tls: MySQLServer, authority: Authority, tmp_path: Path) -> None:
    """With an authority that vouches for the server; also with a certificate of our own, and after a cancel."""
    certificate, key = authority.write(tmp_path / "own", "orders")
    for more in ({}, {"tls_cert": str(certificate), "tls_key": str(key)}):
        async with mysql.new(**login(mysql_tls, tls_ca=str(authority.path), **more)).open(None) as pool:
            assert await cipher(pool)
            assert await pool.client.valid()  # type: ignore[attr-defined]
    async with mysql.new(**login(mysql_tls)).open(None) as pool:
        assert await cipher(pool) == ""


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    mysql_tls: MySQLServer, redis_tls: tuple[RedisServer, int], tmp_path: Path
) -> None:
    """By the system's authorities, and by another one; the error says what to check."""
    (tmp_path / "other").mkdir()
    other = str(Authority(tmp_path / "other", "other").path)
    for more in ({"tls": True}, {"tls_ca": other}):
        message = await refused(mysql.new(**login(mysql_tls, **more)))
        assert message.startswith("DatabaseRefused: mysql 127.0.0.1:")
        assert "TLS failed: " in message
        assert "check 'tls_ca' in mysql.new()" in message
        message = await refused(redis.new(address="127.0.0.1", port=redis_tls[1], **more))
        assert message.startswith("DatabaseRefused: redis 127.0.0.1:")
        assert "TLS failed: " in message


async def test_a_server_without_tls_is_refused_before_anything_is_said(mariadb: MySQLServer) -> None:
    """Somebody in between could strike TLS from what the server offers; the login must not follow."""
    message = await refused(mysql.new(**login(mariadb, tls=True)))
    assert message.startswith("DatabaseRefused: ")
    assert "the server does not offer TLS" in message


async def test_redis_is_spoken_to_through_tls(
    redis_tls: tuple[RedisServer, int], authority: Authority, tmp_path: Path
) -> None:
    """The server wants a certificate of ours; without it, nobody is let in.

    With TLS 1.3 it may close the connection before its refusal is read.
    """
    certificate, key = authority.write(tmp_path / "own", "orders")
    settings: dict[str, Any] = {"address": "127.0.0.1", "port": redis_tls[1], "tls_ca": str(authority.path)}
    async with redis.new(**settings, tls_cert=str(certificate), tls_key=str(key)).open(None) as pool:
        client: Any = pool.client
        assert await client.echo("x") == b"x"
        assert await client.blocking_client.echo("x") == b"x"
    await refused(redis.new(**settings))


async def test_files_that_change_count_for_the_next_connection(
    mysql_tls: MySQLServer, authority: Authority, tmp_path: Path
) -> None:
    """An authority that is replaced lets no further connection in; those that are there stay."""
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.pem)
    async with mysql.new(**login(mysql_tls, tls_ca=str(path), max_open_conns=1)).open(None) as pool:
        db: Any = pool.client
        (tmp_path / "other").mkdir()
        path.write_bytes(Authority(tmp_path / "other", "other").pem)
        assert await cipher(pool)
        with suppress(DatabaseUnavailable):
            await db.execute("SET @x = 1")  # which ends the connection
        with pytest.raises(DatabaseRefused, match="TLS failed"):
            await db.execute("DO 1")


def test_files_that_change_while_they_are_read_count_for_the_connection_after_the_next(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then connections are made as before: one that is replaced may be gone for a moment."""
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.pem)
    recipe: Any = mysql.new(address="127.0.0.1", dbname="orders", username="orders", password="", tls_ca=str(path))
    trust = Trust(recipe.read(None), str(path), None, None)
    before = trust.context()
    (tmp_path / "other").mkdir()
    path.write_bytes(Authority(tmp_path / "other", "other").pem)
    made = ssl.create_default_context

    def gone(**_: Any) -> None:
        monkeypatch.setattr(ssl, "create_default_context", made)
        raise FileNotFoundError(path)

    monkeypatch.setattr(ssl, "create_default_context", gone)
    assert trust.context() is before
    after = trust.context()
    assert after is not before
    assert after.get_ca_certs()[0]["subject"] == ((("commonName", "other"),),)
    assert trust.context() is after


async def test_files_that_cannot_be_read_are_named(mariadb: MySQLServer, tmp_path: Path) -> None:
    """At the start, with what to check."""
    message = await refused(mysql.new(**login(mariadb, tls_ca=str(tmp_path / "missing.pem"))))
    assert message.startswith("DatabaseRefused: mysql.new(): cannot read ")
    assert "check 'tls_ca', 'tls_cert' and 'tls_key'" in message
