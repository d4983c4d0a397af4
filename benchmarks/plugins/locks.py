"""What a lock on Redis costs that nobody else wants, and how soon the next one has a lock that is given back.

``python -m benchmarks.plugins.locks figures.json --port PORT`` measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from benchmarks import program
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread
from hrpc.database import redis
from hrpc.testing.servers import redis_server
from hrpc_locks import Locks

ROUNDS = 7
PINGS = "two `PING`, for comparison"
PLAIN = "the lock of redis-py, for comparison"
WRITE, READ = "`write`", "`read`"
AGAIN = "`write`, entered again"
TRIPS, MICROS, HANDED = "round trips", "µs", "until the next one has it, µs"

Use = Callable[[], Awaitable[object]]


def locks(plan: Plan) -> Table:
    """Round trips and microseconds of a lock and its end."""
    with redis_server() as server:
        found = program.figures("plugins.locks", plan, "--port", server.port, "--calls", max(200, plan.loops // 50))
    rows = tuple(
        Row(name, {column: Spread.of(of) for column, of in columns.items()}) for name, columns in found.items()
    )
    about = (
        "A lock that is free, and its end: what Redis is sent, as its MONITOR tells, and the time of both, one after "
        "the other. Then a lock that a task of another client waits for: from the end of the block that had it to the "
        "beginning of the next one. The lock of redis-py knows no readers, order, renewal or token."
    )
    return Table("locks", "hrpc-locks", about, rows)


async def measured(port: int, calls: int) -> dict[str, dict[str, list[float]]]:
    """By row and column, the figure of each round."""
    async with opened(port) as (client, ours), opened(port) as (_, others), Redis(port=port) as watching:
        uses: dict[str, Use] = {
            PINGS: lambda: _twice(client),
            PLAIN: lambda: _held(client.lock("bench:plain", timeout=10)),
            WRITE: lambda: _held(ours.write("bench")),
            READ: lambda: _held(ours.read("bench")),
        }
        for use in uses.values():
            await use()  # once, so that Redis knows the scripts
        found = {
            name: {TRIPS: [await _trips(watching, use)], MICROS: [await _micros(use, calls) for _ in range(ROUNDS)]}
            for name, use in uses.items()
        }
        async with ours.write("bench"):
            found[AGAIN] = {
                TRIPS: [await _trips(watching, uses[WRITE])],
                MICROS: [await _micros(uses[WRITE], calls) for _ in range(ROUNDS)],
            }
        await _handed(ours, others)
        found[WRITE][HANDED] = [await _handed(ours, others) for _ in range(ROUNDS * 10)]
    return found


@asynccontextmanager
async def opened(port: int) -> AsyncIterator[tuple[Any, Locks]]:
    """A pool as that of a server, and locks on it."""
    async with redis.new(address="127.0.0.1", port=port).open(None) as pool:
        client: Any = pool.client
        async with Locks(client, prefix="bench", listening=client.blocking_client) as made:
            yield client, made


async def _twice(client: Any) -> None:
    await client.ping()
    await client.ping()


async def _held(lock: AbstractAsyncContextManager[object]) -> None:
    async with lock:
        pass


async def _micros(use: Use, calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        await use()
    return (time.perf_counter() - began) / calls * 1e6


async def _trips(watching: Redis, use: Use) -> float:
    """What Redis is sent meanwhile, without what its scripts do."""
    times, sent = 10, 0
    async with watching.monitor() as monitor:
        for _ in range(times):
            await use()
        await watching.echo("done")
        while (told := await monitor.next_command())["command"] != "ECHO done":
            # A connection that is new introduces itself.
            sent += told["client_type"] != "lua" and not told["command"].startswith(("HELLO", "CLIENT"))
    return sent / times


async def _handed(ours: Locks, others: Locks) -> float:
    """Microseconds from the end of one block to the beginning of the next."""

    async def waits() -> float:
        async with others.write("handed"):
            return time.perf_counter()

    async with ours.write("handed"):
        waiting = asyncio.create_task(waits())
        await asyncio.sleep(0.02)  # it is in line by then
        ended = time.perf_counter()
    return (await waiting - ended) * 1e6


if __name__ == "__main__":
    parser = program.parser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--calls", type=int, default=2000)
    given = parser.parse_args()
    program.write(given.output, asyncio.run(measured(given.port, given.calls)))
