"""An application beside gRPC: how it is given, its life, and what it shares with the server."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc.aio
import pytest
from asgi_service import Slow, beside, client, local
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import hrpc
import hrpc_http
from hrpc import listener
from hrpc.errors import ManagerError, NotRunning, OptionError, PortTaken
from tests.echo import call
from tests.server.recorded import Recorded, a_server


@pytest.mark.parametrize(
    "given", [hrpc.with_services, hrpc.with_plugins, lambda http: hrpc.plugin.option("hrpc_http.with_asgi", http)]
)
async def test_an_application_is_given_as_a_service_or_as_a_plugin(given: Any) -> None:
    http = local(Slow().app)
    async with a_server(given(http)), client(http) as session, session.get("/nowhere") as response:
        assert response.status == 404


def test_two_applications_have_two_names_and_one_is_given_once() -> None:
    more = hrpc_http.with_asgi(Slow().app, port=0, id="admin", access_log=True)
    server = a_server(more, hrpc_http.with_asgi(Slow().app, port=0))
    assert [plugin.name for plugin in server.settings.plugins] == ["hrpc-http admin", "hrpc-http"]
    assert [service.id for service in server.settings.hosted.services] == ["admin", "http"]
    with pytest.raises(OptionError, match="plugin 'hrpc-http admin' is given twice"):
        server.apply(more)
    with pytest.raises(OptionError, match="two services have the id 'http'"):
        server.apply(hrpc.with_services(local(Slow().app)))


async def test_an_application_and_grpc_are_served_side_by_side() -> None:
    app = FastAPI()

    @app.get("/orders/{number}")
    async def order(number: int) -> dict[str, int]:
        return {"number": number}

    http = local(app)
    server = beside(http)
    with pytest.raises(NotRunning, match="'http' has no port"):
        _ = http.port
    for _ in range(2):
        async with server, client(http) as session, grpc.aio.insecure_channel(server.address) as channel:
            async with session.get("/orders/7") as response:
                assert await response.json() == {"number": 7}
            assert await call(channel, "Echo") == b"x"


async def test_the_application_starts_before_the_first_request_and_ends_after_the_last_call_with_the_pools() -> None:
    happened: list[str] = []
    database = Recorded(happened)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, str]]:
        happened.append(f"app starts with {database.slot.get()}")
        yield {"name": "state"}
        happened.append(f"app ends with {database.slot.get()}")

    async def state(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.state.name)

    http = local(Starlette(routes=[Route("/", state)], lifespan=lifespan))
    async with beside(http, hrpc.with_databases(database)), client(http) as session:
        async with session.get("/") as response:
            assert await response.text() == "state"
    assert happened == ["open", "app starts with the client", "app ends with the client", "close"]


@pytest.mark.parametrize("at", ["startup", "shutdown"])
async def test_an_application_that_fails_at_its_start_or_end_is_an_error_of_its_service(at: str) -> None:
    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        if at == "startup":
            raise ZeroDivisionError
        yield
        raise ZeroDivisionError

    with pytest.raises(ManagerError) as caught:
        async with beside(local(Starlette(lifespan=lifespan), id="web")):
            pass
    (error,) = caught.value.of("web")
    assert isinstance(error.error, ZeroDivisionError)
    assert (caught.value.setup is not None) == (at == "startup")


async def test_an_application_that_only_says_that_its_start_failed_is_believed() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no licence"})

    with pytest.raises(ManagerError, match="the startup of the application failed: no licence"):
        async with beside(local(app)):
            pass


async def test_an_application_without_lifespan_is_served_as_it_is() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await PlainTextResponse("plain")(scope, receive, send)

    http = local(app)
    async with beside(http), client(http) as session, session.get("/") as response:
        assert await response.text() == "plain"


async def test_readiness_tells_of_it() -> None:
    server = beside(local(Starlette(), id="web"), hrpc.with_health_check(0))
    async with server, aiohttp.ClientSession() as probe:
        async with probe.get(f"http://127.0.0.1:{server.health_port}/healthx/readiness") as response:
            assert (await response.json())["parts"]["web"] == "ok"


async def test_a_port_that_is_taken_is_told_with_what_to_change(free_port: int) -> None:
    with listener.bind("test", "127.0.0.1", free_port, "") as taken:
        taken.listen()
        with pytest.raises(ManagerError) as caught:
            async with beside(hrpc_http.asgi(Starlette(), port=free_port, host="127.0.0.1")):
                pass
    (error,) = caught.value.of("http")
    assert isinstance(error.error, PortTaken)
    assert "hrpc_http.asgi(port=…)" in str(error.error)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"port": 70000}, "invalid port number 70000: hrpc_http.asgi"),
        ({"port": 0, "grace": -1}, "grace=-1"),
        ({"port": 0, "lifespan": "on", "uds": "x"}, "lifespan, uds cannot be set"),
        ({"port": 0, "host": ""}, "takes an address"),
    ],
)
def test_wrong_settings_are_refused_at_once(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        hrpc_http.asgi(Starlette(), **settings)
    with pytest.raises(OptionError, match="takes an ASGI application"):
        hrpc_http.asgi("module:app", port=0)  # type: ignore[arg-type]


async def test_it_leaves_signals_and_logging_of_the_process_alone() -> None:
    before = signal.getsignal(signal.SIGTERM), logging.getLogger().handlers
    async with beside(local(Starlette())):
        assert signal.getsignal(signal.SIGTERM) == before[0]
    assert logging.getLogger().handlers == before[1]
