"""``/v1/agent``: https://developer.hashicorp.com/consul/api-docs/agent."""

from __future__ import annotations

from aiohttp import web

from hrpc.testing.consul.agent import Agent
from hrpc.testing.consul.api.gate import Gate
from hrpc.testing.consul.api.query import answer, filtered, wait_of
from hrpc.testing.consul.catalog import Catalog
from hrpc.testing.consul.changes import Changes
from hrpc.testing.consul.filter_fields import SERVICE
from hrpc.testing.consul.registration import service_registration
from hrpc.testing.consul.rejected import Rejected


class AgentRoutes:
    """The services of the agent."""

    def __init__(self, agent: Agent, catalog: Catalog, changes: Changes, gate: Gate, version: str) -> None:
        self._agent = agent
        self._catalog = catalog
        self._changes = changes
        self._gate = gate
        self._version = version

    def routes(self) -> list[web.RouteDef]:
        """The routes, those with a fixed end before those that take an ID."""
        return [
            web.get("/v1/agent/self", self._self, allow_head=False),
            web.get("/v1/agent/services", self._services, allow_head=False),
            web.put("/v1/agent/maintenance", self._maintain_node),
            web.put("/v1/agent/service/register", self._register),
            web.put("/v1/agent/service/deregister/{id:.*}", self._deregister),
            web.put("/v1/agent/service/maintenance/{id:.*}", self._maintain_service),
            web.get(
                "/v1/agent/service/{id:(?!(?:register|deregister/.*|maintenance/.*)$).*}",
                self._service,
                allow_head=False,
            ),
        ]

    async def _self(self, request: web.Request) -> web.Response:
        self._gate.require(request)
        node = self._catalog.node
        config = {
            "Datacenter": node["Datacenter"],
            "NodeName": node["Node"],
            "NodeID": node["ID"],
            "Revision": "",
            "Server": True,
            "Version": self._version,
        }
        limits = {"HTTPMaxConnsPerClient": 0}  # 0 is none, as in Consul
        member = {"Name": node["Node"], "Addr": node["Address"], "Status": 1}
        told = {"Config": config, "DebugConfig": limits, "Coord": None, "Member": member, "Stats": {}, "Meta": {}}
        return answer(told)

    async def _services(self, request: web.Request) -> web.Response:
        visible = self._gate.allows(request)
        listed = [service for service in self._catalog.services.values() if service.local and visible]
        shapes = filtered(request, (service.agent_json() for service in listed), SERVICE)
        return answer({shape["ID"]: shape for shape in shapes})

    async def _service(self, request: web.Request) -> web.Response:
        service_id = request.match_info["id"]
        known, limit = request.query.get("hash"), wait_of(request)

        def changed() -> bool:
            return self._agent.content_hash(service_id) != known

        allowed = self._gate.allows(request)
        if known and allowed:
            await self._changes.wait(changed, limit)
        service = self._agent.service(service_id)
        if service is None:
            raise Rejected(404, f"unknown service ID: {service_id}")
        self._gate.require(request)
        found = answer(service.agent_json() | {"ContentHash": self._agent.content_hash(service_id)})
        found.headers["X-Consul-ContentHash"] = self._agent.content_hash(service_id)
        return found

    async def _register(self, request: web.Request) -> web.Response:
        service, checks = service_registration(await request.read())
        self._gate.require(request, f"service:write on {service.name}")
        replace = request.query.get("replace-existing-checks", "false") in ("", "true", "1")
        self._agent.register(service, checks, replace)
        return web.Response()

    async def _deregister(self, request: web.Request) -> web.Response:
        service_id = request.match_info["id"]
        if not service_id:
            raise Rejected(500, "ServiceID missing")
        allowed = self._gate.allows(request)
        service = self._agent.service(service_id)
        # Without ACLs Consul 1.8 does not look whether it is there.
        if service is None and self._gate.guarded:
            raise Rejected(500, f'Unknown service {{"{service_id}" {{}}}}')
        if service and not allowed:
            self._gate.require(request, f"service:write on {service.name}")
        self._agent.deregister(service_id)
        return web.Response()

    async def _maintain_service(self, request: web.Request) -> web.Response:
        service_id = request.match_info["id"]
        if not service_id:
            raise Rejected(400, "Missing service ID")
        enable = _enable(request)
        service = self._agent.service(service_id)
        self._gate.require(request, f"service:write on {service.name}" if service else "")
        self._agent.set_maintenance(service_id, enable, request.query.get("reason", ""))
        return web.Response()

    async def _maintain_node(self, request: web.Request) -> web.Response:
        enable = _enable(request)
        self._gate.require(request)
        self._agent.set_maintenance("", enable, request.query.get("reason", ""))
        return web.Response()


def _enable(request: web.Request) -> bool:
    given = request.query.get("enable", "")
    if not given:
        raise Rejected(400, "Missing value for enable")
    if given not in ("true", "false", "1", "0"):
        raise Rejected(400, f'Invalid value for enable: "{given}"')
    return given in ("true", "1")
