"""The pool of MySQL: limits, cancels, dead connections, closing."""

from __future__ import annotations

import asyncio
import random
import re
import socket
from contextlib import suppress
from typing import Any

import pytest

from hrpc.abc import PoolStats
from hrpc.database import mysql
from hrpc.errors import DatabaseUnavailable, PoolTimeout
from hrpc.testing.servers import MySQLServer
from tests.callers import loaded
from tests.database.conftest import Open, login


async def hold(db: Any, held: asyncio.Event, release: asyncio.Event) -> None:
    async with db.acquire():
        held.set()
        await release.wait()


async def assert_whole(pool: Any, size: int) -> None:
    """All connections of the pool can be had at once."""
    together = asyncio.Barrier(size)

    async def use() -> None:
        async with pool.client.transaction() as transaction:
            await together.wait()
            await transaction.query("SELECT 1")

    async with asyncio.timeout(20):
        await asyncio.gather(*(use() for _ in range(size)))
    assert (pool.stats().used, pool.stats().waiting) == (0, 0)


async def test_a_full_pool_says_who_holds_it(open_mysql: Open) -> None:
    """The error names the limit, how many are in use, and the task that holds one for the longest time."""
    pool = await open_mysql(max_open_conns=2, acquire_timeout=0.05)
    release = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for name in ("slow-report", "later"):
            held = asyncio.Event()
            tasks.create_task(hold(pool.client, held, release), name=name)
            await held.wait()
        with pytest.raises(PoolTimeout) as error:
            await pool.client.query("SELECT 1")
        assert await pool.client.valid(), "a busy pool is no sign of a dead server"
        release.set()
    held_by = r"2 of 2 are in use, held by slow-report for \d+\.\d s, later for \d+\.\d s; raise max_open_conns"
    assert re.search(r"within 0\.05 s \(acquire_timeout\): " + held_by, str(error.value))
    assert pool.is_unavailable(error.value)


async def test_stats_count_used_idle_and_waiting(open_mysql: Open) -> None:
    """What the pool says about itself is so."""
    pool = await open_mysql(max_open_conns=1)
    assert pool.stats() == PoolStats(used=0, idle=1, waiting=0)
    held, release = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hold(pool.client, held, release))
        await held.wait()
        waiting = tasks.create_task(pool.client.query("SELECT 1"))
        await asyncio.sleep(0)
        assert pool.stats() == PoolStats(used=1, idle=0, waiting=1)
        release.set()
        await waiting
    assert pool.stats() == PoolStats(used=0, idle=1, waiting=0)


async def test_waiters_go_on_when_a_borrower_is_cancelled(open_mysql: Open) -> None:
    """Also when a waiter is cancelled in the moment its turn comes, the next one has it."""
    pool = await open_mysql(max_open_conns=1, acquire_timeout=30)
    borrower = asyncio.create_task(pool.client.query("SELECT SLEEP(30)"))
    await asyncio.sleep(0)
    unlucky = asyncio.create_task(pool.client.query("SELECT 1 AS n"))
    lucky = asyncio.create_task(pool.client.query("SELECT 2 AS n"))
    await asyncio.sleep(0)
    assert pool.stats().waiting == 2
    borrower.cancel()
    await asyncio.wait({borrower})
    unlucky.cancel()
    assert await lucky == [{"n": 2}]
    with pytest.raises(asyncio.CancelledError):
        await unlucky
    await assert_whole(pool, 1)


async def test_cancelled_calls_never_give_wrong_rows_or_cost_connections(open_mysql: Open) -> None:
    """2,000 calls over 8 connections, each cancelled at a random moment or not at all."""
    pool = await open_mysql(max_open_conns=8, max_idle_conns=8, acquire_timeout=60, connect_timeout=60)
    dice, loop = random.Random(20), asyncio.get_running_loop()
    answered = 0

    async def call(number: int) -> None:
        nonlocal answered
        row = await pool.client.query_one("SELECT %s AS n", number)
        assert row == {"n": number}
        answered += 1

    tasks = [asyncio.create_task(call(number)) for number in range(2000)]
    for task in tasks:
        if dice.random() < 0.7:
            loop.call_later(dice.uniform(0, 0.5), task.cancel)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(end) for end in ends} <= {type(None), asyncio.CancelledError}
    assert answered > 500
    await assert_whole(pool, 8)


async def test_a_killed_server_fails_calls_until_it_is_back(own_mariadb: MySQLServer) -> None:
    """Under load: no call hangs, each failure is DatabaseUnavailable, and all is well after the restart."""
    settings = login(own_mariadb, max_open_conns=4, max_idle_conns=4)
    async with mysql.new(**settings).open(None) as pool:
        db: Any = pool.client
        async with loaded(lambda: db.query_one("SELECT 1"), (DatabaseUnavailable,), callers=12) as load:
            await load.reach(succeeded=100)
            own_mariadb.kill()
            await load.reach(failed=100)
            assert not await db.valid()
            await asyncio.to_thread(own_mariadb.start)
            failed = load.failed
            await load.reach(succeeded=100)
        assert load.failed - failed <= 12, "only calls that were under way when it came back may still fail"
        await assert_whole(pool, 4)


