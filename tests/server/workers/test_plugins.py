"""Plugins with workers: each of them loads them, and their master announces the service."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import aiohttp

from tests.echo import call
from tests.server.workers.fleet import Fleet, fleet

PLUGIN = """
from contextlib import asynccontextmanager
from hrpc import health
from hrpc.plugin import Plugin

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

class Fleeting(Plugin):
    name = "fleeting"
    options = (hrpc.with_graceful_stop(drain_delay=0, grace=3),)

    @asynccontextmanager
    async def load(self):
        say("load in", hrpc.worker())
        self.health_checks = {"fleeting": lambda: hrpc.worker() != int(os.environ.get("UNWELL", 0))}
        yield
        say("unload in", hrpc.worker())

    @asynccontextmanager
    async def announce(self, server):
        say("announce in", hrpc.worker(), "on", server.port, "with", server.health_port, server.grace)
        server.when_drained(lambda: say("drained in", hrpc.worker()))
        server.when_maintained(lambda reason: say("maintained in", hrpc.worker(), "for", reason))
        yield
        say("withdraw in", hrpc.worker())

    async def page(self, asked):
        if asked.get("unwell") == str(hrpc.worker()):
            raise ZeroDivisionError
        return {"asked": dict(asked), "worker": hrpc.worker()}

    debug_pages = property(lambda self: {"fleeting": self.page})

async def repair(request, context):
    await server.enter_maintenance("repairs")
"""
GIVEN = "hrpc.with_plugins(Fleeting()), hrpc.with_health_check(0)"


async def page(service: Fleet, path: str) -> Any:
    url = f"http://127.0.0.1:{service.http('health')}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.json()


async def test_each_worker_loads_a_plugin_and_the_master_announces_it_once(tmp_path: Path) -> None:
    async with fleet(tmp_path, GIVEN, before=PLUGIN, methods="Repair=repair") as service:
        port, health_port = service.port, service.http("health")
        assert await page(service, "/debug/fleeting?name=a") == {
            "workers": {str(each): {"asked": {"name": "a"}, "worker": each} for each in (1, 2)}
        }
        body = await page(service, "/debug/fleeting?unwell=2")
        assert body["workers"]["2"] == {"error": "ZeroDivisionError: "}
        assert body["workers"]["1"]["worker"] == 1
        async with service.channel() as channel:
            await call(channel, "Repair")
        await service.says("maintained in None for repairs")
        service.process.send(signal.SIGTERM)
        assert await service.ended() == 0
    said = re.findall(r"^((?:load|unload|announce|withdraw|drained) in .*)$", service.process.output, re.MULTILINE)
    assert sorted(said[:2]) == ["load in 1", "load in 2"]
    assert said[2:4] == [f"announce in None on {port} with {health_port} 3.0", "withdraw in None"]
    assert sorted(said[4:6]) == ["unload in 1", "unload in 2"]
    assert said[6:] == ["drained in None"]


async def test_readiness_tells_of_the_health_checks_of_plugins_in_each_worker(tmp_path: Path) -> None:
    async with fleet(tmp_path, GIVEN, before=PLUGIN, environ={"UNWELL": "2"}) as service:
        parts = (await page(service, "/healthx/readiness"))["parts"]
        assert parts["fleeting"] == "ok"
        assert parts["workers"] == "2 of 2 serve; worker 2: fleeting: it says no"
