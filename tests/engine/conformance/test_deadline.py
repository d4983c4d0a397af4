"""The end that a client sets to its call, or that it makes by leaving."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from tests.deadlines import missed
from tests.echo import call
from tests.engine.conformance.conftest import Engine
from tests.eventually import eventually


class Waiting:
    """A handler that waits for ever, and tells how it ended."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def was_entered(self) -> bool:
        return self.entered.is_set()

    async def unary(self, _: bytes, __: Any) -> bytes:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError

    async def stream(self, request: bytes, call: Any) -> Any:
        yield b"first"
        yield await self.unary(request, call)


async def test_a_handler_sees_the_time_that_its_client_gives_it(engine: Engine) -> None:
    seen: list[float | None] = []

    async def look(_: bytes, call: Any) -> bytes:
        seen.append(call.time_remaining())
        return b""

    async with engine.server(Look=look) as server, grpc.aio.insecure_channel(server.address) as channel:
        await call(channel, "Look", timeout=30)
        assert seen[0] is not None
        assert 25 < seen[0] <= 30.1  # the core of grpcio rounds a deadline to what the wire can carry
        await call(channel, "Look")
        assert seen[1] is None


async def test_a_deadline_that_passes_cancels_the_handler_and_tells_the_client(engine: Engine) -> None:
    waiting = Waiting()
    async with engine.server(Wait=waiting.unary) as server, grpc.aio.insecure_channel(server.address) as channel:
        await missed(lambda seconds: call(channel, "Wait", timeout=seconds), waiting.was_entered)
        await asyncio.wait_for(waiting.cancelled.wait(), 20)
        assert await call(channel, "Echo") == b"x"


async def test_a_client_that_gives_up_cancels_the_handler(engine: Engine) -> None:
    waiting = Waiting()
    ended: list[Any] = []

    async def told(request: bytes, call: Any) -> bytes:
        call.add_done_callback(ended.append)
        return await waiting.unary(request, call)

    async with engine.server(Wait=told) as server, grpc.aio.insecure_channel(server.address) as channel:
        running = asyncio.ensure_future(call(channel, "Wait"))
        await waiting.entered.wait()
        running.cancel()
        await asyncio.wait_for(waiting.cancelled.wait(), 5)

        async def seen() -> bool:
            return len(ended) == 1

        await eventually(seen)


async def test_a_connection_that_is_cut_cancels_the_handlers(engine: Engine) -> None:
    waiting = Waiting()
    async with engine.server(Wait=waiting.unary) as server:
        channel = grpc.aio.insecure_channel(server.address)
        running = asyncio.ensure_future(call(channel, "Wait"))
        await waiting.entered.wait()
        await channel.close()
        await asyncio.wait_for(waiting.cancelled.wait(), 5)
        with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
            await running


def with_a_stream(engine: Engine, waiting: Waiting) -> hrpc.Server:
    server = engine.server()
    handler = grpc.unary_stream_rpc_method_handler(waiting.stream)
    server.add_registered_method_handlers("test.Wait", {"Wait": handler})
    return server


async def test_a_stream_ends_with_its_deadline(engine: Engine) -> None:
    waiting = Waiting()
    parts: list[bytes] = []
    async with with_a_stream(engine, waiting) as server, grpc.aio.insecure_channel(server.address) as channel:

        async def read(seconds: float) -> None:
            parts.clear()
            async for part in channel.unary_stream("/test.Wait/Wait")(b"", timeout=seconds):
                parts.append(part)

        async def has_begun() -> bool:
            return parts == [b"first"] and waiting.entered.is_set()

        await missed(read, has_begun)
        await asyncio.wait_for(waiting.cancelled.wait(), 20)


async def test_a_stream_ends_when_its_client_gives_up(engine: Engine) -> None:
    waiting = Waiting()
    async with with_a_stream(engine, waiting) as server, grpc.aio.insecure_channel(server.address) as channel:
        running = channel.unary_stream("/test.Wait/Wait")(b"")
        assert await running.read() == b"first"
        await waiting.entered.wait()
        running.cancel()
        await asyncio.wait_for(waiting.cancelled.wait(), 20)
        assert await running.code() is grpc.StatusCode.CANCELLED


async def test_many_calls_that_are_given_up_leave_nothing_behind(engine: Engine) -> None:
    waiting = Waiting()
    async with engine.server(Wait=waiting.unary) as server, grpc.aio.insecure_channel(server.address) as channel:
        for _ in range(10):
            running = [asyncio.ensure_future(call(channel, "Wait")) for _ in range(100)]
            await asyncio.sleep(0)
            for one in running:
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)

        async def none_runs() -> bool:
            assert server._running is not None
            return server._running.parts.calls.in_flight == 0

        await eventually(none_runs)
        assert await call(channel, "Echo") == b"x"
