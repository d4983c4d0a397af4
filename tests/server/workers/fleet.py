"""A service with workers in processes of its own, and a look at these from outside."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc.aio

from tests.echo import call
from tests.eventually import eventually
from tests.process import Process, running, script

LOCAL = 'hrpc.with_listen_port(0, host="127.0.0.1")'
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)

BEFORE = """
async def who(request, context):
    return f"{hrpc.worker()} {os.environ.get('HRPC_WORKER')} {os.getpid()}".encode()

async def hold(request, context):
    "Holds the call for so many seconds, or until there is the file that is named."
    os.write(1, b"held\\n")
    if request.startswith(b"/"):
        while not os.path.exists(request):
            await asyncio.sleep(0.01)
    else:
        await asyncio.sleep(float(request))
    return b"in time"

async def stop_all(request, context):
    hrpc.go(server.stop())
    return b""

async def block(request, context):
    import time
    os.write(1, b"blocked\\n")
    time.sleep(float(request))
"""


class Fleet:
    """A running service."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.pid = process.pid
        self.seen: set[int] = set()

    @property
    def port(self) -> int:
        """The port that all workers share."""
        found = re.search(r"tested serves on port (\d+)", self.process.output)
        assert found is not None, self.process.output
        return int(found[1])

    def http(self, what: str) -> int:
        """The port of "health" or "metrics"."""
        found = re.search(rf"{what} on (\d+)", self.process.output)
        assert found is not None, self.process.output
        return int(found[1])

    @property
    def nursery(self) -> int:
        """Its process id."""
        return children(self.pid)[0]

    @property
    def workers(self) -> list[int]:
        """The process ids of those that live."""
        found = children(self.nursery)
        self.seen.update((self.pid, self.nursery, *found))
        return found

    async def become(self, *, without: int) -> list[int]:
        """Waits until two live, of which this is none; gives them."""

        async def two() -> list[int] | None:
            found = self.workers
            return found if len(found) == 2 and without not in found else None

        found = await eventually(two)
        assert found is not None
        return found

    async def says(self, words: str, times: int = 1) -> None:
        """Waits until it has printed this so many times."""

        async def said() -> bool:
            return self.process.output.count(words) >= times

        await eventually(said)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """A connection of its own, which leads to one of the workers."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=OWN_CONNECTION) as channel:
            yield channel

    async def who(self) -> tuple[int, int]:
        """The number and the process of the worker that answers a new connection."""
        async with self.channel() as channel:
            number, variable, pid = (await call(channel, "Who", timeout=30)).split()
        assert number == variable
        return int(number), int(pid)

    async def all_answer(self) -> dict[int, int]:
        """The processes by number, when two have answered."""
        found: dict[int, int] = {}

        async def two() -> bool:
            number, pid = await self.who()
            found[number] = pid
            return len(found) == 2

        await eventually(two)
        return found

    async def ended(self) -> int:
        """Waits for the end of the service, and that no process of it is left; gives its exit code."""
        code = await self.process.ended()
        await self.gone()
        return code

    async def gone(self) -> None:
        """Waits until no process that was seen is left."""

        async def none_left() -> bool:
            return not any(map(lives, self.seen))

        await eventually(none_left)


@asynccontextmanager
async def fleet(
    folder: Path,
    *options: str,
    engine: str = "grpcio",
    before: str = "",
    after: str = "",
    environ: Mapping[str, str] | None = None,
    methods: str = "",
) -> AsyncIterator[Fleet]:
    """Two workers, when they serve."""
    chosen = (
        'hrpc.with_engine("native", allow_unbounded_receive=True)' if engine == "native" else "hrpc.with_workers(2)"
    )
    path = script(folder, LOCAL, "hrpc.with_workers(2)", chosen, *options, before=BEFORE + before, after=after)
    added = f"add_echo(server, Who=who, Hold=hold, StopAll=stop_all, Block=block, {methods})"
    path.write_text(path.read_text().replace("add_echo(server)", added))
    async with running(path, environ) as process:
        found = Fleet(process)
        try:
            await process.says("tested serves on port")
            assert len(found.workers) == 2
            yield found
        finally:
            for pid in filter(lives, found.seen - {found.pid}):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """The processes that this one has begun, oldest first."""
    try:
        return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except FileNotFoundError:
        return []


def lives(pid: int) -> bool:
    """Whether a process runs; one that nobody has buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
