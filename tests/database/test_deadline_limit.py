"""The server is told for how long a statement may run: until the deadline of the call."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hrpc import context
from hrpc.context import Context
from hrpc.database import mysql
from hrpc.database.mysql.limit import StatementLimit
from hrpc.errors import DatabaseUnavailable
from tests.database.conftest import Open


def in_call(seconds: float | None) -> Any:
    made = Context("trace")
    made.deadline = None if seconds is None else time.monotonic() + seconds
    return context.enter(made)


def limit(version: str, **more: Any) -> StatementLimit:
    return StatementLimit(version, mysql.new(address="db", username="u", dbname="d", **more).read(None))


def test_each_server_is_told_in_its_own_words() -> None:
    """MariaDB all that reads and writes, MySQL only what reads."""
    token = in_call(1090)
    try:
        mariadb, other = limit("10.11.19-MariaDB"), limit("8.4.0")
        for sql in ("SELECT 1", " insert INTO a VALUES (1)", "(SELECT 1)", "WITH a AS (SELECT 1) SELECT * FROM a"):
            assert mariadb.until_deadline(sql).endswith(f" FOR {sql}")
            assert mariadb.until_deadline(sql).startswith("SET STATEMENT max_statement_time=10")
        for sql in ("COMMIT", "SET @a = 1", "SHOW TABLES", "CREATE TABLE a (n INT)", "SELECTED", "DO 1"):
            assert mariadb.until_deadline(sql) == sql
        told = other.until_deadline("select a FROM b WHERE c IN (SELECT 1)")
        assert told.startswith("select /*+ MAX_EXECUTION_TIME(10")
        assert told.endswith(") */ a FROM b WHERE c IN (SELECT 1)")
        for sql in ("SELECT /*+ NO_ICP(a) */ 1", "INSERT INTO a SELECT 1", "WITH a AS (SELECT 1) SELECT * FROM a"):
            assert other.until_deadline(sql) == sql
        assert limit("10.11-MariaDB", read_timeout=5).until_deadline("SELECT 1") == "SELECT 1"
        assert limit("10.11-MariaDB", read_timeout=5000).until_deadline("SELECT 1") != "SELECT 1"
    finally:
        context.leave(token)
    assert mariadb.until_deadline("SELECT 1") == "SELECT 1"


def test_without_a_deadline_and_after_it() -> None:
    """A limit of 0 would be none."""
    for seconds, expected in ((None, "SELECT 1"), (-5, "SET STATEMENT max_statement_time=0.100 FOR SELECT 1")):
        token = in_call(seconds)
        assert limit("MariaDB").until_deadline("SELECT 1") == expected
        context.leave(token)


async def test_the_server_stops_at_the_deadline_and_the_connection_stays(open_mysql: Open, table: str) -> None:
    """Nothing runs on for a caller who is gone; what is in time is as ever."""
    pool = await open_mysql(max_open_conns=1, deadline_limit=True)
    db = pool.client
    before = await db.query_one("SELECT CONNECTION_ID() AS id")
    token = in_call(60)
    try:
        assert (await db.execute(f"INSERT INTO {table} (n) VALUES (%s), (%s)", 1, 2)).last_insert_id == 1
        assert await db.query(f"SELECT n FROM {table} WHERE n > %(n)s", {"n": 1}) == [{"n": 2}]
    finally:
        context.leave(token)
    token = in_call(0.1)
    try:
        columns = "information_schema.columns"
        with pytest.raises(DatabaseUnavailable, match="its time was over"):
            await db.query(f"SELECT COUNT(*) FROM {columns} a, {columns} b, {columns} c WHERE a.extra < b.extra")
        assert await db.query_one("SELECT CONNECTION_ID() AS id") == before
    finally:
        context.leave(token)


async def test_it_has_to_be_asked_for(open_mysql: Open) -> None:
    """It costs the server time, and proxies look at the first word of a statement."""
    db = (await open_mysql()).client
    token = in_call(60)
    try:
        assert (await db.query_one("SELECT @@max_statement_time AS s"))["s"] == 0
        limited = (await open_mysql(deadline_limit=True)).client
        assert 0 < (await limited.query_one("SELECT @@max_statement_time AS s"))["s"] <= 60.1
    finally:
        context.leave(token)
