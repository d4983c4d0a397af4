"""A service in a process of its own, as its users start it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

LIMIT = 60.0


class Process:
    """A running Python script."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: list[str] = []
        self._more = asyncio.Condition()
        self._is_read = False

    @property
    def output(self) -> str:
        """All that it has printed so far."""
        return "".join(self._lines)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def read(self) -> None:
        """Collects its output until it ends."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            async with self._more:
                self._lines.append(line.decode())
                self._more.notify_all()
        async with self._more:
            self._is_read = True
            self._more.notify_all()

    async def says(self, word: str) -> str:
        """Waits until it has printed this; gives the line. TimeoutError with the output when it does not."""

        def line() -> str | None:
            return next((line.rstrip("\n") for line in self._lines if word in line), None)

        try:
            async with asyncio.timeout(LIMIT), self._more:
                # Its end can be known a moment before the last that it has printed was read.
                await self._more.wait_for(lambda: line() is not None or self._is_read)
        except TimeoutError:
            raise TimeoutError(f"it has not printed {word!r} but:\n{self.output}") from None
        found = line()
        assert found is not None, f"it has ended without printing {word!r} but:\n{self.output}"
        return found

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Waits for its end, and until all that it has printed is in `output`; gives the exit code."""
        async with asyncio.timeout(LIMIT):
            async with self._more:
                await self._more.wait_for(lambda: self._is_read)
            return await self._process.wait()


@asynccontextmanager
async def running(script: Path, environ: Mapping[str, str] | None = None, *args: str) -> AsyncIterator[Process]:
    """Runs a script; kills it at the end when it has not ended."""
    created = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        str(script),
        *args,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.getcwd(), **(environ or {})},
    )
    process = Process(created)
    reading = asyncio.create_task(process.read())
    try:
        yield process
        if created.returncode is None:
            created.kill()
        await created.wait()
        await reading
    finally:
        if created.returncode is None:
            created.kill()
            await created.wait()
        reading.cancel()


def script(folder: Path, *options: str, before: str = "", after: str = "") -> Path:
    """Writes a service with these options (as source code); `before` and `after` are code around ``new_server``."""
    path = folder / "service.py"
    listed = "".join(f"    {option},\n" for option in options)
    path.write_text(
        "import asyncio, os\n"
        "import hrpc\n"
        "from hrpc import Consul, Environment, configs, life, service\n"
        "from hrpc.database import mysql, redis\n"
        "from tests.echo import add_echo\n"
        f"{before}\n"
        f'server = hrpc.new_server(\n    hrpc.with_server_name("tested"),\n{listed})\n'
        "add_echo(server)\n"
        f"{after}\n"
        'if __name__ == "__main__":\n'
        "    server.serve()\n"
    )
    return path
