"""``/v1/session``: https://developer.hashicorp.com/consul/api-docs/session."""

from __future__ import annotations

from aiohttp import web

from hrpc.testing.consul.api.gate import Gate
from hrpc.testing.consul.api.query import answer
from hrpc.testing.consul.changes import Changes
from hrpc.testing.consul.decoding import decode, list_of, seconds, string, struct
from hrpc.testing.consul.duration import parse_duration
from hrpc.testing.consul.rejected import Rejected
from hrpc.testing.consul.sessions import DEFAULT_LOCK_DELAY, TTL_MAXIMUM, TTL_MINIMUM, Session, Sessions

_CREATE = struct(
    {
        "Name": string,
        "Node": string,
        "TTL": string,
        "LockDelay": seconds,
        "Behavior": string,
        "Checks": list_of(string),
        "NodeChecks": list_of(string),
    }
)


class SessionRoutes:
    """Sessions."""

    def __init__(self, sessions: Sessions, changes: Changes, gate: Gate, node: str) -> None:
        self._sessions = sessions
        self._changes = changes
        self._gate = gate
        self._node = node

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.put("/v1/session/create", self._create),
            web.put("/v1/session/renew/{id:.*}", self._renew),
            web.put("/v1/session/destroy/{id:.*}", self._destroy),
            web.get("/v1/session/info/{id:.*}", self._info, allow_head=False),
            web.get("/v1/session/list", self._list, allow_head=False),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        self._gate.check_datacenter(request)
        body = await request.read()
        wanted = decode(body, _CREATE) if body else {}
        behavior = wanted.get("Behavior") or "release"
        if behavior not in ("release", "delete"):
            raise Rejected(500, f"Invalid Behavior setting '{behavior}'")
        ttl = _ttl(wanted.get("TTL", ""))
        checks = wanted.get("NodeChecks", wanted.get("Checks", ["serfHealth"]))
        self._gate.require(request)
        delay = wanted.get("LockDelay", DEFAULT_LOCK_DELAY)
        made = self._sessions.create(wanted.get("Name", ""), ttl, delay, behavior, tuple(checks))
        return answer({"ID": made.id})

    async def _renew(self, request: web.Request) -> web.Response:
        id = self._id(request)
        self._gate.require(request)
        session = self._sessions.renew(id)
        if session is None:
            return web.Response(status=404, text=f"Session id '{id}' not found")
        return self._shown([session])

    async def _destroy(self, request: web.Request) -> web.Response:
        id = self._id(request)
        self._gate.require(request)
        self._sessions.destroy(id)
        return answer(True)

    async def _info(self, request: web.Request) -> web.Response:
        session = self._sessions.get(self._id(request))
        return self._shown([session] if session is not None and self._gate.allows(request) else [])

    async def _list(self, request: web.Request) -> web.Response:
        return self._shown(self._sessions.all() if self._gate.allows(request) else [])

    def _id(self, request: web.Request) -> str:
        self._gate.check_datacenter(request)
        if not (id := request.match_info["id"]):
            raise Rejected(400, "Missing session")
        return id

    def _shown(self, sessions: list[Session]) -> web.Response:
        return answer([session.json(self._node) for session in sessions], self._changes.index)


def _ttl(text: str) -> float:
    if not text:
        return 0.0
    try:
        ttl = parse_duration(text)
    except ValueError as error:
        raise Rejected(500, f"Session TTL '{text}' invalid: {error}") from error
    if ttl and not TTL_MINIMUM <= ttl <= TTL_MAXIMUM:
        raise Rejected(500, f"Invalid Session TTL '{round(ttl * 1e9)}', must be between [10s=24h0m0s]")
    return ttl
