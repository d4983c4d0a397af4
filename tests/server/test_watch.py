"""A stop always ends, also one that something hangs in; and SIGUSR1 tells what runs, also when the loop is stuck."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import grpc.aio
import pytest

from tests.echo import call
from tests.process import Process, running, script

LOCAL = 'hrpc.with_listen_port(0, host="127.0.0.1")'
LIMITS = "hrpc.with_graceful_stop(grace=0.2, step_limit=0.2)"
MOST = 30.0
"""Seconds that a stop may take here: its limits, the margin, and a machine with other things to do."""

HANDLERS = """
import threading, time

async def swallows(request, context):
    print("in swallows", flush=True)
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

async def blocks(request, context):
    print("in blocks", flush=True)
    threading.Event().wait()

async def leaves_a_thread(request, context):
    asyncio.get_running_loop().run_in_executor(None, lambda: threading.Event().wait())
    print("in leaves_a_thread", flush=True)
    await asyncio.Event().wait()

def never_returns(request, context):
    print("in never_returns", flush=True)
    threading.Event().wait()
"""
SOONER = "from hrpc.server import watch\nwatch.MARGIN, watch.LAST_WORDS = 1.0, 1.0\n"
NAMES = ("swallows", "blocks", "leaves_a_thread", "never_returns")


def service(folder: Path, *options: str, after: str = "") -> Path:
    path = script(folder, LOCAL, LIMITS, *options, before=HANDLERS, after=after)
    methods = ", ".join(f"{name}={name}" for name in NAMES)
    path.write_text(path.read_text().replace("add_echo(server)", f"add_echo(server, {methods})"))
    return path


def port(line: str) -> int:
    return int(line.partition("serves on port ")[2].partition(",")[0])


async def ended(process: Process) -> tuple[int, float]:
    began = time.monotonic()
    return await process.ended(), time.monotonic() - began


@pytest.mark.parametrize(("engine", "loop"), [("grpcio", "asyncio"), ("native", "uvloop")])
@pytest.mark.parametrize(
    ("handler", "code", "said"),
    [
        ("swallows", 1, "the stop hangs: the end of the event loop was not done within 0.2 s"),
        ("blocks", 1, "the stop hangs: taking note of SIGTERM was not done within 0.4 s"),
        ("leaves_a_thread", 1, "the stop hangs: the end of the event loop was not done within 0.2 s"),
        ("never_returns", 0, "tested has stopped"),
    ],
)
async def test_the_process_ends_whatever_a_handler_does_and_the_log_says_where_it_hung(
    tmp_path: Path, engine: str, loop: str, handler: str, code: int, said: str
) -> None:
    options = [f'hrpc.with_event_loop("{loop}")', f'hrpc.with_engine("{engine}", allow_unbounded_receive=True)']
    if not code:
        # Nothing hangs in this stop, and a busy machine takes its time for each step.
        options.append("hrpc.with_graceful_stop(grace=0.2, step_limit=20)")
    async with running(service(tmp_path, *options)) as process:
        bound = port(await process.says("serves on port"))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bound}") as channel:
            held = asyncio.ensure_future(call(channel, handler))
            await process.says(f"in {handler}")
            process.send(signal.SIGTERM)
            found, took = await ended(process)
            with pytest.raises(grpc.aio.AioRpcError):
                await held
    assert (found, took < MOST) == (code, True), process.output
    await process.says(said)
    if code:
        assert handler in process.output.partition("the stop hangs")[2]


async def test_a_second_signal_does_not_wait_for_a_loop_that_is_stuck(tmp_path: Path) -> None:
    path = service(tmp_path)
    path.write_text(path.read_text().replace("grace=0.2", "grace=600"))
    async with running(path) as process:
        bound = port(await process.says("serves on port"))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bound}") as channel:
            held = asyncio.ensure_future(call(channel, "blocks"))
            await process.says("in blocks")
            process.send(signal.SIGTERM)
            process.send(signal.SIGINT)
            found, took = await ended(process)
            with pytest.raises(grpc.aio.AioRpcError):
                await held
    assert (found, took < MOST) == (1, True)
    # Which of two that come at once is the first one is up to the kernel.
    await process.says("the stop hangs: taking note of SIG")


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ("async def hook(): time.sleep(1000)\nlife.when_exit(hook)", "the stop hangs: exit hooks"),
        # It holds the lock of the interpreter: no thread of Python runs any more.
        (f"{SOONER}import ctypes\nlife.when_exit(lambda: ctypes.PyDLL(None).sleep(1000))", "Timeout ("),
    ],
)
async def test_the_process_ends_when_a_step_of_the_stop_blocks_the_loop_or_all_of_python(
    tmp_path: Path, after: str, said: str
) -> None:
    async with running(service(tmp_path, after=after)) as process:
        await process.says("serves on port")
        process.send(signal.SIGTERM)
        found, took = await ended(process)
    assert (found, took < MOST) == (1, True)
    await process.says(said)


async def test_a_job_that_swallows_its_cancel_does_not_keep_the_process(tmp_path: Path) -> None:
    path = service(tmp_path)
    path.write_text(
        path.read_text().replace("server.serve()", "server.run(job)").replace("if __name__", f"{JOB}\nif __name__")
    )
    async with running(path) as process:
        await process.says("in swallows")
        process.send(signal.SIGTERM)
        found, took = await ended(process)
    assert (found, took < MOST) == (1, True)
    await process.says("the stop hangs: the end of the event loop")


JOB = "async def job():\n    await swallows(None, None)\n"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_sigusr1_tells_calls_tasks_and_threads_and_the_service_goes_on(tmp_path: Path, loop: str) -> None:
    after = "async def beside():\n    await asyncio.Event().wait()\n"
    path = service(tmp_path, f'hrpc.with_event_loop("{loop}")', "hrpc.with_pre_run(starts)")
    before = f"{after}async def starts():\n    for _ in range(3): hrpc.go(beside())\n"
    path.write_text(path.read_text().replace("server = ", f"{before}\nserver = ", 1))
    async with running(path) as process:
        bound = port(await process.says("serves on port"))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bound}") as channel:
            held = [asyncio.ensure_future(call(channel, name)) for name in ("never_returns", "swallows")]
            await process.says("in never_returns")
            await process.says("in swallows")
            process.send(signal.SIGUSR1)
            await process.says("SIGUSR1: 3 x task beside")
            assert await call(channel, "Echo") == b"x"
            process.send(signal.SIGKILL)  # a stop would wait for those that hang
            await process.ended()
            await asyncio.gather(*held, return_exceptions=True)
    told = [json.loads(line)["msg"] for line in process.output.splitlines() if line.startswith("{")]
    assert any("test.Echo/never_returns: 1 in flight" in line for line in told)
    assert any("thread hrpc-handler" in line and "service.py" in line for line in told)
    (beside,) = [line for line in told if "3 x task beside" in line]
    assert "service.py" in beside
    assert "Event.wait" in beside
    assert sum("SIGUSR1: " in line and " calls in flight, " in line for line in told) == 1


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_sigusr1_tells_where_a_loop_is_stuck(tmp_path: Path, loop: str) -> None:
    async with running(service(tmp_path, f'hrpc.with_event_loop("{loop}")')) as process:
        bound = port(await process.says("serves on port"))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bound}") as channel:
            held = asyncio.ensure_future(call(channel, "blocks"))
            await process.says("in blocks")
            process.send(signal.SIGUSR1)
            stuck = json.loads(await process.says("thread MainThread"))["msg"]
            assert "service.py" in stuck
            assert "blocks" in stuck
            held.cancel()


async def test_a_handler_of_the_service_for_sigusr1_stays(tmp_path: Path) -> None:
    after = "import signal\nsignal.signal(signal.SIGUSR1, lambda *_: print('mine', flush=True))"
    async with running(service(tmp_path, after=after)) as process:
        await process.says("serves on port")
        process.send(signal.SIGUSR1)
        await process.says("mine")
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
    assert "calls in flight" not in process.output


async def test_signals_arrive_after_somebody_else_has_asked_the_loop_for_one(tmp_path: Path) -> None:
    path = service(tmp_path, "hrpc.with_pre_run(asks)")
    before = (
        "import signal\nasync def asks():\n"
        "    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, lambda: print('second', flush=True))\n"
    )
    path.write_text(path.read_text().replace("server = ", f"{before}\nserver = ", 1))
    async with running(path) as process:
        await process.says("serves on port")
        process.send(signal.SIGUSR2)
        await process.says("second")
        process.send(signal.SIGUSR1)
        await process.says("calls in flight, ")
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
