"""Maintenance: out of rotation until further notice, whatever happens to the registration meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hrpc.abc import Check, Registration
from hrpc.consul import Client, connect, entry
from hrpc.errors import ConsulUnreachable
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.consul.conftest import Agent
from tests.eventually import eventually


def registration(name: str) -> Registration:
    check = Check("ttl", "", 1.0, 1.0, 60.0)
    return Registration(f"{name}-1", name, "127.0.0.1", 4000, ("development",), {}, 1, check)


async def passing(either: Agent, name: str) -> list[str]:
    path = f"/v1/health/service/{name}?passing=1"
    found: list[dict[str, Any]] = await asyncio.to_thread(agent.get, either.address, path)
    return [entry["Service"]["ID"] for entry in found]


async def reason(either: Agent, registration: Registration) -> str | None:
    """What the agent gives as the reason for the maintenance; None when there is none."""
    checks: dict[str, dict[str, Any]] = await asyncio.to_thread(agent.get, either.address, "/v1/agent/checks")
    check = checks.get(entry.maintenance_id(registration))
    return None if check is None else check["Notes"]


async def test_it_takes_the_service_out_and_back(either: Agent) -> None:
    service = registration("upgraded")
    async with connect(Consul(address=either.address)) as client, client.registered(service):
        await client.maintenance("upgrade of the index")
        assert await reason(either, service) == "upgrade of the index"
        assert client.present
        report = client.report()
        assert report is not None
        assert report.maintenance == "upgrade of the index"

        async def out() -> bool:
            return not await passing(either, "upgraded")

        await eventually(out)
        await client.maintenance(None)

        async def back() -> bool:
            return await passing(either, "upgraded") == ["upgraded-1"]

        await eventually(back)
        report = client.report()
        assert report is not None
        assert report.maintenance is None


async def put_back(client: Client, puts: int) -> bool:
    report = client.report()
    return report is not None and report.puts_again > puts


async def test_it_lasts_when_the_registration_is_lost_and_is_not_in_rotation_for_a_moment(
    either: Agent,
) -> None:
    service = registration("lasting")
    async with connect(Consul(address=either.address)) as client, client.registered(service):
        await client.maintenance("long")
        seen: list[list[str]] = []
        done = asyncio.Event()

        async def look() -> None:
            while not done.is_set():
                seen.append(await passing(either, "lasting"))

        async def out() -> bool:
            return not await passing(either, "lasting")

        await eventually(out)
        looking = asyncio.create_task(look())

        async def mended() -> bool:
            entries: dict[str, Any] = await asyncio.to_thread(agent.get, either.address, "/v1/agent/services")
            is_right = service.id in entries and entries[service.id]["Port"] == service.port
            return is_right and await reason(either, service) == "long"

        for _ in range(3):
            await agent.deregister(either.address, service.id)
            await eventually(mended)
        await asyncio.to_thread(
            agent.put, either.address, "/v1/agent/service/register", b'{"ID":"lasting-1","Name":"lasting","Port":1}'
        )
        await eventually(mended)
        done.set()
        await looking
        assert len(seen) > 3
        assert not any(seen)


async def test_it_lasts_when_the_agent_is_wiped(own_consul: ConsulServer) -> None:
    service = registration("wiped")
    async with connect(Consul(address=own_consul.address)) as client, client.registered(service):
        await client.maintenance("long")
        await asyncio.to_thread(own_consul.kill)
        own_consul.wipe()
        await asyncio.to_thread(own_consul.start)
        await eventually(lambda: put_back(client, 0))
        assert await reason(own_consul, service) == "long"
        assert not await passing(own_consul, "wiped")


@pytest.mark.parametrize("wanted", ["late", None])
async def test_what_consul_cannot_be_told_now_it_is_told_as_soon_as_it_answers(
    own_consul: ConsulServer, wanted: str | None
) -> None:
    service = registration("told")
    async with connect(Consul(address=own_consul.address)) as client, client.registered(service):
        if wanted is None:
            await client.maintenance("early")
        await asyncio.to_thread(own_consul.kill)
        with pytest.raises(ConsulUnreachable):
            await client.maintenance(wanted)
        await asyncio.to_thread(own_consul.start)  # with its data: the entry, and the maintenance of before

        async def told() -> bool:
            return client.present and await reason(own_consul, service) == wanted

        await eventually(told)


async def test_an_operator_takes_a_service_out_and_mending_its_entry_leaves_it_out(either: Agent) -> None:
    service = registration("operated")
    path = f"/v1/agent/service/maintenance/{service.id}"
    async with connect(Consul(address=either.address)) as client, client.registered(service):
        await asyncio.to_thread(agent.put, either.address, f"{path}?enable=true&reason=mine")
        await asyncio.to_thread(
            agent.put, either.address, "/v1/agent/service/register", b'{"ID":"operated-1","Name":"operated","Port":1}'
        )
        await eventually(lambda: put_back(client, 0))
        assert await reason(either, service) == "mine"
        await asyncio.to_thread(agent.put, either.address, f"{path}?enable=false")

        async def back() -> bool:
            return await passing(either, "operated") == ["operated-1"]

        await eventually(back)


async def test_it_ends_with_the_registration(either: Agent) -> None:
    service = registration("ended")
    async with connect(Consul(address=either.address)) as client:
        async with client.registered(service):
            await client.maintenance("until the end")
        assert await reason(either, service) is None
        assert not await agent.instances(either.address, "ended")
