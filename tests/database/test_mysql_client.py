"""Statements, transactions and connections of MySQL, against a real server."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest
from pymysql.err import IntegrityError, ProgrammingError

from hrpc._runtime import Runtime
from hrpc.database import mysql
from hrpc.errors import DatabaseUnavailable, NotRunning
from hrpc.testing.servers import MySQLServer
from tests.database.conftest import Open, login
from tests.database.lossy_proxy import proxied


async def test_statements_give_rows_and_results(open_mysql: Open, table: str) -> None:
    """Rows are dicts, a result says what changed, a percent sign needs no care without arguments."""
    db = (await open_mysql()).client
    inserted = await db.execute(f"INSERT INTO {table} (n) VALUES (%s), (%s)", 1, 2)
    assert inserted == mysql.Result(rows_affected=2, last_insert_id=1)
    assert await db.query(f"SELECT n FROM {table} ORDER BY n") == [{"n": 1}, {"n": 2}]
    assert await db.query_one(f"SELECT n FROM {table} WHERE n = %(n)s", {"n": 2}) == {"n": 2}
    assert await db.query_one(f"SELECT n FROM {table} WHERE n > 2") is None
    assert await db.query_one("SELECT 'a' LIKE '%' AS yes") == {"yes": 1}
    assert await db.query_one("SELECT %s AS text", "🦆' OR 1=1 -- ") == {"text": "🦆' OR 1=1 -- "}


async def test_a_warning_of_the_server_is_no_error(open_mysql: Open, table: str) -> None:
    """INSERT IGNORE and DROP IF EXISTS warn at the server; the statement counts."""
    db = (await open_mysql()).client
    await db.execute(f"INSERT INTO {table} (n) VALUES (1)")
    assert (await db.execute(f"INSERT IGNORE INTO {table} (n) VALUES (1)")).rows_affected == 0
    await db.execute("DROP TABLE IF EXISTS adapter_nowhere")


async def test_errors_of_a_statement_are_the_drivers_and_keep_the_connection(open_mysql: Open, table: str) -> None:
    """A wrong statement is not an unavailable server, and costs no connection."""
    pool = await open_mysql(max_open_conns=1)
    before = await pool.client.query_one("SELECT CONNECTION_ID() AS id")
    with pytest.raises(ProgrammingError):
        await pool.client.query("SELEC 1")
    await pool.client.execute(f"INSERT INTO {table} (n) VALUES (1)")
    with pytest.raises(IntegrityError) as error:
        await pool.client.execute(f"INSERT INTO {table} (n) VALUES (1)")
    with pytest.raises(TypeError):
        await pool.client.query("SELECT %s, %s", 1)
    assert not pool.is_unavailable(error.value)
    assert await pool.client.query_one("SELECT CONNECTION_ID() AS id") == before


async def test_a_value_that_the_driver_cannot_read_does_not_shift_the_answers(open_mysql: Open) -> None:
    """When a row cannot be decoded, the rest of its answer must not be read as the next one's."""
    pool = await open_mysql(max_open_conns=1)
    connection = await pool.borrow()
    await connection.run("SET NAMES latin1", ())
    connection.is_used_up = False
    with pytest.raises(UnicodeDecodeError):
        await connection.run("SELECT CAST(x'c3a9' AS CHAR CHARACTER SET utf8mb4) AS a UNION ALL SELECT 'b'", ())
    with pytest.raises(RuntimeError, match="its answer could not be read"):
        await connection.run("SELECT 1", ())
    pool.give_back(connection)
    assert await pool.client.query_one("SELECT 7 AS n") == {"n": 7}


async def test_further_results_are_read_and_dropped(open_mysql: Open) -> None:
    """The answer is the first result; what follows does not reach the next statement."""
    db = (await open_mysql(max_open_conns=1)).client
    assert await db.query("SELECT 1 AS n; SELECT 2 AS n") == [{"n": 1}]
    assert await db.query_one("SELECT 3 AS n") == {"n": 3}


