"""The probes over HTTP.

``GET /`` answers ``I'm alive.`` for as long as the process can answer at all: Consul asks there. The probes beside it
answer 200 or 503: ``/healthx/startup``, ``/healthx/liveness`` and ``/healthx/readiness`` with JSON that names what is
wrong; ``/startupz``, ``/livez`` and ``/readyz`` with text as the API server of Kubernetes
(https://kubernetes.io/docs/reference/using-api/health-checks/), where ``?verbose`` names what is well, too.
``POST /healthx/{kind}/close`` lets a probe fail until ``POST /healthx/{kind}/open``; not anybody may.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from hrpc.errors import OptionError
from hrpc.health import access
from hrpc.health.checker import OK, Kind
from hrpc.health.registering import reason
from hrpc.health.state import Answer, Health
from hrpc.option import DebugSettings

Route = Callable[[web.Request], Awaitable[web.Response]]
_SHORT = {"/startupz": Kind.STARTUP, "/livez": Kind.LIVENESS, "/readyz": Kind.READINESS}
_CLOSED = "by a request over HTTP"


def routes(health: Health) -> Mapping[str, Route]:
    """The handler of each path that is asked with GET."""

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="I'm alive.")

    found: dict[str, Route] = {"/": alive}
    found |= {f"/healthx/{kind}": _probe(health, kind) for kind in Kind}
    return found | {path: _text_probe(health, kind) for path, kind in _SHORT.items()}


def switches(health: Health, settings: DebugSettings) -> Mapping[str, Route]:
    """The handler of each path that is asked with POST."""
    found: dict[str, Route] = {}
    for kind in Kind:
        found[f"/healthx/{kind}/open"] = _switch(health, kind, settings, opens=True)
        found[f"/healthx/{kind}/close"] = _switch(health, kind, settings, opens=False)
    return found


def _probe(health: Health, kind: Kind) -> Route:
    async def probe(_: web.Request) -> web.Response:
        answer = await health.ask(kind)
        done = {"steps": {name: round(seconds, 3) for name, seconds in health.done()}} if kind is Kind.STARTUP else {}
        return _json(200 if answer.well else 503, answer.wrong, parts=answer.parts, **done)

    return probe


def _text_probe(health: Health, kind: Kind) -> Route:
    async def probe(request: web.Request) -> web.Response:
        answer = await health.ask(kind)
        text = _lines(kind, answer) if "verbose" in request.query or not answer.well else OK
        return web.Response(text=text, status=200 if answer.well else 503)

    return probe


def _switch(health: Health, kind: Kind, settings: DebugSettings, *, opens: bool) -> Route:
    async def switch(request: web.Request) -> web.Response:
        refused = access.refusal(settings, request)
        if refused is not None:
            return _json(403, refused)
        if opens:
            health.open(kind)
            return _json(200)
        try:
            health.close(kind, reason("close", request.query.get("reason", _CLOSED)))
        except OptionError as error:
            return _json(400, str(error))
        return _json(200)

    return switch


def _lines(kind: Kind, answer: Answer) -> str:
    lines = [f"[{_sign(answer, name)}]{name} {said}" for name, said in answer.parts.items()]
    return "\n".join([*lines, f"{kind} {'passed' if answer.well else 'failed'}", ""])


def _sign(answer: Answer, name: str) -> str:
    if name in answer.failing:
        return "-"
    return "+" if answer.parts[name] == OK else " "


def _json(status: int, wrong: str = "", **more: object) -> web.Response:
    well = status == 200
    body = {
        "code": 0 if well else status,
        "msg": "success" if well else wrong,
        "data": OK if well else "failed",
        "timestamp": int(time.time()),
    }
    return web.json_response(body | more, status=status)
