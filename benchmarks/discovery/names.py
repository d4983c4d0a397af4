"""A service that calls a thousand others.

``python -m benchmarks.discovery.names figures.json --address HOST:PORT --names 1000 --idle 60`` measures.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence

from benchmarks import program
from benchmarks.discovery import agent, callers
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread
from hrpc import service
from hrpc.testing.servers import consul_server

INSTANCES = 10
START, IDLE, MEMORY = "start, s", "idle, % of a core", "memory of a name, KB"


def followed(names: int) -> str:
    """The name of the row of a server that follows so many services."""
    return f"{names:,} names"


def names(plan: Plan) -> Table:
    """Start, idle time and memory."""
    with consul_server({"limits": {"http_max_conns_per_client": 2 * plan.names + 100}}) as consul:
        fill(consul.address, plan.names)
        found = {
            many: program.figures(
                "discovery.names", plan, "--address", consul.address, "--names", many, "--idle", plan.idle
            )
            for many in (0, plan.names)
        }
    rows = [Row(followed(many), _columns(figures)) for many, figures in found.items()]
    growth = (found[plan.names]["kilobytes"] - found[0]["kilobytes"]) / plan.names
    rows[1] = Row(rows[1].name, {**rows[1].figures, MEMORY: Spread.of([growth])})
    about = (
        f"`hrpc.with_upstreams(…)` with {INSTANCES} instances each, on a real agent that takes a "
        "connection for each name: until all are known; then the "
        f"processor time of {plan.idle:g} s in which nothing happens; and what the process has grown by for each name."
    )
    return Table("names", "Many names", about, tuple(rows))


def fill(address: str, many: int) -> None:
    """Puts the services into the catalogue."""
    agent.fill(address, _names(many), INSTANCES)


def _columns(figures: dict[str, float]) -> dict[str, Spread]:
    return {START: Spread.of([figures["start"]]), IDLE: Spread.of([figures["idle"]])}


def _names(many: int) -> Sequence[str]:
    return [f"upstream-{number}" for number in range(many)]


async def measured(address: str, many: int, idle: float) -> dict[str, float]:
    """The seconds of the start, the percents of a core while idle, and the kilobytes of the process."""
    wanted = _names(many)
    began = time.monotonic()
    async with callers.caller(address, upstreams=wanted):
        for name in wanted:
            service.get(name)
        start = time.monotonic() - began
        await asyncio.sleep(1)  # what the start has left behind
        busy, began = time.process_time(), time.monotonic()
        await asyncio.sleep(idle)
        share = (time.process_time() - busy) / (time.monotonic() - began)
        gc.collect()
        return {"start": start, "idle": share * 100, "kilobytes": callers.resident_kilobytes()}


if __name__ == "__main__":
    parser = program.parser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--names", type=int, default=Plan.names)
    parser.add_argument("--idle", type=float, default=Plan.idle)
    given = parser.parse_args()
    program.write(given.output, asyncio.run(measured(given.address, given.names, given.idle)))