async def test_a_transaction_commits_or_rolls_back_as_a_whole(open_mysql: Open, table: str) -> None:
    """The end of the block commits; an exception rolls back and keeps the connection."""
    pool = await open_mysql(max_open_conns=1)
    db = pool.client
    async with db.transaction() as transaction:
        assert (await transaction.execute(f"INSERT INTO {table} (n) VALUES (1)")).last_insert_id == 1
        assert await transaction.query_one(f"SELECT COUNT(*) AS c FROM {table}") == {"c": 1}
    before = await db.query_one("SELECT CONNECTION_ID() AS id")
    with suppress(ZeroDivisionError):
        async with db.transaction() as transaction:
            await transaction.execute(f"INSERT INTO {table} (n) VALUES (2)")
            raise ZeroDivisionError
    assert await db.query(f"SELECT n FROM {table}") == [{"n": 1}]
    assert await db.query_one("SELECT CONNECTION_ID() AS id") == before
    with pytest.raises(RuntimeError, match="has ended"):
        await transaction.query("SELECT 1")


async def test_a_cancelled_transaction_rolls_back(open_mysql: Open, table: str) -> None:
    """Cancelled in the middle of a statement or between two: nothing of it stays."""
    pool, other = await open_mysql(max_open_conns=1), (await open_mysql()).client
    assert await other.query_one("SELECT GET_LOCK('adapter', 0) AS had") == {"had": 1}
    for last in ("SELECT GET_LOCK('adapter', 30)", None):
        ready = asyncio.Event()

        async def work(last: str | None, ready: asyncio.Event) -> None:
            async with pool.client.transaction() as transaction:
                await transaction.execute(f"INSERT INTO {table} (n) VALUES (1)")
                ready.set()
                await (transaction.query(last) if last else asyncio.Event().wait())

        task = asyncio.create_task(work(last, ready))
        await ready.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await other.query("SELECT RELEASE_LOCK('adapter')")  # for which the cancelled one would keep the table
    assert await pool.client.query(f"SELECT n FROM {table}") == []


async def test_two_statements_at_once_in_one_transaction_are_refused(open_mysql: Open) -> None:
    """A connection serves one statement at a time; the second is an error, not a mixed-up answer."""
    db = (await open_mysql()).client
    async with db.transaction() as transaction:
        first = asyncio.create_task(transaction.query_one("SELECT 1 AS n"))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="still runs"):
            await transaction.query("SELECT 2 AS n")
        assert await first == {"n": 1}


async def test_after_a_deadlock_nothing_more_runs_in_the_transaction(open_mysql: Open, table: str) -> None:
    """The server has rolled back: what followed would commit by itself, so it is refused."""
    db = (await open_mysql(max_open_conns=2)).client
    await db.execute(f"INSERT INTO {table} (n) VALUES (1), (2)")
    both = asyncio.Barrier(2)

    async def swap(first: int, second: int) -> str:
        async with db.transaction() as transaction:
            await transaction.execute(f"UPDATE {table} SET n = n + 10 WHERE id = %s", first)
            await both.wait()
            try:
                await transaction.execute(f"UPDATE {table} SET n = n + 10 WHERE id = %s", second)
            except Exception:
                with pytest.raises(RuntimeError, match="rolled this transaction back"):
                    await transaction.execute(f"INSERT INTO {table} (n) VALUES (99)")
                raise
        return "committed"

    ends = await asyncio.gather(swap(1, 2), swap(2, 1), return_exceptions=True)
    assert ends.count("committed") == 1
    assert await db.query(f"SELECT n FROM {table} ORDER BY n") == [{"n": 11}, {"n": 12}]


async def test_an_open_transaction_does_not_reach_the_next_borrower(open_mysql: Open, table: str) -> None:
    """BEGIN by hand ends with its statement: the next one commits by itself."""
    db = (await open_mysql(max_open_conns=1)).client
    await db.execute("BEGIN")
    await db.execute(f"INSERT INTO {table} (n) VALUES (1)")
    other = (await open_mysql()).client
    assert await other.query(f"SELECT n FROM {table}") == [{"n": 1}]


