"""Databases that are killed, cut off, silent, full, read-only or that hang up, under calls with a deadline."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import pytest
from pymysql.err import OperationalError

from hrpc.abc import Database
from hrpc.database import mysql, redis
from hrpc.testing.servers import MySQLServer, RedisServer
from tests.database.conftest import login
from tests.echo import call
from tests.eventually import eventually
from tests.faults.database import DEADLINE, SLACK, calling, of_mysql, of_redis, serving, write
from tests.proxy import Proxy, proxied

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

CALLERS = 16
HEALED_WITHIN = 3.0
"""Seconds: an attempt to connect that began before the server was back ends within connect_timeout, 1 s here."""

OK, LATE, AWAY = grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE
Figures = Callable[..., None]


class Place:
    """A database that is hurt: its server, and the line to it."""

    def __init__(self, server: MySQLServer | RedisServer, line: Proxy) -> None:
        self.server = server
        self.line = line

    def database(self, *lines: Proxy, **more: Any) -> Database:
        address = ",".join(line.address for line in lines or (self.line,))
        limits = {"address": address, "connect_timeout": 1.0, "max_open_conns": 8, **more}
        if isinstance(self.server, MySQLServer):
            return mysql.new(**login(self.server) | limits)
        return redis.new(**limits)  # type: ignore[arg-type]


@pytest.fixture(params=["mysql", "redis"])
async def place(request: pytest.FixtureRequest) -> Any:
    server = request.getfixturevalue("own_mariadb" if request.param == "mysql" else "own_redis")
    async with proxied(server.address) as line:
        yield Place(server, line)


async def killed(place: Place) -> None:
    await asyncio.to_thread(place.server.kill)


async def stopped(place: Place) -> None:
    await asyncio.to_thread(place.server.stop)


async def started(place: Place) -> None:
    await asyncio.to_thread(place.server.start)


async def frozen(place: Place) -> None:
    place.line.freeze()


async def refused(place: Place) -> None:
    await place.line.refuse()


async def healed(place: Place) -> None:
    await place.line.heal()


@pytest.mark.parametrize(
    ("hurt", "heal"),
    [(killed, started), (stopped, started), (frozen, healed), (refused, healed)],
    ids=["killed", "restarted", "half-open", "refused"],
)
async def test_every_call_ends_by_its_deadline_and_all_is_well_after(
    place: Place,
    hurt: Callable[[Place], Awaitable[None]],
    heal: Callable[[Place], Awaitable[None]],
    rounds: int,
    figures: Figures,
) -> None:
    """Whatever becomes of the database; no answer is somebody else's, and no connection is lost to the pool."""
    slowest = 0.0
    async with serving(place.database(), Read=of_mysql if isinstance(place.server, MySQLServer) else of_redis) as (
        server,
        channel,
    ):
        async with calling(channel, "Read", CALLERS) as ends:
            for _ in range(min(rounds, 5)):
                await ends.reach(OK, 200)
                await hurt(place)
                await ends.reach(None, CALLERS)
                await heal(place)
                began = time.monotonic()
                await ends.reach(OK, 1)
                slowest = max(slowest, time.monotonic() - began)
            await ends.reach(OK, 200)
        assert server._running is not None
        pools = server._running.parts.pools
        assert {key[1]: number for key, number in pools.connections().items()}["used"] == 0
    figures(calls=ends.codes.total(), failed=ends.failed, longest_call_s=ends.longest, back_s=slowest)
    assert set(ends.codes) <= {OK, LATE, AWAY}
    assert ends.longest <= DEADLINE + SLACK
    assert slowest <= HEALED_WITHIN


async def test_a_second_server_takes_over_while_the_first_is_away(place: Place, rounds: int, figures: Figures) -> None:
    """Back and forth, by refusals and by silence: only what was under way fails, and what waits for the silent one."""
    method = of_mysql if isinstance(place.server, MySQLServer) else of_redis
    async with proxied(place.server.address) as second:
        async with serving(place.database(place.line, second), Read=method) as (_, channel):
            async with calling(channel, "Read", CALLERS) as ends:
                for number in range(min(rounds, 10)):
                    first, other = (place.line, second) if number % 2 == 0 else (second, place.line)
                    await ends.reach(OK, 200)
                    if number % 4 < 2:
                        await first.refuse()
                    else:
                        first.freeze()
                    await ends.reach(OK, 400)
                    await first.heal()
                    await other.heal()
    figures(calls=ends.codes.total(), failed=ends.failed, longest_call_s=ends.longest)
    assert set(ends.codes) <= {OK, LATE, AWAY}
    assert ends.failed <= CALLERS * min(rounds, 10)
    assert ends.longest <= DEADLINE + SLACK


async def test_connections_that_the_server_hangs_up_on_cost_no_call(
    own_mariadb: MySQLServer, rounds: int, figures: Figures
) -> None:
    """wait_timeout of 2 s, and writes after pauses around it."""
    async with serving(mysql.new(**login(own_mariadb)), Write=write) as (_, channel):
        await mysql.get().execute("CREATE TABLE written (n INT)")
        await mysql.get().execute("SET GLOBAL wait_timeout = 2")
        dice, written = random.Random(7), 0
        for number in range(rounds):
            assert await call(channel, "Write", str(number).encode(), timeout=DEADLINE + SLACK)
            written += 1
            await asyncio.sleep(dice.uniform(1.9, 2.2))
        assert await mysql.get().query_one("SELECT COUNT(*) AS c FROM written") == {"c": written}
    figures(writes=written, failed=0.0)


