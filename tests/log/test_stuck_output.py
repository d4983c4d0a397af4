"""An output that nobody reads: neither the event loop nor the exit waits for it, and what is lost is counted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import grpc.aio

from tests.echo import call
from tests.process import LIMIT, script

LOGS = """
import asyncio, os, sys, time
import grpc
from loguru import logger
from hrpc._runtime import Runtime
from hrpc.context import Context
from hrpc.log import sink
from hrpc.log.audit import AuditLog
from hrpc.option import AuditSettings

LINES = 15_000

async def handler(request, context): ...

def say(*words):
    print(*words, file=sys.stderr, flush=True)

async def main():
    context, code = Context("t"), grpc.StatusCode.OK
    with sink.installed(Runtime("stuck"), "development") as log:
        log.writer.limit = 10_000
        async with AuditLog(log.writer, log.calls, AuditSettings()) as audit:
            add = audit.method("/test.Echo/Echo", handler).add
            add(context, code, 0.001, None, None, None)
            say("full")
            await asyncio.to_thread(sys.stdin.readline)  # now the pipe is full, and the thread writes into it
            for number in range(LINES):
                add(context, code, 0.001, None, None, None)
            for number in range(200):
                logger.info("{} {}", number, "x" * 1000)
            say("logged", audit.dropped)
            await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""

TRIED_SOON = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100)]
"""A service that starts is there a moment later; by itself gRPC waits for seconds between its attempts."""

FILL = """
os.set_blocking(1, False)
try:
    while True:
        os.write(1, b"x" * 1023 + b"\\n")
except BlockingIOError:
    pass
os.set_blocking(1, True)
"""


class Child:
    """A script whose stdout is a pipe that is read only when asked."""

    def __init__(self, process: asyncio.subprocess.Process, pipe: IO[str]) -> None:
        self.process = process
        self.pipe = pipe

    async def said(self) -> list[str]:
        """The words of its next line on stderr."""
        assert self.process.stderr is not None
        async with asyncio.timeout(LIMIT):
            return (await self.process.stderr.readline()).decode().split()

    def tell(self) -> None:
        """Lets it go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def output(self) -> list[str]:
        """All lines of its stdout, until its end."""
        async with asyncio.timeout(LIMIT):
            return await asyncio.to_thread(self.pipe.readlines)


@asynccontextmanager
async def unread(path: Path) -> AsyncIterator[Child]:
    reading, writing = os.pipe()
    pipes = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(path), stdin=pipes, stdout=writing, stderr=pipes, env={**os.environ, "PYTHONPATH": "."}
    )
    os.close(writing)
    with os.fdopen(reading) as pipe:
        try:
            yield Child(process, pipe)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def logs(folder: Path) -> Path:
    path = folder / "logs.py"
    path.write_text(LOGS.replace("async def main():", f"{FILL}\nasync def main():"))
    return path


async def test_nobody_waits_for_an_output_that_is_stuck_and_what_was_dropped_is_told_when_it_is_read(
    tmp_path: Path,
) -> None:
    async with unread(logs(tmp_path)) as child:
        assert await child.said() == ["full"]
        child.tell()
        word, dropped = await child.said()  # the loop has gone on, though nothing is read
        assert word == "logged"
        assert int(dropped) > 4_000  # all but what may wait, and the lines that the thread has in its hands
        child.tell()
        lines: list[dict[str, Any]] = [json.loads(line) for line in await child.output() if line != "x" * 1023 + "\n"]
        assert await child.process.wait() == 0
    audit = [line for line in lines if line["category"] == "audit"]
    told = [line for line in lines if "dropped" in line]
    logged = [int(line["msg"].split()[0]) for line in lines if line["msg"].endswith("xx")]
    assert logged == sorted(logged)
    assert [line["level"] for line in told] == ["warning"]
    assert told[0]["dropped"] == int(dropped)
    assert len(audit) + len(logged) + int(dropped) == 1 + 15_000 + 200


async def test_a_reader_that_has_gone_ends_nothing(tmp_path: Path) -> None:
    async with unread(logs(tmp_path)) as child:
        assert await child.said() == ["full"]
        child.pipe.close()
        child.tell()
        assert (await child.said())[0] == "logged"
        child.tell()
        assert await child.process.wait() == 0


async def test_a_service_whose_output_is_stuck_serves_and_ends_at_a_signal(tmp_path: Path, free_port: int) -> None:
    options = (f'hrpc.with_listen_port({free_port}, "127.0.0.1")', "hrpc.with_graceful_stop(step_limit=0.5)")
    async with unread(script(tmp_path, *options, before=FILL)) as child:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{free_port}", TRIED_SOON) as channel:
            for _ in range(20):
                assert await call(channel, "Echo", wait_for_ready=True, timeout=LIMIT) == b"x"
        child.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(LIMIT):
            await child.process.wait()
