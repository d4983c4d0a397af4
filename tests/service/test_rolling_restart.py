"""Instances are restarted one after the other while a caller gives them all the calls it can."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from pathlib import Path

import hrpc
from hrpc import service
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.eventually import eventually
from tests.load import load
from tests.process import Process, running, script
from tests.service.peers import caller

INSTANCES = 2


async def test_no_call_fails_while_each_instance_of_a_service_is_restarted_under_load(
    own_consul: ConsulServer, tmp_path: Path
) -> None:
    path = script(tmp_path, 'hrpc.with_listen_port(0, host="127.0.0.1")', "hrpc.with_audit_log(False)")

    async def listed() -> bool:
        return len(await agent.instances(own_consul.address, "tested")) == INSTANCES

    async with AsyncExitStack() as stack:

        async def start() -> Process:
            process = await stack.enter_async_context(running(path, {"CONFIGS_ADDR": own_consul.address}))
            await process.says("started in")
            return process

        processes = [await start() for _ in range(INSTANCES)]
        await eventually(listed)
        await stack.enter_async_context(caller(own_consul, hrpc.with_upstreams("tested"), hrpc.with_audit_log(False)))
        async with service.channel("tested") as channel, load(channel, loops=8) as calls:
            for process in processes:
                await calls.goes_on()
                process.send(signal.SIGTERM)
                assert await process.ended() == 0, process.output
                await start()
                await eventually(listed)
            await calls.goes_on()
    assert not calls.failed
    assert calls.good >= 100 * (INSTANCES + 1)
