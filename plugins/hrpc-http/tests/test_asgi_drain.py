"""Requests at a stop: those that run may end, no other is taken, and nobody waits for ever."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from asgi_service import Slow, beside, client, local
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import hrpc
from hrpc import listener
from hrpc.errors import ManagerError


async def test_a_request_that_runs_when_the_server_drains_is_answered_and_no_other_is_taken() -> None:
    slow = Slow()
    http = local(slow.app)
    server = beside(http)
    async with server, client(http) as session:
        running = asyncio.create_task(session.get("/slow"))
        await slow.entered.wait()
        port = http.port
        server.start_shutdown()
        await _nobody_listens(port)
        assert not running.done()
        slow.let_go.set()
        response = await running
        assert await response.text() == "done"
        await server.wait_for_shutdown()
    listener.unused("test", "127.0.0.1", port, "")


async def _nobody_listens(port: int) -> None:
    """Asks until it is refused; one who comes in the moment in which the port is closed is cut off."""
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/nowhere") as response:
                    await response.read()
            except aiohttp.ClientConnectorError:
                return
            except aiohttp.ClientConnectionError:
                continue


@pytest.mark.parametrize("way", ["own grace", "the server's", "hurry"])
async def test_a_request_that_does_not_end_is_answered_503_when_its_time_is_over(way: str) -> None:
    slow = Slow()
    http = local(slow.app, **({"grace": 0.05} if way == "own grace" else {}))
    server = beside(http, hrpc.with_graceful_stop(grace=0.05 if way == "the server's" else 60))
    async with asyncio.timeout(30), server, client(http) as session:
        running = asyncio.create_task(session.get("/slow"))
        await slow.entered.wait()
        stopping = asyncio.create_task(server.stop())
        if way == "hurry":
            await hrpc.draining().wait()
            assert server._running is not None
            server._running.request_stop("SIGTERM")
        response = await running
        assert response.status == 503
        if way == "hurry":
            with pytest.raises(ManagerError, match="run: not done within"):
                await stopping
        else:
            await stopping


async def test_idle_connections_do_not_hold_up_the_stop() -> None:
    async def one(_: Request) -> PlainTextResponse:
        return PlainTextResponse("one")

    http = local(Starlette(routes=[Route("/", one)]))
    server = beside(http)
    async with server, client(http) as session:
        async with session.get("/") as response:
            await response.read()
        async with asyncio.timeout(20):
            await server.stop()
