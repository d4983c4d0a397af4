"""The agent is killed and loses its data, again and again, while calls go on."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc.aio
import pytest

import hrpc
from hrpc import service
from tests import agent as asked
from tests.eventually import eventually
from tests.faults.conftest import Agent
from tests.faults.services import a_server
from tests.load import load

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

BACK_WITHIN = 2.0
LOSSES = 10


async def test_an_agent_that_is_killed_and_wiped_ten_times_has_the_instance_back_each_time_and_no_call_fails(
    agent: Agent, figures: Callable[..., None]
) -> None:
    server = a_server("steady", hrpc.Consul(address=agent.address), hrpc.with_health_check(0))
    away: list[float] = []

    async def back() -> bool:
        return len(await asked.instances(agent.address, "steady")) == 1

    async with server, grpc.aio.insecure_channel(server.address) as direct, service.channel("steady") as found:
        await service.ready("steady")
        async with load(direct, found) as calls:
            for _ in range(LOSSES):
                await agent.lose()
                await calls.goes_on()
                await agent.begin()
                began = time.monotonic()
                await eventually(back)
                away.append(time.monotonic() - began)
                await calls.goes_on()
    figures(back_s=max(away), calls=calls.good, failed=calls.failed.total(), longest_call_s=calls.longest)
    assert not calls.failed
    assert max(away) <= BACK_WITHIN
