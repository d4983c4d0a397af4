"""A servicer for tests, without generated code: messages are bytes, methods are plain functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio

import hrpc
from tests.eventually import eventually

SERVICE = "test.Echo"


class Gate:
    """Holds the calls of ``Hold`` until it is opened; `entered` says that one has arrived."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()


async def echo(request: bytes, _: Any) -> bytes:
    return request


def echo_in_thread(request: bytes, _: Any) -> bytes:
    return request


async def repeat(request: bytes, _: Any) -> AsyncIterator[bytes]:
    for _number in range(3):
        yield request


def repeat_in_thread(request: bytes, _: Any) -> Iterator[bytes]:
    yield from [request] * 3


async def join(requests: AsyncIterator[bytes], _: Any) -> bytes:
    return b"".join([request async for request in requests])


async def each(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


def add_echo(server: hrpc.Server, gate: Gate | None = None, **methods: Any) -> None:
    """Registers the servicer; `methods` adds unary ones."""

    async def hold(request: bytes, _: Any) -> bytes:
        assert gate is not None
        gate.entered.set()
        await gate.opened.wait()
        return request

    unary = {"Echo": echo, "EchoInThread": echo_in_thread, "Hold": hold, **methods}
    handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in unary.items()}
    handlers["Repeat"] = grpc.unary_stream_rpc_method_handler(repeat)
    handlers["RepeatInThread"] = grpc.unary_stream_rpc_method_handler(repeat_in_thread)
    handlers["Join"] = grpc.stream_unary_rpc_method_handler(join)
    handlers["Each"] = grpc.stream_stream_rpc_method_handler(each)
    server.add_registered_method_handlers(SERVICE, handlers)


def call(channel: grpc.aio.Channel, method: str, request: bytes = b"x", **named: Any) -> Any:
    """Makes a unary call."""
    return channel.unary_unary(f"/{SERVICE}/{method}")(request, **named)


async def handled(server: hrpc.Server, method: str) -> dict[grpc.StatusCode, int]:
    """How the calls of a method ended; a handler may end a moment after its answer."""
    assert server._running is not None
    calls = next(calls for calls in server._running.parts.calls if calls.method == method)

    async def ended() -> bool:
        return calls.in_flight == 0 and calls.started > 0

    await eventually(ended)
    return calls.handled
