"""Instances that are killed cannot deregister: their checks find out, and the agent removes them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hrpc.testing.servers import ConsulServer
from tests import agent as asked
from tests.eventually import eventually
from tests.process import Process, running, script

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

LOCAL = 'hrpc.with_listen_port(0, host="127.0.0.1")'
CHECKS = ("hrpc.with_health_check(0)", 'hrpc.with_health_check(kind="grpc")', 'hrpc.with_health_check(kind="ttl")')
SHORTEST = "hrpc.with_registration(check_interval=1, deregister_after=60)"
GONE_WITHIN = 130.0
"""Seconds: until the check is critical, Consul's floor of 60, and the 30 of its looking for such instances."""


async def test_kill_9_leaves_nothing_behind_whatever_the_kind_of_the_check(
    own_consul: ConsulServer, tmp_path: Path, figures: Callable[..., None]
) -> None:
    consul = f'hrpc.with_consul(Consul(address="{own_consul.address}"))'
    processes: list[Process] = []
    async with AsyncExitStack() as stack:
        for number, check in enumerate(CHECKS):
            folder = tmp_path / str(number)
            folder.mkdir()
            path = script(folder, LOCAL, consul, check, SHORTEST)
            processes.append(await stack.enter_async_context(running(path)))
        for process in processes:
            await process.says("serves on port")
        assert len(await asked.instances(own_consul.address, "tested")) == len(CHECKS)
        for process in processes:
            process.send(signal.SIGKILL)
            await process.ended()
        killed = time.monotonic()

        async def gone() -> bool:
            return not await asked.instances(own_consul.address, "tested")

        await eventually(gone, GONE_WITHIN)
    figures(gone_s=time.monotonic() - killed)
