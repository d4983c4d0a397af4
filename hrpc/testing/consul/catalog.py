"""What is registered: services and checks of the one node, with the indexes that blocking queries wait for."""

from __future__ import annotations

from dataclasses import replace

from hrpc.testing.consul.changes import Changes
from hrpc.testing.consul.model import PASSING, Check, CheckDefinition, Json, Service


class Catalog:
    """Services and checks by ID. An index moves only with what the queries at it can see."""

    def __init__(self, changes: Changes, datacenter: str, node: str, host: str) -> None:
        self._changes = changes
        start = changes.index
        self.node: Json = {
            "ID": "00000000-0000-0000-0000-000000000001",
            "Node": node,
            "Address": host,
            "Datacenter": datacenter,
            "TaggedAddresses": dict.fromkeys(("lan", "lan_ipv4", "wan", "wan_ipv4"), host),
            "Meta": {"consul-network-segment": ""},
            "CreateIndex": start,
            "ModifyIndex": start,
        }
        self.services: dict[str, Service] = {}
        self.checks: dict[str, Check] = {}
        self.services_index = start
        self.checks_index = start
        self._index_of_name: dict[str, int] = {}
        self._extinction_index = start
        self._add_own(start)

    def _add_own(self, index: int) -> None:
        """A server lists itself and its gossip; the agent's own lists do not show them."""
        own = Service("consul", "consul", [], "", 8300, {}, {"Passing": 1, "Warning": 1}, {}, local=False)
        self.services["consul"] = replace(own, create_index=index, modify_index=index)
        serf = CheckDefinition("serfHealth", "Serf Health Status", "", PASSING, "", "", 0, 0, 0, 0)
        alive = "Agent alive and reachable"
        self.checks["serfHealth"] = Check(serf, PASSING, alive, alive, False, index, index)

    @property
    def node_name(self) -> str:
        """The name of the node."""
        return str(self.node["Node"])

    def instances(self, name: str) -> list[Service]:
        """The services of this name, by ID."""
        return sorted((service for service in self.services.values() if service.name == name), key=lambda s: s.id)

    def service_of(self, check: Check) -> Service | None:
        """The service that a check belongs to; None for a check of the node."""
        return self.services.get(check.service_id)

    def checks_of(self, service: Service) -> list[Check]:
        """The checks that decide about a service: the node's, then its own, each by ID."""
        relevant = (check for check in self.checks.values() if check.service_id in ("", service.id))
        return sorted(relevant, key=lambda check: (check.service_id, check.id))

    def index_of(self, name: str) -> int:
        """The index of a service's last change; without instances, that of the last service that went away."""
        return self._index_of_name.get(name, self._extinction_index)

    def put_service(self, service: Service) -> None:
        """Adds or replaces a service; the same one again changes nothing."""
        known = self.services.get(service.id)
        if known == service:
            return
        index = self._changes.record()
        service.create_index = known.create_index if known else index
        service.modify_index = index
        self.services[service.id] = service
        self.services_index = self._index_of_name[service.name] = index
        if known and known.name != service.name:
            self._touch_name(known.name, index)

    def remove_service(self, service_id: str) -> None:
        """Removes a service and its checks; nothing happens when it is not there."""
        service = self.services.pop(service_id, None)
        if service is None:
            return
        index = self._changes.record()
        own = [check.id for check in self.checks.values() if check.service_id == service_id]
        for check_id in own:
            del self.checks[check_id]
            self.checks_index = index
        self.services_index = index
        self._touch_name(service.name, index)

    def put_check(self, check: Check) -> None:
        """Adds or replaces a check; an ID that another service uses moves to this one."""
        index = self._changes.record()
        known = self.checks.get(check.id)
        if known:
            self._touch_check(known, index)
        check.create_index = known.create_index if known else index
        check.modify_index = index
        check.catalog_output = check.output
        self.checks[check.id] = check
        self._touch_check(check, index)

    def remove_check(self, check_id: str) -> None:
        """Removes a check; nothing happens when it is not there."""
        if check := self.checks.pop(check_id, None):
            self._touch_check(check, self._changes.record())

    def set_status(self, check: Check, status: str, output: str) -> None:
        """Notes a result. Nobody is woken when only the output is new."""
        check.output = output
        if check.status != status:
            check.status = status
            check.catalog_output = output
            check.modify_index = self._changes.record()
            self._touch_check(check, check.modify_index)

    def _touch_check(self, check: Check, index: int) -> None:
        self.checks_index = index
        if service := self.services.get(check.service_id):
            self._index_of_name[service.name] = index
        elif not check.service_id:
            self._index_of_name.update(dict.fromkeys(self._index_of_name, index))

    def _touch_name(self, name: str, index: int) -> None:
        if self.instances(name):
            self._index_of_name[name] = index
        else:
            self._index_of_name.pop(name, None)
            self._extinction_index = index
