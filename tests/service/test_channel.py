"""Calling other services through a channel that follows Consul."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import context, service
from hrpc.consul import Client
from hrpc.testing.servers import ConsulServer
from tests.echo import SERVICE, call
from tests.eventually import eventually
from tests.service.peers import called, caller, entry


async def test_a_channel_spreads_calls_and_follows_changes(consul: ConsulServer, registry: Client) -> None:
    async with caller(consul), called(b"a") as a, called(b"b") as b, AsyncExitStack() as stack:
        await stack.enter_async_context(registry.registered(entry("spread", 1, a)))
        async with service.channel("spread") as channel:
            assert [await call(channel, "Name") for _ in range(3)] == [b"a"] * 3
            leaving_b = registry.registered(entry("spread", 2, b))
            await leaving_b.__aenter__()

            async def both() -> bool:
                return {await call(channel, "Name") for _ in range(4)} == {b"a", b"b"}

            await eventually(both)
            await leaving_b.__aexit__(None, None, None)

            async def only_a() -> bool:
                return {await call(channel, "Name") for _ in range(4)} == {b"a"}

            await eventually(only_a)


async def test_an_instance_that_cannot_be_connected_to_is_passed_over(
    consul: ConsulServer, registry: Client, free_port: int
) -> None:
    async with caller(consul), called(b"a") as a, AsyncExitStack() as stack:
        for number, port in enumerate((a, free_port)):
            await stack.enter_async_context(registry.registered(entry("half", number, port)))
        async with service.channel("half") as channel:

            async def both_known() -> bool:
                return len(channel.balancer.endpoints) == 2

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
            assert [part async for part in channel.unary_stream(f"/{SERVICE}/Repeat")(b"a")] == [b"a"] * 3
            assert await channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a", b"b"])) == b"ab"
            assert [part async for part in channel.stream_stream(f"/{SERVICE}/Each")(iter([b"a"]))] == [b"a"]
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
            directory = server._running.parts.directory
            assert directory is not None
            assert len(directory._channels._connections._open) == 1
        assert not directory._channels._connections._open


async def test_a_response_may_be_as_large_as_the_option_says(consul: ConsulServer, registry: Client) -> None:
    size = 5 * 1024 * 1024

    async def large(_: bytes, __: Any) -> bytes:
        return bytes(size)

    async with called(b"a", Large=large) as port, registry.registered(entry("large", 1, port)):
        async with caller(consul), service.channel("large") as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="Received message larger than max") as caught:
                await call(channel, "Large")
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        async with (
            caller(consul, hrpc.with_message_limits(receive=size, send=1000)),
            service.channel("large") as channel,
        ):
            assert len(await call(channel, "Large")) == size
            with pytest.raises(grpc.aio.AioRpcError, match="Sent message larger than max"):
                await call(channel, "Large", bytes(1001))
