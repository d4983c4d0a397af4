"""An agent with ACLs, asked with the token that may do all."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Sequence
from typing import Any

OWNER = "0c2b6f4e-8d61-4b0a-9f0e-5a7d3c1e9b42"
ACL = {"acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": OWNER, "agent": OWNER}}}


class Owner:
    """Makes policies and tokens, and sees everything."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        """One request; gives the JSON of its answer."""
        return await asyncio.to_thread(self._ask, method, path, body)

    async def token(self, name: str, rules: Sequence[str], lifetime: str | None = None) -> str:
        """A new token with one policy of these rules."""
        policy = await self.ask("PUT", "/acl/policy", {"Name": name, "Rules": "\n".join(rules)})
        asked: dict[str, Any] = {"Policies": [{"ID": policy["ID"]}]}
        if lifetime is not None:
            asked["ExpirationTTL"] = lifetime
        made = await self.ask("PUT", "/acl/token", asked)
        return str(made["SecretID"])

    async def instances(self, name: str) -> list[Any]:
        """The entries of a service in the catalogue."""
        entries: list[Any] = await self.ask("GET", f"/health/service/{name}?passing")
        return entries

    async def at_agent(self) -> set[str]:
        """The names of the services that the agent has itself, whatever its servers have."""
        entries = await self.ask("GET", "/agent/services")
        return {entry["Service"] for entry in entries.values()}

    def _ask(self, method: str, path: str, body: object) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self._address}/v1{path}", data, method=method)
        request.add_header("X-Consul-Token", OWNER)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")
