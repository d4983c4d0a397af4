"""Finding and calling other services, on a real Consul."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import context, service
from hrpc.abc import Check, Registration
from hrpc.consul import Client, connect
from hrpc.errors import ConsulUnreachable, ServiceNotFound
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer
from tests import agent
from tests.echo import SERVICE, call
from tests.eventually import eventually


def entry(name: str, number: int, port: int, weight: int = 1, tag: str = "development") -> Registration:
    check = Check("http", "http://127.0.0.1:9/", 60.0, 1.0, 60.0)
    return Registration(f"{name}-{number}", name, "127.0.0.1", port, (tag,), {}, weight, check)


@asynccontextmanager
async def caller(consul: ConsulServer, *options: hrpc.Option) -> AsyncIterator[hrpc.Server]:
    """A server that only calls others."""
    common = (
        hrpc.with_server_name("caller"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_consul(Consul(address=consul.address)),
        hrpc.with_graceful_stop(drain_delay=0),
    )
    async with hrpc.new_server(*common, *options) as server:
        yield server


@asynccontextmanager
async def called(answer: bytes, **methods: Any) -> AsyncIterator[int]:
    """A bare gRPC server that answers with its own name; gives its port."""

    async def name(_: bytes, __: Any) -> bytes:
        return answer

    server = grpc.aio.server()
    unary = {"Name": name, **methods}
    handlers = {key: grpc.unary_unary_rpc_method_handler(method) for key, method in unary.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@pytest.fixture
async def registry(consul: ConsulServer) -> AsyncIterator[Client]:
    async with connect(Consul(address=consul.address)) as client:
        yield client


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
        client = server._running._consul
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


async def test_a_channel_spreads_calls_and_follows_changes_within_100_ms(
    consul: ConsulServer, registry: Client
) -> None:
    async with caller(consul), called(b"a") as a, called(b"b") as b, AsyncExitStack() as stack:
        await stack.enter_async_context(registry.registered(entry("spread", 1, a)))
        async with service.channel("spread") as channel:
            assert [await call(channel, "Name") for _ in range(3)] == [b"a"] * 3
            leaving_b = registry.registered(entry("spread", 2, b))
            await leaving_b.__aenter__()

            async def both() -> bool:
                return {await call(channel, "Name") for _ in range(4)} == {b"a", b"b"}

            await eventually(both, 1)
            await leaving_b.__aexit__(None, None, None)

            async def only_a() -> bool:
                return {await call(channel, "Name") for _ in range(4)} == {b"a"}

            await eventually(only_a, 1)


async def test_an_instance_that_cannot_be_connected_to_is_passed_over(
    consul: ConsulServer, registry: Client, free_port: int
) -> None:
    async with caller(consul), called(b"a") as a, AsyncExitStack() as stack:
        for number, port in enumerate((a, free_port)):
            await stack.enter_async_context(registry.registered(entry("half", number, port)))
        async with service.channel("half") as channel:

            async def both_known() -> bool:
                return len(channel._taken) == 2

            await eventually(both_known)
            failed = 0
            for _ in range(40):
                try:
                    assert await call(channel, "Name") == b"a"
                except grpc.aio.AioRpcError as error:
                    assert error.code() is grpc.StatusCode.UNAVAILABLE
                    failed += 1
            assert failed < 10  # those that found out; taking turns without a look, 20 would have failed


async def test_a_removed_instance_finishes_what_runs_on_it(consul: ConsulServer, registry: Client) -> None:
    entered, opened = asyncio.Event(), asyncio.Event()

    async def hold(_: bytes, __: Any) -> bytes:
        entered.set()
        await opened.wait()
        return b"finished"

    async with caller(consul), called(b"a", Hold=hold) as a, called(b"b") as b, AsyncExitStack() as stack:
        await stack.enter_async_context(registry.registered(entry("finishing", 2, b)))
        leaving = registry.registered(entry("finishing", 1, a))
        await leaving.__aenter__()
        async with service.channel("finishing") as channel:
            assert {await call(channel, "Name") for _ in range(2)} == {b"a", b"b"}
            running = [asyncio.ensure_future(call(channel, "Hold")) for _ in range(2)]
            await entered.wait()
            await leaving.__aexit__(None, None, None)

            async def gone() -> bool:
                return {await call(channel, "Name") for _ in range(3)} == {b"b"}

            await eventually(gone)
            opened.set()
            done = await asyncio.gather(*running, return_exceptions=True)
            assert b"finished" in done


async def test_all_kinds_of_calls_and_the_trace_go_through(consul: ConsulServer, registry: Client) -> None:
    seen: list[dict[str, Any]] = []

    async def look(_: bytes, called_with: Any) -> bytes:
        seen.append(dict(called_with.invocation_metadata()))
        return b""

    async with caller(consul), called(b"a", Look=look) as port, registry.registered(entry("traced", 1, port)):
        async with service.channel("traced") as channel:
            await call(channel, "Look")
            assert context.METADATA_KEY not in seen[-1]
            with hrpc.background_context() as current:
                await call(channel, "Look", metadata=(("mine", "1"),))
            assert seen[-1]["mine"] == "1"
            sent = context.from_metadata(seen[-1].items())
            assert (sent.trace_id, sent.server_name) == (current.trace_id, "caller")
            assert sent.time_remaining() is not None
            with hrpc.background_context():
                await call(channel, "Look", metadata=((context.METADATA_KEY, '{"trace_id":"own"}'),))
            assert context.from_metadata(seen[-1].items()).trace_id == "own"


async def test_without_an_instance_a_call_is_unavailable_and_says_since_when(consul: ConsulServer) -> None:
    async with caller(consul), service.channel("nobody") as channel:
        with pytest.raises(
            grpc.aio.AioRpcError,
            match=r"service 'nobody': no instance passes its checks \(as Consul said \d+\.\d s ago",
        ) as caught:
            await call(channel, "Name")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE


async def test_the_state_of_a_channel_is_the_best_of_its_connections(consul: ConsulServer, registry: Client) -> None:
    async with caller(consul), called(b"a") as port, service.channel("stateful") as channel:
        ready = asyncio.create_task(channel.channel_ready())
        await asyncio.sleep(0)
        assert not ready.done()
        async with registry.registered(entry("stateful", 1, port)):
            await asyncio.wait_for(ready, 20)
            assert channel.get_state() is grpc.ChannelConnectivity.READY


async def test_a_channel_is_shared_and_its_connections_end_with_the_server(
    consul: ConsulServer, registry: Client
) -> None:
    async with called(b"a") as port, registry.registered(entry("shared", 1, port)):
        async with caller(consul) as server:
            for _ in range(50):
                async with service.channel("shared") as channel:
                    assert await call(channel, "Name") == b"a"
            assert service.channel("shared") is channel
            assert server._running is not None
            directory = server._running._directory
            assert directory is not None
            assert len(directory._connections._open) == 1
        assert not directory._connections._open


async def test_an_upstream_is_known_before_the_first_call_and_a_missing_one_is_told(
    consul: ConsulServer, registry: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    async with registry.registered(entry("warm", 1, 4001)), caller(consul, hrpc.with_upstreams("warm", "cold")):
        assert service.get("warm").port == 4001
    assert "upstream 'cold': no instance passes its checks yet" in capsys.readouterr().out


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


async def test_while_consul_is_silent_only_the_first_use_of_a_name_waits_for_it(own_consul: ConsulServer) -> None:
    async with caller(own_consul):
        await asyncio.to_thread(own_consul.kill)
        with pytest.raises(ConsulUnreachable, match="connection refused"):
            service.get("silent")
        with pytest.raises(ConsulUnreachable, match="connection refused"):
            hrpc.configs.get("silent")
        for _ in range(3):
            asked = time.monotonic()
            with pytest.raises(ConsulUnreachable, match="connection refused"):
                service.get("silent")
            with pytest.raises(ConsulUnreachable, match="connection refused"):
                hrpc.configs.get("silent")
            assert time.monotonic() - asked < 0.05, "it was not asked again"
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
