"""Requests to an application: their trace, span, metrics, pools and context are those of calls."""

from __future__ import annotations

from typing import Any

import aiohttp
from asgi_service import beside, client, local
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

import hrpc
from hrpc import context, from_thread
from hrpc_http.requests import Requests
from tests.server.recorded import Recorded
from tests.tracing.spans import Spans, ids, parent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


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


async def test_each_request_is_a_span_of_its_callers_trace() -> None:
    async def fails(_: Request) -> PlainTextResponse:
        return PlainTextResponse("no", 503)

    spans = Spans()
    http = local(Starlette(routes=[Route("/jobs/{id}", fails)]))
    async with beside(http, spans.option(1.0)), client(http) as session:
        async with session.get("/jobs/7", headers={"traceparent": PARENT}) as response:
            assert response.status == 503
    (span,) = spans.ended
    assert span.name == "GET"
    assert ids(span)[0] == TRACE
    assert parent(span) == "00f067aa0ba902b7"
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
