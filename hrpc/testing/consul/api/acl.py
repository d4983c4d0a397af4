"""``/v1/acl``: https://developer.hashicorp.com/consul/api-docs/acl/tokens. One token may do everything."""

from __future__ import annotations

from aiohttp import web

from hrpc.testing.consul.api.gate import Gate
from hrpc.testing.consul.api.query import answer
from hrpc.testing.consul.rejected import Rejected


class ACLRoutes:
    """What the agent says of the token of a request."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [web.get("/v1/acl/token/self", self._self, allow_head=False)]

    async def _self(self, request: web.Request) -> web.Response:
        if not self._gate.guarded:
            raise Rejected(401, "ACL support disabled")
        if not self._gate.allows(request):
            raise Rejected(403, "ACL not found")
        return answer(
            {"Description": "DevConsul(token=…)", "Policies": [{"Name": "global-management"}], "Local": False}
        )
