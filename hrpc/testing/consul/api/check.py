"""``/v1/agent/check``: https://developer.hashicorp.com/consul/api-docs/agent/check."""

from __future__ import annotations

from aiohttp import web

from hrpc.testing.consul.agent import Agent
from hrpc.testing.consul.api.gate import Gate
from hrpc.testing.consul.api.query import answer, filtered
from hrpc.testing.consul.catalog import Catalog
from hrpc.testing.consul.decoding import decode, string, struct
from hrpc.testing.consul.filter_fields import CHECK
from hrpc.testing.consul.model import CRITICAL, PASSING, STATUSES, WARNING
from hrpc.testing.consul.registration import check_registration
from hrpc.testing.consul.rejected import Rejected

_UPDATE = struct({"Status": string, "Output": string})
_HEARTBEATS = {"pass": PASSING, "warn": WARNING, "fail": CRITICAL}


class CheckRoutes:
    """The checks of the agent."""

    def __init__(self, agent: Agent, catalog: Catalog, gate: Gate) -> None:
        self._agent = agent
        self._catalog = catalog
        self._gate = gate

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.get("/v1/agent/checks", self._list, allow_head=False),
            web.put("/v1/agent/check/register", self._register),
            web.put("/v1/agent/check/deregister/{id:.*}", self._deregister),
            web.put("/v1/agent/check/update/{id:.*}", self._update),
            web.put("/v1/agent/check/{word:pass|warn|fail}/{id:.*}", self._heartbeat),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        visible = self._gate.allows(request)
        listed = [check for check in self._catalog.checks.values() if check.local and visible]
        shapes = (check.agent_json(self._catalog.node_name, self._catalog.service_of(check)) for check in listed)
        return answer({shape["CheckID"]: shape for shape in filtered(request, shapes, CHECK)})

    async def _register(self, request: web.Request) -> web.Response:
        definition = check_registration(await request.read())
        self._gate.require(request, self._permission(definition.service_id))
        self._agent.add_check(definition)
        return web.Response()

    async def _deregister(self, request: web.Request) -> web.Response:
        check_id = request.match_info["id"]
        self._require_write(request, check_id)
        self._agent.remove_check(check_id)
        return web.Response()

    async def _heartbeat(self, request: web.Request) -> web.Response:
        status = _HEARTBEATS[request.match_info["word"]]
        return self._set(request, status, request.query.get("note", ""))

    async def _update(self, request: web.Request) -> web.Response:
        fields = decode(await request.read(), _UPDATE)
        status = fields.get("Status", "")
        if status not in STATUSES:
            raise Rejected(400, f"Invalid check status: '{status}'")
        return self._set(request, status, fields.get("Output", ""))

    def _set(self, request: web.Request, status: str, output: str) -> web.Response:
        check_id = request.match_info["id"]
        self._require_write(request, check_id)
        self._agent.heartbeat(check_id, status, output)
        return web.Response()

    def _require_write(self, request: web.Request, check_id: str) -> None:
        allowed = self._gate.allows(request)
        check = self._agent.check(check_id)
        if check is None and self._gate.guarded:
            raise Rejected(500, f'Unknown check "{check_id}"')
        if check and not allowed:
            self._gate.require(request, self._permission(check.service_id))

    def _permission(self, service_id: str) -> str:
        service = self._agent.service(service_id)
        return f"service:write on {service.name}" if service else f"node:write on {self._catalog.node_name}"
