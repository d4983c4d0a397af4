"""A server of grpc.aio is stopped in time, and never in the way in which grpc.aio ends the process."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from hrpc.engine.stopping import Stopping

DAY = 24 * 3600


class Server:
    """Records what it is asked for, and ends when it is told to cancel the calls."""

    def __init__(self) -> None:
        self.graces: list[float | None] = []
        self._cancelled = asyncio.Event()

    async def stop(self, grace: float | None) -> None:
        self.graces.append(grace)
        if grace is None:
            self._cancelled.set()
        await self._cancelled.wait()


@pytest.mark.parametrize("graces", [(0.01,), (0.0,), (30.0, 0.0), (0.01, 0.01), (0.0, 30.0)])
async def test_grpc_aio_has_no_grace_that_could_run_out(graces: tuple[float, ...]) -> None:
    server: Any = Server()
    stopping = Stopping(server)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for grace in graces:
            group.create_task(stopping.within(grace))
    waiting = [grace for grace in server.graces if grace is not None]
    assert len(waiting) == 1
    assert waiting[0] >= DAY


async def test_calls_are_cancelled_when_a_shorter_grace_ends() -> None:
    server = grpc.aio.server()
    entered = asyncio.Event()

    async def waits(_: bytes, __: Any) -> bytes:
        entered.set()
        await asyncio.Event().wait()
        return b""

    server.add_registered_method_handlers("test.T", {"Wait": grpc.unary_unary_rpc_method_handler(waits)})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stopping = Stopping(server)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/test.T/Wait")(b"")
        await entered.wait()
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(stopping.within(30.0))
            group.create_task(stopping.within(0.01))
        assert await call.code() is not grpc.StatusCode.OK
    await stopping.within(0)


async def test_a_server_that_was_never_started_is_stopped_at_once() -> None:
    async with asyncio.timeout(10):
        await Stopping(grpc.aio.server()).within(30.0)