async def test_a_changed_session_does_not_reach_the_next_borrower(open_mysql: Open) -> None:
    """Variables set through the driver's connection, or by SET, are gone with the connection."""
    db = (await open_mysql(max_open_conns=1)).client
    async with db.acquire() as connection, connection.cursor() as cursor:
        await cursor.execute("SET @leak = 1")
    await db.execute("set @leak = 1")
    async with db.transaction() as transaction:
        await transaction.execute("SET @leak = 1")
        assert await transaction.query_one("SELECT @leak AS v") == {"v": 1}
    assert await db.query_one("SELECT @leak AS v") == {"v": None}


async def test_a_read_is_repeated_once_when_its_pooled_connection_turns_out_dead(
    mariadb: MySQLServer, table: str
) -> None:
    """Only a read, only outside a transaction, only on a pooled connection: nothing else runs twice."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(proxied(mariadb.host, mariadb.port))
        recipe = mysql.new(**login(mariadb, port=proxy.port, max_open_conns=1))
        db = (await stack.enter_async_context(recipe.open(None))).client
        assert isinstance(db, mysql.MySQL)
        proxy.cut = True
        assert await db.query_one("SELECT 1 AS n") == {"n": 1}
        assert not proxy.cut
        proxy.lose = True
        with pytest.raises(DatabaseUnavailable, match="connection lost"):
            await db.execute(f"INSERT INTO {table} (n) VALUES (1)")
        assert await db.query(f"SELECT COUNT(*) AS c FROM {table}") == [{"c": 1}]
        with suppress(DatabaseUnavailable):
            async with db.transaction() as transaction:
                proxy.cut = True
                with pytest.raises(DatabaseUnavailable, match="connection lost"):
                    await transaction.query("SELECT 1")
        with pytest.raises(DatabaseUnavailable) as error:
            async with db.transaction():
                proxy.lose = True
        assert "may or may not" in error.value.__notes__[0]


async def test_a_silent_server_ends_a_statement_after_read_timeout(mariadb: MySQLServer) -> None:
    """With a read_timeout, a peer that went away without a word does not hang a query."""
    async with proxied(mariadb.host, mariadb.port) as proxy:
        settings = login(mariadb, port=proxy.port, max_open_conns=1, read_timeout=1.0)
        async with mysql.new(**settings).open(None) as pool:
            proxy.mute = True
            with pytest.raises(DatabaseUnavailable, match="read_timeout"):
                await pool.client.execute("DO 1")  # type: ignore[attr-defined]
            proxy.mute = False
            assert await pool.client.valid()  # type: ignore[attr-defined]


async def test_the_server_stops_a_statement_after_read_timeout(open_mysql: Open) -> None:
    """The server gives up first, so nothing runs on there, and the connection stays."""
    pool = await open_mysql(max_open_conns=1, read_timeout=1.0)
    before = await pool.client.query_one("SELECT CONNECTION_ID() AS id")
    columns = "information_schema.columns"
    with pytest.raises(DatabaseUnavailable, match="statement stopped, its time was over"):
        await pool.client.query(f"SELECT COUNT(*) FROM {columns} a, {columns} b, {columns} c WHERE a.extra < b.extra")
    assert await pool.client.query_one("SELECT CONNECTION_ID() AS id") == before


async def test_get_gives_the_client_of_the_running_server(open_mysql: Open) -> None:
    """`get` and `valid` find it by event loop, and say what to pass where there is none."""
    with pytest.raises(NotRunning, match=r"with_databases\(mysql\.new\(\)\)"):
        mysql.get()
    pool, runtime = await open_mysql(), Runtime("orders")
    with runtime.attached(), runtime.provide(mysql.new().slot, pool.client):
        assert mysql.get() is pool.client
        assert await mysql.valid()
