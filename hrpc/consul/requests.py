"""What a trace tells of a request to Consul.

Traced are the requests that a call waits for, and those that change something. What follows Consul in the background
is not: it waits for nothing but changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from hrpc import _runtime
from hrpc.abc import RequestSpan

# What comes after these is a name, of which there can be many.
_NAMED = {
    "/v1/kv/": "{key}",
    "/v1/health/service/": "{service}",
    "/v1/agent/service/deregister/": "{id}",
    "/v1/agent/service/maintenance/": "{id}",
    "/v1/agent/check/deregister/": "{id}",
    "/v1/agent/check/pass/": "{id}",
    "/v1/session/renew/": "{session}",
    "/v1/session/destroy/": "{session}",
}

_HEARTBEATS = ("/v1/agent/check/pass/", "/v1/session/renew/", "/v1/txn")


class Requests:
    """Begins and ends the spans of the requests to one agent."""

    def __init__(self, base_uri: str) -> None:
        self.tracer = _runtime.tracer()
        self._base_uri = base_uri
        url = urlsplit(base_uri)
        port = url.port or (443 if url.scheme == "https" else 80)
        self._place: dict[str, str | int] = {"server.address": url.hostname or "", "server.port": port}

    @contextmanager
    def traced(self, method: str, path: str) -> Iterator[Callable[[int], None]]:
        """A span around a request, if it is traced; what it gives is told the status of the answer."""
        span = self._begin(method, path)
        told: dict[str, str | int] = {}

        def answered(status: int) -> None:
            told["http.response.status_code"] = status

        try:
            yield answered
        except BaseException as error:
            if isinstance(status := getattr(error, "status", None), int):
                answered(status)
            if span is not None:
                span.end(error, told)
            raise
        if span is not None:
            span.end(None, told)

    def _begin(self, method: str, path: str) -> RequestSpan | None:
        if self.tracer is None:
            return None
        template = next((known + name for known, name in _NAMED.items() if path.startswith(known)), path)
        attributes: dict[str, str | int] = {
            **self._place,
            "http.request.method": method,
            "url.full": f"{self._base_uri}{path}",
            "url.template": template,
        }
        # A heartbeat changes nothing, as long as all is well.
        changes = method != "GET" and not path.startswith(_HEARTBEATS)
        begin = self.tracer.request if changes else self.tracer.request_in_call
        return begin(f"{method} {template}", attributes)
