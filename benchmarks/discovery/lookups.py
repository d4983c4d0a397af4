"""What it takes to look a service up that is followed already.

``python -m benchmarks.discovery.lookups figures.json --address HOST:PORT`` measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from benchmarks import program
from benchmarks.discovery import agent, callers
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread
from hrpc import service
from hrpc.testing.servers import consul_server

ROUNDS = 7
GET = "`service.get(name).target()`"
CHANNEL = "`service.channel(name)`"


def lookups(plan: Plan) -> Table:
    """Microseconds of a look-up."""
    with consul_server() as consul:
        for number in range(3):
            agent.register(consul.address, "found", 9000 + number, number)
        found = program.figures("discovery.lookups", plan, "--address", consul.address, "--calls", plan.loops)
    rows = tuple(Row(name, {"µs": Spread.of(found[name])}) for name in (GET, CHANNEL))
    about = "Of a service with three instances that is followed already; in a loop."
    return Table("lookups", "Looking up", about, rows)


async def measured(address: str, calls: int) -> dict[str, list[float]]:
    """Microseconds of each round."""
    async with callers.caller(address, upstreams=["found"]):
        looks: dict[str, Callable[[], object]] = {
            GET: lambda: service.get("found").target(),
            CHANNEL: lambda: service.channel("found"),
        }
        return {name: [_loop(look, calls) for _ in range(ROUNDS)] for name, look in looks.items()}


def _loop(look: Callable[[], object], calls: int) -> float:
    began = time.thread_time()
    for _ in range(calls):
        look()
    return (time.thread_time() - began) / calls * 1e6


if __name__ == "__main__":
    parser = program.parser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--calls", type=int, default=Plan.loops)
    given = parser.parse_args()
    program.write(given.output, asyncio.run(measured(given.address, given.calls)))
