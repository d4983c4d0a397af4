"""Each kind of call, and each size of message, arrives and is answered."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest

from tests.echo import SERVICE, call
from tests.engine.conformance.conftest import Engine


async def test_a_unary_call_is_answered_by_a_coroutine_and_by_a_function(engine: Engine) -> None:
    async with engine.server() as server, grpc.aio.insecure_channel(server.address) as channel:
        assert await call(channel, "Echo", b"a") == b"a"
        assert await call(channel, "EchoInThread", b"a") == b"a"


async def test_a_server_stream_is_answered_by_a_generator_of_either_kind(engine: Engine) -> None:
    async with engine.server() as server, grpc.aio.insecure_channel(server.address) as channel:
        for method in ("Repeat", "RepeatInThread"):
            assert [part async for part in channel.unary_stream(f"/{SERVICE}/{method}")(b"a")] == [b"a"] * 3


async def test_a_client_stream_and_a_bidirectional_one_are_answered(engine: Engine) -> None:
    async with engine.server() as server, grpc.aio.insecure_channel(server.address) as channel:
        assert await channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a", b"b"])) == b"ab"
        assert [part async for part in channel.stream_stream(f"/{SERVICE}/Each")(iter([b"a", b"b"]))] == [b"a", b"b"]


@pytest.mark.parametrize("path", [f"/{SERVICE}/Nothing", "/no.Service/Nothing", "/", "/nothing"])
async def test_a_method_that_nobody_serves_is_unimplemented(engine: Engine, path: str) -> None:
    async with engine.server() as server, grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(b"", timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("size", [0, 1, 16_384, 65_536, 1_000_000])
async def test_a_message_of_any_size_up_to_the_limit_comes_back_whole(engine: Engine, size: int) -> None:
    message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with engine.server() as server, grpc.aio.insecure_channel(server.address) as channel:
        assert await call(channel, "Echo", message, timeout=10) == message
        assert [part async for part in channel.unary_stream(f"/{SERVICE}/Repeat")(message)] == [message] * 3


async def test_many_calls_at_once_each_get_their_own_answer(engine: Engine) -> None:
    async with engine.server() as server, grpc.aio.insecure_channel(server.address) as channel:
        sent = [str(number).encode() for number in range(500)]
        assert await asyncio.gather(*(call(channel, "Echo", message) for message in sent)) == sent


async def test_methods_of_a_generic_handler_are_served(engine: Engine) -> None:
    async def reverse(request: bytes, _: object) -> bytes:
        return request[::-1]

    class Proxy(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
            return grpc.unary_unary_rpc_method_handler(reverse) if details.method == "/proxy.P/Any" else None  # type: ignore[arg-type]

    server = engine.server()
    server.add_generic_rpc_handlers([Proxy()])
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        assert await channel.unary_unary("/proxy.P/Any")(b"abc") == b"cba"
