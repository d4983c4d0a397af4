"""What runs when a server drains: it is told in time to end well, and named when it did not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

import hrpc
from hrpc import context
from hrpc.errors import NotRunning
from tests.echo import Gate, call
from tests.engine.conformance.conftest import Engine
from tests.eventually import eventually


def add_streams(server: hrpc.Server, **methods: Any) -> None:
    handlers = {name: grpc.unary_stream_rpc_method_handler(method) for name, method in methods.items()}
    server.add_registered_method_handlers("test.Streams", handlers)


async def test_streams_that_wait_for_the_drain_end_well_and_no_grace_is_used_up(engine: Engine) -> None:
    async def follow(_: bytes, __: Any) -> AsyncIterator[bytes]:
        draining = hrpc.draining()
        yield b"follows" if not draining.is_set() else b"too late"
        await draining.wait()
        yield b"goes"

    def follow_in_thread(_: bytes, __: Any) -> Iterator[bytes]:
        draining = hrpc.draining()
        yield b"follows" if not draining.is_set() else b"too late"
        hrpc.from_thread.run(draining.wait)
        yield b"goes" if draining.is_set() else b"too early"

    server = engine.server(hrpc.with_graceful_stop(grace=60))
    add_streams(server, Follow=follow, FollowInThread=follow_in_thread)
    await server.__aenter__()
    async with grpc.aio.insecure_channel(server.address) as channel:
        streams = [channel.unary_stream(f"/test.Streams/{name}")(b"") for name in ("Follow", "FollowInThread")]
        assert [await stream.read() for stream in streams] == [b"follows"] * 2
        async with asyncio.timeout(20):
            await server.stop()
        assert [await stream.read() for stream in streams] == [b"goes"] * 2
        assert [await stream.read() for stream in streams] == [grpc.aio.EOF] * 2
        assert [await stream.code() for stream in streams] == [grpc.StatusCode.OK] * 2


async def test_a_task_beside_the_calls_is_told_before_it_is_waited_for(engine: Engine) -> None:
    ended = []

    async def works() -> None:
        await hrpc.draining().wait()
        ended.append("well")

    async with engine.server():
        hrpc.go(works())
    assert ended == ["well"]
    with pytest.raises(NotRunning):
        hrpc.draining()


async def test_calls_that_outlast_the_grace_are_named_by_method_trace_caller_and_age(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:

    async def holds(_: bytes, __: Any) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    server = engine.server(hrpc.with_graceful_stop(grace=0.1), gate=Gate())
    add_streams(server, Holds=holds)
    await server.__aenter__()
    async with grpc.aio.insecure_channel(server.address) as channel:
        caller = context.new()
        metadata = caller.metadata("users")
        running = [asyncio.ensure_future(call(channel, "Hold", metadata=metadata)) for _ in range(5)]
        stream = channel.unary_stream("/test.Streams/Holds")(b"", metadata=context.new().metadata("carts"))

        async def all_have_begun() -> bool:
            return server._running is not None and server._running.parts.calls.in_flight == 6

        await eventually(all_have_begun)
        await server.stop()
        await asyncio.gather(*running, stream.read(), return_exceptions=True)
    said = [json.loads(line)["msg"] for line in capsys.readouterr().out.splitlines()]
    (held,) = [line for line in said if line.startswith("drain: test.Echo/Hold: 5 in flight; the oldest: ")]
    assert held.count(f"trace {caller.trace_id}, from users at ") == 3
    if engine.kind == "grpcio":  # a stream of the native engine comes from its own fallback
        assert " at ipv4:127.0.0.1:" in held
    (streamed,) = [line for line in said if line.startswith("drain: test.Streams/Holds: 1 in flight")]
    assert "from carts at " in streamed
    assert "drain: 6 calls had not ended and were cancelled" in said


async def test_no_call_is_left_in_the_list_of_those_that_run(engine: Engine) -> None:
    async def fails(_: bytes, __: Any) -> bytes:
        raise ZeroDivisionError

    async with engine.server(Fails=fails) as server, grpc.aio.insecure_channel(server.address) as channel:
        for method in ("Echo", "EchoInThread", "Fails"):
            await asyncio.gather(*(call(channel, method) for _ in range(10)), return_exceptions=True)
        repeat = channel.unary_stream("/test.Echo/Repeat")(b"a")
        await repeat.read()
        repeat.cancel()
        assert server._running is not None
        calls = server._running.parts.calls
    assert [list(method.running) for method in calls if method.started] == [[]] * 4
    assert calls.in_flight == 0
