"""The deadline of a call: the earliest that anybody set, and the handler ends at it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import context, errors
from tests.echo import SERVICE, add_echo, call, handled

LOCAL = hrpc.with_listen_port(0, host="127.0.0.1")


def a_server(*options: hrpc.Option, **methods: Any) -> hrpc.Server:
    server = hrpc.new_server(hrpc.with_server_name("deadlines"), LOCAL, *options)
    add_echo(server, **methods)
    return server


def message(seconds: float) -> tuple[tuple[str, str], ...]:
    return ((context.METADATA_KEY, f'{{"trace_id":"t","request_timeout":{int(seconds * 1e9)}}}'),)


async def remaining(_: bytes, call: Any) -> bytes:
    current = context.current()
    assert current is not None
    assert (current.time_remaining() is None) == (call.time_remaining() is None)
    return repr(current.time_remaining()).encode()


def remaining_in_thread(_: bytes, call: Any) -> bytes:
    return repr(call.time_remaining()).encode()


@pytest.mark.parametrize("method", ["Remaining", "RemainingInThread"])
@pytest.mark.parametrize(
    ("default", "of_message", "of_client", "expected"),
    [
        (None, None, None, None),
        (50.0, None, None, 50),
        (None, 40.0, None, 40),
        (None, None, 30.0, 30),
        (50.0, 40.0, 30.0, 30),
        (50.0, 30.0, 40.0, 30),
        (30.0, 40.0, 50.0, 30),
        (30.0, 0.0, None, 30),
    ],
)
async def test_it_is_the_earliest_of_the_clients_the_messages_and_the_servers_own(
    method: str, default: float | None, of_message: float | None, of_client: float | None, expected: float | None
) -> None:
    options = [] if default is None else [hrpc.with_default_timeout(default)]
    metadata = () if of_message is None else message(of_message)
    async with a_server(*options, Remaining=remaining, RemainingInThread=remaining_in_thread) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            text = await call(channel, method, timeout=of_client, metadata=metadata)
    if expected is None:
        assert text == b"None"
    else:
        # gRPC adds a little for the way to the server.
        assert expected - 5 < float(text) < expected + 0.5


async def test_a_handler_is_cancelled_at_it_and_its_client_told() -> None:
    ended = asyncio.Event()

    async def wait(_: bytes, __: Any) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    async with a_server(hrpc.with_default_timeout(0.05), Wait=wait) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            for metadata in ((), message(0.02), message(30)):
                ended.clear()
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(channel, "Wait", metadata=metadata)
                assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                assert caught.value.details() == "the deadline of the call has passed"
                assert ended.is_set()
            assert await call(channel, "Echo") == b"x"


async def test_a_handler_that_swallows_its_cancellation_has_still_missed_it() -> None:
    async def stubborn(_: bytes, __: Any) -> bytes:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return b"done after all"
        return b""

    async with a_server(hrpc.with_default_timeout(0.02), Stubborn=stubborn) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="the deadline of the call has passed"):
                await call(channel, "Stubborn")


async def test_many_deadlines_in_any_order_are_each_kept() -> None:
    async def wait(_: bytes, __: Any) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def missed(channel: grpc.aio.Channel, seconds: float) -> float:
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "Wait", metadata=message(seconds), timeout=20)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return time.monotonic() - began

    asked = [0.3, 0.1, 0.2, 0.05, 0.25, 0.15] * 5
    async with a_server(Wait=wait) as server, grpc.aio.insecure_channel(server.address) as channel:
        took = await asyncio.gather(*(missed(channel, seconds) for seconds in asked))
    assert all(waited >= seconds - 0.001 for waited, seconds in zip(took, asked, strict=True))


async def test_streams_have_one_too_even_while_their_reader_stalls() -> None:
    async def endless(_: bytes, __: Any) -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100_000

    def endless_in_thread(_: bytes, __: Any) -> Iterator[bytes]:
        while True:
            yield b"x" * 100_000

    server = a_server(hrpc.with_default_timeout(0.5))  # time for a thread to begin, also on a busy machine
    handlers = {
        "Endless": grpc.unary_stream_rpc_method_handler(endless),
        "EndlessInThread": grpc.unary_stream_rpc_method_handler(endless_in_thread),
    }
    server.add_registered_method_handlers("test.Streams", handlers)
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        idle = channel.stream_stream(f"/{SERVICE}/Each")()

        async def stalls(name: str) -> None:
            stalled = channel.unary_stream(f"/test.Streams/{name}")(b"")
            assert await stalled.read()
            assert await handled(server, name) == {grpc.StatusCode.DEADLINE_EXCEEDED: 1}
            with pytest.raises(grpc.aio.AioRpcError, match="the deadline of the call has passed"):
                while await stalled.read():
                    pass

        await asyncio.gather(*map(stalls, handlers))
        assert await idle.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_thread_that_is_stuck_does_not_keep_its_client_waiting() -> None:
    let_go = threading.Event()
    seen: dict[str, Any] = {}

    def stuck(_: bytes, call: Any) -> bytes:
        call.add_callback(lambda: seen.update(callback=call.is_active()))
        let_go.wait(60)
        seen.update(active=call.is_active(), remaining=call.time_remaining())
        return b""

    # Long enough for the thread to begin.
    async with a_server(hrpc.with_default_timeout(0.5), Stuck=stuck) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel, "Stuck")
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert seen == {"callback": False}
            let_go.set()
            assert await call(channel, "EchoInThread") == b"x"


async def test_methods_and_services_can_have_limits_of_their_own() -> None:
    limits = {f"{SERVICE}/Remaining": 20.0, "other.Service": None}
    server = a_server(hrpc.with_default_timeout(3.0, limits), Remaining=remaining)
    server.add_registered_method_handlers(
        "other.Service", {"Remaining": grpc.unary_unary_rpc_method_handler(remaining)}
    )
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        assert 15 < float(await call(channel, "Remaining")) <= 20
        assert await channel.unary_unary("/other.Service/Remaining")(b"") == b"None"


async def test_a_health_watch_outlives_the_default() -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with a_server(hrpc.with_default_timeout(0.02)) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await watch.read()


async def test_a_limit_for_a_method_that_is_not_served_fails_the_start() -> None:
    with pytest.raises(
        errors.StartError, match=r"with_default_timeout: 'test.Echo/Ecko' is not served.*test.Echo/Echo"
    ):
        async with a_server(hrpc.with_default_timeout(None, {f"/{SERVICE}/Ecko": 1.0})):
            pass
