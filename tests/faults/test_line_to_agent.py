"""The line between a service and its agent is frozen, cut, slow or dead, while calls go on."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import grpc.aio
import pytest

import hrpc
from hrpc import configs, service
from hrpc.errors import ConsulError
from tests import agent as asked
from tests.eventually import eventually
from tests.faults.conftest import Agent
from tests.faults.services import a_server
from tests.load import load
from tests.proxy import Proxy, proxied

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

HEALED_WITHIN = 10.0
"""Seconds: a request whose answer is lost is given up after ``Consul(timeout=…)``, 5 s, and then sent again."""


async def freeze(line: Proxy) -> None:
    line.freeze()


async def slow(line: Proxy) -> None:
    line.delay = 1.0


@pytest.mark.parametrize("fault", [freeze, slow, Proxy.refuse, Proxy.cut], ids=["frozen", "slow", "refused", "cut"])
async def test_calls_go_on_while_the_line_to_the_agent_is_bad_and_changes_are_seen_once_it_is_good(
    agent: Agent, fault: Callable[[Proxy], Awaitable[None]], figures: Callable[..., None]
) -> None:
    async with proxied(agent.address) as line:
        async with a_server("far", hrpc.Consul(address=line.address, timeout=5.0)) as far:
            await service.ready("far")
            async with service.channel("far") as found, grpc.aio.insecure_channel(far.address) as known:
                async with load(found, known) as calls:
                    await calls.goes_on()
                    await fault(line)
                    await calls.goes_on()
                    # Meanwhile somebody takes the entry away.
                    (entry,) = await asked.instances(agent.address, "far")
                    await asked.deregister(agent.address, entry["Service"]["ID"])
                    if fault in (freeze, Proxy.refuse):
                        with pytest.raises(ConsulError):
                            await configs.set("key", "value")
                    await calls.goes_on(500)
                    await line.heal()
                    began = time.monotonic()

                    async def back() -> bool:
                        return len(await asked.instances(agent.address, "far")) == 1

                    await eventually(back)
                    back_s = time.monotonic() - began
                    await configs.set("key", "value")
                    await calls.goes_on()
    figures(back_s=back_s, calls=calls.good, failed=calls.failed.total(), longest_call_s=calls.longest)
    assert not calls.failed
    assert back_s <= HEALED_WITHIN
