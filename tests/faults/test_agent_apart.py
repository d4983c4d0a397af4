"""A client agent that is left alone by its servers: they are killed, wiped, or cannot be reached."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import hrpc
from hrpc import configs, service
from hrpc.errors import ConsulError
from hrpc.testing.servers import ServerMissing
from tests import agent as asked
from tests.eventually import eventually
from tests.faults.cluster import Cluster, cluster_behind_proxies, cluster_in_namespace
from tests.faults.services import a_server
from tests.load import load
from tests.process import running, script

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

HEALED_WITHIN = 60.0
"""Seconds. Consul's own part of it: a member that was lost is looked for again every 30 s."""
SEEN_WITHIN = 2.0
"""Seconds until a caller of hrpc has what the agent knows again: a pause of 1 s at most between two attempts."""


@pytest.fixture(params=[cluster_in_namespace, cluster_behind_proxies], ids=["namespace", "proxies"])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """A server, and an agent apart from it."""
    async with AsyncExitStack() as stack:
        try:
            made = await stack.enter_async_context(request.param())
        except ServerMissing as missing:
            pytest.skip(str(missing))
        yield made


async def killed(cluster: Cluster) -> Callable[[], Awaitable[None]]:
    await asyncio.to_thread(cluster.server.kill)

    async def again() -> None:
        await asyncio.to_thread(cluster.server.start)

    return again


async def wiped(cluster: Cluster) -> Callable[[], Awaitable[None]]:
    again = await killed(cluster)
    cluster.server.wipe()
    return again


async def partitioned(cluster: Cluster) -> Callable[[], Awaitable[None]]:
    await cluster.cut()
    return cluster.heal


async def leaderless(address: str) -> bool:
    try:
        await asyncio.to_thread(asked.get, address, "/v1/status/leader")
    except OSError:
        return True
    return False


async def listed(address: str, name: str) -> bool:
    try:
        return bool(await asked.instances(address, name))
    except OSError:
        return False


@pytest.mark.parametrize("fault", [killed, wiped, partitioned])
async def test_without_its_servers_an_agent_costs_nothing_but_what_needs_them_and_everything_heals(
    cluster: Cluster,
    fault: Callable[[Cluster], Awaitable[Callable[[], Awaitable[None]]]],
    figures: Callable[..., None],
    tmp_path: Path,
) -> None:
    address = cluster.agent.address
    no_wait = "hrpc.with_graceful_stop(drain_delay=0)"
    leaving_script = script(tmp_path, 'hrpc.with_listen_port(0, host="127.0.0.1")', no_wait)
    async with (
        a_server("staying", hrpc.Consul(address=address)),
        running(leaving_script, {"CONFIGS_ADDR": address}) as leaving,
        service.channel("staying") as channel,
        load(channel, loops=8) as calls,
    ):
        await leaving.says("started in")
        await configs.set("key", "first")
        assert configs.get("key") == "first"
        await calls.goes_on()
        heal = await fault(cluster)
        await eventually(lambda: leaderless(address))

        # What the agent does alone: an entry comes, and that of a service that stops goes.
        await asyncio.to_thread(asked.put, address, "/v1/agent/service/register", b'{"Name":"new","Port":1}')
        leaving.send(signal.SIGTERM)
        assert await leaving.ended() == 0, leaving.output
        entries = await asyncio.to_thread(asked.get, address, "/v1/agent/services")
        assert sorted(entry["Service"] for entry in entries.values()) == ["new", "staying"]

        # What it cannot do alone is told, and what was known stays.
        with pytest.raises(ConsulError):
            await configs.set("key", "second")
        assert configs.get("key") == "first"
        await calls.goes_on(1000)

        await heal()
        began = time.monotonic()
        for name in ("staying", "new"):
            await eventually(lambda name=name: listed(address, name), HEALED_WITHIN)
        healed_s = time.monotonic() - began
        await service.ready("new", tag="", timeout=SEEN_WITHIN)
        await configs.set("key", "third")
        await calls.goes_on(1000)
    figures(healed_s=healed_s, calls=calls.good, failed=calls.failed.total(), longest_call_s=calls.longest)
    assert not calls.failed
