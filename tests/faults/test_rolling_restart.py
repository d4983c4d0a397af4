"""Three instances are restarted one after the other, while a caller gives them all the calls it can."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import hrpc
from hrpc import service
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.eventually import eventually
from tests.faults.services import a_server
from tests.load import load
from tests.process import Process, running, script

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

INSTANCES = 3
LOOPS = 48


@pytest.mark.parametrize("workers", [1, 2], ids=["alone", "workers"])
@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_three_instances_are_restarted_one_by_one_at_full_load_and_no_call_fails(
    own_consul: ConsulServer, tmp_path: Path, engine: str, workers: int, rounds: int, figures: Callable[..., None]
) -> None:
    path = script(
        tmp_path,
        'hrpc.with_listen_port(0, host="127.0.0.1")',
        "hrpc.with_health_check(0)",
        f'hrpc.with_engine("{engine}", allow_unbounded_receive=True)',
        f"hrpc.with_workers({workers})",
    )
    caller = a_server("caller", hrpc.Consul(address=own_consul.address), hrpc.with_upstreams("tested"))

    async def listed(count: int) -> bool:
        return len(await agent.instances(own_consul.address, "tested")) == count

    async with AsyncExitStack() as stack:

        async def start() -> Process:
            process = await stack.enter_async_context(running(path, {"CONFIGS_ADDR": own_consul.address}))
            await process.says(", health on ")
            return process

        processes = [await start() for _ in range(INSTANCES)]
        await eventually(lambda: listed(INSTANCES))
        async with caller, service.channel("tested") as channel, load(channel, loops=LOOPS) as calls:
            for number in range(rounds * INSTANCES):
                leaving = processes[number % INSTANCES]
                await calls.goes_on()
                leaving.send(signal.SIGTERM)
                assert await leaving.ended() == 0, leaving.output
                await calls.goes_on()
                processes[number % INSTANCES] = await start()
                await eventually(lambda: listed(INSTANCES))
    figures(
        engine=engine,
        workers=workers,
        restarts=rounds * INSTANCES,
        calls=calls.good,
        calls_per_second=calls.per_second,
        failed=calls.failed.total(),
        longest_call_s=calls.longest,
    )
    assert not calls.failed
