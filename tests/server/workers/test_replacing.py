"""SIGHUP replaces the workers one after the other, and running calls end in the old ones."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.echo import call
from tests.eventually import eventually
from tests.load import load
from tests.server.workers.fleet import Fleet, fleet
from tests.service.calls.fleet import fleet as others

ENGINES = pytest.mark.parametrize("engine", ["grpcio", "native"])


def gated(folder: Path) -> str:
    """The source of a step that waits while there is a file ``gate``."""
    return (
        "import pathlib\n"
        f"GATE = pathlib.Path({str(folder / 'gate')!r})\n"
        "async def wait_for_gate():\n"
        "    if GATE.exists(): os.write(1, b'waits at the gate\\n')\n"
        "    while GATE.exists(): await asyncio.sleep(0.01)\n"
    )


async def replaced(service: Fleet, before: list[int]) -> None:
    """Waits until all of these have gone, and two others serve."""

    async def done() -> bool:
        found = service.workers
        return len(found) == 2 and not set(found) & set(before)

    await eventually(done)


@ENGINES
async def test_all_workers_are_new_after_a_hangup_and_running_calls_end_in_the_old_ones(
    tmp_path: Path, engine: str
) -> None:
    async with fleet(tmp_path, engine=engine) as service, service.channel() as channel:
        before = service.workers
        held = asyncio.ensure_future(call(channel, "Hold", b"0.5"))
        await service.says("held")
        service.process.send(signal.SIGHUP)
        assert await held == b"in time"
        await replaced(service, before)
        await service.process.says("replaced: worker 1")
        assert sorted(await service.all_answer()) == [1, 2]
        service.process.send(signal.SIGTERM)
        assert await service.ended() == 0
    assert "died" not in service.process.output


async def test_callers_that_know_only_this_one_instance_lose_no_call(tmp_path: Path) -> None:
    """A call that had not begun is made again, over another connection, to another worker."""
    async with (
        fleet(tmp_path) as service,
        others((service.port,)) as found,
        load(found.channel, loops=8) as calls,
    ):
        for _ in range(2):
            await calls.goes_on()
            before = service.workers
            service.process.send(signal.SIGHUP)
            await replaced(service, before)
        await calls.goes_on()
    assert not calls.failed


async def test_what_is_read_at_the_start_is_read_again(tmp_path: Path) -> None:
    text = tmp_path / "greeting"
    text.write_text("first")
    before = f"import pathlib\ndef greet():\n    print('says', pathlib.Path({str(text)!r}).read_text())\n"
    async with fleet(tmp_path, "hrpc.with_pre_run(lambda: greet())", before=before) as service:
        text.write_text("second")
        service.process.send(signal.SIGHUP)
        await service.says("says second", times=2)


async def test_those_that_serve_go_on_when_no_new_one_can_start(tmp_path: Path) -> None:
    before = f"import pathlib\nBROKEN = pathlib.Path({str(tmp_path / 'broken')!r})\n"
    step = "hrpc.with_pre_run(lambda: 1 / 0 if BROKEN.exists() else None)"
    async with fleet(tmp_path, step, before=before) as service:
        old = service.workers
        (tmp_path / "broken").touch()
        service.process.send(signal.SIGHUP)
        assert "ZeroDivisionError" in await service.process.says("no new one can take their place")
        assert service.workers == old
        (tmp_path / "broken").unlink()
        service.process.send(signal.SIGHUP)
        await replaced(service, old)


async def test_a_worker_that_gets_a_signal_by_itself_is_replaced(tmp_path: Path) -> None:
    async with fleet(tmp_path) as service:
        before = service.workers
        os.kill(before[0], signal.SIGTERM)
        await service.process.says("another one takes its place")
        found = await service.become(without=before[0])
        assert before[1] in found


async def test_the_stop_may_come_while_workers_are_replaced(tmp_path: Path) -> None:
    async with fleet(tmp_path, "hrpc.with_pre_run(lambda: wait_for_gate())", before=gated(tmp_path)) as service:
        assert service.workers
        (tmp_path / "gate").touch()
        service.process.send(signal.SIGHUP)

        async def three() -> bool:
            return len(service.workers) == 3

        await eventually(three)
        await service.says("waits at the gate")
        service.process.send(signal.SIGTERM)
        assert await service.ended() == 0
    assert "Traceback" not in service.process.output


async def test_the_old_worker_may_die_while_its_follower_starts(tmp_path: Path) -> None:
    async with fleet(tmp_path, "hrpc.with_pre_run(lambda: wait_for_gate())", before=gated(tmp_path)) as service:
        numbers = await service.all_answer()
        (tmp_path / "gate").touch()
        service.process.send(signal.SIGHUP)

        async def three() -> bool:
            return len(service.workers) == 3

        await eventually(three)
        os.kill(numbers[1], signal.SIGKILL)
        (tmp_path / "gate").unlink()
        await replaced(service, list(numbers.values()))
        assert sorted(await service.all_answer()) == [1, 2]
