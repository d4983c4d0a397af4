"""The end of the calls: those that run may end, new ones are refused, and nobody waits for ever."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest

import hrpc
from tests.echo import Gate, call
from tests.server.recorded import Recorded, a_server


async def test_running_calls_end_within_the_grace_and_new_ones_are_refused() -> None:
    gate = Gate()
    server = a_server(gate=gate)
    async with grpc.aio.insecure_channel("127.0.0.1:1"), server:
        address = server.address
        channel = grpc.aio.insecure_channel(address)
        running = asyncio.ensure_future(call(channel, "Hold", b"kept"))
        await gate.entered.wait()
        stopping = asyncio.create_task(server.stop())
        while True:
            try:
                await call(channel, "Echo", timeout=30)
            except grpc.aio.AioRpcError as error:
                # What arrives while gRPC's core shuts down is cancelled by it before any handler sees it.
                assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
                break
        assert not stopping.done()
        gate.opened.set()
        assert await running == b"kept"
        await stopping
        await channel.close()


async def test_calls_that_outlast_the_grace_are_cancelled() -> None:
    gate = Gate()
    async with a_server(hrpc.with_graceful_stop(grace=0.1), gate=gate) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            running = asyncio.ensure_future(call(channel, "Hold"))
            await gate.entered.wait()
            await server.stop()
            with pytest.raises(grpc.aio.AioRpcError):
                await running


async def test_an_impatient_caller_of_stop_makes_it_hurry_and_nothing_is_left_behind() -> None:
    gate = Gate()
    happened: list[str] = []
    server = a_server(hrpc.with_databases(Recorded(happened)), gate=gate)
    await server.__aenter__()
    async with grpc.aio.insecure_channel(server.address) as channel:
        running = asyncio.ensure_future(call(channel, "Hold"))
        await gate.entered.wait()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        with pytest.raises(grpc.aio.AioRpcError):
            await running
    assert happened == ["open", "close"]
