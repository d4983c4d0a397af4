"""What hrpc-sidecar's work costs, and how soon a service is registered again.

``python -m benchmarks.plugins.sidecar figures.json`` measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import repeat

from benchmarks import program
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread
from hrpc_sidecar import Agent, App, ConnectionEvent, Controller, Service, ServiceNode, ServiceOptions
from hrpc_sidecar.events import event_of
from hrpc_sidecar.frames import Frame, Frames
from hrpc_sidecar.testing import SidecarAgent

ROUNDS = 7
RETURNS = 9
AWAY = 1.0
NANOS = "ns"
RATE = "MB/s"
SECONDS = "s"
SNAPSHOT = "a snapshot of the status"
FRESH = "the first snapshot after an event"
OBSERVE = "observing an event"
REPLAY = "a replay of the registration, without I/O"
PARSE = "the event of one frame"
STREAM = "a stream: bytes to events"
BACK = "registered again after the agent is back"

_BEAT = (
    b"id: 17\nevent: heartbeat\n"
    b'data: {"event":"heartbeat","message":"alive","service":"sidecar-agent","status":"ready",'
    b'"lifecycle_state":"running","ready":true}\n\n'
)
_FRAME = Frame("connected", "1", b'{"event":"connected","message":"ready","service":"sidecar-agent","status":"ready"}')
_EVENT = ConnectionEvent(type="heartbeat", id="heartbeat-1", message="alive")
_OPTIONS = ServiceOptions(
    app=App(id="10001", name="auth", instance_id="auth-1", env="production", version="1.0.0"),
    service=Service(name="auth", port=9090),
)


def sidecar(plan: Plan) -> Table:
    """Nanoseconds of an operation, the rate of the parser, and seconds until a service is back."""
    found = program.figures("plugins.sidecar", plan, "--calls", plan.loops)
    rows = [Row(name, {NANOS: Spread.of(found[name])}) for name in (SNAPSHOT, FRESH, OBSERVE, REPLAY, PARSE)]
    rows += [Row(STREAM, {RATE: Spread.of(found[STREAM])}), Row(BACK, {SECONDS: Spread.of(found[BACK])})]
    about = (
        "Operations in a loop, by the time of the thread; the loop itself is in it. The stream is 1 MB of heartbeats, "
        "in pieces of 64 KiB. The agent is away for one to two seconds, and back once it takes connections; attempts "
        "have their usual interval."
    )
    return Table("sidecar", "hrpc-sidecar", about, tuple(rows))


class _Client:
    async def register(self, node: ServiceNode) -> None:
        """Takes it."""

    async def drain(self, node: ServiceNode, grace_period: float) -> None:
        """Takes it."""

    async def deregister(self, node: ServiceNode) -> None:
        """Takes it."""


async def measured(calls: int) -> dict[str, list[float]]:
    """Each round of each figure."""
    controller = Controller(_Client(), ServiceNode(_OPTIONS, ["/acme.auth.v1.AuthService/Login"]))
    await controller.on_connected()

    def fresh() -> None:
        controller.observe_event(_EVENT)
        controller.status()

    def observe() -> None:
        controller.observe_event(_EVENT)

    def parse() -> None:
        event_of(_FRAME)

    found = {PARSE: [_nanos(parse, calls) for _ in range(ROUNDS)]}
    found[OBSERVE] = [_nanos(observe, calls) for _ in range(ROUNDS)]
    found[FRESH] = [_nanos(fresh, calls // 10) for _ in range(ROUNDS)]
    found[SNAPSHOT] = [_nanos(controller.status, calls) for _ in range(ROUNDS)]
    found[REPLAY] = [await _replays(controller, calls) for _ in range(ROUNDS)]
    found[STREAM] = [_rate(_BEAT * (1_000_000 // len(_BEAT))) for _ in range(ROUNDS)]
    found[BACK] = await _returns()
    return found


def _nanos(work: Callable[[], object], calls: int) -> float:
    began = time.thread_time()
    for _ in repeat(None, calls):
        work()
    return (time.thread_time() - began) / calls * 1e9


async def _replays(controller: Controller, calls: int) -> float:
    began = time.thread_time()
    for _ in repeat(None, calls):
        await controller.on_connected()
    return (time.thread_time() - began) / calls * 1e9


def _rate(stream: bytes) -> float:
    frames, seen = Frames(), 0
    began = time.thread_time()
    for at in range(0, len(stream), 1 << 16):
        for frame in frames.feed(stream[at : at + (1 << 16)]):
            seen += event_of(frame) is not None
    taken = time.thread_time() - began
    assert seen == len(stream) // len(_BEAT)
    return len(stream) / taken / 1e6


async def _returns() -> list[float]:
    took = []
    async with SidecarAgent() as sidecar:
        agent = Agent(_OPTIONS, base_url=sidecar.base_url)
        running = asyncio.create_task(agent.run())
        for number in range(RETURNS):
            await agent.controller.registered()
            await sidecar.kill()
            await asyncio.sleep(AWAY * (1 + number / RETURNS))  # so that it is back at any point of the interval
            await sidecar.start()
            began = time.monotonic()
            await agent.controller.registered()
            took.append(time.monotonic() - began)
        agent.stop()
        await running
    return took


if __name__ == "__main__":
    parser = program.parser()
    parser.add_argument("--calls", type=int, default=Plan.loops)
    given = parser.parse_args()
    program.write(given.output, asyncio.run(measured(given.calls)))
