"""Keeping a service out of rotation: https://developer.hashicorp.com/consul/api-docs/agent/service#enable-maintenance-mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hrpc.abc import Registration
from hrpc.consul import entry
from hrpc.consul.transport import Transport


class Maintenance:
    """What a service wants of the agent behind `transport`. What an operator wants of it is left alone."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.reason: str | None = None
        """Why the service is out of rotation; None when it is not."""
        self._ends = False

    def want(self, reason: str | None) -> None:
        """Sets what the agent is to be told."""
        self.reason, self._ends = reason, reason is None

    async def tell(self, registration: Registration) -> None:
        """Tells the agent. Raises `ConsulError`."""
        reason = self.reason
        params = {"enable": "false"} if reason is None else {"enable": "true", "reason": reason}
        await self._transport.request("PUT", f"/v1/agent/service/maintenance/{registration.id}", params)
        if reason == self.reason:
            self._ends = False

    def differs(self, checks: Mapping[str, Any], registration: Registration) -> bool:
        """Whether the agent, which has these checks, is to be told again."""
        if entry.maintenance_id(registration) in checks:
            return self._ends
        self._ends = False
        return self.reason is not None
