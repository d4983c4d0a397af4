"""Workers serve on one port, and end together with their master."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import grpc
import grpc.aio
import pytest

from hrpc import listener
from tests.echo import call
from tests.process import running, script
from tests.server.workers.fleet import LOCAL, fleet

ENGINES = pytest.mark.parametrize("engine", ["grpcio", "native"])
HOOK = 'life.when_exit(lambda: os.write(1, f"closed by {os.getpid()}\\n".encode()))'


@ENGINES
async def test_all_workers_answer_on_one_port_and_a_signal_ends_all(tmp_path: Path, engine: str) -> None:
    async with fleet(tmp_path, engine=engine, after=HOOK) as service:
        answering = await service.all_answer()
        assert sorted(answering) == [1, 2]
        assert sorted(answering.values()) == service.workers
        port = service.port
        service.process.send(signal.SIGTERM)
        assert await service.ended() == 0
        for pid in answering.values():
            await service.process.says(f"closed by {pid}")
        assert f"closed by {service.pid}" not in service.process.output
        listener.unused("test", "127.0.0.1", port, "")
    assert "Traceback" not in service.process.output


@ENGINES
async def test_running_calls_end_within_the_grace_in_all_workers(tmp_path: Path, engine: str) -> None:
    async with fleet(tmp_path, engine=engine) as service:
        async with service.channel() as one, service.channel() as another, service.channel() as third:
            calls = [asyncio.ensure_future(call(channel, "Hold", b"0.5")) for channel in (one, another, third)]
            await service.says("held", times=3)
            service.process.send(signal.SIGTERM)
            assert await asyncio.gather(*calls) == [b"in time"] * 3
        assert await service.ended() == 0


async def test_a_second_signal_makes_all_workers_wait_for_nobody(tmp_path: Path) -> None:
    async with fleet(tmp_path) as service, service.channel() as channel:
        held = asyncio.ensure_future(call(channel, "Hold", b"60"))
        await service.says("held")
        service.process.send(signal.SIGTERM)
        await service.process.says("tested stops")
        service.process.send(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError):
            await held
        assert await service.ended() == 0


async def test_a_signal_to_all_processes_at_once_is_one_stop(tmp_path: Path) -> None:
    async with fleet(tmp_path) as service, service.channel() as channel:
        held = asyncio.ensure_future(call(channel, "Hold", b"0.5"))
        await service.says("held")
        for pid in (*service.workers, service.nursery, service.pid):
            os.kill(pid, signal.SIGTERM)
        assert await held == b"in time"
        assert await service.ended() == 0
    assert "another one takes its place" not in service.process.output


async def test_a_handler_that_stops_its_server_stops_the_service(tmp_path: Path) -> None:
    async with fleet(tmp_path) as service:
        async with service.channel() as channel:
            await call(channel, "StopAll")
        assert await service.ended() == 0


async def test_the_environment_says_how_many_workers_there_are(tmp_path: Path) -> None:
    async with running(script(tmp_path, LOCAL), {"HRPC_WORKERS": "3"}) as process:
        await process.says("with 3 workers")
        process.send(signal.SIGTERM)
        assert await process.ended() == 0


async def test_one_worker_is_one_process(tmp_path: Path) -> None:
    async with running(script(tmp_path, LOCAL, "hrpc.with_workers(1)")) as process:
        line = await process.says("tested serves on port")
        assert "workers" not in line
        assert not Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send(signal.SIGTERM)
        assert await process.ended() == 0


async def test_a_worker_that_cannot_start_is_why_the_service_does_not_start(tmp_path: Path) -> None:
    database = 'hrpc.with_databases(redis.new(address="127.0.0.1:1"))'
    async with running(script(tmp_path, LOCAL, database), {"HRPC_WORKERS": "2"}) as process:
        assert await process.ended() == 1
        line = json.loads(await process.says("tested did not start"))
        assert "did not start: [step" in line["msg"]
        assert "redis: " in line["msg"]


async def test_a_port_that_is_taken_is_told_of_as_without_workers(tmp_path: Path) -> None:
    with listener.bind("test", "127.0.0.1", 0, "") as taken:
        taken.listen()
        port = taken.getsockname()[1]
        option = f'hrpc.with_listen_port({port}, host="127.0.0.1")'
        async with running(script(tmp_path, option), {"HRPC_WORKERS": "2"}) as process:
            assert await process.ended() == 1
            await process.says(f"gRPC: 127.0.0.1:{port} is in use by another process")
