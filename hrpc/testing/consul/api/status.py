"""``/v1/status``: https://developer.hashicorp.com/consul/api-docs/status."""

from __future__ import annotations

from aiohttp import web

from hrpc.testing.consul.api.gate import Gate
from hrpc.testing.consul.api.query import answer


class StatusRoutes:
    """The Raft of one server: it is the leader, and its only peer."""

    def __init__(self, gate: Gate, leader: str) -> None:
        self._gate = gate
        self._leader = leader

    def routes(self) -> list[web.RouteDef]:
        """The routes; none of them asks for a token."""
        return [
            web.get("/v1/status/leader", self._get_leader, allow_head=False),
            web.get("/v1/status/peers", self._get_peers, allow_head=False),
        ]

    async def _get_leader(self, request: web.Request) -> web.Response:
        self._gate.check_datacenter(request)
        return answer(self._leader)

    async def _get_peers(self, request: web.Request) -> web.Response:
        self._gate.check_datacenter(request)
        return answer([self._leader])
