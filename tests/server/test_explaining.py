"""What a server tells of the services it calls: who is in, who is out, and why."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import pytest

import hrpc
from hrpc import service
from hrpc.consul import connect
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.echo import call
from tests.eventually import eventually
from tests.service.peers import called, caller, entry


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRPC_ADVERTISE", "127.0.0.1")


async def told(server: hrpc.Server, path: str) -> Any:
    url = f"http://127.0.0.1:{server.health_port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200
        return await response.json()


async def test_instances_are_told_with_why_each_is_in_or_out(consul: ConsulServer) -> None:
    name = f"users-{uuid.uuid4().hex[:8]}"
    entries = [
        entry(name, 1, 7001, weight=3, version="1.2", zone="a"),
        entry(name, 2, 7002),
        entry(name, 3, 7003, tag="staging"),
    ]
    async with connect(Consul(address=consul.address)) as client:
        async with client.registered(entries[0]), client.registered(entries[1]), client.registered(entries[2]):
            await agent.maintain(consul.address, f"{name}-2", "I am ill")
            async with caller(consul, hrpc.with_health_check(0)) as server:
                await service.ready(name)

                async def settled() -> Any:
                    [found] = (await told(server, f"/debug/discovery?service={name}"))["services"]
                    return found if len(found["instances"]) == 3 and found["index"] else None

                found = await eventually(settled)
                assert found["tags"] == ["development"]
                assert found["index"] > 0
                assert 0 <= found["age_seconds"] < 60
                assert (found["last_error"], found["held_for_seconds"], found["listing_error"]) == (None, None, None)
                instances = {each["id"]: each for each in found["instances"]}
                first = instances[f"{name}-1"]
                assert (first["endpoint"], first["weight"], first["version"]) == ("127.0.0.1:7001", 3, "1.2")
                assert (first["zone"], first["in"], first["state"]) == ("a", True, "in")
                assert first["why"] == "passes its checks; no service.channel of this server uses it"
                ill = instances[f"{name}-2"]
                assert (ill["in"], ill["state"]) == (False, "maintenance")
                assert ill["why"] == "the check 'Service Maintenance Mode' is critical: I am ill"
                other = instances[f"{name}-3"]
                assert (other["in"], other["state"]) == (False, "passing")
                assert other["why"] == "it passes its checks, and is left out: it has no tag 'development'"


async def test_what_a_channel_gives_to_each_instance_is_told(consul: ConsulServer) -> None:
    name = f"users-{uuid.uuid4().hex[:8]}"
    async with connect(Consul(address=consul.address)) as client, called(b"1") as port, called(b"2") as other:
        async with client.registered(entry(name, 1, port)), client.registered(entry(name, 2, other)):
            async with caller(consul, hrpc.with_health_check(0)) as server, service.channel(name) as channel:
                await ask_each(channel)
                [found] = (await told(server, f"/debug/discovery?service={name}"))["services"]
                rows = {each["id"]: each for each in found["instances"]}
                for number in (1, 2):
                    row = rows[f"{name}-{number}"]
                    assert (row["in"], row["state"], row["in_flight"], row["failures_in_a_row"]) == (True, "in", 0, 0)
                    assert row["picks"] >= 1
                    assert row["why"].startswith("passes its checks")


async def ask_each(channel: grpc.aio.Channel) -> None:
    """Calls until both have answered."""
    seen: set[bytes] = set()

    async def both() -> bool:
        seen.add(await call(channel, "Name", timeout=10))
        return seen == {b"1", b"2"}

    await eventually(both)


async def test_without_consul_it_tells_what_it_knows_and_what_keeps_it_from_knowing_more(
    own_consul: ConsulServer,
) -> None:
    async with connect(Consul(address=own_consul.address)) as client, client.registered(entry("users", 1, 7001)):
        async with caller(own_consul, hrpc.with_health_check(0)) as server:
            await service.ready("users")
            own_consul.kill()

            async def noticed() -> Any:
                found = (await told(server, "/debug/discovery"))["services"][0]
                return found if found["last_error"] else None

            try:
                found = await eventually(noticed)
            finally:
                own_consul.start()
            assert "no answer from Consul at" in found["last_error"]
            assert "no answer from Consul at" in found["listing_error"]
            assert [each["id"] for each in found["instances"]] == ["users-1"]


async def test_the_entry_in_consul_is_told_with_what_consul_makes_of_it(own_consul: ConsulServer) -> None:
    registered = hrpc.with_registration(weight=3, version="1.2", zone="a", tags=["blue"])
    async with caller(own_consul, hrpc.with_health_check(0), registered) as server:

        async def passing() -> Any:
            found = await told(server, "/debug/registration")
            return found if found["registered"] and found["health"] == "passing" else None

        found = await eventually(passing)
        entry = found["entry"]
        assert (entry["name"], entry["address"], entry["port"]) == ("caller", "127.0.0.1", server.port)
        assert entry["address_from"] == "HRPC_ADVERTISE"
        assert (entry["weight"], entry["tags"]) == (3, ["development", "blue"])
        assert (entry["meta"]["version"], entry["meta"]["zone"]) == ("1.2", "a")
        assert entry["check"]["target"] == f"http://127.0.0.1:{server.health_port}/"
        assert (found["why"], found["sent_again"], found["last_error"]) == ("all checks pass", 0, None)

        await agent.maintain(own_consul.address, entry["id"], "rolling back")

        async def maintained() -> Any:
            found = await told(server, "/debug/registration")
            return found if found["health"] == "maintenance" else None

        found = await eventually(maintained)
        assert found["why"] == "the check 'Service Maintenance Mode' is critical: rolling back"

        await agent.deregister(own_consul.address, entry["id"])

        async def sent_again() -> Any:
            found = await told(server, "/debug/registration")
            return found if found["sent_again"] else None

        assert (await eventually(sent_again))["entry"]["id"] == entry["id"]

        own_consul.kill()

        async def lost() -> Any:
            found = await told(server, "/debug/registration")
            return found if found["last_error"] else None

        try:
            found = await eventually(lost)
        finally:
            own_consul.start()
        assert found["registered"] is False
        assert found["missing_for_seconds"] >= 0
        assert found["why"].startswith("Consul cannot be asked: no answer from Consul at")


async def test_static_services_are_told_without_consul() -> None:
    static = hrpc.with_static_services({"users": ["127.0.0.1:7001"]})
    local = hrpc.with_listen_port(0, "127.0.0.1")
    async with hrpc.new_server(hrpc.with_server_name("caller"), local, static, hrpc.with_health_check(0)) as server:
        await service.ready("users")
        found = await told(server, "/debug/discovery")
        assert found["consul"] is None
        [only] = found["services"][0]["instances"]
        assert (only["endpoint"], only["in"]) == ("127.0.0.1:7001", True)
        assert (await told(server, "/debug/registration"))["note"] == "without Consul: see hrpc.with_consul"


async def test_the_snapshot_is_told(consul: ConsulServer, tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    async with caller(consul, hrpc.with_health_check(0), hrpc.with_snapshot(path)) as server:
        found = (await told(server, "/debug/discovery"))["snapshot"]
        assert (found["path"], found["oldest_used_seconds"]) == (str(path), None)
