"""A serving server and its Consul: what happens to calls when the agent dies, and when a watch crashes."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import service
from hrpc.consul.watch import Watch
from hrpc.errors import StopError
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.echo import add_echo, call
from tests.eventually import eventually, soon


def a_server(consul: ConsulServer, name: str, *options: hrpc.Option) -> hrpc.Server:
    server = hrpc.new_server(
        hrpc.with_server_name(name),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_consul(Consul(address=consul.address)),
        hrpc.with_graceful_stop(drain_delay=0),
        *options,
    )
    add_echo(server)
    return server


async def test_an_agent_that_is_killed_and_wiped_has_the_instance_back_within_two_seconds_and_no_call_fails(
    own_consul: ConsulServer,
) -> None:
    async with a_server(own_consul, "steady", hrpc.with_health_check(0)) as server:
        await service.ready("steady")
        calls = 0
        enough = asyncio.Event()

        async def load(channel: grpc.aio.Channel) -> None:
            nonlocal calls
            while not enough.is_set():
                await call(channel, "Echo", timeout=30)
                calls += 1

        async def made(more: int) -> None:
            until = calls + more

            async def reached() -> bool:
                return calls >= until

            await eventually(reached)

        async with grpc.aio.insecure_channel(server.address) as direct, service.channel("steady") as found:
            loads = [asyncio.create_task(load(channel)) for channel in (direct, found) for _ in range(4)]
            await made(100)
            await asyncio.to_thread(own_consul.kill)
            await made(100)
            own_consul.wipe()
            await asyncio.to_thread(own_consul.start)

            async def back() -> bool:
                return len(await agent.instances(own_consul.address, "steady")) == 1

            await soon(back, 2)
            await made(500)
            enough.set()
            await asyncio.gather(*loads)  # raises when one has failed


async def test_a_watch_that_crashes_stops_the_server_and_everything_is_released(
    consul: ConsulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(self: object, index: int | None) -> int | None:
        raise ZeroDivisionError("a bug of ours")

    with pytest.raises(StopError) as caught:
        async with a_server(consul, "crashing") as server:
            monkeypatch.setattr(Watch, "_round", crash)
            service.channel("somebody")
            assert server._life is not None
            await asyncio.wait({server._life}, timeout=20)
    assert isinstance(caught.value.exceptions[0], ExceptionGroup)
    assert isinstance(caught.value.exceptions[0].exceptions[0], ZeroDivisionError)
    assert not await agent.instances(consul.address, "crashing")
    async with a_server(consul, "crashing"):
        pass


async def test_a_watch_does_not_reach_for_connections_after_they_were_closed(consul: ConsulServer) -> None:
    for _ in range(5):
        async with a_server(consul, "leaving"), service.channel("leaving") as channel:
            await service.ready("leaving")
            assert await call(channel, "Echo") == b"x"


async def passed(consul: ConsulServer, name: str) -> bool:
    """Whether Consul has carried out the check; the agent tells at once, its servers learn of the output later."""
    checks = await asyncio.to_thread(agent.get, consul.address, "/v1/agent/checks")
    (check,) = [check for check in checks.values() if check["ServiceName"] == name]
    return check["Status"] == "passing" and bool(check["Output"])


def certificate(folder: Path) -> tuple[str, str]:
    public, private = str(folder / "public.pem"), str(folder / "private.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", private, "-out", public], check=True, capture_output=True)
    return public, private


async def test_tls_is_served_registered_as_such_and_checked_by_consul(consul: ConsulServer, tmp_path: Path) -> None:
    public, private = certificate(tmp_path)
    options = (hrpc.with_server_certs(public, private), hrpc.with_registration(check_interval=1, version="1.2.3"))
    async with a_server(consul, "secret", *options) as server:
        credentials = grpc.ssl_channel_credentials(Path(public).read_bytes())
        async with grpc.aio.secure_channel(server.address, credentials) as channel:
            assert await call(channel, "Echo") == b"x"
        (entry,) = await agent.instances(consul.address, "secret")
        meta = entry["Service"]["Meta"]
        assert (meta["protocol"], meta["keepalive"], meta["version"]) == ("grpcs", "5", "1.2.3")

        await eventually(lambda: passed(consul, "secret"))


@pytest.mark.parametrize("health", [True, False])
async def test_consul_finds_out_that_an_instance_is_not_well(
    consul: ConsulServer, health: bool, free_port: int
) -> None:
    """The check is a real one: over HTTP with a health port, else over gRPC."""
    options = [hrpc.with_registration(check_interval=1, check_timeout=0.5)]
    if health:
        options.append(hrpc.with_health_check(free_port))
    name = f"checked-{'http' if health else 'grpc'}"
    async with a_server(consul, name, *options) as server:
        await eventually(lambda: passed(consul, name))
        assert server.port
        blocked = asyncio.create_task(asyncio.to_thread(_critical, consul.address, name))
        while not blocked.done():
            await asyncio.sleep(0)
            time.sleep(0.8)  # noqa: ASYNC251 - the loop is blocked on purpose
        assert await blocked


def _critical(address: str, name: str) -> bool:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        entries = agent.get(address, f"/v1/health/service/{name}")
        if any(check["Status"] == "critical" for entry in entries for check in entry["Checks"]):
            return True
        time.sleep(0.05)
    return False
