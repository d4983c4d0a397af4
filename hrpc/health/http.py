"""The probes over HTTP.

``GET /`` answers ``I'm alive.`` for as long as the process can answer at all: Consul asks there. The probes beside it
answer 200 or 503 with JSON that names what is wrong: ``/healthx/liveness`` and ``/healthx/readiness``.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from hrpc.health.state import Health, Phase

Route = Callable[[web.Request], Awaitable[web.Response]]


def routes(health: Health) -> Mapping[str, Route]:
    """The handler of each path."""

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="I'm alive.")

    async def liveness(_: web.Request) -> web.Response:
        return _answer(True, {"server": "ok" if health.phase is Phase.SERVING else str(health.phase)})

    async def readiness(_: web.Request) -> web.Response:
        found = await health.readiness()
        return _answer(found.ready, found.parts)

    return {"/": alive, "/healthx/liveness": liveness, "/healthx/readiness": readiness}


def _answer(well: bool, parts: Mapping[str, str]) -> web.Response:
    wrong = "; ".join(f"{name}: {said}" for name, said in parts.items() if said != "ok")
    return web.json_response(
        {
            "code": 0 if well else 503,
            "msg": "success" if well else wrong,
            "data": "ok" if well else "failed",
            "timestamp": int(time.time()),
            "parts": dict(parts),
        },
        status=200 if well else 503,
    )
