"""How many calls at once: those who come in are counted until they have left, and the others are refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import hrpc
from tests.echo import SERVICE, call
from tests.eventually import eventually
from tests.rpc.guarded import given_back, healthy, hint, refused, serving, taken

pytestmark = pytest.mark.usefixtures("engine")


class Held:
    """A handler that counts the calls that are in it, and holds them until it is opened."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.opened = asyncio.Event()

    async def __call__(self, request: bytes, _: Any) -> bytes:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.opened.wait()
        finally:
            self.now -= 1
        return request


async def test_exactly_so_many_calls_are_in_their_handlers_and_the_others_are_refused() -> None:
    held = Held()
    async with serving(hrpc.with_concurrency_limit(5), Held=held) as (server, channel):
        calls = [asyncio.ensure_future(call(channel, "Held")) for _ in range(60)]

        async def all_the_others_are_back() -> bool:
            return sum(each.done() for each in calls) == 55

        await eventually(all_the_others_are_back)
        assert held.now == 5
        assert taken(server) == 5
        for each in calls:
            if each.done():
                assert 0.1 <= hint(await refused(each)) <= 0.2
        inside = [each for each in calls if not each.done()]
        held.opened.set()
        assert [await each for each in inside] == [b"x"] * 5
        assert [await call(channel, "Held") for _ in range(5)] == [b"x"] * 5
        assert held.most == 5
        assert taken(server) == 0


async def test_health_is_answered_while_every_place_is_taken() -> None:
    held = Held()
    async with serving(hrpc.with_concurrency_limit(1, lag=0.5), Held=held) as (server, channel):
        holding = asyncio.ensure_future(call(channel, "Held"))

        async def full() -> bool:
            return taken(server) == 1

        await eventually(full)
        assert hint(await refused(call(channel, "Echo")))
        assert await healthy(channel)
        stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        held.opened.set()
        await holding


async def fails(_: bytes, __: Any) -> bytes:
    raise ValueError("no")


def fails_in_thread(_: bytes, __: Any) -> bytes:
    raise ValueError("no")


async def aborts(_: bytes, call: Any) -> bytes:
    await call.abort(grpc.StatusCode.NOT_FOUND, "no")
    return b""


async def stray_cancel(_: bytes, __: Any) -> bytes:
    raise asyncio.CancelledError


async def waits(_: bytes, __: Any) -> bytes:
    await asyncio.Event().wait()
    return b""


def waits_in_thread(_: bytes, __: Any) -> bytes:
    time.sleep(0.6)
    return b""


async def failing(channel: grpc.aio.Channel) -> None:
    await refused(call(channel, "Method"))


async def cancelled_by_the_client(channel: grpc.aio.Channel) -> None:
    calling = call(channel, "Method")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(calling)), 0.1)
    calling.cancel()


async def late(channel: grpc.aio.Channel) -> None:
    error = await refused(call(channel, "Method", timeout=0.1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def stream_left_by_the_client(channel: grpc.aio.Channel) -> None:
    stream = channel.stream_stream(f"/{SERVICE}/Each")()
    await stream.write(b"a")
    assert await stream.read() == b"a"
    stream.cancel()


async def requests_that_break_off(channel: grpc.aio.Channel) -> None:
    arrived = asyncio.Event()

    async def requests() -> AsyncIterator[bytes]:
        yield b"a"
        await arrived.wait()
        raise ZeroDivisionError

    stream = channel.stream_stream(f"/{SERVICE}/Each")(requests())
    assert await stream.read() == b"a"
    arrived.set()
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await stream.read()


async def connection_lost(channel: grpc.aio.Channel) -> None:
    calling = asyncio.ensure_future(call(channel, "Method"))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(calling), 0.1)
    await channel.close()
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await calling


@pytest.mark.parametrize(
    ("method", "made"),
    [
        (fails, failing),
        (fails_in_thread, failing),
        (aborts, failing),
        (stray_cancel, failing),
        (waits, cancelled_by_the_client),
        (waits_in_thread, cancelled_by_the_client),
        (waits, late),
        (waits_in_thread, late),
        (waits, stream_left_by_the_client),
        (waits, requests_that_break_off),
        (waits, connection_lost),
    ],
)
async def test_a_place_is_given_back_however_a_call_ends(
    method: Any, made: Callable[[grpc.aio.Channel], Awaitable[None]]
) -> None:
    async with serving(hrpc.with_concurrency_limit(1), Method=method) as (server, _):
        for _number in range(2):
            async with grpc.aio.insecure_channel(server.address) as channel:
                await made(channel)
            await given_back(server)
        async with grpc.aio.insecure_channel(server.address) as channel:
            assert await call(channel, "Echo") == b"x"
