"""A service on a database, and callers that write down how their calls end."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

import hrpc
from hrpc.abc import Database
from hrpc.database import mysql, redis
from tests.echo import add_echo, call

DEADLINE = 2.0
SLACK = 1.0
"""Seconds that a call may take beyond its deadline, on a busy machine, until its caller knows its end."""


class Ends:
    """How calls ended; `reach` waits for more of some kind."""

    def __init__(self) -> None:
        self.codes: Counter[grpc.StatusCode] = Counter()
        self.longest = 0.0
        self._changed = asyncio.Condition()

    async def add(self, code: grpc.StatusCode, seconds: float) -> None:
        self.codes[code] += 1
        self.longest = max(self.longest, seconds)
        async with self._changed:
            self._changed.notify_all()

    async def reach(self, code: grpc.StatusCode | None, more: int, limit: float = 60.0) -> None:
        """Waits for so many more with this code; None is any but OK."""

        def count() -> int:
            return self.codes[code] if code else self.failed

        wanted = count() + more
        async with asyncio.timeout(limit), self._changed:
            await self._changed.wait_for(lambda: count() >= wanted)

    @property
    def failed(self) -> int:
        return self.codes.total() - self.codes[grpc.StatusCode.OK]


async def of_mysql(request: bytes, _: Any) -> bytes:
    row = await mysql.get().query_one("SELECT %s AS answer", int(request))
    assert row is not None
    return str(row["answer"]).encode()


async def of_redis(request: bytes, _: Any) -> bytes:
    return bytes(await redis.get().echo(request.decode()))


async def write(request: bytes, _: Any) -> bytes:
    await mysql.get().execute("INSERT INTO written (n) VALUES (%s)", int(request))
    return request


@asynccontextmanager
async def serving(database: Database, **methods: Any) -> AsyncIterator[tuple[hrpc.Server, grpc.aio.Channel]]:
    """A service with nothing but this database, and a way to call it."""
    server = hrpc.new_server(
        hrpc.with_server_name("on-database"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_databases(database),
        hrpc.with_audit_log(False),
    )
    add_echo(server, **methods)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        yield server, channel


@asynccontextmanager
async def calling(channel: grpc.aio.Channel, method: str, callers: int, pause: float = 0.0) -> AsyncIterator[Ends]:
    """`callers` that call without a pause, each time with another number, which has to come back."""
    ends, numbers, enough = Ends(), itertools.count(), asyncio.Event()
    loop = asyncio.get_running_loop()

    async def one() -> None:
        while not enough.is_set():
            number, began = next(numbers), loop.time()
            try:
                answer = await call(channel, method, str(number).encode(), timeout=DEADLINE)
                assert answer == str(number).encode(), "the answer of somebody else"
                code = grpc.StatusCode.OK
            except grpc.aio.AioRpcError as error:
                code = error.code()
            await ends.add(code, loop.time() - began)
            await asyncio.sleep(pause)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(one())
        yield ends
        enough.set()
