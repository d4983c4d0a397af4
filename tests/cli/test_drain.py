"""``hrpc drain``: a running service leaves as at a signal, and who waits is told how it goes and when it has ended."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import grpc.aio

from tests.echo import call
from tests.process import running, script

LOCAL = 'hrpc.with_listen_port(0, host="127.0.0.1")'
HOLDS = """
gate = asyncio.Event()
async def holds(request, context):
    print("entered", flush=True)
    await gate.wait()
    return request
async def opens(request, context):
    gate.set()
    return request
"""


async def drain(folder: Path, *arguments: str) -> tuple[int, str]:
    process = await started(folder, *arguments)
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def started(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hrpc.cli", "drain", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"HRPC_RUN_DIR": str(folder), "PYTHONPATH": "."},
    )


def service(folder: Path) -> Path:
    path = script(folder, LOCAL, "hrpc.with_graceful_stop(grace=600)", before=HOLDS)
    path.write_text(path.read_text().replace("add_echo(server)", "add_echo(server, Holds=holds, Opens=opens)"))
    return path


def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    return folder


async def test_a_service_drains_and_who_waits_is_told_how_it_goes_until_it_has_ended(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    async with running(service(tmp_path), {"HRPC_RUN_DIR": str(folder)}) as process:
        port = (
            (await process.says("serves on port")).partition("serves on port ")[2].partition('"')[0].partition(",")[0]
        )
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            held = asyncio.ensure_future(call(channel, "Holds", b"kept"))
            await process.says("entered")
            code, said = await drain(folder, "--name", "tested", "--wait", "--timeout", "2")
            late = (
                f"drain: tested (pid {process.pid}) has not ended within 2 s; the last that it said: drains: 1 call in"
            )
            assert (code, late in said) == (1, True)
            waiting = await started(folder, "--pid", str(process.pid), "--wait")
            assert waiting.stdout is not None
            assert b"drains: 1 call in flight" in await waiting.stdout.readline()
            interrupted = await started(folder, "--wait")
            assert interrupted.stdout is not None
            await interrupted.stdout.readline()
            interrupted.send_signal(signal.SIGINT)
            output, _ = await interrupted.communicate()
            assert (interrupted.returncode, output) == (130, b"hrpc: interrupted\n")
            process.send(signal.SIGTERM)
            output, _ = await waiting.communicate()
            await asyncio.gather(held, return_exceptions=True)
        assert (waiting.returncode, b"has ended, after " in output) == (0, True)
        assert await process.ended() == 0
    await process.says("tested stops: hrpc drain")


async def test_without_waiting_it_returns_while_the_service_leaves(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    async with running(service(tmp_path), {"HRPC_RUN_DIR": str(folder)}) as process:
        await process.says("serves on port")
        code, said = await drain(folder)
        assert (code, said) == (0, f"tested (pid {process.pid}) drains\n")
        assert await process.ended() == 0
    code, said = await drain(folder)
    assert (code, said.startswith("drain: no service runs here")) == (1, True)
