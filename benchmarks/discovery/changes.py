"""How soon a channel calls an instance that is new, and no longer calls one that has left.

``python -m benchmarks.discovery.changes figures.json --address HOST:PORT --changes 200`` measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from benchmarks import program
from benchmarks.discovery import agent, callers
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread
from hrpc import service
from hrpc.testing.servers import consul_server

NAME = "changing"
METHOD = "/benchmarks.v1.Named/Name"
OTHERS_IN_A_ROW = 6
"""After so many answers of others, in turns of two, the one that is looked for is not called any more."""

ADDED, REMOVED = "an instance is added", "an instance is removed"
MIDDLE, NEARLY_ALL, LONGEST = "p50, ms", "p99, ms", "longest, ms"


def changes(plan: Plan) -> Table:
    """Milliseconds from the request that changes the catalogue."""
    with consul_server() as consul:
        found = program.figures("discovery.changes", plan, "--address", consul.address, "--changes", plan.changes)
    rows = tuple(Row(name, columns(found[name])) for name in (ADDED, REMOVED))
    about = (
        f"From before the request to the agent, {plan.changes} changes in turn: until the first call of the new "
        "instance has its answer; until the last call of the removed one begins. Meanwhile one call is made after "
        "another."
    )
    return Table("changes", "Until a change is seen by a channel", about, rows)


def columns(millis: Sequence[float]) -> dict[str, Spread]:
    """The middle and the upper end of what was measured."""
    ordered = sorted(millis)
    picked = {MIDDLE: len(ordered) // 2, NEARLY_ALL: -1 - len(ordered) // 100, LONGEST: -1}
    return {column: Spread.of([ordered[index]]) for column, index in picked.items()}


async def measured(address: str, times: int) -> dict[str, list[float]]:
    """Milliseconds of each change."""
    found: dict[str, list[float]] = {ADDED: [], REMOVED: []}
    async with _named(b"stays") as stays, _named(b"comes") as comes, callers.caller(address):
        await asyncio.to_thread(agent.register, address, NAME, stays, 0)
        await service.ready(NAME)
        async with service.channel(NAME) as channel:
            call = channel.unary_unary(METHOD)
            for _ in range(times // 2):
                began = time.monotonic()
                changing = asyncio.create_task(asyncio.to_thread(agent.register, address, NAME, comes, 1))
                found[ADDED].append((await _first_call(call) - began) * 1e3)
                instance = await changing
                began = time.monotonic()
                changing = asyncio.create_task(asyncio.to_thread(agent.deregister, address, instance))
                found[REMOVED].append((await _last_call(call, changing) - began) * 1e3)
    return found


async def _first_call(call: Any) -> float:
    while await call(b"", timeout=5) != b"comes":
        pass
    return time.monotonic()


async def _last_call(call: Any, changing: asyncio.Task[None]) -> float:
    last, others = time.monotonic(), 0
    while others < OTHERS_IN_A_ROW or not changing.done():
        began = time.monotonic()
        if await call(b"", timeout=5) == b"comes":
            last, others = began, 0
        else:
            others += 1
    await changing
    return last


@asynccontextmanager
async def _named(answer: bytes) -> AsyncIterator[int]:
    """A bare server that answers with its name; gives its port."""

    async def name(_: bytes, __: Any) -> bytes:
        return answer

    server = grpc.aio.server()
    service_name, _, method = METHOD.strip("/").partition("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(name)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service_name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


if __name__ == "__main__":
    parser = program.parser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--changes", type=int, default=Plan.changes)
    given = parser.parse_args()
    program.write(given.output, asyncio.run(measured(given.address, given.changes)))
