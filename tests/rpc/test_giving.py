"""Interceptors that iterate over what a stream's handler gives, as Sentry's and those of many users do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import context, errors
from tests.echo import add_echo, handled

SERVICE = "test.S"


class Iterating(grpc.aio.ServerInterceptor):
    def __init__(self, at_most: int = 100) -> None:
        self._at_most = at_most

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        inner = handler.unary_stream or handler.stream_stream

        async def iterate(request: Any, call: Any) -> AsyncIterator[bytes]:
            seen = 0
            async for response in inner(request, call):
                yield b"<" + response
                seen += 1
                if seen == self._at_most:
                    break

        codecs = handler.request_deserializer, handler.response_serializer
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(iterate, *codecs)
        return grpc.unary_stream_rpc_method_handler(iterate, *codecs)


def a_server(handler: Any, *options: hrpc.Option, at_most: int = 100, requests: bool = False) -> hrpc.Server:
    interceptors = hrpc.with_interceptors(Iterating(at_most))
    local = hrpc.with_listen_port(0, host="127.0.0.1")
    server = hrpc.new_server(hrpc.with_server_name("giving"), local, interceptors, *options)
    add_echo(server)
    make = grpc.stream_stream_rpc_method_handler if requests else grpc.unary_stream_rpc_method_handler
    server.add_registered_method_handlers(SERVICE, {"Stream": make(handler)})
    return server


def sent(server: hrpc.Server) -> int:
    assert server._running is not None
    return next(calls.sent for calls in server._running.parts.calls if calls.method == "Stream")


async def three(request: bytes, _: Any) -> AsyncIterator[bytes]:
    current = context.current()
    assert current is not None
    for _number in range(3):
        await asyncio.sleep(0)
        assert context.current() is current
        yield request


def three_in_thread(request: bytes, _: Any) -> Iterator[bytes]:
    yield from [request] * 3


@pytest.mark.parametrize("handler", [three, three_in_thread])
async def test_they_see_every_response(handler: Any) -> None:
    async with a_server(handler) as server, grpc.aio.insecure_channel(server.address) as channel:
        assert [part async for part in channel.unary_stream(f"/{SERVICE}/Stream")(b"a")] == [b"<a"] * 3
        assert await handled(server, "Stream") == {grpc.StatusCode.OK: 1}
        assert sent(server) == 3


async def test_they_see_the_responses_of_both_kinds_of_streams() -> None:
    async def each(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async with a_server(each, requests=True) as server, grpc.aio.insecure_channel(server.address) as channel:
        stream = channel.stream_stream(f"/{SERVICE}/Stream")(iter([b"a", b"b"]))
        assert [part async for part in stream] == [b"<a", b"<b"]


async def raises(request: bytes, _: Any) -> AsyncIterator[bytes]:
    yield request
    raise errors.NotFound("gone")


async def aborts(request: bytes, call: Any) -> AsyncIterator[bytes]:
    yield request
    await call.abort(grpc.StatusCode.NOT_FOUND, "gone")


@pytest.mark.parametrize("handler", [raises, aborts])
async def test_the_error_of_the_handler_arrives_behind_its_responses(handler: Any) -> None:
    async with a_server(handler) as server, grpc.aio.insecure_channel(server.address) as channel:
        stream = channel.unary_stream(f"/{SERVICE}/Stream")(b"a")
        assert await stream.read() == b"<a"
        with pytest.raises(grpc.aio.AioRpcError, match="gone"):
            await stream.read()
        assert await handled(server, "Stream") == {grpc.StatusCode.NOT_FOUND: 1}


class Endless:
    """Gives one response, and then waits; knows when it was ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def stream(self, request: bytes, _: Any) -> AsyncIterator[bytes]:
        try:
            yield request
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.ended.set()


async def test_the_handler_ends_at_its_deadline() -> None:
    endless = Endless()
    server = a_server(endless.stream, hrpc.with_default_timeout(0.5))
    async with server, grpc.aio.insecure_channel(server.address) as channel:
        stream = channel.unary_stream(f"/{SERVICE}/Stream")(b"a", timeout=30)
        assert await stream.read() == b"<a"
        with pytest.raises(grpc.aio.AioRpcError, match="the deadline of the call has passed"):
            await stream.read()
        assert endless.ended.is_set()
        assert await handled(server, "Stream") == {grpc.StatusCode.DEADLINE_EXCEEDED: 1}


async def test_the_handler_ends_with_its_client() -> None:
    endless = Endless()
    async with a_server(endless.stream) as server, grpc.aio.insecure_channel(server.address) as channel:
        stream = channel.unary_stream(f"/{SERVICE}/Stream")(b"a")
        assert await stream.read() == b"<a"
        stream.cancel()
        await asyncio.wait_for(endless.ended.wait(), 5)
        assert await handled(server, "Stream") == {grpc.StatusCode.CANCELLED: 1}


async def test_the_handler_ends_when_the_interceptor_wants_no_more() -> None:
    endless = Endless()
    async with a_server(endless.stream, at_most=1) as server, grpc.aio.insecure_channel(server.address) as channel:
        assert [part async for part in channel.unary_stream(f"/{SERVICE}/Stream")(b"a")] == [b"<a"]
        await asyncio.wait_for(endless.ended.wait(), 5)
        assert len(await handled(server, "Stream")) == 1
