"""An hrpc server that is registered with the sidecar-agent of its machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import grpc.aio
import pytest
from loguru import logger

import hrpc
import hrpc_sidecar
from hrpc.errors import NotRunning, OptionError, StartError, StopError
from hrpc.testing.servers import ConsulServer
from hrpc_sidecar.testing import SidecarAgent
from tests import agent as consul_agent
from tests.echo import Gate, add_echo, call
from tests.eventually import eventually


@pytest.fixture
async def agent() -> AsyncIterator[SidecarAgent]:
    async with SidecarAgent(heartbeat=0.1) as running:
        yield running


def server(*options: hrpc.Option, drain_delay: float = 0.0, gate: Gate | None = None) -> hrpc.Server:
    made = hrpc.new_server(
        hrpc.with_server_name("shop"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_graceful_stop(drain_delay=drain_delay, grace=60),
        *options,
    )
    add_echo(made, gate)
    return made


def paths(agent: SidecarAgent) -> list[str]:
    return [one.path for one in agent.received if one.path != "/watch"]


async def registered(agent: SidecarAgent) -> None:
    async def known() -> bool:
        return bool(agent.nodes)

    await eventually(known)


async def test_the_agent_is_told_what_the_server_is(agent: SidecarAgent) -> None:
    options = (
        hrpc_sidecar.with_sidecar(agent.base_url, app_id="app-7", namespace="eu", cluster_domain="corp.local"),
        hrpc.with_registration(version="1.4.2", weight=3),
        hrpc.with_health_check(0),
        hrpc.with_environment(hrpc.Environment.TESTING),
    )
    running = server(*options)
    async with running:
        ((instance, node),) = agent.nodes.items()
        assert node["app"] == {
            "id": "app-7",
            "name": "shop",
            "instance_id": instance,
            "env": "testing",
            "version": "1.4.2",
            "secret": "",
        }
        assert node["service"] == {
            "name": "shop",
            "port": running.port,
            "type": "svc",
            "namespace": "eu",
            "cluster_domain": "corp.local",
            "weight": 3,
        }
        assert node["dns"] == f"shop.eu.svc.corp.local:{running.port}"
        assert (node["protocol"], node["server_port"]) == ("grpc", running.port)
        assert node["managed_port"] > 0
        assert "/test.Echo/Echo" in node["methods"]
        assert node["methods"] == sorted(node["methods"])
        assert paths(agent) == ["/register"]
        assert hrpc_sidecar.status().registered
    with pytest.raises(NotRunning, match=r"hrpc_sidecar\.with_sidecar"):
        hrpc_sidecar.status()
    assert paths(agent) == ["/register", "/drain", "/deregister"]
    assert agent.nodes == {}


async def test_a_stop_drains_waits_serves_to_the_end_and_only_then_deregisters(agent: SidecarAgent) -> None:
    gate = Gate()
    running = server(hrpc_sidecar.with_sidecar(agent.base_url), drain_delay=2.0, gate=gate)
    async with running, grpc.aio.insecure_channel(running.address) as channel:
        held = asyncio.ensure_future(call(channel, "Hold"))
        await gate.entered.wait()
        stopping = asyncio.create_task(running.stop())

        async def draining() -> bool:
            return "/drain" in paths(agent)

        await eventually(draining)
        assert await call(channel, "Echo") == b"x", "calls are taken until callers have noticed"

        async def refused() -> bool:
            try:
                # One that arrives in the moment in which gRPC stops may be neither taken nor refused, but left alone.
                await call(channel, "Echo", timeout=2.0)
            except grpc.aio.AioRpcError as error:
                return error.code() is grpc.StatusCode.UNAVAILABLE
            return False

        await eventually(refused)
        assert paths(agent) == ["/register", "/drain"], "a call runs"
        gate.opened.set()
        assert await held == b"x"
        await stopping
    assert paths(agent) == ["/register", "/drain", "/deregister"]
    drain = next(one.body for one in agent.received if one.path == "/drain")
    assert drain["grace_period"] == "62s"


async def test_a_start_goes_on_without_the_agent_and_registers_when_it_is_there(
    free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    sidecar = hrpc_sidecar.Sidecar(f"http://127.0.0.1:{free_port}", reconnect_interval=0.05)
    running = server(hrpc.with_plugins(sidecar))
    async with running:
        assert not sidecar.status().registered
        assert sidecar.status().last_error_kind == "runtime_error"
        async with SidecarAgent(port=free_port) as agent:

            async def told() -> bool:
                return sidecar.status().registered

            await eventually(told)
            assert agent.count("/register") == 1
            await running.stop()
    said = capsys.readouterr()
    assert f"'shop' is registered when the one at http://127.0.0.1:{free_port} takes it" in said.out + said.err
    assert (said.out + said.err).count("may be missing there") == 1, "it is told once, and not each second"
    assert "registered with the sidecar-agent as shop-" in said.out + said.err


async def test_a_start_that_is_to_fail_fast_says_why(free_port: int, agent: SidecarAgent) -> None:
    away = hrpc_sidecar.with_sidecar(f"http://127.0.0.1:{free_port}", fail_fast=True, request_timeout=0.5)
    with pytest.raises(
        StartError, match=r"hrpc-sidecar: the sidecar-agent at .* has not taken the registration within 0\.5 s: GET"
    ):
        async with server(away):
            pass
    agent.fail("/register", status=422, code="INVALID", message="no such tenant", times=1000)
    refusing = hrpc_sidecar.with_sidecar(agent.base_url, fail_fast=True, request_timeout=2.0)
    with pytest.raises(StartError, match="code INVALID, no such tenant"):
        async with server(refusing):
            pass
    assert paths(agent)[-1] == "/deregister", "a request that was not answered may have been carried out"


async def test_an_outage_is_in_the_log_once_for_each_kind_of_error(agent: SidecarAgent) -> None:
    told: list[str] = []
    sidecar = hrpc_sidecar.Sidecar(agent.base_url, reconnect_interval=0.05)
    async with server(hrpc.with_plugins(sidecar)):
        number = logger.add(told.append, format="{message}", filter="hrpc_sidecar")
        try:
            for outage in (1, 2):
                agent.fail("/register", status=502, times=3)
                agent.cut_streams()

                async def again(outage: int = outage) -> bool:
                    return sum("registered again with the sidecar-agent" in line for line in told) == outage

                await eventually(again)
                assert sidecar.status().register_replay_count == 1 + outage
        finally:
            logger.remove(number)
    assert sidecar.status().register_replay_failure_count == 6
    assert [line.partition(":")[0] for line in told if "may be missing" in line] == ["sidecar-agent"] * 4
    assert sum("is not registered" in line for line in told) == 2


@pytest.mark.parametrize("fault", ["register 502", "register no", "cut", "closed", "malformed", "silent", "hangs"])
async def test_after_each_fault_of_the_agent_the_service_is_registered_again(agent: SidecarAgent, fault: str) -> None:
    # A busy machine is no fault of the agent: only where one is to be noticed by a limit, that is short.
    limits = {"silent": {"idle_limit": 1.5}, "hangs": {"request_timeout": 2.0}}
    sidecar = hrpc_sidecar.Sidecar(agent.base_url, reconnect_interval=0.1, **limits.get(fault, {}))

    async def is_registered() -> bool:
        return sidecar.status().registered

    async with server(hrpc.with_plugins(sidecar)):
        await eventually(is_registered)  # on a busy machine, the limits may have been over before
        before = sidecar.status()
        match fault:
            case "register 502":
                agent.fail("/register", status=502, code="CONSUL", times=2)
                agent.cut_streams()
            case "register no":
                agent.fail("/register", status=200, code="BUSY", times=2)
                agent.cut_streams()
            case "hangs":
                agent.hang("/register")
                agent.close_streams()
            case "cut":
                agent.cut_streams()
            case "closed":
                agent.close_streams()
            case "malformed":
                agent.send(b"event: heartbeat\ndata: {nothing\n\n")
            case "silent":
                agent.silent = True
                agent.cut_streams()

        async def lost() -> bool:
            return sidecar.status().disconnect_count - before.disconnect_count >= (2 if fault == "silent" else 1)

        await eventually(lost)
        agent.silent = False

        await eventually(is_registered)
        after = sidecar.status()
        assert after.register_replay_count == before.register_replay_count + 1
        assert after.last_error_kind == {
            "register 502": "register_replay",
            "register no": "register_replay",
            "hangs": "register_replay",
            "malformed": "watch_event_parse",
        }.get(fault, "watch_stream_closed")
        kinds = {"register 502": 2, "register no": 2, "hangs": 1}
        assert after.register_replay_failure_count - before.register_replay_failure_count == kinds.get(fault, 0)


@pytest.mark.parametrize("path", ["/drain", "/deregister"])
async def test_a_failed_drain_skips_no_deregistering_and_a_failed_deregistering_is_told(
    agent: SidecarAgent, path: str
) -> None:
    agent.fail(path, status=502, code="CONSUL")
    running = server(hrpc_sidecar.with_sidecar(agent.base_url))
    if path == "/drain":
        async with running:
            pass
    else:
        with pytest.raises(StopError) as raised:
            async with running:
                pass
        assert "POST /deregister answered with HTTP status 502: code CONSUL" in str(raised.value.exceptions[0])
    assert paths(agent) == ["/register", "/drain", "/deregister"]


async def test_an_agent_that_comes_back_during_the_stop_registers_nothing(agent: SidecarAgent) -> None:
    gate = Gate()
    running = server(hrpc_sidecar.with_sidecar(agent.base_url, reconnect_interval=0.01), gate=gate)
    async with running, grpc.aio.insecure_channel(running.address) as channel:
        held = asyncio.ensure_future(call(channel, "Hold"))
        await gate.entered.wait()
        stopping = asyncio.create_task(running.stop())

        async def draining() -> bool:
            return "/drain" in paths(agent)

        await eventually(draining)
        await agent.kill()
        await agent.start()
        await asyncio.sleep(0.2)
        assert agent.streams == 0
        gate.opened.set()
        await held
        await stopping
    assert paths(agent) == ["/register", "/drain", "/deregister"]


async def test_the_same_plugin_serves_one_life_after_the_other(agent: SidecarAgent) -> None:
    running = server(hrpc.with_plugins(hrpc_sidecar.Sidecar(agent.base_url)))
    for _ in range(2):
        async with running:
            assert len(agent.nodes) == 1
    first, second = (one.body["app"]["instance_id"] for one in agent.received if one.path == "/register")
    assert first != second


async def test_metrics_and_a_page_tell_of_the_registration(agent: SidecarAgent) -> None:
    running = server(
        hrpc_sidecar.with_sidecar(agent.base_url, reconnect_interval=0.01),
        hrpc.with_metrics(0),
        hrpc.with_health_check(0),
    )
    async with running, aiohttp.ClientSession() as session:
        agent.cut_streams()

        async def scraped() -> bool:
            async with session.get(f"http://127.0.0.1:{running.metrics_port}/metrics") as response:
                lines = (await response.text()).splitlines()
            return {
                "shop_sidecar_registered 1.0",
                "shop_sidecar_registrations_total 2.0",
                "shop_sidecar_disconnects_total 1.0",
                "shop_sidecar_refusals_total 0.0",
            } <= set(lines)

        await eventually(scraped)
        async with session.get(f"http://127.0.0.1:{running.health_port}/debug/sidecar") as response:
            page = await response.json()
    assert page["registered"]
    assert page["disconnect_count"] == 1
    assert page["watch_url"] == f"{agent.base_url}/watch"


async def test_consul_is_for_configuration_only_unless_it_is_wanted_too(
    consul: ConsulServer, agent: SidecarAgent
) -> None:
    named = hrpc.with_server_name("sidecar-beside")
    known = hrpc.with_consul(hrpc.Consul(address=consul.address))
    async with server(named, known, hrpc_sidecar.with_sidecar(agent.base_url)):
        assert await consul_agent.instances(consul.address, "sidecar-beside") == []
    async with server(named, known, hrpc_sidecar.with_sidecar(agent.base_url, beside_consul=True)):
        (entry,) = await consul_agent.instances(consul.address, "sidecar-beside")
        assert [entry["Service"]["ID"]] == list(agent.nodes), "both know it by the same id"
    told = hrpc.with_registration(in_consul=True)
    async with server(named, known, hrpc_sidecar.with_sidecar(agent.base_url), told):
        assert len(await consul_agent.instances(consul.address, "sidecar-beside")) == 1


def test_an_installed_plugin_is_found_by_its_name() -> None:
    assert hrpc_sidecar.Sidecar().name == "hrpc-sidecar"
    with pytest.raises(OptionError, match="watch url is required"):
        hrpc_sidecar.with_sidecar("")
    with pytest.raises(OptionError, match="base_url='agent' is no URL"):
        hrpc_sidecar.with_sidecar("agent")
    with pytest.raises(OptionError, match=r"hrpc_sidecar\.with_sidecar\(idle_limit=0\)"):
        hrpc_sidecar.with_sidecar(idle_limit=0)
