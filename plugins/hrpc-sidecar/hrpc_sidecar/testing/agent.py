"""The agent, and the faults that can be ordered of it."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp
from aiohttp import web

from hrpc_sidecar.testing.consul import ConsulApi

_HANG = object()


class Received(NamedTuple):
    """A request that has arrived."""

    path: str
    body: Any
    """The JSON of it; None for the watch."""


class _Answer(NamedTuple):
    status: int
    body: bytes


class SidecarAgent:
    """A sidecar-agent on 127.0.0.1. As ``async with``: it runs from the beginning of the block to its end."""

    def __init__(self, *, consul: str | None = None, port: int = 0, heartbeat: float = 5.0) -> None:
        """`consul`: ``host:port`` of the Consul with which services are registered; None for none. `port`: 0 for any
        free one, which then stays the same. `heartbeat`: seconds between two."""
        self.port = port
        self.silent = False
        """Whether streams are opened but nothing is sent on them."""
        self.received: list[Received] = []
        """All requests, in their order."""
        self.nodes: dict[str, dict[str, Any]] = {}
        """The services that are registered, by the ids of their instances. A new life of the agent knows none."""
        self._consul = consul
        self._heartbeat = heartbeat
        self._faults: dict[str, list[object]] = defaultdict(list)
        self._streams: dict[asyncio.Queue[bytes | None], web.Request] = {}
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._ids = 0

    @property
    def base_url(self) -> str:
        """For ``base_url=``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def streams(self) -> int:
        """How many are watching."""
        return len(self._streams)

    def count(self, path: str) -> int:
        """How many requests to a path have arrived."""
        return sum(one.path == path for one in self.received)

    def fail(
        self,
        path: str,
        *,
        status: int = 502,
        code: str = "",
        message: str = "",
        body: bytes | None = None,
        times: int = 1,
    ) -> None:
        """Answers the next requests to `path` so: an envelope with ``"success": false``, unless a `body` is given.
        With status 200, it is only the envelope that says so."""
        envelope = {"success": False, "code": code, "message": message}
        answer = _Answer(status, json.dumps(envelope).encode() if body is None else body)
        self._faults[path].extend([answer] * times)

    def hang(self, path: str, times: int = 1) -> None:
        """Does not answer the next requests to `path`."""
        self._faults[path].extend([_HANG] * times)

    def mend(self) -> None:
        """Takes back all faults that have been ordered."""
        self._faults.clear()
        self.silent = False

    def send(self, data: bytes) -> None:
        """Sends bytes on all streams, whatever they are."""
        for queue in self._streams:
            queue.put_nowait(data)

    def close_streams(self) -> None:
        """Ends all streams, as an agent does that stops."""
        for queue in self._streams:
            queue.put_nowait(None)

    def cut_streams(self) -> None:
        """Cuts all streams, as an agent does that is killed."""
        for request in self._streams.values():
            if request.transport is not None:
                request.transport.abort()

    async def start(self) -> None:
        """Begins a life, without the knowledge of the one before."""
        self.nodes.clear()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0))
        app = web.Application()
        app.router.add_post("/register", self._answered(self._register))
        app.router.add_post("/drain", self._answered(self._drain))
        app.router.add_post("/deregister", self._answered(self._deregister))
        app.router.add_get("/watch", self._watch)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def kill(self) -> None:
        """Ends it at once; what it has registered stays in Consul."""
        self.cut_streams()
        runner, session = self._runner, self._session
        self._runner = self._session = None
        if runner is not None:
            await runner.cleanup()
        if session is not None:
            await session.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    def _answered(self, work: Callable[[dict[str, Any]], Any]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            body = await request.json()
            self.received.append(Received(request.path, body))
            if (wrong := await self._fault(request.path)) is not None:
                return wrong
            try:
                await work(body)
            except (aiohttp.ClientError, TimeoutError) as error:
                return _enveloped(502, code="CONSUL", message=str(error) or repr(error))
            except KeyError as error:
                return _enveloped(400, code="INVALID", message=f"{error} is missing")
            return _enveloped(200)

        return handle

    async def _fault(self, path: str) -> web.Response | None:
        if not self._faults[path]:
            return None
        fault = self._faults[path].pop(0)
        if isinstance(fault, _Answer):
            return web.Response(status=fault.status, body=fault.body, content_type="application/json")
        return await asyncio.Future()  # until the client goes, or the agent ends

    async def _register(self, node: dict[str, Any]) -> None:
        if self._consul:
            await self._api.register(node, "127.0.0.1")
            await self._api.rotate(node["app"]["instance_id"], out=False)
        self.nodes[node["app"]["instance_id"]] = node

    async def _drain(self, body: dict[str, Any]) -> None:
        if self._consul:
            reason = f"drains for {body['grace_period']}"
            await self._api.rotate(body["app_instance_id"], out=True, reason=reason)

    async def _deregister(self, body: dict[str, Any]) -> None:
        if self._consul:
            await self._api.deregister(body["app_instance_id"])
        self.nodes.pop(body["app_instance_id"], None)

    @property
    def _api(self) -> ConsulApi:
        assert self._session is not None
        assert self._consul is not None
        return ConsulApi(self._session, self._consul)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self.received.append(Received(request.path, None))
        if (wrong := await self._fault(request.path)) is not None:
            return wrong
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._streams[queue] = request
        try:
            if not self.silent:
                await response.write(self._frame("connected"))
            with suppress(ConnectionError):
                while (data := await self._next(queue)) is not None:
                    await response.write(data)
        finally:
            del self._streams[queue]
        return response

    async def _next(self, queue: asyncio.Queue[bytes | None]) -> bytes | None:
        while True:
            try:
                async with asyncio.timeout(self._heartbeat):
                    return await queue.get()
            except TimeoutError:
                if not self.silent:
                    return self._frame("heartbeat")

    def _frame(self, event: str) -> bytes:
        self._ids += 1
        told = {
            "event": event,
            "message": "sidecar-agent for tests",
            "service": "sidecar-agent",
            "status": "ready",
            "lifecycle_state": "running",
            "ready": True,
            "generated_at": datetime.now(UTC).isoformat(),
        }
        return f"id: {self._ids}\nevent: {event}\ndata: {json.dumps(told)}\n\n".encode()


def _enveloped(status: int, code: str = "OK", message: str = "") -> web.Response:
    return web.json_response({"success": status == 200, "code": code, "message": message, "data": None}, status=status)
