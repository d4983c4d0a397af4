"""Services, a sidecar-agent and a real Consul: who is called is who is listed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

import hrpc
import hrpc_sidecar
from hrpc import service
from hrpc.testing.servers import ConsulServer
from hrpc_sidecar.testing import SidecarAgent
from tests import agent as consul_agent
from tests.eventually import eventually
from tests.load import load
from tests.process import Process, running, script
from tests.server.workers.fleet import LOCAL, fleet

BEFORE = "import hrpc_sidecar"
ENVIRON = {"PYTHONPATH": os.pathsep.join([os.getcwd(), str(Path(__file__).parent.parent)])}


@pytest.fixture
async def agent(consul: ConsulServer) -> AsyncIterator[SidecarAgent]:
    async with SidecarAgent(consul=consul.address) as running:
        yield running


def named(folder: Path, name: str, agent: SidecarAgent, *options: str) -> Path:
    """A service that listens on any port of 127.0.0.1."""
    path = script(
        folder,
        LOCAL,
        f'hrpc.with_server_name("{name}")',
        f'hrpc_sidecar.with_sidecar("{agent.base_url}")',
        "hrpc.with_audit_log(False)",
        *options,
        before=BEFORE,
    )
    text = path.read_text().replace('    hrpc.with_server_name("tested"),\n', "")
    path.write_text(text)
    return path


async def passing(consul: ConsulServer, name: str) -> list[str]:
    """The ids of the instances that callers are given."""
    entries = await consul_agent.instances(consul.address, name)
    return [
        entry["Service"]["ID"] for entry in entries if all(check["Status"] == "passing" for check in entry["Checks"])
    ]


@asynccontextmanager
async def calling(consul: ConsulServer, name: str) -> AsyncIterator[None]:
    """A server from which that service is called, found in Consul."""
    server = hrpc.new_server(
        hrpc.with_server_name("caller"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_consul(hrpc.Consul(address=consul.address)),
        hrpc.with_registration(in_consul=False),
        hrpc.with_upstreams(name),
        hrpc.with_audit_log(False),
    )
    async with server:
        yield


async def test_a_service_is_in_consul_from_its_start_to_its_stop(
    consul: ConsulServer, agent: SidecarAgent, tmp_path: Path
) -> None:
    async with running(named(tmp_path, "sidecar-life", agent), ENVIRON) as process:
        await process.says("started in")
        (entry,) = await consul_agent.instances(consul.address, "sidecar-life")
        assert entry["Service"]["Address"] == "127.0.0.1"
        assert f"serves on port {entry['Service']['Port']}" in process.output
        assert entry["Service"]["Tags"] == ["development"]
        assert entry["Service"]["Meta"]["protocol"] == "grpc"
        process.send(signal.SIGTERM)
        assert await process.ended() == 0, process.output
        assert await consul_agent.instances(consul.address, "sidecar-life") == []


async def test_when_the_agent_is_back_the_service_is_registered_within_a_second(
    consul: ConsulServer, agent: SidecarAgent
) -> None:
    server = hrpc.new_server(
        hrpc.with_server_name("sidecar-back"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_graceful_stop(drain_delay=0),
        hrpc_sidecar.with_sidecar(agent.base_url),
    )
    took: list[float] = []
    async with server:
        for away in (0.0, 0.3, 0.6) * 2:
            (known,) = await passing(consul, "sidecar-back")
            await agent.kill()
            await consul_agent.deregister(consul.address, known)
            await asyncio.sleep(away)
            await agent.start()
            began = time.monotonic()

            async def listed() -> bool:
                return await passing(consul, "sidecar-back") == [known]  # noqa: B023 - asked for in this round only

            await eventually(listed)
            took.append(time.monotonic() - began)
            # A machine that is busy with something else may be late now and then.
            if len(took) >= 3 and sorted(took)[1] <= 1.0:
                break
    assert sorted(took)[1] <= 1.0, took


async def test_a_service_in_maintenance_is_called_by_nobody_also_when_its_agent_has_been_away(
    consul: ConsulServer, agent: SidecarAgent
) -> None:
    server = hrpc.new_server(
        hrpc.with_server_name("sidecar-repairs"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_graceful_stop(drain_delay=0),
        hrpc_sidecar.with_sidecar(agent.base_url, reconnect_interval=0.1),
    )
    async with server:
        (known,) = await passing(consul, "sidecar-repairs")
        await server.enter_maintenance("rebuilding the index")
        assert await passing(consul, "sidecar-repairs") == []
        await agent.kill()
        await agent.start()

        async def drained_again() -> bool:
            return [one.path for one in agent.received[-2:]] == ["/register", "/drain"]

        await eventually(drained_again)
        assert hrpc_sidecar.status().register_replay_count >= 1

        async def out() -> bool:
            return await passing(consul, "sidecar-repairs") == []

        await eventually(out)
        await server.leave_maintenance()
        assert await passing(consul, "sidecar-repairs") == [known]
        await agent.kill()
        await server.enter_maintenance("the disk")  # the agent is told when it is back
        await agent.start()
        await eventually(drained_again)
        await eventually(out)
    assert await consul_agent.instances(consul.address, "sidecar-repairs") == []


async def test_an_agent_that_is_killed_and_started_as_a_process_finds_its_services_again(
    consul: ConsulServer, free_port: int, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port}"

    async def begin() -> asyncio.subprocess.Process:
        arguments = ["-m", "hrpc_sidecar.testing", "--consul", consul.address, "--port", str(free_port)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, env={**os.environ, **ENVIRON}
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == f"sidecar-agent on {url}\n".encode()
        return process

    fake = SidecarAgent(port=free_port)
    async with running(named(tmp_path, "sidecar-killed", fake), ENVIRON) as process:
        await process.says("started in")  # without an agent

        async def listed() -> list[str]:
            return await passing(consul, "sidecar-killed")

        sidecar = await begin()
        try:
            (known,) = await eventually(listed)
        finally:
            sidecar.kill()
            await sidecar.wait()
        await consul_agent.deregister(consul.address, known)
        sidecar = await begin()
        try:
            await eventually(listed)
            process.send(signal.SIGTERM)
            assert await process.ended() == 0, process.output
            assert await consul_agent.instances(consul.address, "sidecar-killed") == []
        finally:
            sidecar.terminate()
            await sidecar.wait()


async def test_neither_a_killed_agent_nor_a_stop_under_load_loses_a_call(
    consul: ConsulServer, agent: SidecarAgent, tmp_path: Path
) -> None:
    path = named(tmp_path, "sidecar-load", agent)

    async def two() -> bool:
        return len(await passing(consul, "sidecar-load")) == 2

    async with AsyncExitStack() as stack:

        async def start() -> Process:
            process = await stack.enter_async_context(running(path, ENVIRON))
            await process.says("started in")
            return process

        leaves, _stays = [await start() for _ in range(2)]
        await eventually(two)
        await stack.enter_async_context(calling(consul, "sidecar-load"))
        async with service.channel("sidecar-load") as channel, load(channel, loops=8) as calls:
            await calls.goes_on()
            await agent.kill()
            await calls.goes_on()
            await agent.start()
            await calls.goes_on()
            leaves.send(signal.SIGTERM)
            assert await leaves.ended() == 0, leaves.output
            await calls.goes_on()
    assert not calls.failed
    assert calls.good >= 400


async def test_a_service_that_is_killed_is_called_no_more(
    consul: ConsulServer, agent: SidecarAgent, tmp_path: Path
) -> None:
    async with running(named(tmp_path, "sidecar-dead", agent), ENVIRON) as process:
        await process.says("started in")
        assert len(await passing(consul, "sidecar-dead")) == 1
        process.send(signal.SIGKILL)
        await process.ended()

        async def gone() -> bool:
            return await passing(consul, "sidecar-dead") == []

        await eventually(gone)
    async with running(named(tmp_path, "sidecar-dead", agent), ENVIRON) as process:
        await process.says("started in")
        assert len(await passing(consul, "sidecar-dead")) == 1
        assert len(await consul_agent.instances(consul.address, "sidecar-dead")) == 2, (
            "Consul removes the dead one later"
        )


async def test_a_service_with_workers_is_announced_once_by_their_master(
    consul: ConsulServer, agent: SidecarAgent, tmp_path: Path
) -> None:
    options = (
        f'hrpc_sidecar.with_sidecar("{agent.base_url}", reconnect_interval=0.1)',
        "hrpc.with_metrics(0)",
        "hrpc.with_health_check(0)",
    )

    async def listed(port: int) -> int:
        return len(await consul_agent.instances(consul.address, "tested", port))

    async with fleet(tmp_path, *options, before=BEFORE, environ=ENVIRON) as found:
        (node,) = agent.nodes.values()
        assert node["service"]["port"] == found.port
        assert "/test.Echo/Who" in node["methods"]
        assert agent.streams == agent.count("/register") == 1
        assert await listed(found.port) == 1
        os.kill(found.workers[0], signal.SIGKILL)
        await found.become(without=found.workers[0])
        agent.cut_streams()
        async with ClientSession() as session:

            async def counted() -> bool:
                async with session.get(f"http://127.0.0.1:{found.http('metrics')}/metrics") as response:
                    lines = (await response.text()).splitlines()
                return {"tested_sidecar_registrations_total 2.0", "tested_sidecar_registered 1.0"} <= set(lines)

            await eventually(counted)
            async with session.get(f"http://127.0.0.1:{found.http('health')}/debug/sidecar") as response:
                assert "the master of this worker" in await response.text()
        assert agent.streams == 1
        found.process.send(signal.SIGTERM)
        assert await found.ended() == 0, found.process.output
    assert [one.path for one in agent.received if one.path != "/watch"] == [
        "/register",
        "/register",
        "/drain",
        "/deregister",
    ]
    assert await listed(found.port) == 0
