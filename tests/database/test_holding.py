"""A full pool says who holds it, whoever they are."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import grpc.aio
import pytest

import hrpc
from hrpc import context
from hrpc.database import holding, mysql
from hrpc.database.holding import Holder
from hrpc.errors import PoolTimeout
from hrpc.testing.servers import MySQLServer
from tests.database.conftest import Open, login
from tests.echo import add_echo, call


async def test_a_call_that_holds_a_connection_is_named_by_its_method_and_trace(mariadb: MySQLServer) -> None:
    """An engineer who reads the error finds the rest in the trace."""
    held, release = asyncio.Event(), asyncio.Event()
    traces: list[str] = []

    async def report(_: bytes, __: Any) -> bytes:
        current = context.current()
        assert current is not None
        traces.append(current.trace_id)
        async with mysql.get().transaction():
            held.set()
            await release.wait()
        return b""

    server = hrpc.new_server(
        hrpc.with_server_name("holding"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_databases(mysql.new(**login(mariadb, max_open_conns=1, acquire_timeout=0.05))),
    )
    add_echo(server, Report=report)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        calling = asyncio.ensure_future(call(channel, "Report"))
        await held.wait()
        with pytest.raises(PoolTimeout) as error:
            await mysql.get().query("SELECT 1")
        release.set()
        await calling
    held_by = rf"1 of 1 are in use, held by /test\.Echo/Report for \d+\.\d s \(trace {traces[0]}\); raise"
    assert re.search(held_by, str(error.value))


async def test_a_task_without_a_name_is_named_by_its_function() -> None:
    """``Task-7`` would say nothing."""

    async def nightly_report() -> str:
        return Holder(0.0).name

    assert (await asyncio.create_task(nightly_report())).endswith("nightly_report")
    assert await asyncio.create_task(nightly_report(), name="nightly") == "nightly"


async def test_those_who_hold_for_the_longest_time_are_told_of() -> None:
    """Three of them: a pool may have hundreds."""

    async def holder(since: float) -> Holder:
        return Holder(since)

    made = [asyncio.create_task(holder(since), name=f"at-{since:g}") for since in (4, 1, 3, 2)]
    holders = [await task for task in made]
    assert holding.told([*holders, None], 5.0) == ", held by at-1 for 4.0 s, at-2 for 3.0 s, at-3 for 2.0 s"
    assert holding.told([None], 5.0) == ""


async def test_redis_says_who_holds_it_as_well(open_redis: Open) -> None:
    """In the same words."""
    pool = await open_redis(max_open_conns=1, acquire_timeout=0.05)
    holder = asyncio.create_task(pool.client.blpop("holding:never", timeout=30), name="worker")
    await asyncio.sleep(0)
    with pytest.raises(PoolTimeout, match=r"all 1 are in use, held by worker for \d+\.\d s; raise max_open_conns"):
        await pool.client.get("x")
    holder.cancel()
    await asyncio.wait({holder})
