"""What pools count, and that nothing is forgotten when one takes the place of another."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

import pytest

from hrpc.abc import POOL_WAITS, Counted
from hrpc.database.activity import Activity
from hrpc.errors import PoolTimeout
from tests.database.conftest import Open
from tests.eventually import eventually


def test_waits_fall_into_buckets_and_those_at_once_into_the_first() -> None:
    """As many as there were borrowers."""
    activity = Activity()
    activity.at_once = 3
    for seconds in (0.0005, POOL_WAITS[0], 0.3, 99.0):
        activity.wait(seconds)
    counts, total = activity.histogram()
    assert counts == [5, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert total == pytest.approx(99.3015)
    other = Activity()
    other.add(activity)
    other.add(activity)
    assert other.histogram()[0] == [10, 0, 0, 0, 0, 2, 0, 0, 0, 2]


async def test_mysql_counts_what_was_made_and_why_it_was_closed(open_mysql: Open) -> None:
    """Each connection that was made is there still, or was closed for one reason."""
    pool = await open_mysql(max_open_conns=2, max_idle_conns=0, acquire_timeout=0.05)
    assert isinstance(pool, Counted)
    db, activity = pool.client, pool.activity
    assert activity.opened == 1
    await db.execute("SET @x = 1")
    assert activity.closed == {"session": 1}
    running = asyncio.create_task(db.execute("DO SLEEP(30)"))

    async def asked() -> bool:
        return any(connection.busy for connection in pool._used)

    await eventually(asked)  # by a connection that had to be made: a cancel before that closes none
    running.cancel()
    await asyncio.wait({running})
    await db.execute("DO 1")
    pool._idle[0]._writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
    pool._idle[0].since -= 60
    await db.execute("DO 1")
    pool._idle[0].expires -= 9999
    await db.execute("DO 1")
    pool._idle[0].since -= 60
    pool._trim()
    async with db.acquire(), db.acquire():
        with pytest.raises(PoolTimeout):
            await db.execute("DO 1")
    assert dict(activity.closed) == {"session": 3, "cancelled": 1, "lost": 1, "lifetime": 1, "idle": 1}
    assert activity.opened == sum(activity.closed.values()) + pool.stats().idle
    assert activity.timeouts == 1
    assert sum(activity.histogram()[0]) == 8


def _taken(pool: Any, number: int) -> Any:
    async def reached() -> bool:
        return bool(pool.stats().used == number)

    return reached


async def test_redis_counts_what_was_made_and_why_it_was_closed(open_redis: Open) -> None:
    """As MySQL does; the connections of the blocking client count as well."""
    pool = await open_redis()
    activity = pool.activity
    assert activity.opened == 1
    running = asyncio.create_task(pool.client.blpop("activity:never", timeout=30))
    await eventually(_taken(pool, 1))
    await asyncio.sleep(0.05)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert dict(activity.closed) == {"cancelled": 1}
    await pool.client.ping()
    number = await pool.client.client_id()
    await (await open_redis()).client.client_kill_filter(_id=str(number))
    (connection,) = pool.client.connection_pool._available_connections
    await connection._reader.read()  # until the server has hung up
    await pool.client.ping()
    assert dict(activity.closed) == {"cancelled": 1, "lost": 1}
    assert activity.opened == 3
    assert sum(activity.histogram()[0]) >= 5


async def test_a_pool_goes_on_with_the_counts_of_the_one_before(open_mysql: Open, open_redis: Open) -> None:
    """Counters never fall, also when the settings change."""
    for open_ in (open_mysql, open_redis):
        old, new = await open_(), await open_()
        new.take_over(old)
        assert new.activity is old.activity
        assert new.activity.opened == 2
        waits = sum(new.activity.histogram()[0])
        await (new.client.execute("DO 1") if open_ is open_mysql else new.client.ping())
        assert sum(new.activity.histogram()[0]) == waits + 1
