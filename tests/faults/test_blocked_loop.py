"""A handler that blocks the event loop: what callers, probes and Consul see of it, and for how long."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import service
from tests import agent
from tests.echo import call
from tests.eventually import eventually
from tests.faults.services import a_server
from tests.faults.whole import Life, Whole
from tests.load import Load, load

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

BLOCKS_FOR = 3.0
ANSWERS_WITHIN = 2.0
"""Seconds after the end of the block until a probe that was asked meanwhile is answered."""
SHEDS_FOR = 2.0
"""Seconds after the end of the block until no call is shed any more."""
PASSES_WITHIN = 5.0
"""Seconds after the end of the block until Consul calls the instance passing again; it looks every second."""
EVERY_SECOND = {"check_interval": 1, "check_timeout": 1}


class Statuses:
    """What Consul said of an instance, and when: at the changes only."""

    def __init__(self) -> None:
        self.changes: list[tuple[float, str]] = []

    @property
    def now(self) -> str:
        return self.changes[-1][1]

    async def watch(self, consul: str, name: str) -> None:
        while True:
            entries = await agent.instances(consul, name)
            statuses = {check["Status"] for entry in entries for check in entry["Checks"] if check["ServiceID"]}
            status = "critical" if "critical" in statuses else "passing" if statuses else "gone"
            if not self.changes or status != self.now:
                self.changes.append((time.monotonic(), status))
            await asyncio.sleep(0.02)


@asynccontextmanager
async def watched(whole: Whole, life: Life) -> AsyncIterator[Statuses]:
    statuses = Statuses()
    watching = asyncio.create_task(statuses.watch(whole.consul.address, life.name))
    try:

        async def is_passing() -> bool:
            return bool(statuses.changes) and statuses.now == "passing"

        await eventually(is_passing)
        yield statuses
    finally:
        watching.cancel()


async def block(target: str) -> float:
    """Blocks the loop of the service; gives when that ended."""
    async with grpc.aio.insecure_channel(target) as channel:
        await call(channel, "Blocks", json.dumps(BLOCKS_FOR).encode(), timeout=30)
    return time.monotonic()


async def probe(session: aiohttp.ClientSession, port: int) -> tuple[int, float]:
    """The status of readiness, and when it was answered."""
    async with session.get(f"http://127.0.0.1:{port}/") as answer:
        return answer.status, time.monotonic()


@pytest.mark.parametrize("engine", ["grpcio", "native"])
@pytest.mark.parametrize("lag", [None, 0.5], ids=["all-served", "shedding"])
async def test_a_loop_that_is_blocked_for_three_seconds_costs_these_seconds_and_no_more(
    whole: Whole, engine: str, lag: float | None, figures: Callable[..., None]
) -> None:
    async with (
        whole.life(engine=engine, lag=lag, registration=EVERY_SECOND) as life,
        a_server("caller", hrpc.Consul(address=whole.consul.address)),
        aiohttp.ClientSession() as session,
    ):
        ports = await life.ports()
        async with watched(whole, life) as statuses, service.channel(life.name) as channel:
            await service.ready(life.name)
            async with load(channel, loops=16) as calls:
                await calls.goes_on(500)
                blocking = asyncio.create_task(block(f"127.0.0.1:{ports['serves on port']}"))
                await asyncio.sleep(0.5)  # until it blocks
                status, answered = await probe(session, ports["health on"])
                over = await blocking
                shed_until = await shedding_ends(calls)
                passing = await passes(statuses)
                failed, lost = dict(calls.failed), sum(calls.failed.values())
                await calls.goes_on(1000)
        metrics = await scraped(session, ports["metrics on"])
    figures(
        engine=engine,
        lag=lag or "-",
        calls=calls.good,
        shed=lost,
        shed_for_s=max(0.0, shed_until - over),
        longest_call_s=calls.longest,
        probe_after_s=answered - over,
        passing_after_s=max(0.0, passing - over),
    )
    assert status == 200
    assert answered - over <= ANSWERS_WITHIN
    assert [told for _, told in statuses.changes][-3:] == ["passing", "critical", "passing"]
    assert passing - over <= PASSES_WITHIN
    assert metrics["hrpc_event_loop_lag_seconds"] >= BLOCKS_FOR - 0.5
    assert calls.failed.total() == lost, "calls fail long after the block"
    if lag is None:
        assert not failed
    else:
        assert all(told.startswith("RESOURCE_EXHAUSTED: the server is overloaded") for told in failed), failed
        assert shed_until - over <= SHEDS_FOR
    assert calls.longest <= BLOCKS_FOR + ANSWERS_WITHIN


async def shedding_ends(calls: Load) -> float:
    """When the last call was shed: since then a thousand were answered."""
    while True:
        failed, since = calls.failed.total(), time.monotonic()
        await calls.goes_on(1000)
        if calls.failed.total() == failed:
            return since


async def passes(statuses: Statuses) -> float:
    """When Consul began to call the instance passing again, after the last that the block did to it."""

    async def is_passing() -> bool:
        return statuses.now == "passing"

    # A check that began within the block fails a second after it.
    await asyncio.sleep(1.5)
    await eventually(is_passing)
    return statuses.changes[-1][0]


async def scraped(session: aiohttp.ClientSession, port: int) -> dict[str, float]:
    """The metrics without labels."""
    async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = [line.split(" ") for line in (await answer.text()).splitlines() if not line.startswith("#")]
    return {line[0]: float(line[1]) for line in lines if "{" not in line[0]}
