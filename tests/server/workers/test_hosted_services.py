"""Services beside gRPC in several workers: where they run, and that a failure of one still ends all."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import aiohttp

from hrpc import listener
from tests.eventually import eventually
from tests.server.workers.fleet import fleet

BESIDE = """
from contextlib import asynccontextmanager
import hrpc_http
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

class Beside:
    def __init__(self, id, workers):
        self.id, self.workers = id, workers

    @asynccontextmanager
    async def setup(self):
        yield
        if os.environ.get("UNCLEAN") and self.id == "first":
            raise ZeroDivisionError

    async def run(self):
        os.write(1, f"{self.id} runs in {hrpc.worker()}\\n".encode())
        try:
            await failing.wait()
            raise ZeroDivisionError
        finally:
            os.write(1, f"{self.id} ended in {hrpc.worker()}\\n".encode())

failing = asyncio.Event()

async def who(request):
    return PlainTextResponse(str(hrpc.worker()))

async def fail(request):
    failing.set()
    return PlainTextResponse("")

app = Starlette(routes=[Route("/", who), Route("/fail", fail)])
"""


WITH_PLUGIN = {"PYTHONPATH": f"{Path.cwd()}{os.pathsep}{Path.cwd() / 'plugins/hrpc-http'}"}


def beside(port: int) -> str:
    http = f'hrpc_http.asgi(app, port={port}, host="127.0.0.1")'
    return f'hrpc.with_services(Beside("all", "each"), Beside("first", "one"), {http})'


async def test_a_service_runs_in_each_worker_or_in_the_first_and_http_shares_its_port(
    tmp_path: Path, free_port: int
) -> None:
    async with fleet(tmp_path, beside(free_port), before=BESIDE, environ=WITH_PLUGIN) as service:
        found: set[str] = set()

        async def both() -> bool:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{free_port}/") as response:
                found.add(await response.text())
            return found == {"1", "2"}

        await eventually(both)
        service.process.send(signal.SIGTERM)
        assert await service.ended() == 0
        for end in ("runs", "ended"):
            said = re.findall(rf"^(\w+) {end} in (\d)$", service.process.output, re.MULTILINE)
            assert sorted(said) == [("all", "1"), ("all", "2"), ("first", "1")]
        listener.unused("test", "127.0.0.1", free_port, "")


async def test_a_service_of_one_worker_that_is_not_released_well_makes_the_exit_code_1(
    tmp_path: Path, free_port: int
) -> None:
    environ = WITH_PLUGIN | {"UNCLEAN": "1"}
    async with fleet(tmp_path, beside(free_port), before=BESIDE, environ=environ) as service:
        service.process.send(signal.SIGTERM)
        assert await service.ended() == 1
        assert "shutdown failed: service 'first': ZeroDivisionError" in service.process.output


async def test_a_service_that_fails_in_one_worker_ends_all_of_them_with_1(tmp_path: Path, free_port: int) -> None:
    async with fleet(tmp_path, beside(free_port), before=BESIDE, environ=WITH_PLUGIN) as service:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{free_port}/fail") as response:
            await response.read()
        assert await service.ended() == 1
        assert "run failed: service 'all': ZeroDivisionError" in service.process.output
        assert "another one begins" not in service.process.output
