"""The instances of a service as Consul tells them: ``/v1/health/service``.

https://developer.hashicorp.com/consul/api-docs/health#list-service-instances-for-service
"""

from __future__ import annotations

from typing import Any

from consul import base

from hrpc.abc import Instance, Selection
from hrpc.consul.transport import Transport
from hrpc.errors import ConsulUnreachable


class InstancesQuery:
    """Asks for one selection, again and again; an answer is read only when it is another than the one before.

    It asks in one datacenter: that of the selection, else `datacenter`, else the agent's own.
    """

    def __init__(self, transport: Transport, selection: Selection, datacenter: str | None) -> None:
        self._transport = transport
        self._version = selection.version
        self._path = f"/v1/health/service/{selection.name}"
        self._params = [("passing", "1"), ("stale", "")]
        self._params += [("tag", tag) for tag in selection.tags]
        datacenter = selection.datacenters[0] if selection.datacenters else datacenter
        self._params += [("dc", datacenter)] if datacenter else []
        self._last: int | None = None
        self._found: tuple[Instance, ...] = ()

    async def __call__(self, index: int | None, wait: float) -> tuple[int, tuple[Instance, ...]]:
        """The instances that pass their checks, and their index. With an index, Consul answers after a change or `wait`
        seconds. Raises `ConsulError`."""
        blocking = [("index", str(index)), ("wait", f"{wait:g}s")] if index else []
        response = await self._transport.request(
            "GET", self._path, self._params + blocking, wait=wait if index else 0.0
        )
        refuse_leaderless(self._transport, response)
        # Consul answers at the end of each wait, and when an instance changes that others have selected.
        answer = hash(response.content)
        if answer != self._last:
            self._found = self._read(response)
            self._last = answer
        try:
            return int(response.headers.get("X-Consul-Index") or 0), self._found
        except ValueError as error:
            raise self._transport.not_consul(f"GET {self._path}", response.code) from error

    def _read(self, response: base.Response) -> tuple[Instance, ...]:
        entries = self._transport.json(f"GET {self._path}", response, list)
        try:
            found = [instance_of(entry) for entry in entries]
            wanted = [each for each in found if self._version is None or each.version == self._version]
            return tuple(sorted(wanted, key=lambda instance: instance.id))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._transport.not_consul(f"GET {self._path}", response.code) from error


def in_each_datacenter(selection: Selection) -> list[Selection]:
    """The selection in one datacenter each, in its order of preference."""
    if len(selection.datacenters) < 2:
        return [selection]
    return [selection._replace(datacenters=(datacenter,)) for datacenter in selection.datacenters]


def refuse_leaderless(transport: Transport, response: base.Response) -> None:
    """Raises `ConsulUnreachable` for servers without a leader: they answer from what they have, be it nothing."""
    if response.headers.get("X-Consul-KnownLeader") == "false":
        raise ConsulUnreachable(f"the servers behind Consul at {transport.address} have no leader")


def instance_of(entry: dict[str, Any]) -> Instance:
    """The instance of an entry of ``/v1/health/service``. Raises what Python raises when it is none."""
    service = entry["Service"]
    return Instance(
        id=service["ID"],
        name=service["Service"],
        address=service.get("Address") or entry["Node"]["Address"],
        port=service["Port"],
        weight=(service.get("Weights") or {}).get("Passing", 1),
        tags=tuple(service.get("Tags") or ()),
        meta=service.get("Meta") or {},
        datacenter=entry["Node"].get("Datacenter") or "",
    )
