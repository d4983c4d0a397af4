"""Processes of a service die: what is left serves, what died begins again or ends, and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import grpc
import grpc.aio
import pytest

from hrpc import listener
from tests.echo import call
from tests.eventually import eventually
from tests.server.workers.fleet import Fleet, fleet, lives

ENGINES = pytest.mark.parametrize("engine", ["grpcio", "native"])
HEALTH = "hrpc.with_health_check(port=0)"
QUICK = "from hrpc.server.workers import deaths\ndeaths.DELAYS = (0.0, 0.01, 0.02, 0.03)\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for what processes leave, whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="hrpctest") as path:
        yield Path(path)


async def readiness(service: Fleet) -> tuple[int, dict[str, str]]:
    """What the probe answers: its status, and the parts."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{service.http('health')}/healthx/readiness") as answer:
            return answer.status, (await answer.json())["parts"]


@ENGINES
async def test_beside_a_worker_that_is_killed_others_serve_and_another_one_follows(
    tmp_path: Path, folder: Path, engine: str
) -> None:
    async with fleet(tmp_path, HEALTH, engine=engine, environ={"TMPDIR": str(folder)}) as service:
        before = await service.all_answer()
        async with service.channel() as channel:
            survivor = int((await call(channel, "Who")).split()[2])
            victim = next(pid for pid in before.values() if pid != survivor)
            os.kill(victim, signal.SIGKILL)
            while victim in service.workers:
                assert int((await call(channel, "Who", timeout=30)).split()[2]) == survivor
                assert (await readiness(service))[0] == 200
        await service.become(without=victim)
        after = await service.all_answer()
        assert sorted(after) == [1, 2]
        assert victim not in after.values()
        assert survivor in after.values()
        await service.process.says("it was ended by SIGKILL; another one begins")
        service.process.send(signal.SIGTERM)
        assert await service.ended() == 0
    assert not [path for path in folder.rglob("*") if "run" not in path.name and path.is_socket()]


async def test_it_is_not_ready_while_no_worker_serves(tmp_path: Path) -> None:
    step = "hrpc.with_pre_run(lambda: wait_for_gate())"
    wait = "def wait_for_gate():\n    import time\n    while (GATE / 'gate').exists(): time.sleep(0.01)\n"
    before = f"import pathlib\nGATE = pathlib.Path({str(tmp_path)!r})\n{wait}"
    async with fleet(tmp_path, HEALTH, step, before=before) as service:
        assert (await readiness(service))[0] == 200
        (tmp_path / "gate").touch()
        for pid in service.workers:
            os.kill(pid, signal.SIGKILL)

        async def unready() -> bool:
            status, parts = await readiness(service)
            return status == 503 and "0 of 2" in parts["workers"]

        await eventually(unready)
        for _ in range(5):
            assert (await readiness(service))[0] == 503
        (tmp_path / "gate").unlink()

        async def ready() -> bool:
            return (await readiness(service))[0] == 200

        await eventually(ready)
        assert sorted(await service.all_answer()) == [1, 2]


@ENGINES
async def test_when_the_master_is_killed_all_end_by_themselves_after_their_calls(tmp_path: Path, engine: str) -> None:
    async with fleet(tmp_path, engine=engine) as service, service.channel() as channel:
        assert len(service.workers) == 2
        held = asyncio.ensure_future(call(channel, "Hold", b"0.3"))
        await service.says("held")
        port = service.port
        service.process.send(signal.SIGKILL)
        assert await held == b"in time"
        assert await service.ended() == -signal.SIGKILL
        listener.unused("test", "127.0.0.1", port, "")


async def test_when_the_nursery_is_killed_the_service_stops_and_says_why(tmp_path: Path) -> None:
    async with fleet(tmp_path) as service, service.channel() as channel:
        assert len(service.workers) == 2
        held = asyncio.ensure_future(call(channel, "Hold", b"0.3"))
        await service.says("held")
        os.kill(service.nursery, signal.SIGKILL)
        assert await held == b"in time"
        assert await service.ended() == 1
        await service.process.says("the nursery, the process that begins workers, was killed")


async def test_a_worker_that_dies_again_and_again_ends_the_service(tmp_path: Path) -> None:
    before = f"{QUICK}import pathlib\nBROKEN = pathlib.Path({str(tmp_path / 'broken')!r})\n"
    step = "hrpc.with_pre_run(lambda: os._exit(3) if BROKEN.exists() else None)"
    async with fleet(tmp_path, step, before=before) as service:
        (tmp_path / "broken").touch()
        os.kill(service.workers[0], signal.SIGKILL)
        assert await service.ended() == 1
        line = await service.process.says("has died 5 times")
        assert "it ended by itself with exit code 3" in line


async def test_a_start_that_fails_later_is_told_with_its_reason(tmp_path: Path) -> None:
    before = f"{QUICK}import pathlib\nBROKEN = pathlib.Path({str(tmp_path / 'broken')!r})\n"
    step = "hrpc.with_pre_run(lambda: 1 / 0 if BROKEN.exists() else None)"
    async with fleet(tmp_path, step, before=before) as service:
        (tmp_path / "broken").touch()
        os.kill(service.workers[0], signal.SIGKILL)
        assert await service.ended() == 1
        assert "ZeroDivisionError" in await service.process.says("has died 5 times")


async def test_a_worker_whose_loop_hangs_is_killed_when_the_stop_has_no_more_time(tmp_path: Path) -> None:
    limits = "hrpc.with_graceful_stop(grace=0.1, step_limit=0.1)"
    async with fleet(tmp_path, limits) as service, service.channel() as channel:
        assert len(service.workers) == 2
        blocked = asyncio.ensure_future(call(channel, "Block", b"60"))
        await service.says("blocked")
        service.process.send(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError):
            await blocked
        await service.ended()
        await service.process.says("has not ended within")


async def test_a_process_that_a_worker_has_started_keeps_nobody_waiting(tmp_path: Path) -> None:
    before = (
        "def start_sleeper():\n"
        "    import subprocess, sys\n"
        "    pid = subprocess.Popen(['sleep', '60'], close_fds=False, stdout=subprocess.DEVNULL,"
        " stderr=subprocess.DEVNULL).pid\n"
        "    sys.stdout.write(f'sleeper {pid}\\n')\n"  # at once: the others write, too
    )
    async with fleet(tmp_path, "hrpc.with_pre_run(lambda: start_sleeper())", before=before) as service:
        try:
            victim = service.workers[0]
            os.kill(victim, signal.SIGKILL)
            await service.become(without=victim)
            assert sorted(await service.all_answer()) == [1, 2]
            service.process.send(signal.SIGTERM)
            assert await service.ended() == 0
        finally:
            sleepers = [int(line.split()[1]) for line in service.process.output.splitlines() if "sleeper " in line]
            for pid in filter(lives, sleepers):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        assert len(sleepers) == 3
