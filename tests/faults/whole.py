"""Lives of a service with every part that there is, and a look at what they leave behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hrpc.testing.servers import ConsulServer, MySQLServer, RedisServer
from tests import agent
from tests.process import Process, running

SCRIPT = Path(__file__).with_name("whole_service.py")
STOP = {"drain_delay": 0.1, "grace": 1.0, "step_limit": 0.5}


class Step(NamedTuple):
    """One step of a life: its name at the start, if it does something there, and in the stop."""

    name: str | None
    left_as: str
    limited: bool


class Whole:
    """What the services stand on."""

    def __init__(self, folder: Path, consul: ConsulServer, mariadb: MySQLServer, redis: RedisServer) -> None:
        self.consul = consul
        self._folder = folder
        self._told: dict[str, Any] = {
            "consul": consul.address,
            "mysql": mariadb.settings,
            "redis": redis.settings,
            "engine": "grpcio",
            "stop": STOP,
            "registration": {},
            "calls": 1000,
            "lag": 0.5,
            "files": None,
            "streams": 1000,
            "sampled": 1.0,
            "workers": None,
            "fault": "",
        }

    @asynccontextmanager
    async def life(self, **told: Any) -> AsyncIterator[Life]:
        """One life; it has a name, a folder and a mark of its own."""
        name = f"whole-{secrets.token_hex(6)}"
        folder = self._folder / name.removeprefix("whole-")
        for each in ("tmp", "run", "snapshot"):
            (folder / each).mkdir(mode=0o700, parents=True)
        told = {**self._told, "name": name, "snapshot": str(folder / "snapshot" / "kept"), **told}
        environ = {
            "WHOLE": json.dumps(told),
            "TMPDIR": str(folder / "tmp"),
            "HRPC_RUN_DIR": str(folder / "run"),
            "HRPC_ADVERTISE": "127.0.0.1",
        }
        async with running(SCRIPT, environ) as process:
            yield Life(name, folder, process, self.consul.address)


class Life:
    """One of them."""

    def __init__(self, name: str, folder: Path, process: Process, consul: str) -> None:
        self.name = name
        self.process = process
        self._folder = folder
        self._consul = consul

    async def steps(self) -> list[Step]:
        """The steps that it has taken until it serves, and those of its workers."""
        await self.started()
        lines = [line for line in self.process.output.splitlines() if line.startswith("steps [")]
        steps = [Step(*step) for line in lines for step in json.loads(line.removeprefix("steps "))]
        return list(dict.fromkeys(steps))

    async def started(self) -> str:
        """Waits until it serves; gives the line that says so. Workers have no ports for probes, and say it earlier."""
        return await self.process.says(", health on ")

    async def ports(self) -> dict[str, int]:
        """Its ports, by what the log calls them: ``serves on port``, ``health on``, ``metrics on``."""
        line = await self.started()
        return {what: int(number) for what, number in re.findall(r"(serves on port|\w+ on) (\d+)", line)}

    async def left(self) -> list[str]:
        """What it has left behind."""
        return [*self.processes(), *self._files(), *await self.registrations()]

    async def registrations(self) -> list[str]:
        """Its entries at the agent."""
        entries = await asyncio.to_thread(agent.get, self._consul, "/v1/agent/services")
        return [f"registration {key}" for key, entry in entries.items() if entry["Service"] == self.name]

    def processes(self) -> list[str]:
        """Those with its name in their environment, which every child of it has as well."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.name.encode() in (folder / "environ").read_bytes():
                    found.append(f"process {folder.name}: {(folder / 'cmdline').read_bytes()!r}")
            except OSError:
                continue  # it has ended meanwhile
        return found

    def _files(self) -> list[str]:
        tmp, run, kept = (self._folder / name for name in ("tmp", "run", "snapshot"))
        # A folder for sockets is there for the next life as well; a snapshot is there to stay.
        found = [*tmp.rglob("*"), *(path for path in run.rglob("*") if not path.is_dir())]
        found += [path for path in kept.rglob("*") if path.name != "kept"]
        return [f"file {os.fspath(path)}" for path in found]
