"""A client begins when Consul can be worked with, and nothing of it goes on after its end."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from hrpc.abc import Selection
from hrpc.consul import connect
from hrpc.errors import ConsulRefused
from hrpc.option import Consul
from hrpc.testing.servers import ConsulServer
from tests.consul.scripted import scripted


async def test_a_start_waits_for_servers_that_elect_their_leader() -> None:
    """An agent in a server mode answers 200 meanwhile: its leader is an empty text."""
    async with scripted() as agent:
        answer, elections = agent.answer, 0

        async def elect(request: web.Request) -> web.Response:
            nonlocal elections
            if request.path != "/v1/status/leader":
                return await answer(request)
            elections += 1
            return web.json_response("" if elections < 3 else "127.0.0.1:8300")

        agent.instead = elect
        async with connect(Consul(address=agent.address)) as client:
            assert elections == 3
            assert await client.read("greeting") == b"held"


async def test_a_start_fails_without_a_leader_and_says_what_to_look_at() -> None:
    async with scripted() as agent:

        async def never(request: web.Request) -> web.Response:
            return web.json_response("")

        agent.instead = never
        with pytest.raises(ConsulRefused, match="have no leader: see that more than half of them run"):
            async with connect(Consul(address=agent.address, timeout=1.0)):
                pass


async def test_what_is_asked_for_while_a_client_ends_is_not_followed(consul: ConsulServer) -> None:
    """By a thread, or by a task that has not ended yet: the end would wait for that watch for ever."""
    begun = asyncio.Event()

    async def ask_late() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            client.instances(Selection("late"))

    async with asyncio.timeout(60), connect(Consul(address=consul.address)) as client:
        late = client._tasks.create_task(ask_late())
        await begun.wait()
        client._running["task of the test"] = late
    assert Selection("late") in client._watches
