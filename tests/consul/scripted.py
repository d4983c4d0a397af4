"""An HTTP server in the place of Consul, which writes down what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


class Scripted:
    """Answers 200 with a key that holds ``held``, and with empty lists, unless it was told otherwise."""

    def __init__(self) -> None:
        self.address = ""
        self.asked: list[Asked] = []
        self.instead = self.answer
        """What answers, and may call `answer`."""
        self._denied: set[str] = set()
        self._failing: dict[str, tuple[int, str]] = {}
        self._held: dict[str, asyncio.Event] = {}

    def deny(self, token: str) -> None:
        """This token is not known, from now on."""
        self._denied.add(token)

    def fail(self, beginning: str, status: int, text: str) -> None:
        """Paths that begin so are answered with this, from now on."""
        self._failing[beginning] = (status, text)

    def hold(self, path: str) -> asyncio.Event:
        """Requests to `path` are not answered, until `release`; the event is set by the first one."""
        return self._held.setdefault(path, asyncio.Event())

    def release(self, path: str) -> None:
        """Requests to `path` that come from now on are answered."""
        del self._held[path]

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(Asked(request.method, request.path, dict(request.query), dict(request.headers)))
        if request.headers.get("X-Consul-Token") in self._denied and not request.path.startswith("/v1/status/"):
            return web.Response(status=403, text="ACL not found")
        for beginning, (status, text) in self._failing.items():
            if request.path.startswith(beginning):
                return web.Response(status=status, text=text)
        if held := self._held.get(request.path):
            held.set()
            await asyncio.Event().wait()
        found = [{"Value": "aGVsZA=="}] if request.path.startswith("/v1/kv/") else []
        return web.json_response(found, headers={"X-Consul-Index": "8"})


@asynccontextmanager
async def scripted() -> AsyncIterator[Scripted]:
    """Serves on a free port of 127.0.0.1."""
    made = Scripted()
    app = web.Application()

    async def answer(request: web.Request) -> web.Response:
        return await made.instead(request)

    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    made.address = f"{host}:{port}"
    try:
        yield made
    finally:
        await runner.cleanup()
