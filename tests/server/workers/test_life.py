"""Workers serve on one port, and end together with their master."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest

from hrpc import listener
from hrpc.testing import DevConsul
from tests.echo import call
from tests.eventually import eventually
from tests.load import load
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


@ENGINES
async def test_no_call_that_a_worker_has_begun_is_lost_when_workers_are_replaced_and_stopped_at_full_load(
    tmp_path: Path, engine: str
) -> None:
    begin = "async def work(request, context):\n"
    work = f"{begin}    os.write(1, b'began %s.\\n' % request)\n    await asyncio.sleep(0.01)\n    return request\n"
    numbers, answered = itertools.count(), set()

    async def calls(channel: grpc.aio.Channel) -> None:
        while not stopped.is_set():
            number = str(next(numbers))
            # One that is refused, as no other instance is there, has not begun.
            with suppress(grpc.aio.AioRpcError):
                answered.add((await call(channel, "Work", number.encode(), timeout=30)).decode())

    stopped = asyncio.Event()
    async with fleet(tmp_path, engine=engine, before=work, methods="Work=work") as service, AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(service.channel()) for _ in range(4)]
        async with asyncio.TaskGroup() as tasks:
            for channel in channels * 4:
                tasks.create_task(calls(channel))
            await service.says("began ", times=200)
            service.process.send(signal.SIGHUP)
            await service.process.says("replaced: worker 1")
            await service.says("began ", times=service.process.output.count("began ") + 200)
            service.process.send(signal.SIGTERM)
            assert await service.ended() == 0
            stopped.set()
        await service.process.says("tested has stopped")
    began = re.findall(r"began (\d+)\.", service.process.output)
    assert len(began) == len(set(began))
    assert set(began) == answered


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


async def test_a_worker_whose_stop_is_not_clean_makes_that_of_the_service_unclean(tmp_path: Path) -> None:
    after = "def close():\n    if hrpc.worker() == 2:\n        raise OSError('disk gone')\nlife.when_exit(close)"
    async with fleet(tmp_path, after=after) as service:
        service.process.send(signal.SIGTERM)
        assert await service.ended() == 1
        await service.process.says("not all have stopped cleanly: worker 2")
        await service.process.says("raised by exit hook close")
    assert "Traceback" not in service.process.output


async def test_a_signal_to_all_processes_at_once_is_one_stop(tmp_path: Path) -> None:
    async with fleet(tmp_path) as service, service.channel() as channel:
        held = asyncio.ensure_future(call(channel, "Hold", b"0.5"))
        await service.says("held")
        for pid in (*service.workers, service.nursery, service.pid):
            os.kill(pid, signal.SIGTERM)
        assert await held == b"in time"
        assert await service.ended() == 0
    assert "another one takes its place" not in service.process.output


async def test_a_signal_to_all_processes_replaces_no_worker_while_callers_are_to_notice(tmp_path: Path) -> None:
    async with DevConsul() as devconsul:
        consul = f'hrpc.with_consul(Consul(address="{devconsul.address}"))'
        stop = "hrpc.with_graceful_stop(drain_delay=2.0)"
        async with fleet(tmp_path, consul, stop, "hrpc.with_health_check(port=0)") as service:
            for pid in (*service.workers, service.nursery, service.pid):
                os.kill(pid, signal.SIGTERM)
            await service.process.says("tested stops")
            service.process.send(signal.SIGHUP)
            assert await service.ended() == 0
    assert service.process.output.count("gRPC is served by") == 2
    assert "takes its place" not in service.process.output
    assert "workers are not replaced while the server starts or stops" in service.process.output


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


@pytest.mark.parametrize("taken_by", ["a listener", "the master of workers that do not listen yet"])
async def test_a_port_that_is_taken_is_told_of_as_without_workers(tmp_path: Path, taken_by: str) -> None:
    take = listener.bind if taken_by == "a listener" else listener.held
    with take("test", "127.0.0.1", 0, "") as taken:
        if taken_by == "a listener":
            taken.listen()
        port = taken.getsockname()[1]
        option = f'hrpc.with_listen_port({port}, host="127.0.0.1")'
        async with running(script(tmp_path, option), {"HRPC_WORKERS": "2"}) as process:
            assert await process.ended() == 1
            await process.says(f"gRPC: 127.0.0.1:{port} is in use by another process")


async def test_lines_of_several_workers_stay_whole(tmp_path: Path) -> None:
    many = "async def many(request, context):\n    for _ in range(200): logger.info('x' * 300)\n    return b''\n"
    before = f"from loguru import logger\n{many}"
    async with fleet(tmp_path, before=before, methods="Many=many") as service:
        async with AsyncExitStack() as stack:
            channels, found = [], set()
            # The kernel leads each connection to one of them by chance.
            while len(channels) < 6 or len(found) < 2:
                channels.append(await stack.enter_async_context(service.channel()))
                found.add((await call(channels[-1], "Who", timeout=30)).split()[0])
            await asyncio.gather(*(call(channel, "Many", timeout=60) for channel in channels))
        await service.says('xxx"', times=200 * len(channels))
        service.process.send(signal.SIGTERM)
        assert await service.ended() == 0
        await service.process.says("tested has stopped")
    lines = [json.loads(line) for line in service.process.output.splitlines()]
    assert sum(line["msg"] == "x" * 300 for line in lines) == 200 * len(channels)
    assert {line["worker"] for line in lines if line["msg"] == "x" * 300} == {1, 2}


@ENGINES
async def test_a_service_is_one_in_consul(tmp_path: Path, engine: str) -> None:
    async with DevConsul() as devconsul:
        await _one_in_consul(tmp_path, engine, devconsul)


async def _one_in_consul(tmp_path: Path, engine: str, devconsul: DevConsul) -> None:
    consul = f'hrpc.with_consul(Consul(address="{devconsul.address}"))'
    stop = "hrpc.with_graceful_stop(drain_delay=20)"
    async with fleet(tmp_path, consul, stop, "hrpc.with_health_check(port=0)", engine=engine) as service:
        entries = await listed(devconsul.address)
        assert [entry["Service"]["Port"] for entry in entries] == [service.port]
        async with service.channel() as channel, load(channel, loops=2) as calls:
            await calls.goes_on(50)
            service.process.send(signal.SIGTERM)

            async def left() -> bool:
                return not await listed(devconsul.address)

            await eventually(left)
            calls.end()
        service.process.send(signal.SIGTERM)  # nobody has to notice any more
        assert await service.ended() == 0
        assert not calls.failed


async def listed(agent: str) -> list[dict[str, Any]]:
    """The instances that Consul lists."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{agent}/v1/health/service/tested") as answer:
            found: list[dict[str, Any]] = await answer.json()
            return found
