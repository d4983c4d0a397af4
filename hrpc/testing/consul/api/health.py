"""``/v1/health`` and ``/v1/catalog``: https://developer.hashicorp.com/consul/api-docs/health and …/catalog."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from hrpc.testing.consul.api.gate import Gate
from hrpc.testing.consul.api.query import answer, filtered, until_newer
from hrpc.testing.consul.catalog import Catalog
from hrpc.testing.consul.changes import Changes
from hrpc.testing.consul.filter_fields import CATALOG_SERVICE, CHECK, HEALTH, Kind
from hrpc.testing.consul.model import PASSING, Check, Json, Service
from hrpc.testing.consul.rejected import Rejected


class HealthRoutes:
    """What the whole (one-node) cluster knows of services and checks. What a token may not see is left out."""

    def __init__(self, catalog: Catalog, changes: Changes, gate: Gate) -> None:
        self._catalog = catalog
        self._changes = changes
        self._gate = gate

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.get("/v1/health/service/{name:.*}", self._health, allow_head=False),
            web.get("/v1/health/checks/{name:.*}", self._checks, allow_head=False),
            web.get("/v1/health/state/{state:.*}", self._state, allow_head=False),
            web.get("/v1/catalog/services", self._services, allow_head=False),
            web.get("/v1/catalog/service/{name:.*}", self._service, allow_head=False),
            web.get("/v1/catalog/nodes", self._nodes, allow_head=False),
        ]

    async def _health(self, request: web.Request) -> web.Response:
        name, only_passing = _name(request), _passing(request)

        def entries() -> list[Json]:
            found = [(service, self._catalog.checks_of(service)) for service in self._tagged(request, name)]
            return [
                {"Node": self._catalog.node, "Service": service.health_json(), "Checks": self._shapes(checks)}
                for service, checks in found
                if not only_passing or all(check.status == PASSING for check in checks)
            ]

        return await self._list(request, lambda: self._catalog.index_of(name), entries, HEALTH)

    async def _service(self, request: web.Request) -> web.Response:
        name = _name(request)

        def entries() -> list[Json]:
            return [service.catalog_json(self._catalog.node) for service in self._tagged(request, name)]

        return await self._list(request, lambda: self._catalog.index_of(name), entries, CATALOG_SERVICE)

    async def _checks(self, request: web.Request) -> web.Response:
        name = _name(request)

        def entries() -> list[Json]:
            ids = {service.id for service in self._catalog.instances(name)}
            return self._shapes(self._checks_where(lambda check: check.service_id in ids))

        return await self._list(request, lambda: self._catalog.index_of(name), entries, CHECK)

    async def _state(self, request: web.Request) -> web.Response:
        state = request.match_info["state"]
        if not state:
            raise Rejected(400, "Missing check state")

        def entries() -> list[Json]:
            return self._shapes(self._checks_where(lambda check: state in ("any", check.status)))

        return await self._list(request, lambda: self._catalog.checks_index, entries, CHECK)

    async def _services(self, request: web.Request) -> web.Response:
        self._gate.check_datacenter(request)
        visible = self._gate.allows(request)
        await until_newer(request, self._changes, lambda: self._catalog.services_index)
        tags: dict[str, set[str]] = {}
        for service in self._catalog.services.values() if visible else ():
            tags.setdefault(service.name, set()).update(service.tags)
        return answer({name: sorted(tags[name]) for name in sorted(tags)}, self._catalog.services_index)

    async def _nodes(self, request: web.Request) -> web.Response:
        self._gate.check_datacenter(request)
        return answer([self._catalog.node] if self._gate.allows(request) else [], self._catalog.services_index)

    async def _list(
        self,
        request: web.Request,
        index: Callable[[], int],
        entries: Callable[[], list[Json]],
        fields: Mapping[str, Kind],
    ) -> web.Response:
        self._gate.check_datacenter(request)
        visible = self._gate.allows(request)
        filtered(request, (), fields)
        await until_newer(request, self._changes, index)
        return answer(filtered(request, entries() if visible else (), fields), index())

    def _tagged(self, request: web.Request, name: str) -> list[Service]:
        node_meta = self._catalog.node["Meta"].items()
        if any(tuple(pair.split(":", 1)) not in node_meta for pair in request.query.getall("node-meta", ())):
            return []
        wanted = {tag.lower() for tag in request.query.getall("tag", ())}
        services = self._catalog.instances(name)
        return [service for service in services if wanted <= {tag.lower() for tag in service.tags}]

    def _checks_where(self, wanted: Callable[[Check], bool]) -> list[Check]:
        return sorted(filter(wanted, self._catalog.checks.values()), key=lambda check: check.id)

    def _shapes(self, checks: list[Check]) -> list[dict[str, Any]]:
        return [check.catalog_json(self._catalog.node_name, self._catalog.service_of(check)) for check in checks]


def _name(request: web.Request) -> str:
    name = request.match_info["name"]
    if not name:
        raise Rejected(400, "Missing service name")
    return name


def _passing(request: web.Request) -> bool:
    given = request.query.get("passing")
    if given not in (None, "", "true", "false", "1", "0", "t", "f"):
        raise Rejected(400, "Invalid value for ?passing")
    return given is not None and given not in ("false", "0", "f")
