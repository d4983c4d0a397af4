"""What a call through `service.channel` costs its caller, beside one through a channel of gRPC.

``python -m benchmarks.discovery.calls figures.json --address HOST:PORT --ports 1 2 3`` measures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import grpc.aio

import hrpc
from benchmarks import echo_pb2, echo_pb2_grpc, fleet, machine, program
from benchmarks.discovery import agent, callers
from benchmarks.plan import Plan
from benchmarks.results import Row, Table
from benchmarks.rounds import Spread, ratios
from benchmarks.variants import Variant
from hrpc import BalancerSettings, service
from hrpc.testing.servers import consul_server

AT_ONCE = 16
TURN = 0.1
"""Seconds of calls through one channel before the next one has its turn."""
RATIO = "calls per CPU time of the caller"
_MESSAGE = echo_pb2.Message(body=b"x" * 100)

BARE_ONE, OURS_ONE = "a channel of grpc.aio", "`service.channel`, one instance"
BARE_THREE, OURS_THREE = "`ipv4:a,b,c` with gRPC's round_robin", "`service.channel`, three instances"
P2C_THREE, HASH_THREE = "the same, p2c", "the same, consistent hash"
ONE, THREE, P2C, HASH = "one", "three", "three-p2c", "three-hash"
SERVERS = tuple(Variant(f"echo {number}", "native") for number in range(3))


def calls(plan: Plan) -> list[Table]:
    """Ratios of the calls that a second of the caller's processor time is enough for."""
    with consul_server() as consul, fleet.all_running(SERVERS, plan.folder) as running:
        ports = [instance.port for instance in running.values()]
        register(consul.address, ports)
        given = ["--address", consul.address, "--ports", *ports, "--rounds", plan.rounds, "--seconds", plan.seconds]
        found = program.figures("discovery.calls", plan, *given, core=machine.LOAD_CORE)
    about = f"Unary calls of 100 bytes, {AT_ONCE} at a time, from one process to servers on another core."
    one = _table("channel-one", "A channel to one instance", about, _part(found, BARE_ONE, OURS_ONE))
    three = _part(found, BARE_THREE, OURS_THREE, P2C_THREE, HASH_THREE)
    return [one, _table("channel-three", "A channel to three instances", about, three)]


def register(address: str, ports: list[int]) -> None:
    """Registers the servers, under a name for each kind of channel."""
    for name, those in {ONE: ports[:1], THREE: ports, P2C: ports, HASH: ports}.items():
        for number, port in enumerate(those):
            agent.register(address, name, port, number)


def _part(found: Mapping[str, list[float]], *names: str) -> dict[str, Spread]:
    return ratios({name: found[name] for name in names}, names[0])


def _table(key: str, title: str, about: str, figures: Mapping[str, Spread]) -> Table:
    return Table(key, title, about, tuple(Row(name, {RATIO: figure}) for name, figure in figures.items()))


async def measured(address: str, ports: list[int], rounds: int, seconds: float) -> dict[str, list[float]]:
    """By kind of channel, the calls for a second of processor time in each round."""
    balancer = hrpc.with_balancer(
        services={
            P2C: BalancerSettings("p2c"),
            HASH: BalancerSettings("consistent_hash", hash_key="user-id"),
        }
    )
    one, three = f"ipv4:127.0.0.1:{ports[0]}", "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    # Without it, the authority would be the list of all three, which is none.
    round_robin = [("grpc.lb_policy_name", "round_robin"), ("grpc.default_authority", "localhost")]
    async with (
        grpc.aio.insecure_channel(one) as bare_one,
        grpc.aio.insecure_channel(three, round_robin) as bare_three,
        callers.caller(address, balancer, upstreams=[ONE, THREE, P2C, HASH]),
    ):
        channels = {
            BARE_ONE: bare_one,
            OURS_ONE: service.channel(ONE),
            BARE_THREE: bare_three,
            OURS_THREE: service.channel(THREE),
            P2C_THREE: service.channel(P2C),
            HASH_THREE: service.channel(HASH),
        }
        found: dict[str, list[float]] = {name: [] for name in channels}
        for channel in channels.values():
            await _load(channel, seconds / 4)
        for number in range(rounds):
            for name in list(channels) if number % 2 == 0 else reversed(channels):
                found[name].append(await _load(channels[name], seconds))
    return found


async def _load(channel: grpc.aio.Channel, seconds: float) -> float:
    """Calls of so many seconds; how many for a second of this process' processor time."""
    stub = echo_pb2_grpc.EchoStub(channel)  # type: ignore[no-untyped-call]
    until, answered = time.monotonic() + seconds, 0

    async def worker() -> None:
        nonlocal answered
        while True:
            await stub.Say(_MESSAGE)
            answered += 1
            if time.monotonic() >= until:
                return

    async with asyncio.TaskGroup() as workers:
        for _ in range(AT_ONCE):
            workers.create_task(worker())
    return answered


if __name__ == "__main__":
    parser = program.parser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--ports", type=int, nargs=3, required=True)
    parser.add_argument("--rounds", type=int, default=Plan.rounds)
    parser.add_argument("--seconds", type=float, default=Plan.seconds)
    given = parser.parse_args()
    found = asyncio.run(measured(given.address, given.ports, given.rounds, given.seconds))
    program.write(given.output, found)
