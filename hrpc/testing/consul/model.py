"""Services and checks, as they are kept and as Consul's JSON shows them.

The shapes are those of https://developer.hashicorp.com/consul/api-docs/health and …/agent/service (1.8).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PASSING = "passing"
WARNING = "warning"
CRITICAL = "critical"
STATUSES = (PASSING, WARNING, CRITICAL)

Json = dict[str, Any]


@dataclass(slots=True)
class Service:
    """One registered instance. Two with equal fields are the same registration: the indexes are not compared."""

    id: str
    name: str
    tags: list[str]
    address: str
    port: int
    meta: dict[str, str]
    weights: dict[str, int]
    tagged_addresses: dict[str, Json]
    kind: str = ""
    enable_tag_override: bool = False
    local: bool = True
    create_index: int = field(default=0, compare=False)
    modify_index: int = field(default=0, compare=False)

    def agent_json(self) -> Json:
        """The shape of ``/v1/agent/services``."""
        shape: Json = {
            "ID": self.id,
            "Service": self.name,
            "Tags": self.tags,
            "Meta": self.meta,
            "Port": self.port,
            "Address": self.address,
            "Weights": self.weights,
            "EnableTagOverride": self.enable_tag_override,
        }
        return shape | self._kind_and_addresses()

    def health_json(self) -> Json:
        """The shape of ``Service`` in ``/v1/health/service``."""
        return self.agent_json() | {
            "Meta": self.meta or None,
            "Proxy": {"MeshGateway": {}, "Expose": {}},
            "Connect": {},
            "CreateIndex": self.create_index,
            "ModifyIndex": self.modify_index,
        }

    def catalog_json(self, node: Json) -> Json:
        """The shape of ``/v1/catalog/service``: the node and the service in one flat object."""
        shape = {name: value for name, value in node.items() if name not in ("Meta", "CreateIndex", "ModifyIndex")}
        return shape | {
            "NodeMeta": node["Meta"],
            "ServiceKind": self.kind,
            "ServiceID": self.id,
            "ServiceName": self.name,
            "ServiceTags": self.tags,
            "ServiceAddress": self.address,
            "ServiceTaggedAddresses": self.tagged_addresses,
            "ServiceWeights": self.weights,
            "ServiceMeta": self.meta,
            "ServicePort": self.port,
            "ServiceEnableTagOverride": self.enable_tag_override,
            "ServiceProxy": {"MeshGateway": {}, "Expose": {}},
            "ServiceConnect": {},
            "CreateIndex": self.create_index,
            "ModifyIndex": self.modify_index,
        }

    def _kind_and_addresses(self) -> Json:
        optional = {"Kind": self.kind, "TaggedAddresses": self.tagged_addresses}
        return {name: value for name, value in optional.items() if value}


def default_addresses(address: str, port: int) -> dict[str, Json]:
    """The tagged addresses that Consul derives from an IP address; none from a host name."""
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return {}
    return {f"{net}_ipv{version}": {"Address": address, "Port": port} for net in ("lan", "wan")}


@dataclass(frozen=True, slots=True)
class CheckDefinition:
    """What was asked for: `probe` holds the fields that say how to check, durations are in seconds."""

    id: str
    name: str
    type: str
    status: str
    notes: str
    service_id: str
    interval: float
    timeout: float
    ttl: float
    deregister_after: float
    failures_before_critical: int = 0
    success_before_passing: int = 0
    probe: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Check:
    """A check and its state. The catalogue learns a new output only together with a new status, as in Consul."""

    definition: CheckDefinition
    status: str
    output: str = ""
    catalog_output: str = ""
    local: bool = True
    create_index: int = 0
    modify_index: int = 0

    @property
    def id(self) -> str:
        """The check's ID, unique in the agent."""
        return self.definition.id

    @property
    def service_id(self) -> str:
        """The service that it checks; empty for a check of the node."""
        return self.definition.service_id

    def agent_json(self, node: str, service: Service | None) -> Json:
        """The shape of ``/v1/agent/checks``."""
        return {
            "Node": node,
            "CheckID": self.id,
            "Name": self.definition.name,
            "Status": self.status,
            "Notes": self.definition.notes,
            "Output": self.output,
            "ServiceID": self.service_id,
            "ServiceName": service.name if service else "",
            "ServiceTags": service.tags if service else [],
            "Type": self.definition.type,
            "Definition": {},
            "CreateIndex": 0,
            "ModifyIndex": 0,
        }

    def catalog_json(self, node: str, service: Service | None) -> Json:
        """The shape of a check in ``/v1/health``."""
        return self.agent_json(node, service) | {
            "Output": self.catalog_output,
            "CreateIndex": self.create_index,
            "ModifyIndex": self.modify_index,
        }
