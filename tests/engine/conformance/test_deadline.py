"""The end that a client sets to its call, or that it makes by leaving."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.echo import call
from tests.engine.conformance.conftest import Engine
from tests.eventually import eventually


class Waiting:
    """A handler that waits for ever, and tells how it ended."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()

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
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "Wait", timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(waiting.cancelled.wait(), 5)
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


async def test_streams_end_with_their_deadline_and_when_their_client_gives_up(engine: Engine) -> None:
    for give_up in (False, True):
        waiting = Waiting()
        server = engine.server()
        handler = grpc.unary_stream_rpc_method_handler(waiting.stream)
        server.add_registered_method_handlers("test.Wait", {"Wait": handler})
        async with server, grpc.aio.insecure_channel(server.address) as channel:
            running = channel.unary_stream("/test.Wait/Wait")(b"", timeout=None if give_up else 0.5)
            assert await running.read() == b"first"
            await waiting.entered.wait()
            if give_up:
                running.cancel()
            await asyncio.wait_for(waiting.cancelled.wait(), 5)
            expected = grpc.StatusCode.CANCELLED if give_up else grpc.StatusCode.DEADLINE_EXCEEDED
            assert await running.code() is expected


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
