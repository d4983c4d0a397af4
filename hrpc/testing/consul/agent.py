"""What the agent does: registers, deregisters, takes heartbeats, sets maintenance."""

from __future__ import annotations

import hashlib
import json

from hrpc.testing.consul.catalog import Catalog
from hrpc.testing.consul.checks import Checks
from hrpc.testing.consul.model import CRITICAL, Check, CheckDefinition, Service
from hrpc.testing.consul.rejected import Rejected

NODE_MAINTENANCE = "_node_maintenance"
_SERVICE_MAINTENANCE = "_service_maintenance:"
_NO_REASON = "but no reason was provided. This is a default message."


class Agent:
    """The local agent over the catalogue; here both change at the same moment, in Consul the catalogue a bit later."""

    def __init__(self, catalog: Catalog, checks: Checks) -> None:
        self._catalog = catalog
        self._checks = checks

    def service(self, service_id: str) -> Service | None:
        """The service of this ID that was registered here."""
        service = self._catalog.services.get(service_id)
        return service if service and service.local else None

    def check(self, check_id: str) -> Check | None:
        """The check of this ID that was registered here."""
        check = self._catalog.checks.get(check_id)
        return check if check and check.local else None

    def content_hash(self, service_id: str) -> str:
        """A hash of what is registered under this ID; empty when nothing is."""
        service = self.service(service_id)
        if service is None:
            return ""
        return hashlib.blake2b(json.dumps(service.agent_json(), sort_keys=True).encode(), digest_size=8).hexdigest()

    def register(self, service: Service, definitions: list[CheckDefinition], replace_checks: bool) -> None:
        """Adds or replaces a service.

        A check that it has already keeps its state; checks that are not named stay, unless they are replaced.
        """
        self._catalog.put_service(service)
        if replace_checks:
            named = {definition.id for definition in definitions}
            for check in list(self._catalog.checks.values()):
                if check.service_id == service.id and check.id not in named:
                    self.remove_check(check.id)
        for definition in definitions:
            self.add_check(definition)

    def deregister(self, service_id: str) -> None:
        """Removes a service with its checks; nothing happens when it is not there."""
        for check in list(self._catalog.checks.values()):
            if check.service_id == service_id:
                self._checks.stop(check.id)
        if self.service(service_id):
            self._catalog.remove_service(service_id)

    def add_check(self, definition: CheckDefinition) -> None:
        """Adds or replaces a check and starts it; raises `Rejected` when its service is not there."""
        if definition.service_id and self.service(definition.service_id) is None:
            raise Rejected(500, f'ServiceID "{definition.service_id}" does not exist')
        known = self.check(definition.id)
        if known and known.service_id == definition.service_id:
            check = Check(definition, known.status, known.output)
        else:
            check = Check(definition, definition.status)
        if known is None or known.definition != definition:
            self._catalog.put_check(check)
        else:
            check = known
        self._checks.start(check)

    def remove_check(self, check_id: str) -> None:
        """Ends and removes a check; nothing happens when it is not there."""
        self._checks.stop(check_id)
        if self.check(check_id):
            self._catalog.remove_check(check_id)

    def heartbeat(self, check_id: str, status: str, output: str) -> None:
        """Sets a TTL check; raises `Rejected` when there is none of this ID."""
        if not self._checks.heartbeat(check_id, status, output):
            raise Rejected(500, f'CheckID "{check_id}" does not have associated TTL')

    def set_maintenance(self, service_id: str, enable: bool, reason: str) -> None:
        """Puts a service, or the node for an empty ID, out of rotation by a critical check, or back."""
        if service_id and self.service(service_id) is None:
            raise Rejected(404, f'No service registered with ID "{service_id}"')
        check_id = f"{_SERVICE_MAINTENANCE}{service_id}" if service_id else NODE_MAINTENANCE
        if not enable:
            self.remove_check(check_id)
        elif self.check(check_id) is None:
            subject = "Service" if service_id else "Node"
            name = f"{subject} Maintenance Mode"
            notes = reason or f"Maintenance mode is enabled for this {subject.lower()}, {_NO_REASON}"
            definition = CheckDefinition(check_id, name, "maintenance", CRITICAL, notes, service_id, 0, 0, 0, 0)
            self._catalog.put_check(Check(definition, CRITICAL))
