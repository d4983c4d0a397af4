"""All instances of a service with their health, for those who look: whoever calls, wants only those that are well."""

from __future__ import annotations

from typing import Any, NamedTuple

from hrpc.abc import Instance
from hrpc.consul.instances import instance_of, refuse_leaderless
from hrpc.consul.transport import Transport

_WORST_FIRST = ("critical", "warning", "passing")
_MAINTENANCE = ("_node_maintenance", "_service_maintenance:")


class CheckState(NamedTuple):
    """What a check found when it last ran."""

    name: str
    status: str
    output: str
    """Of maintenance, the reason."""

    @property
    def said(self) -> str:
        """The first line of what it found, shortened to what fits in one."""
        return self.output.partition("\n")[0][:200] or "it has said nothing yet"


class Listed(NamedTuple):
    """An instance, and the checks of it and of its node."""

    instance: Instance
    health: str
    """The worst status of its checks: passing, warning, critical; or maintenance."""
    failing: tuple[CheckState, ...]
    """The checks that do not pass."""


async def listed(
    transport: Transport, name: str, datacenter: str | None, index: int | None = None, wait: float = 0.0
) -> tuple[int, tuple[Listed, ...]]:
    """The instances of a service, whatever their health, and the index of the answer. Raises `ConsulError`.

    https://developer.hashicorp.com/consul/api-docs/health#list-service-instances-for-service
    """
    path = f"/v1/health/service/{name}"
    params = [("stale", "")] + ([("dc", datacenter)] if datacenter else [])
    params += [("index", str(index)), ("wait", f"{wait:g}s")] if index else []
    response = await transport.request("GET", path, params, wait=wait if index else 0.0)
    refuse_leaderless(transport, response)
    entries = transport.json(f"GET {path}", response, list)
    try:
        found = sorted((_listed(entry) for entry in entries), key=lambda each: each.instance.id)
        return int(response.headers.get("X-Consul-Index") or 0), tuple(found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise transport.not_consul(f"GET {path}", response.code) from error


def _listed(entry: dict[str, Any]) -> Listed:
    checks = [
        (check["CheckID"], CheckState(check["Name"], check["Status"], (check["Output"] or check["Notes"]).strip()))
        for check in entry["Checks"]
    ]
    failing = tuple(check for _, check in checks if check.status != "passing")
    health = next((status for status in _WORST_FIRST if any(check.status == status for _, check in checks)), "passing")
    if any(check_id.startswith(_MAINTENANCE) for check_id, _ in checks):
        health = "maintenance"
    return Listed(instance_of(entry), health, failing)
