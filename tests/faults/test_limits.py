"""A process that has reached a limit of its system: what it serves goes on, and what it cannot do is refused."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import pytest

from tests.echo import call
from tests.eventually import eventually
from tests.faults.whole import Life, Whole
from tests.load import load

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

FILES = 128
HELD_FOR = 3.0
BUSY = 0.3
"""Seconds of the processor in one second that are taken at the limit and were not before: a loop that tried to accept
again and again would take all of it."""
LINES = 50
"""Lines of the log while connections cannot be taken."""
RECOVERS_WITHIN = 5.0
ROOM_MB = 64
"""What the process may take further when its memory is limited."""
MB = 2**20
MESSAGE_MB, CONNECTIONS, STREAMS, LARGE_CALLS = 4, 8, 2, 200
COPIES = 4
"""How often a message is in memory at most: as frames and as bytes, as the request and as the response."""


def processor(pid: int) -> float:
    """Seconds of the processor that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def busy(pid: int) -> float:
    """Seconds of the processor that it takes in one second."""
    before = processor(pid)
    await asyncio.sleep(HELD_FOR)
    return (processor(pid) - before) / HELD_FOR


def most_mb(pid: int) -> float:
    """MB of memory that a process has had at most so far."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


async def connections(stack: AsyncExitStack, port: int, number: int) -> None:
    """Connections that say nothing."""

    async def one() -> None:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)

    for _ in range(number):
        await one()


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_without_file_descriptors_calls_go_on_and_new_connections_are_taken_when_there_are_some_again(
    whole: Whole, engine: str, figures: Callable[..., None]
) -> None:
    async with whole.life(engine=engine, files=FILES) as life, aiohttp.ClientSession() as session:
        ports = await life.ports()
        target, health = f"127.0.0.1:{ports['serves on port']}", f"http://127.0.0.1:{ports['health on']}/"
        async with grpc.aio.insecure_channel(target) as channel:
            async with session.get(health) as answer:
                assert answer.status == 200
            async with load(channel, loops=2) as calls, AsyncExitStack() as held:
                before = await busy(life.process.pid)
                await connections(held, ports["serves on port"], FILES // 2)
                await connections(held, ports["health on"], FILES // 2)
                await connections(held, ports["metrics on"], FILES // 2)
                assert await opens(channel) == "RESOURCE_EXHAUSTED"
                lines = told(life)
                good, at_limit = calls.good, await busy(life.process.pid)
                per_second = (calls.good - good) / HELD_FOR
                lines = told(life) - lines
                await calls.goes_on()
        freed = time.monotonic()
        async with grpc.aio.insecure_channel(target) as channel:
            await eventually(lambda: answers(channel), 30)
            assert await opens(channel) == "OK"
        await eventually(lambda: is_well(session, health), 30)
        recovered = time.monotonic() - freed
    figures(
        engine=engine,
        calls=calls.good,
        per_second=per_second,
        failed=calls.failed.total(),
        longest_call_s=calls.longest,
        busy_before=before,
        busy=at_limit,
        recovered_s=recovered,
    )
    assert not calls.failed
    assert at_limit <= before + BUSY
    assert lines <= LINES, life.process.output[-3000:]
    assert recovered <= RECOVERS_WITHIN


def told(life: Life) -> int:
    """The lines of its log that are not those of calls."""
    return life.process.output.count('"category": "log"')


async def opens(channel: grpc.aio.Channel) -> str:
    """The status of a call whose handler opens a file."""
    return await status(call(channel, "Opens", timeout=10))


async def answers(channel: grpc.aio.Channel) -> bool:
    return await status(call(channel, "Echo", timeout=2)) == "OK"


async def is_well(session: aiohttp.ClientSession, health: str) -> bool:
    with suppress(OSError, TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(2), session.get(health) as answer:
            return answer.status == 200
    return False


async def status(calling: Awaitable[Any]) -> str:
    try:
        await calling
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_without_memory_the_calls_that_need_it_are_refused_and_the_others_go_on(
    whole: Whole, engine: str, figures: Callable[..., None]
) -> None:
    async with whole.life(engine=engine) as life:
        ports = await life.ports()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports['serves on port']}") as channel:
            await call(channel, "EchoInThread")
            await call(channel, "Room", json.dumps(ROOM_MB * MB).encode())
            async with load(channel, loops=2) as calls, load(channel, loops=1, method="EchoInThread") as in_threads:
                await calls.goes_on()
                needs = [json.dumps(size * MB).encode() for size in (8, 2 * ROOM_MB)]
                ends: Counter[str] = Counter()
                for _ in range(50):
                    small, large = [await status(call(channel, "Allocates", need, timeout=10)) for need in needs]
                    ends[f"small_{small}"] += 1
                    ends[f"large_{large}"] += 1
                many = await asyncio.gather(*(status(call(channel, "Threads", timeout=10)) for _ in range(64)))
                await calls.goes_on()
                await in_threads.goes_on()
            assert await status(call(channel, "Allocates", needs[0], timeout=10)) == "OK"
    figures(engine=engine, calls=calls.good, failed=calls.failed.total(), **ends, **Counter(many))
    assert ends == {"small_OK": 50, "large_RESOURCE_EXHAUSTED": 50}
    assert set(many) <= {"OK", "RESOURCE_EXHAUSTED"}
    assert not calls.failed
    assert not in_threads.failed


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_the_memory_of_large_calls_has_a_bound_when_those_of_a_connection_have_one(
    whole: Whole, engine: str, figures: Callable[..., None]
) -> None:
    request = b"x" * (MESSAGE_MB * MB - 1000)
    async with whole.life(engine=engine, streams=STREAMS) as life:
        ports = await life.ports()
        target = f"127.0.0.1:{ports['serves on port']}"
        before = most_mb(life.process.pid)
        async with AsyncExitStack() as stack:
            own = [("grpc.use_local_subchannel_pool", 1)]
            channels = [
                await stack.enter_async_context(grpc.aio.insecure_channel(target, own)) for _ in range(CONNECTIONS)
            ]
            calls = (status(call(channels[n % CONNECTIONS], "Echo", request, timeout=60)) for n in range(LARGE_CALLS))
            ends = Counter(await asyncio.gather(*calls))
        grown = most_mb(life.process.pid) - before
    figures(engine=engine, grown_mb=grown, **ends)
    assert ends == {"OK": LARGE_CALLS}
    assert grown <= CONNECTIONS * STREAMS * MESSAGE_MB * COPIES
