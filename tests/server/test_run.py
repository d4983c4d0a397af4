"""run() in a process of its own: a job with the pools, its result, its signals, and the release after it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from hrpc.testing.servers import ConsulServer
from tests.process import running, script


async def test_run_gives_the_result_of_the_job_without_a_port_or_a_registration(
    tmp_path: Path, consul: ConsulServer
) -> None:
    after = (
        "async def job():\n"
        "    await configs.set('job/ran', 'yes')\n"
        "    return configs.get('job/ran')\n"
        "life.when_exit(lambda: print('closed', flush=True))\n"
        "print('result', server.run(job), flush=True)\n"
        "raise SystemExit(0)"
    )
    option = f'hrpc.with_consul(Consul(address="{consul.address}"))'
    async with running(script(tmp_path, option, after=after)) as process:
        assert await process.ended() == 0
        await process.says("result yes")
        await process.says("closed")
    assert "serves on port" not in process.output
    assert "registered" not in process.output


async def test_run_raises_what_the_job_raises_and_a_signal_cancels_it_with_its_exit_code(tmp_path: Path) -> None:
    after = (
        "async def broken():\n    raise KeyError('mine')\n"
        "try:\n    server.run(broken)\nexcept KeyError as error:\n    print('caught', error, flush=True)\n"
        "async def waits():\n"
        "    print('waits', flush=True)\n"
        "    try:\n        await asyncio.Event().wait()\n"
        "    finally:\n        print('cancelled', flush=True)\n"
        "server.run(waits)"
    )
    async with running(script(tmp_path, after=after)) as process:
        await process.says("caught 'mine'")
        await process.says("waits")
        process.send(signal.SIGTERM)
        assert await process.ended() == 128 + signal.SIGTERM
        await process.says("cancelled")


@pytest.mark.parametrize("raised", ["SystemExit(3)", "BaseExceptionGroup('all', [KeyboardInterrupt()])"])
async def test_a_job_that_exits_releases_everything_first(tmp_path: Path, consul: ConsulServer, raised: str) -> None:
    after = (
        f"async def job():\n    raise {raised}\n"
        "async def hook():\n    await configs.set('job/saved', 'yes')\n    print('saved', flush=True)\n"
        "life.when_exit(hook)\n"
        "try:\n    server.run(job)\nexcept BaseException as error:\n    print('raised', repr(error), flush=True)\n"
        "raise SystemExit(7)"
    )
    async with running(
        script(tmp_path, f'hrpc.with_consul(Consul(address="{consul.address}"))', after=after)
    ) as process:
        assert await process.ended() == 7
        await process.says("saved")
        await process.says("tested has stopped")
        await process.says(f"raised {raised[:12]}")
    assert "never" not in process.output


async def test_the_result_of_a_job_that_had_ended_is_kept_when_a_signal_comes_during_its_release(
    tmp_path: Path,
) -> None:
    after = (
        "async def job():\n    return 42\n"
        "def hook():\n    print('releases', flush=True)\n    open(os.environ['SIGNALLED']).read()\n"
        "life.when_exit(hook)\n"
        "print('result', server.run(job), flush=True)\nraise SystemExit(0)"
    )
    signalled = tmp_path / "signalled"
    os.mkfifo(signalled)
    async with running(script(tmp_path, after=after), {"SIGNALLED": str(signalled)}) as process:
        await process.says("releases")
        process.send(signal.SIGTERM)
        await process.says("tested stops: SIGTERM")
        await asyncio.to_thread(signalled.write_text, "go on")
        assert await process.ended() == 0
        await process.says("result 42")
