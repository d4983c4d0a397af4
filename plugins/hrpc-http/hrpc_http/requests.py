"""What happens around a request: its trace and context, threads, metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, MutableMapping
from typing import Any

from hrpc import _runtime, context, from_thread, metrics
from hrpc.context import Context
from hrpc_http.lifespan import App, Message, Receive, Send

_REQUESTS, _SECONDS, _IN_FLIGHT = "http_requests", "http_request_seconds", "http_requests_in_flight"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_STOPPED: tuple[Message, ...] = (
    {"type": "http.response.start", "status": 503, "headers": [(b"content-type", b"text/plain; charset=utf-8")]},
    {"type": "http.response.body", "body": b"the service stops\n"},
)


def register_metrics() -> None:
    """Registers what is measured of requests, for the life of the server in which it is called."""
    labels = ("service", "method", "route")
    metrics.register_counter(_REQUESTS, "HTTP requests that were answered, by status.", (*labels, "status"))
    metrics.register_histogram(_SECONDS, "Seconds from an HTTP request to the end of its answer.", labels)
    metrics.register_gauge(_IN_FLIGHT, "HTTP requests that run now.", ("service",))


class Requests:
    """An application, with what a gRPC call has as well around each request and each WebSocket."""

    def __init__(self, app: App, service: str) -> None:
        """`service` is a label of the metrics."""
        self._app = app
        self._service = service
        self._in_flight = 0
        self.leaves = False
        """Whether each answer is to be the last on its connection."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers; ASGI 3."""
        with context.entered(_received(scope)) as current, from_thread.reachable():
            if scope["type"] == "http":
                await self._answer(current, scope, receive, send)
            else:
                await self._app(scope, receive, send)

    async def _answer(self, current: Context, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        status = ""

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
                if self.leaves:
                    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        tracer = _runtime.tracer()
        span = None if tracer is None else tracer.handling(current, method, _attributes(scope, method))
        began = time.perf_counter()
        failure: BaseException | None = None
        self._count(1)
        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError as error:
            # The time of the drain is over. Nothing is above but uvicorn, which would log this as a failure.
            failure = error
            if not status:
                for message in _STOPPED:
                    await sending(message)
        except BaseException as error:
            failure = error
            raise
        finally:
            self._count(-1)
            status = status or "500"
            route = _route(scope)
            labels = {"service": self._service, "method": method, "route": route}
            metrics.incr(_REQUESTS, 1, **labels, status=status)
            metrics.observe(_SECONDS, time.perf_counter() - began, **labels)
            if span is not None:
                span.end(failure, _outcome(route, status))

    def _count(self, by: int) -> None:
        self._in_flight += by
        metrics.set(_IN_FLIGHT, self._in_flight, service=self._service)


def _received(scope: MutableMapping[str, Any]) -> Context:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    received = context.from_metadata([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
    if not received.client_ip and scope.get("client"):
        received.client_ip = scope["client"][0]
    return received


def _route(scope: MutableMapping[str, Any]) -> str:
    """The pattern that the path matched, such as ``/orders/{id}``; not the path, of which there are any number."""
    path = getattr(scope.get("route"), "path", "")
    return path if isinstance(path, str) else ""


# https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server


def _attributes(scope: MutableMapping[str, Any], method: str) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "http.request.method": "_OTHER" if method == "other" else method,
        "url.path": scope["path"],
        "url.scheme": scope.get("scheme", "http"),
        "network.protocol.version": scope["http_version"],
    }
    if scope.get("client"):
        found["client.address"] = scope["client"][0]
    return found


def _outcome(route: str, status: str) -> dict[str, str | int]:
    found: dict[str, str | int] = {"http.route": route} if route else {}
    found["http.response.status_code"] = int(status)
    if int(status) >= 500:
        found["error.type"] = status
    return found