async def test_a_connection_that_the_server_killed_is_replaced(open_mysql: Open) -> None:
    """A read after a KILL succeeds, on another connection."""
    pool, other = await open_mysql(max_open_conns=1), await open_mysql()
    before = await pool.client.query_one("SELECT CONNECTION_ID() AS id")
    await other.client.execute("KILL %s", before["id"])
    after = await pool.client.query_one("SELECT CONNECTION_ID() AS id")
    assert after["id"] != before["id"]


async def test_a_statement_that_the_server_killed_is_unavailable(open_mysql: Open) -> None:
    """A KILL in the middle of a statement is a lost connection, not an error of the statement."""
    pool, other = await open_mysql(max_open_conns=1), await open_mysql()
    before = await pool.client.query_one("SELECT CONNECTION_ID() AS id")
    running = asyncio.create_task(pool.client.execute("DO SLEEP(30)"))
    await asyncio.sleep(0)
    await other.client.execute("KILL %s", before["id"])
    with pytest.raises(DatabaseUnavailable, match="connection lost"):
        await running
    await assert_whole(pool, 1)


async def test_a_connection_that_expired_at_the_server_is_replaced(open_mysql: Open) -> None:
    """After wait_timeout the server hangs up; a write finds a living connection."""
    pool = await open_mysql(max_open_conns=1)
    connection = await pool.borrow()
    await connection.run("SET SESSION wait_timeout = 1", ())
    connection.is_used_up = False
    pool.give_back(connection)
    with suppress(ConnectionResetError):
        await connection.raw._reader.read()  # ends when the server hangs up
    await pool.client.execute("DO 1")
    assert connection.raw.closed


async def test_a_connection_is_replaced_at_the_end_of_its_life(open_mysql: Open) -> None:
    """max_lifetime is a limit, also for a connection in constant use."""
    pool = await open_mysql(max_open_conns=1, max_lifetime=60)
    before = await pool.client.query_one("SELECT CONNECTION_ID() AS id")
    left = pool._idle[0].expires - asyncio.get_running_loop().time()
    assert 50 < left < 60
    pool._idle[0].expires -= 60
    assert await pool.client.query_one("SELECT CONNECTION_ID() AS id") != before


async def test_an_idle_connection_is_asked_before_it_is_used(open_mysql: Open) -> None:
    """After a second without use a ping decides; a dead connection costs the borrower nothing but time."""
    pool = await open_mysql(max_open_conns=1)
    before = await pool.client.query_one("SELECT CONNECTION_ID() AS id")
    pool._idle[0].since -= 60
    assert await pool.client.query_one("SELECT CONNECTION_ID() AS id") == before
    pool._idle[0].since -= 60
    pool._idle[0]._writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)  # the loop has not noticed yet
    await pool.client.execute("DO 1")
    assert await pool.client.query_one("SELECT CONNECTION_ID() AS id") != before


async def test_connections_above_max_idle_stay_for_a_moment_only(open_mysql: Open) -> None:
    """A steady load keeps its connections; later only max_idle_conns of them are left."""
    pool = await open_mysql(max_open_conns=4, max_idle_conns=1)
    await assert_whole(pool, 4)
    assert pool.stats().idle == 4
    pool._trim()
    assert pool.stats().idle == 4
    for connection in pool._idle:
        connection.since -= 60
    pool._trim()
    assert pool.stats().idle == 1


async def test_closing_waits_for_what_is_borrowed_and_refuses_the_rest(mariadb: MySQLServer) -> None:
    """A borrower may finish; a waiter and a newcomer are refused at once."""
    recipe = mysql.new(**login(mariadb, max_open_conns=1, acquire_timeout=30))
    held, release = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks, recipe.open(None) as pool:
        db: Any = pool.client
        borrower = tasks.create_task(hold(db, held, release))
        await held.wait()
        waiter = asyncio.create_task(db.query("SELECT 1"))
        await asyncio.sleep(0)
        closing = tasks.create_task(pool.close())  # type: ignore[attr-defined]
        with pytest.raises(DatabaseUnavailable, match="closed"):
            await waiter
        with pytest.raises(DatabaseUnavailable, match="closed"):
            await db.query("SELECT 1")
        assert not closing.done()
        release.set()
        await borrower
        await closing


async def test_closing_that_is_cancelled_cuts_off_what_is_borrowed(mariadb: MySQLServer) -> None:
    """The time limit of the caller is the limit of the wait."""
    async with mysql.new(**login(mariadb)).open(None) as pool:
        db: Any = pool.client
        running = asyncio.create_task(db.execute("DO SLEEP(30)"))
        await asyncio.sleep(0)
        closing = asyncio.create_task(pool.close())  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(DatabaseUnavailable):
            await running