async def test_killed_connections_fail_no_read_twice_and_write_nothing_twice(
    own_mariadb: MySQLServer, rounds: int, figures: Figures
) -> None:
    """An administrator kills all connections, again and again: what a caller was told is what is in the table."""
    recipe = mysql.new(**login(own_mariadb, max_open_conns=8))
    async with mysql.new(**login(own_mariadb, max_open_conns=1)).open(None) as other:
        administrator: Any = other.client
        await administrator.execute("CREATE TABLE written (n INT)")
        async with serving(recipe, Write=write) as (_, channel):
            async with calling(channel, "Write", CALLERS) as ends:
                for _ in range(rounds):
                    await ends.reach(OK, 100)
                    own = await administrator.query_one("SELECT CONNECTION_ID() AS id")
                    found = await administrator.query("SELECT id FROM information_schema.processlist")
                    for row in found:
                        if row["id"] != own["id"]:
                            with suppress(OperationalError):  # it is gone already
                                await administrator.execute("KILL %s", row["id"])
                await ends.reach(OK, 100)
        row = await administrator.query_one("SELECT COUNT(*) AS c, COUNT(DISTINCT n) AS d FROM written")
    figures(calls=ends.codes.total(), failed=ends.failed, longest_call_s=ends.longest)
    assert row["c"] == row["d"], "written twice"
    assert ends.codes[OK] <= row["c"] <= ends.codes.total()
    assert set(ends.codes) <= {OK, AWAY}
    assert ends.failed <= CALLERS * rounds


async def test_storms_of_cancels_leave_the_pool_whole(place: Place, seconds: float, figures: Figures) -> None:
    """Each caller goes away at a random moment; none gets another's answer, and nothing is left open."""
    method = of_mysql if isinstance(place.server, MySQLServer) else of_redis
    dice, loop = random.Random(3), asyncio.get_running_loop()
    answered = cancelled = 0
    async with serving(place.database(), Read=method) as (server, channel):
        files = len(os.listdir("/proc/self/fd"))
        until = loop.time() + min(seconds / 10, 60)
        while loop.time() < until:
            calls = [asyncio.ensure_future(call(channel, "Read", str(n).encode(), timeout=10.0)) for n in range(200)]
            for one in calls:
                if dice.random() < 0.5:
                    loop.call_later(dice.uniform(0, 0.1), one.cancel)
            for number, end in enumerate(await asyncio.gather(*calls, return_exceptions=True)):
                if isinstance(end, BaseException):
                    assert isinstance(end, asyncio.CancelledError), end
                    cancelled += 1
                else:
                    assert end == str(number).encode()
                    answered += 1
        assert server._running is not None
        pools = server._running.parts.pools

        async def whole() -> bool:
            return sum(pools.waiting().values()) == 0 and all(
                number == 0 for key, number in pools.connections().items() if key[1] == "used"
            )

        await eventually(whole)

        async def level() -> bool:
            # Each of 8 connections is three ends: the pool's, and two of the line.
            return len(os.listdir("/proc/self/fd")) <= files + 3 * 8

        await eventually(level)
    figures(answered=answered, cancelled=cancelled)
    assert answered > 100
    assert cancelled > 100


async def test_the_server_works_on_nothing_that_nobody_waits_for(
    own_mariadb: MySQLServer, rounds: int, figures: Figures
) -> None:
    """Callers with half a second give up on statements that would take minutes: the server gives up with them."""
    columns = "information_schema.columns"
    endless = f"SELECT COUNT(*) AS c FROM {columns} a, {columns} b, {columns} c WHERE a.extra < b.extra"

    async def heavy(_: bytes, __: Any) -> bytes:
        return str(await mysql.get().query_one(endless)).encode()

    longest = 0.0
    async with mysql.new(**login(own_mariadb, max_open_conns=1)).open(None) as other:
        db: Any = other.client
        async with serving(mysql.new(**login(own_mariadb, max_open_conns=4, deadline_limit=True)), Heavy=heavy) as (
            _,
            channel,
        ):
            for _ in range(min(rounds, 10)):
                ends = await asyncio.gather(
                    *(call(channel, "Heavy", timeout=0.5) for _ in range(4)), return_exceptions=True
                )
                assert {end.code() for end in ends if isinstance(end, grpc.aio.AioRpcError)} <= {LATE, AWAY}
                began = time.monotonic()

                async def idle() -> bool:
                    row = await db.query_one(
                        "SELECT COUNT(*) AS c FROM information_schema.processlist "
                        "WHERE info LIKE '%%a.extra < b.extra%%' AND id != CONNECTION_ID()"
                    )
                    return bool(row["c"] == 0)

                await eventually(idle)
                longest = max(longest, time.monotonic() - began)
    figures(worked_on_for_s=longest)
    assert longest <= 2.0
