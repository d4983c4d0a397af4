"""An application beside gRPC: its life, its requests, and what they share with calls."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc.aio
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

import hrpc
import hrpc_http
from hrpc import context, from_thread, listener
from hrpc.errors import ManagerError, NotRunning, OptionError, PortTaken
from hrpc_http.requests import Requests
from tests.echo import add_echo, call
from tests.server.recorded import Recorded, a_server

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def beside(http: hrpc_http.Asgi, *options: hrpc.Option) -> hrpc.Server:
    server = hrpc.new_server(
        hrpc.with_server_name("shop"),
        hrpc.with_listen_port(0, host="127.0.0.1"),
        hrpc.with_services(http),
        *options,
    )
    add_echo(server)
    return server


def local(app: Any, **settings: Any) -> hrpc_http.Asgi:
    return hrpc_http.asgi(app, port=0, host="127.0.0.1", **settings)


@asynccontextmanager
async def client(http: hrpc_http.Asgi) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{http.port}") as session:
        yield session


class Slow:
    """A route that waits until it is let go; `entered` says that a request has come."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __call__(self, _: Request) -> PlainTextResponse:
        self.entered.set()
        await self.let_go.wait()
        return PlainTextResponse("done")

    @property
    def app(self) -> Starlette:
        async def slow(request: Request) -> PlainTextResponse:
            return await self(request)

        return Starlette(routes=[Route("/slow", slow)])


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


async def test_a_route_has_the_trace_of_its_caller_and_passes_it_on() -> None:
    async def where(_: Request) -> JSONResponse:
        current = context.current()
        assert current is not None
        return JSONResponse([current.trace_id, current.client_ip, current.user_agent])

    http = local(Starlette(routes=[Route("/", where)]))
    headers = {"traceparent": PARENT, "user-agent": "test/1"}
    async with beside(http), client(http) as session, session.get("/", headers=headers) as response:
        assert await response.json() == [TRACE, "127.0.0.1", "test/1"]


async def test_a_route_that_is_not_async_has_the_pools_the_context_and_the_way_back() -> None:
    database = Recorded([])
    app = FastAPI()

    async def answer() -> int:
        return 42

    @app.get("/")
    def blocking() -> list[Any]:
        current = context.current()
        assert current is not None
        return [database.slot.get(), current.trace_id, from_thread.run(answer)]

    http = local(app)
    async with beside(http, hrpc.with_databases(database)), client(http) as session:
        async with session.get("/", headers={"traceparent": PARENT}) as response:
            assert await response.json() == ["the client", TRACE, 42]


class Spans(SpanExporter):
    def __init__(self) -> None:
        self.found: list[ReadableSpan] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.found += spans
        return SpanExportResult.SUCCESS


async def test_each_request_is_a_span_of_its_callers_trace() -> None:
    async def fails(_: Request) -> PlainTextResponse:
        return PlainTextResponse("no", 503)

    spans = Spans()
    http = local(Starlette(routes=[Route("/jobs/{id}", fails)]))
    tracing = hrpc.with_tracing(1.0, processors=(SimpleSpanProcessor(spans),))
    async with beside(http, tracing), client(http) as session:
        async with session.get("/jobs/7", headers={"traceparent": PARENT}) as response:
            assert response.status == 503
    (span,) = spans.found
    assert span.name == "GET"
    assert format(span.context.trace_id, "032x") == TRACE
    assert span.parent is not None
    assert span.parent.span_id == 0x00F067AA0BA902B7
    assert span.attributes is not None
    expected = {
        "http.route": "/jobs/{id}",
        "http.response.status_code": 503,
        "error.type": "503",
        "url.path": "/jobs/7",
    }
    assert expected.items() <= dict(span.attributes).items()
    assert not span.status.is_ok


async def test_requests_are_measured_by_route_and_status() -> None:
    async def one(_: Request) -> PlainTextResponse:
        return PlainTextResponse("one")

    async def fails(_: Request) -> PlainTextResponse:
        raise ZeroDivisionError

    http = local(Starlette(routes=[Route("/one/{id}", one), Route("/fails", fails)]))
    server = beside(http, hrpc.with_metrics(0))
    async with server, client(http) as session, aiohttp.ClientSession() as scraper:
        for path in ("/one/1", "/one/2", "/fails", "/nowhere/1"):
            async with session.get(path) as response:
                await response.read()
        async with scraper.get(f"http://127.0.0.1:{server.metrics_port}/metrics") as response:
            text = await response.text()
    for route, status, count in (("/one/{id}", 200, 2), ("/fails", 500, 1), ("", 404, 1)):
        labels = f'method="GET",route="{route}",service="http",status="{status}"'
        assert f"shop_http_requests_total{{{labels}}} {count:.1f}" in text, text
    assert 'shop_http_request_seconds_count{method="GET",route="/one/{id}",service="http"} 2.0' in text
    assert 'shop_http_requests_in_flight{service="http"} 0.0' in text


async def test_readiness_tells_of_it() -> None:
    server = beside(local(Starlette(), id="web"), hrpc.with_health_check(0))
    async with server, aiohttp.ClientSession() as probe:
        async with probe.get(f"http://127.0.0.1:{server.health_port}/healthx/readiness") as response:
            assert (await response.json())["parts"]["web"] == "ok"


async def test_a_request_that_runs_when_the_server_drains_is_answered_and_no_other_is_taken() -> None:
    slow = Slow()
    http = local(slow.app)
    server = beside(http)
    async with server, client(http) as session:
        running = asyncio.create_task(session.get("/slow"))
        await slow.entered.wait()
        port = http.port
        server.start_shutdown()
        async with aiohttp.ClientSession() as other:
            with pytest.raises(aiohttp.ClientConnectorError):
                while True:
                    await other.get(f"http://127.0.0.1:{port}/nowhere")
        assert not running.done()
        slow.let_go.set()
        response = await running
        assert await response.text() == "done"
        await server.wait_for_shutdown()
    listener.unused("test", "127.0.0.1", port, "")


@pytest.mark.parametrize("way", ["own grace", "the server's", "hurry"])
async def test_a_request_that_does_not_end_is_answered_503_when_its_time_is_over(way: str) -> None:
    slow = Slow()
    http = local(slow.app, **({"grace": 0.05} if way == "own grace" else {}))
    server = beside(http, hrpc.with_graceful_stop(grace=0.05 if way == "the server's" else 60))
    async with asyncio.timeout(10), server, client(http) as session:
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
        async with asyncio.timeout(2):
            await server.stop()


async def test_a_port_that_is_taken_is_told_with_what_to_change(free_port: int) -> None:
    with listener.bind("test", "127.0.0.1", free_port, "") as taken:
        taken.listen()
        with pytest.raises(ManagerError) as caught:
            async with beside(hrpc_http.asgi(Starlette(), port=free_port, host="127.0.0.1")):
                pass
    (error,) = caught.value.of("http")
    assert isinstance(error.error, PortTaken)
    assert "hrpc_http.asgi(port=…)" in str(error.error)


async def test_websockets_have_the_context_too() -> None:
    traces: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        current = context.current()
        assert current is not None
        traces.append(current.trace_id)

    async def nothing(*_: Any) -> Any: ...

    scope = {"type": "websocket", "headers": [(b"traceparent", PARENT.encode())], "client": ("127.0.0.1", 1)}
    await Requests(app, "http")(scope, nothing, nothing)
    assert traces == [TRACE]
    assert context.current() is None


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
