"""A server of grpc.aio is stopped in time, and never in the way in which grpc.aio ends the process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from hrpc.engine.stopping import Stopping
from tests.process import running

DAY = 24 * 3600


class Server:
    """Records what it is asked for, and ends when it is told to cancel the calls."""

    def __init__(self) -> None:
        self.graces: list[float | None] = []
        self._cancelled = asyncio.Event()

    async def start(self) -> None:
        pass

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


async def test_where_all_tasks_are_cancelled_it_stops_before_they_hear_of_it() -> None:
    # Its own tasks free what gRPC still writes to until it stops.
    server: Any = Server()
    stopping = Stopping(server)
    await stopping.start()
    found: list[int] = []
    waits = asyncio.Event()

    async def hears() -> None:
        waits.set()
        try:
            await asyncio.Event().wait()
        finally:
            found.append(len(server.graces))

    hearing = asyncio.create_task(hears())
    await waits.wait()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.wait({hearing})
    assert found == [1]
    await stopping.within(0)
    assert server.graces[-1] is None


async def test_a_stop_whose_task_was_cancelled_with_all_others_is_taken_up_again() -> None:
    server = grpc.aio.server()
    entered, held = asyncio.Event(), asyncio.Event()

    async def holds(_: bytes, __: Any) -> bytes:
        entered.set()
        while not held.is_set():
            try:
                await held.wait()
            except asyncio.CancelledError:
                continue
        return b"x"

    server.add_registered_method_handlers("test.T", {"Hold": grpc.unary_unary_rpc_method_handler(holds)})
    port = server.add_insecure_port("127.0.0.1:0")
    stopping = Stopping(server)
    await stopping.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/test.T/Hold")(b"")
        await entered.wait()
        first = asyncio.create_task(stopping.within(30.0))
        await asyncio.sleep(0)
        assert stopping._ended is not None
        stopping._ended.cancel()
        await asyncio.wait({first})
        second = asyncio.create_task(stopping.within(30.0))
        held.set()
        assert await call == b"x"
        await second


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_a_server_in_a_task_that_asyncio_run_cancels_at_its_end_stops_as_any_other(
    engine: str, tmp_path: Path
) -> None:
    service = tmp_path / "service.py"
    service.write_text(
        "import asyncio, hrpc\n"
        "from tests.echo import add_echo\n"
        "def server():\n"
        "    made = hrpc.new_server(\n"
        '        hrpc.with_server_name("swept"),\n'
        '        hrpc.with_listen_port(0, host="127.0.0.1"),\n'
        f"        hrpc.with_engine({engine!r}, allow_unbounded_receive=True),\n"
        "    )\n"
        "    add_echo(made)\n"
        "    return made\n"
        "async def serve(up):\n"
        "    async with server():\n"
        "        up.set()\n"
        "        await asyncio.Event().wait()\n"
        "async def main():\n"
        "    up = asyncio.Event()\n"
        "    serving = asyncio.create_task(serve(up))\n"
        "    await up.wait()\n"
        "for _ in range(10):\n"
        "    asyncio.run(main())\n"
    )
    async with running(service) as process:
        assert await process.ended() == 0, process.output
    assert process.output.count("swept has stopped in") == 10
    assert "cancelled half-way" not in process.output
