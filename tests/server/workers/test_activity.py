"""What all workers do at a moment is told, to the log and by the control socket; and one that hangs is noticed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import grpc.aio
import pytest

from hrpc.cli.reaching import reach
from hrpc.errors import WorkerError
from hrpc.server.workers import hanging
from hrpc.server.workers.link import Link
from hrpc.server.workers.worker import State, Worker
from tests.echo import call
from tests.eventually import eventually
from tests.server.workers.fleet import Fleet, fleet

QUICK = "from hrpc.server.workers import hanging\nhanging.EVERY, hanging.LIMIT, hanging.LAST = 0.05, 1.0, 0.5\n"


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """With a folder for control sockets, whose path is short enough for them."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="hrpctest") as path:
        monkeypatch.setenv("HRPC_RUN_DIR", path)
        yield {"HRPC_RUN_DIR": path}


async def asked(service: Fleet, command: str) -> dict[str, Any]:
    """What its control socket answers."""

    def ask() -> dict[str, Any]:
        with reach(pid=service.pid) as reached:
            return reached.ask(command, timeout=30)

    return await asyncio.to_thread(ask)


def told(service: Fleet, words: str) -> set[int | None]:
    """The numbers of the workers with such a line in the log; None is the master's."""
    lines = [json.loads(line) for line in service.process.output.splitlines() if line.startswith("{")]
    return {line.get("worker") for line in lines if words in line["msg"]}


async def test_sigusr1_has_all_workers_tell_the_log_what_they_do_also_one_whose_loop_is_blocked(tmp_path: Path) -> None:
    async with fleet(tmp_path) as service, service.channel() as channel:
        blocked = asyncio.ensure_future(call(channel, "Block", b"60"))
        await service.says("blocked")
        service.process.send(signal.SIGUSR1)
        await service.says(" calls in flight, ", times=3)
        assert told(service, "SIGUSR1: ") == {None, 1, 2}
        assert "/Block: 1 in flight" in await service.process.says("1 in flight")
        blocked.cancel()


async def test_the_socket_of_the_master_tells_what_runs_in_all_workers(tmp_path: Path, environ: dict[str, str]) -> None:
    async with fleet(tmp_path, environ=environ) as service, service.channel() as channel:
        gate = tmp_path / "gate"
        held = asyncio.ensure_future(call(channel, "Hold", bytes(gate)))
        await service.says("held")
        answer = await asked(service, "tasks")
        assert answer["ok"]
        heads = [line for line in answer["lines"] if " calls in flight, " in line]
        assert [line.split(" (")[0] for line in heads[1:]] == ["worker 1", "worker 2"]
        assert sum("1 calls in flight" in line for line in heads) == 1
        assert any("/Hold: 1 in flight" in line for line in answer["lines"])
        gate.touch()
        assert await held == b"in time"


async def test_who_has_the_service_drain_is_told_of_the_calls_in_all_workers(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    async with fleet(tmp_path, environ=environ) as service:
        async with service.channel() as one, service.channel() as another, service.channel() as third:
            gate = tmp_path / "gate"
            calls = [asyncio.ensure_future(call(channel, "Hold", bytes(gate))) for channel in (one, another, third)]
            await service.says("held", times=3)
            said: list[str] = []

            def drain() -> None:
                with reach(pid=service.pid) as reached:
                    for answer in reached.answers("drain", timeout=60, progress=True):
                        said.append(answer["text"])

            async def told_of_three() -> bool:
                return "drains: 3 calls in flight" in said

            draining = asyncio.create_task(asyncio.to_thread(drain))
            await eventually(told_of_three)
            gate.touch()
            await draining
            assert await asyncio.gather(*calls) == [b"in time"] * 3
        assert await service.ended() == 0


async def test_a_worker_that_does_not_go_on_is_killed_and_another_one_takes_its_place(tmp_path: Path) -> None:
    async with fleet(tmp_path, before=QUICK) as service:
        stopped = service.workers[0]
        os.kill(stopped, signal.SIGSTOP)
        await service.process.says("hangs: no answer within 1 s")
        await service.become(without=stopped)
        assert sorted(await service.all_answer()) == [1, 2]
        service.process.send(signal.SIGTERM)
        assert await service.ended() == 0


async def test_a_worker_whose_event_loop_is_blocked_tells_where_before_it_is_killed(tmp_path: Path) -> None:
    async with fleet(tmp_path, before=QUICK) as service, service.channel() as channel:
        blocked = asyncio.ensure_future(call(channel, "Block", b"60"))
        with pytest.raises(grpc.aio.AioRpcError):
            await blocked
        await service.process.says("hangs: no answer within 1 s")
        assert "service.py" in await service.process.says(" block")
        await service.process.says("it was ended by SIGKILL; another one begins")


async def test_a_worker_that_answers_the_last_question_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hanging, "EVERY", 0.0)
    asked: list[float] = []

    class Line:
        closed = asyncio.Event()

        async def ask(self, command: str, *, timeout: float) -> None:
            asked.append(timeout)
            if len(asked) != 2:  # the machine stood still, and goes on
                raise WorkerError("no answer")

    worker = Worker(1, 0)
    worker.link = cast(Link, Line())
    worker.enter(State.READY)
    async with asyncio.timeout(30):
        await hanging.hangs(worker)
    assert asked == [hanging.LIMIT, hanging.LAST] * 2
