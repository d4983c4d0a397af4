"""Sessions, and the keys that are locked by one: https://developer.hashicorp.com/consul/docs/dynamic-app-config/sessions.

A session ends when it is destroyed, or is not renewed for its TTL; Consul takes up to twice that, and never less. What
it has locked is free then, and for the lock delay after it nobody can lock it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from hrpc.consul.transport import Params, Transport
from hrpc.errors import ConsulPermissionDenied, ConsulRefused

SHORTEST_TTL = 10.0
"""Seconds: https://developer.hashicorp.com/consul/api-docs/session."""
LONGEST_LOCK_DELAY = 60.0
"""Seconds, of the same page."""

_CONFLICT = 409


class Kept(NamedTuple):
    """A key: its value, the session that has locked it, and the index of its last change."""

    key: str
    value: bytes
    session: str | None
    changed: int


class Sessions:
    """Makes sessions and locks keys, through one transport. All raise `ConsulError`."""

    def __init__(self, transport: Transport, datacenter: str | None) -> None:
        self._transport = transport
        self._place: dict[str, str] = {"dc": datacenter} if datacenter else {}

    async def create(self, name: str, ttl: float, lock_delay: float) -> str:
        """A new session, which is bound to nothing but its TTL, in seconds; gives its id."""
        body = {
            "Name": name,
            "TTL": f"{ttl:g}s",
            "LockDelay": f"{lock_delay:g}s",
            "Behavior": "release",
            "Checks": [],  # not to that of the agent: one that is away for a moment would end it at once
        }
        what = "/v1/session/create"
        response = await self._transport.request("PUT", what, self._place, data=json.dumps(body))
        if response.code == 404:
            raise ConsulRefused(f"{self._transport.address} has no sessions: {response.body.strip()[:300]}", 404)
        found = self._transport.json(f"PUT {what}", response, dict).get("ID")
        if not isinstance(found, str) or not found:
            raise self._transport.not_consul(f"PUT {what}", response.code)
        return found

    async def renew(self, session: str) -> bool:
        """Whether the session was there, and lives for another TTL."""
        response = await self._transport.request("PUT", f"/v1/session/renew/{session}", self._place)
        return bool(response.code != 404)

    async def destroy(self, session: str) -> None:
        """Ends a session; nothing happens when it has ended."""
        await self._transport.request("PUT", f"/v1/session/destroy/{session}", self._place)

    async def below(self, prefix: str) -> list[Kept]:
        """The keys that begin with `prefix`."""
        params: Params = {**self._place, "recurse": ""}
        path = f"/v1/kv/{prefix}"
        response = await self._transport.request("GET", path, params)
        if response.code == 404:
            return []
        found = self._transport.json(f"GET {path}", response, list)
        try:
            return [
                Kept(
                    entry["Key"],
                    base64.b64decode(entry["Value"] or ""),
                    entry.get("Session") or None,
                    int(entry["ModifyIndex"]),
                )
                for entry in found
            ]
        except (TypeError, KeyError, ValueError) as error:
            raise self._transport.not_consul(f"GET {path}", response.code) from error

    async def lock(self, key: str, value: bytes, session: str, index: int | None) -> bool:
        """Locks a key that was changed last at `index`, or for None one that is not there; whether it could."""
        unchanged = {"Verb": "check-not-exists"} if index is None else {"Verb": "check-index", "Index": index}
        return await self._commit(key, unchanged, {"Verb": "lock", "Value": _encoded(value), "Session": session})

    async def confirm(self, key: str, session: str, value: bytes | None = None) -> bool:
        """Whether the session still has the key, which then gets this value, if any."""
        held = {"Verb": "check-session", "Session": session}
        if value is None:
            return await self._commit(key, held)
        return await self._commit(key, held, {"Verb": "lock", "Value": _encoded(value), "Session": session})

    async def unlock(self, key: str, value: bytes, session: str) -> bool:
        """Lets go of a key with a last value, without a lock delay; whether the session had it."""
        return await self._commit(key, {"Verb": "unlock", "Value": _encoded(value), "Session": session})

    async def create_key(self, key: str, value: bytes) -> None:
        """Writes a key, unless it is there."""
        await self._transport.request("PUT", f"/v1/kv/{key}", {**self._place, "cas": "0"}, data=value)

    async def node(self) -> str:
        """The name of the agent that is asked; empty when it does not tell."""
        try:
            response = await self._transport.request("GET", "/v1/agent/self")
        except ConsulPermissionDenied:
            return ""
        found = self._transport.json("GET /v1/agent/self", response, dict)
        return str(found.get("Config", {}).get("NodeName", ""))

    async def _commit(self, key: str, *operations: dict[str, Any]) -> bool:
        wanted: Sequence[Any] = [{"KV": {"Key": key, **operation}} for operation in operations]
        try:
            await self._transport.request("PUT", "/v1/txn", self._place, data=json.dumps(wanted))
        except ConsulRefused as error:
            if error.status != _CONFLICT:
                raise
            return False
        return True


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()
