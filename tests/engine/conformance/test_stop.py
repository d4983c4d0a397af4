"""A stop: running calls end, new ones are refused, and it never takes longer than it may."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import hrpc
from tests.echo import SERVICE, Gate, call
from tests.engine.conformance.conftest import Engine
from tests.eventually import eventually


async def in_flight(server: hrpc.Server, number: int) -> None:
    """Waits until this many calls have reached their handlers."""

    async def reached() -> bool:
        assert server._running is not None
        return server._running.parts.calls.in_flight == number

    await eventually(reached)


async def test_running_calls_of_every_kind_end_well_and_new_ones_are_refused(engine: Engine) -> None:
    gate = Gate()

    async def stream(request: bytes, _: Any) -> Any:
        yield b"before"
        await gate.opened.wait()
        yield request

    server = engine.server(gate=gate)
    server.add_registered_method_handlers("test.Slow", {"Slow": grpc.unary_stream_rpc_method_handler(stream)})
    await server.__aenter__()
    address = server.address
    async with grpc.aio.insecure_channel(address) as channel:
        streaming = channel.unary_stream("/test.Slow/Slow")(b"after")
        assert await streaming.read() == b"before"
        running = [asyncio.ensure_future(call(channel, "Hold", b"kept")) for _ in range(20)]
        await in_flight(server, 21)
        stopping = asyncio.create_task(server.stop())
        while True:
            try:
                await call(channel, "Echo", timeout=20)
            except grpc.aio.AioRpcError as error:
                # What arrives while the core of grpcio shuts down is cancelled by it before any handler sees it.
                assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
                break
        assert not stopping.done()
        gate.opened.set()
        assert await asyncio.gather(*running) == [b"kept"] * 20
        assert await streaming.read() == b"after"
        assert await streaming.read() is grpc.aio.EOF
        await stopping


async def test_the_last_answers_before_the_end_are_not_lost(engine: Engine) -> None:
    for _ in range(10):
        gate = Gate()
        server = engine.server(gate=gate)
        await server.__aenter__()
        async with grpc.aio.insecure_channel(server.address) as channel:
            large = b"x" * 300_000
            running = [asyncio.ensure_future(call(channel, "Hold", large)) for _ in range(10)]
            await in_flight(server, 10)
            stopping = asyncio.create_task(server.stop())
            gate.opened.set()
            assert await asyncio.gather(*running) == [large] * 10
            await stopping


@pytest.mark.parametrize("size", [1_000, 3_000_000])
async def test_the_last_messages_of_streams_are_not_lost(engine: Engine, size: int) -> None:
    """The native engine may forget the status behind large ones: it does so when it asks a connection for more that
    grpcio behind it has closed."""
    good = {grpc.StatusCode.OK}
    if engine.kind == "native" and size > 1_000_000:
        good.add(grpc.StatusCode.UNAVAILABLE)
    for _ in range(10):
        gate = Gate()

        async def stream(request: bytes, _: Any, gate: Gate = gate) -> Any:
            await gate.opened.wait()
            yield request

        server = engine.server()
        server.add_registered_method_handlers("test.Slow", {"Slow": grpc.unary_stream_rpc_method_handler(stream)})
        await server.__aenter__()
        async with grpc.aio.insecure_channel(server.address) as channel:
            last = b"x" * size
            running = [channel.unary_stream("/test.Slow/Slow")(last) for _ in range(3)]
            reading = [asyncio.ensure_future(one.read()) for one in running]
            await in_flight(server, 3)
            stopping = asyncio.create_task(server.stop())
            gate.opened.set()
            assert await asyncio.gather(*reading) == [last] * 3
            assert set(await asyncio.gather(*(one.code() for one in running))) <= good
            await stopping


async def test_under_load_every_call_that_reached_a_handler_is_answered(engine: Engine) -> None:
    served: set[bytes] = set()
    answered: set[bytes] = set()

    async def note(request: bytes, _: Any) -> bytes:
        await asyncio.sleep(0.001)
        served.add(request)
        return request

    server = engine.server(Note=note)
    await server.__aenter__()
    address = server.address

    async def load(channel: grpc.aio.Channel, worker: int) -> grpc.StatusCode:
        number = 0
        while True:
            number += 1
            try:
                answered.add(await call(channel, "Note", b"%d-%d" % (worker, number), timeout=60))
            except grpc.aio.AioRpcError as error:
                return error.code()

    own = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, own) for _ in range(4)]
    loads = [asyncio.create_task(load(channels[worker % 4], worker)) for worker in range(32)]

    async def busy() -> bool:
        return len(answered) > 500

    await eventually(busy)
    await server.stop()
    ends = await asyncio.gather(*loads)
    assert set(ends) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert answered == served
    await asyncio.gather(*(channel.close() for channel in channels))


async def test_calls_that_outlast_the_grace_are_cancelled_and_their_clients_are_told(engine: Engine) -> None:
    gate = Gate()
    server = engine.server(hrpc.with_graceful_stop(grace=0.1), gate=gate)
    await server.__aenter__()
    async with grpc.aio.insecure_channel(server.address) as channel:
        running = asyncio.ensure_future(call(channel, "Hold"))
        await gate.entered.wait()
        await server.stop()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_a_handler_that_swallows_its_cancel_does_not_hold_up_the_stop(engine: Engine) -> None:
    entered, released = asyncio.Event(), asyncio.Event()

    async def stubborn(_: bytes, __: Any) -> bytes:
        entered.set()
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        return b""

    server = engine.server(hrpc.with_graceful_stop(grace=0.1), Stubborn=stubborn)
    await server.__aenter__()
    async with grpc.aio.insecure_channel(server.address) as channel:
        running = asyncio.ensure_future(call(channel, "Stubborn"))
        await entered.wait()
        async with asyncio.timeout(10):
            await server.stop()
        released.set()
        with pytest.raises(grpc.aio.AioRpcError):
            await running


async def test_an_open_watch_does_not_hold_up_the_stop(engine: Engine) -> None:
    server = engine.server(hrpc.with_graceful_stop(grace=60))
    await server.__aenter__()
    async with grpc.aio.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        async with asyncio.timeout(10):
            await server.stop()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_an_idle_client_does_not_hold_up_the_stop(engine: Engine) -> None:
    server = engine.server()
    await server.__aenter__()
    async with grpc.aio.insecure_channel(server.address) as channel:
        await call(channel, "Echo")
        async with asyncio.timeout(10):
            await server.stop()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{SERVICE}/Echo")(b"", timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
