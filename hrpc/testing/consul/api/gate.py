"""Who may do what, and which datacenter is asked.

With a token the agent behaves as one with ACLs and the default policy deny: that token may do everything, no token may
nothing, any other token is an error (https://developer.hashicorp.com/consul/docs/security/acl).
"""

from __future__ import annotations

import hmac

from aiohttp import web

from hrpc.testing.consul.rejected import Rejected


class Gate:
    """Decides about a request by its token and its datacenter."""

    def __init__(self, token: str | None, datacenter: str) -> None:
        self._token = token
        self._datacenter = datacenter

    @property
    def guarded(self) -> bool:
        """Whether ACLs are on."""
        return self._token is not None

    def allows(self, request: web.Request) -> bool:
        """Whether the request may see and change things; raises `Rejected` for a token that is not known."""
        if self._token is None:
            return True
        given = _token_of(request)
        if given and not hmac.compare_digest(given.encode(), self._token.encode()):
            raise Rejected(403, "ACL not found")
        return bool(given)

    def require(self, request: web.Request, missing: str = "") -> None:
        """Raises `Rejected` with status 403 unless the request is allowed; `missing` names the permission."""
        if not self.allows(request):
            raise Rejected(403, f"Permission denied: Missing {missing}" if missing else "Permission denied")

    def check_datacenter(self, request: web.Request) -> None:
        """Raises `Rejected` for another datacenter than ours."""
        if request.query.get("dc") not in (None, "", self._datacenter):
            raise Rejected(500, "No path to datacenter")


def _token_of(request: web.Request) -> str:
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    return (
        request.query.get("token")
        or request.headers.get("X-Consul-Token")
        or (bearer.strip() if scheme.lower() == "bearer" else "")
    )
