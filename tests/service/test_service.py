"""Finding other services and reading settings, on a real Consul."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import service
from hrpc.consul import Client, connect
from hrpc.consul import client as consul_client
from hrpc.consul.instances import InstancesQuery
from hrpc.errors import ConsulUnreachable, ServiceNotFound
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.echo import SERVICE, call
from tests.eventually import eventually
from tests.service.peers import caller, entry


async def test_among_equal_weights_it_rotates_and_the_highest_weight_wins(
    consul: ConsulServer, registry: Client
) -> None:
    async with caller(consul), AsyncExitStack() as stack:
        for number, port in enumerate((4001, 4002, 4003)):
            await stack.enter_async_context(registry.registered(entry("rotating", number, port)))

        async def all_known() -> bool:
            return {service.get("rotating").port for _ in range(3)} == {4001, 4002, 4003}

        await eventually(all_known)
        await stack.enter_async_context(registry.registered(entry("rotating", 9, 4009, weight=5)))

        async def heaviest() -> bool:
            return {service.get("rotating").port for _ in range(4)} == {4009}

        await eventually(heaviest)
        found = service.get("rotating")
        assert (found.name, found.id, found.weight) == ("rotating", "rotating-9", 5)
        assert str(found) == found.endpoint == found.target() == "127.0.0.1:4009"


async def test_the_tag_is_the_environment_unless_given(consul: ConsulServer, registry: Client) -> None:
    async with (
        caller(consul),
        registry.registered(entry("tagged", 1, 4001, tag="production")),
        registry.registered(entry("tagged", 2, 4002)),
    ):
        assert service.get("tagged").port == 4002
        assert service.get("tagged", "production").port == 4001
        assert service.get("tagged", "").port in (4001, 4002)


async def test_a_name_that_nobody_has_is_not_found_and_is_found_when_it_appears(
    consul: ConsulServer, registry: Client
) -> None:
    async with caller(consul):
        for _ in range(2):
            with pytest.raises(ServiceNotFound, match=r"\[late\] not found or no permission to read"):
                service.get("late")
        with pytest.raises(ServiceNotFound, match=r"waited 0\.1 s"):
            await service.ready("late", timeout=0.1)
        waiting = asyncio.create_task(service.ready("late", timeout=20))
        async with registry.registered(entry("late", 1, 4001)):
            await waiting
            assert service.get("late").port == 4001


async def test_target_is_the_name_inside_kubernetes_and_the_address_elsewhere(
    consul: ConsulServer, registry: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with registry.registered(entry("pods", 1, 4001)):
        async with caller(consul, hrpc.with_target("name")):
            assert service.get("pods").target() == "pods:4001"
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        async with caller(consul):
            assert service.get("pods").target() == "pods:4001"
        async with caller(consul, hrpc.with_target("address")):
            assert service.get("pods").target() == "127.0.0.1:4001"


async def test_five_hundred_gets_are_one_request(consul: ConsulServer, registry: Client) -> None:
    async with registry.registered(entry("counted", 1, 4001)), caller(consul, hrpc.with_upstreams("counted")) as server:
        assert server._running is not None
        client = server._running.parts.consul
        assert client is not None
        asked = 0
        request = client._transport.request

        async def counting(*args: Any, **named: Any) -> Any:
            nonlocal asked
            asked += "counted" in args[1]
            return await request(*args, **named)

        client._transport.request = counting  # type: ignore[method-assign]
        for _ in range(500):
            assert service.get("counted").port == 4001
            await asyncio.sleep(0)
        assert asked <= 1


async def test_an_upstream_is_known_before_the_first_call_and_a_missing_one_is_told(
    consul: ConsulServer, registry: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    async with registry.registered(entry("warm", 1, 4001)), caller(consul, hrpc.with_upstreams("warm", "cold")):
        assert service.get("warm").port == 4001
    assert "upstream 'cold': no instance passes its checks yet" in capsys.readouterr().out


async def test_upstreams_are_asked_for_all_at_once(consul: ConsulServer, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"crowd-{number}" for number in range(20)]
    asked = asyncio.Barrier(len(names))
    ask = InstancesQuery.__call__

    async def together(self: InstancesQuery, index: int | None, wait: float) -> Any:
        if index is None:
            await asked.wait()
        return await ask(self, index, wait)

    monkeypatch.setattr(InstancesQuery, "__call__", together)
    async with asyncio.timeout(20), caller(consul, hrpc.with_upstreams(*names)) as server:
        assert server._running is not None
        directory = server._running.parts.directory
        assert directory is not None
        assert {entry.name for entry in directory.entries if entry.kept} == set(names)


async def test_a_sync_handler_finds_services_too(consul: ConsulServer, registry: Client) -> None:
    async with registry.registered(entry("threaded", 1, 4001)):
        seen: list[int] = []

        def look(_: bytes, __: Any) -> bytes:
            seen.append(service.get("threaded").port)
            seen.append(service.get("threaded").port)
            return b""

        server = hrpc.new_server(
            hrpc.with_server_name("caller"),
            hrpc.with_listen_port(0, host="127.0.0.1"),
            hrpc.with_consul(Consul(address=consul.address)),
            hrpc.with_graceful_stop(drain_delay=0),
        )
        server.add_registered_method_handlers(SERVICE, {"Look": grpc.unary_unary_rpc_method_handler(look)})
        async with server, grpc.aio.insecure_channel(server.address) as channel:
            await call(channel, "Look", timeout=10)
        assert seen == [4001, 4001]


async def test_while_consul_is_silent_only_the_first_use_of_a_name_waits_for_it(
    own_consul: ConsulServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    fetch = consul_client.fetch

    def counting(*args: Any) -> Any:
        nonlocal asked
        asked += 1
        return fetch(*args)

    monkeypatch.setattr(consul_client, "fetch", counting)
    async with caller(own_consul):
        await asyncio.to_thread(own_consul.kill)
        with pytest.raises(ConsulUnreachable, match="connection refused"):
            service.get("silent")
        with pytest.raises(ConsulUnreachable, match="connection refused"):
            hrpc.configs.get("silent")
        assert asked == 2
        for _ in range(3):
            with pytest.raises(ConsulUnreachable, match="connection refused"):
                service.get("silent")
            with pytest.raises(ConsulUnreachable, match="connection refused"):
                hrpc.configs.get("silent")
        assert asked == 2, "it was asked again"
        await asyncio.to_thread(own_consul.start)
        await agent.store(own_consul.address, "development/silent", "heard")
        async with connect(Consul(address=own_consul.address)) as client:
            async with client.registered(entry("silent", 1, 4001)):
                await service.ready("silent", timeout=20)
                assert service.get("silent").port == 4001

                async def heard() -> bool:
                    try:
                        return hrpc.configs.get("silent") == "heard"
                    except ConsulUnreachable:
                        return False

                await eventually(heard)


async def test_the_first_use_from_many_threads_at_once_has_its_answer_in_all_of_them(
    consul: ConsulServer, registry: Client
) -> None:
    def look(_: bytes, __: Any) -> bytes:
        return f"{service.get('rush').port} {hrpc.configs.get('rush')}".encode()

    await agent.store(consul.address, "development/rush", "20")
    server = hrpc.new_server(
        hrpc.with_server_name("caller"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_consul(Consul(address=consul.address)),
        hrpc.with_graceful_stop(drain_delay=0),
    )
    server.add_registered_method_handlers(SERVICE, {"Look": grpc.unary_unary_rpc_method_handler(look)})
    async with registry.registered(entry("rush", 1, 4001)), server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            answers = await asyncio.gather(*(call(channel, "Look", timeout=10) for _ in range(16)))
    assert set(answers) == {b"4001 20"}


@pytest.mark.parametrize("key", ["", "/", "../production/limit", "../../agent/leave", "a/../b", "a//b", "./a", "a/.."])
async def test_a_key_cannot_lead_out_of_its_environment(consul: ConsulServer, key: str) -> None:
    async with caller(consul):
        with pytest.raises(ValueError, match="is not a key"):
            await hrpc.configs.set(key, "1")
        with pytest.raises(ValueError, match="is not a key"):
            hrpc.configs.get(key)
        with pytest.raises(ServiceNotFound):
            service.get("../../agent/leave")
        await hrpc.configs.set("still/there %?#+ü", "1")
        assert hrpc.configs.get("still/there %?#+ü") == "1"
